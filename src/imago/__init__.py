"""Imago: masks from photos. ``imago.load("subject")("photo.jpg").cutout()``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from imago.core.detection_options import DetectionOptions
    from imago.core.errors import DataError, ImageError, ImagoError, ModelError
    from imago.core.input_spec import InputSpec
    from imago.core.labels import Labels
    from imago.core.model_card import ModelCard
    from imago.core.panoptic import Panoptic
    from imago.core.panoptic_options import PanopticOptions
    from imago.core.separation import Separation
    from imago.core.tta import TTA
    from imago.inference.crf import DenseCRF
    from imago.inference.load import load
    from imago.inference.options import PredictOptions
    from imago.inference.panoptic import PanopticPredictor, panoptic
    from imago.inference.prediction import Prediction
    from imago.inference.predictor import Predictor

# Where each public name lives. Importing imago imports none of them, so that it takes no time.
_HOMES = {
    "load": "imago.inference.load",
    "Predictor": "imago.inference.predictor",
    "PredictOptions": "imago.inference.options",
    "Prediction": "imago.inference.prediction",
    "panoptic": "imago.inference.panoptic",
    "PanopticPredictor": "imago.inference.panoptic",
    "PanopticOptions": "imago.core.panoptic_options",
    "Panoptic": "imago.core.panoptic",
    "TTA": "imago.core.tta",
    "DetectionOptions": "imago.core.detection_options",
    "Separation": "imago.core.separation",
    "DenseCRF": "imago.inference.crf",
    "Labels": "imago.core.labels",
    "InputSpec": "imago.core.input_spec",
    "ModelCard": "imago.core.model_card",
    "ImagoError": "imago.core.errors",
    "ImageError": "imago.core.errors",
    "DataError": "imago.core.errors",
    "ModelError": "imago.core.errors",
}

__all__ = [
    "TTA",
    "DataError",
    "DenseCRF",
    "DetectionOptions",
    "ImageError",
    "ImagoError",
    "InputSpec",
    "Labels",
    "ModelCard",
    "ModelError",
    "Panoptic",
    "PanopticOptions",
    "PanopticPredictor",
    "PredictOptions",
    "Prediction",
    "Predictor",
    "Separation",
    "load",
    "panoptic",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "models":
        return importlib.import_module("imago.models")
    raise AttributeError(f"module 'imago' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, "models"])
