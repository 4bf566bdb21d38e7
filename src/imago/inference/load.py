"""A name or a file to a model that is ready to use."""

from __future__ import annotations

import os
from pathlib import Path

from imago.core.errors import ModelError
from imago.core.model_card import ModelCard
from imago.files.model_file import read_safetensors_card
from imago.inference.engines.base import DetectionEngine, Engine
from imago.inference.engines.onnx import OnnxEngine
from imago.inference.engines.onnx import read_card as onnx_card
from imago.inference.options import PredictOptions
from imago.inference.predictor import Predictor
from imago.models.find import find_model
from imago.models.published import read_published_card


def load(
    model: str | Path,
    threads: int | None = None,
    device: str | None = None,
    keep_memory: bool = True,
    options: PredictOptions | None = None,
) -> Predictor:
    """A shipped name ("subject"), a downloaded one ("u2netp"), an ``.onnx`` or a ``.safetensors`` file -> Predictor.

    ``threads``: inside one run; as many as cores are free if None. ``device``: "cpu" or "cuda"; ``$IMAGO_DEVICE``, else
    the CPU for ``.onnx`` and whatever torch finds for ``.safetensors``, if None. ``keep_memory``: False for one photo,
    see ``OnnxEngine``. ``options``: how it answers, ``PredictOptions()`` if None. Nothing is downloaded. Raises
    ModelError.
    """
    return Predictor(load_engine(model, threads, device, keep_memory), options or PredictOptions())


def load_engine(
    model: str | Path, threads: int | None = None, device: str | None = None, keep_memory: bool = True
) -> Engine | DetectionEngine:
    """What runs the model, of whatever task. Arguments and errors as ``load``'s."""
    path = find_model(model)
    if path.suffix.lower() == ".safetensors":
        return _torch_engine(path, device or os.environ.get("IMAGO_DEVICE"))
    return OnnxEngine(path, threads, device, read_published_card(path), keep_memory)


def read_card(model: str | Path) -> ModelCard:
    """The card of such a model, without its weights. Raises ModelError."""
    path = find_model(model)
    if path.suffix.lower() == ".safetensors":
        return read_safetensors_card(path)
    return read_published_card(path) or onnx_card(path, str(path))


def _torch_engine(path: Path, device: str | None) -> Engine | DetectionEngine:
    try:
        from imago.inference.engines.torch import TorchEngine
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "imago":
            raise
        raise ModelError(
            f"{path}: a .safetensors model runs on PyTorch, which is not installed ({error.name} is missing); "
            'pip install "imago-seg[train]", or use its .onnx file'
        ) from error
    return TorchEngine(path, device)
