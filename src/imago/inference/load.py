"""A name or a file to a model that is ready to use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from imago.core.card import THING_TASKS, ModelCard
from imago.core.errors import ModelError
from imago.files.modelfile import read_onnx_card, read_safetensors_card
from imago.inference.engine import Engine
from imago.inference.predictor import Predictor
from imago.models.catalogue import card_at
from imago.models.find import find_model

if TYPE_CHECKING:
    from imago.inference.things import FindsObjects


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
) -> Engine | FindsObjects:
    path = find_model(model)
    if path.suffix.lower() == ".safetensors":
        return _torch_engine(path, device)
    own = card_at(path) or read_onnx_card(path)
    if own is not None and own.task in THING_TASKS:
        from imago.inference.things import ObjectEngine

        return ObjectEngine(path, threads, device)
    from imago.inference.onnx_engine import OnnxEngine

    return OnnxEngine(path, threads, device, card_at(path), keep_memory)


def card_of(model: str | Path) -> ModelCard:
    """The card of such a model, without its weights. Raises ModelError."""
    path = find_model(model)
    if path.suffix.lower() == ".safetensors":
        return read_safetensors_card(path)
    from imago.inference import onnx_engine

    return card_at(path) or onnx_engine.card_of(path, str(path))


def _torch_engine(path: Path, device: str | None) -> Engine | FindsObjects:
    device = device or os.environ.get("IMAGO_DEVICE")
    try:
        from imago.inference.things_torch import TorchObjectEngine
        from imago.inference.torch_engine import TorchEngine
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "imago":
            raise
        raise ModelError(
            f"{path}: a .safetensors model runs on PyTorch, which is not installed ({error.name} is missing); "
            'pip install "imago-seg[train]", or use its .onnx file'
        ) from error
    if read_safetensors_card(path).task in THING_TASKS:
        return TorchObjectEngine(path, device)
    return TorchEngine(path, device)
