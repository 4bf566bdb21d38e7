"""Imago: masks from photos. ``imago.load("subject")("photo.jpg").cutout()``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from imago.core.errors import DataError, ImageError, ImagoError, ModelError
    from imago.core.input_spec import InputSpec
    from imago.core.labels import Labels
    from imago.core.model_card import ModelCard
    from imago.inference.load import load
    from imago.inference.prediction import Prediction
    from imago.inference.predictor import Predictor

# Where each public name lives. Importing imago imports none of them, so that it takes no time.
_HOMES = {
    "load": "imago.inference.load",
    "Predictor": "imago.inference.predictor",
    "Prediction": "imago.inference.prediction",
    "Labels": "imago.core.labels",
    "InputSpec": "imago.core.input_spec",
    "ModelCard": "imago.core.model_card",
    "ImagoError": "imago.core.errors",
    "ImageError": "imago.core.errors",
    "DataError": "imago.core.errors",
    "ModelError": "imago.core.errors",
}

__all__ = [
    "DataError",
    "ImageError",
    "ImagoError",
    "InputSpec",
    "Labels",
    "ModelCard",
    "ModelError",
    "Prediction",
    "Predictor",
    "load",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "models":
        return importlib.import_module("imago.models")
    raise AttributeError(f"module 'imago' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, "models"])
