"""A name or a file to a model that is ready to use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from imago.core.errors import ModelError
from imago.core.model_card import DETECTION_TASKS, ModelCard
from imago.files.model_file import read_onnx_card, read_safetensors_card
from imago.inference.engines.base import Engine
from imago.inference.predictor import Predictor
from imago.models.catalog import read_published_card
from imago.models.find import find_model

if TYPE_CHECKING:
    from imago.inference.detection import DetectionEngine


def load(
    model: str | Path, threads: int | None = None, device: str | None = None, keep_memory: bool = True
) -> Predictor:
    """A shipped name ("subject"), a downloaded one ("u2netp"), an ``.onnx`` or a ``.safetensors`` file -> Predictor.

    ``threads``: inside one run; as many as cores are free if None. ``device``: "cpu" or "cuda"; ``$IMAGO_DEVICE``, else
    the CPU for ``.onnx`` and whatever torch finds for ``.safetensors``, if None. ``keep_memory``: see
    ``OnnxEngine``. Nothing is downloaded. Raises ModelError.
    """
    return Predictor(load_engine(model, threads, device, keep_memory))


def load_engine(
    model: str | Path, threads: int | None = None, device: str | None = None, keep_memory: bool = True
) -> Engine | DetectionEngine:
    path = find_model(model)
    if path.suffix.lower() == ".safetensors":
        return _torch_engine(path, device)
    own = read_published_card(path) or read_onnx_card(path)
    if own is not None and own.task in DETECTION_TASKS:
        from imago.inference.detection import OnnxDetectionEngine

        return OnnxDetectionEngine(path, threads, device)
    from imago.inference.engines.onnx import OnnxEngine

    return OnnxEngine(path, threads, device, read_published_card(path), keep_memory)


def read_card(model: str | Path) -> ModelCard:
    """The card of such a model, without its weights. Raises ModelError."""
    path = find_model(model)
    if path.suffix.lower() == ".safetensors":
        return read_safetensors_card(path)
    from imago.inference.engines import onnx as onnx_engine

    return read_published_card(path) or onnx_engine.read_card(path, str(path))


def _torch_engine(path: Path, device: str | None) -> Engine | DetectionEngine:
    device = device or os.environ.get("IMAGO_DEVICE")
    try:
        from imago.inference.engines.torch import TorchEngine
        from imago.inference.engines.torch_detection import TorchDetectionEngine
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "imago":
            raise
        raise ModelError(
            f"{path}: a .safetensors model runs on PyTorch, which is not installed ({error.name} is missing); "
            'pip install "imago-seg[train]", or use its .onnx file'
        ) from error
    if read_safetensors_card(path).task in DETECTION_TASKS:
        return TorchDetectionEngine(path, device)
    return TorchEngine(path, device)
