"""A name or a file to a model that is ready to use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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
    device: str | int | None = None,
    keep_memory: bool = True,
    options: PredictOptions | None = None,
    **changes: Any,
) -> Predictor:
    """A shipped name ("subject"), a downloaded one ("u2netp"), an ``.onnx`` or a ``.safetensors`` file -> Predictor.

    ``threads``: inside one run, for ``.onnx``; as many as cores are free if None. ``device``: "cpu", "cuda", "cuda:1"
    or the number of a GPU; ``$IMAGO_DEVICE``, else the CPU for ``.onnx`` and whatever torch finds for
    ``.safetensors``, if None. ``keep_memory``: False for one photo, for ``.onnx``; see ``OnnxEngine``. ``options``: how
    it answers, ``PredictOptions()`` if None, and ``changes`` to it as ``Predictor.with_options`` takes them:
    ``load("nuclei", score_thresh=0.3)``. Nothing is downloaded. Raises ModelError, and what ``with_options`` raises.
    """
    asked = (options or PredictOptions()).with_(**changes)
    return Predictor(load_engine(model, threads, device, keep_memory), asked)


def load_engine(
    model: str | Path, threads: int | None = None, device: str | int | None = None, keep_memory: bool = True
) -> Engine | DetectionEngine:
    """What runs the model, of whatever task. Arguments and errors as ``load``'s."""
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise ModelError(
            f"threads must be a whole number of 1 or more, or None for as many as are free; got {threads!r}"
        )
    path, chosen = find_model(model), name_device(device)
    if not runs_on_torch(path):
        return OnnxEngine(path, threads, chosen, read_published_card(path), keep_memory)
    if threads is not None or not keep_memory:
        name = "threads" if threads is not None else "keep_memory"
        raise ModelError(
            f"{path}: runs on PyTorch, to which {name} says nothing; leave it out (torch.set_num_threads sets threads "
            "of a whole process), or use the model's .onnx file"
        )
    return _torch_engine(path, chosen)


def runs_on_torch(path: Path) -> bool:
    """Whether a model's file is run by PyTorch, else by ONNX Runtime."""
    return path.suffix.lower() == ".safetensors"


def name_device(device: str | int | None) -> str | None:
    """``device`` in words: a number is that of a GPU; None: ``$IMAGO_DEVICE``, or None where that is not set. Raises
    ModelError."""
    if device is None:
        return os.environ.get("IMAGO_DEVICE") or None
    if isinstance(device, int) and not isinstance(device, bool) and device >= 0:
        return f"cuda:{device}"
    if type(device).__module__ == "torch":
        return str(device)
    if not isinstance(device, str) or not device:
        raise ModelError(f"device {device!r} is not known; give cpu, cuda, cuda:1 or the number of a GPU")
    return device


def read_card(model: str | Path) -> ModelCard:
    """The card of such a model, without its weights. Raises ModelError."""
    path = find_model(model)
    if runs_on_torch(path):
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
