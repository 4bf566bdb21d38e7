"""Weights that others have published: a table of names and tensors, read without running code from the file."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from imago.core.errors import ModelError


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Name to tensor, on the CPU, of a ``.pth`` (any form that torch writes) or a ``.safetensors``.

    The table may stand under "state_dict" or "model", beside what else a training wrote. No code from the file is run.
    Raises ModelError that names the file where it is missing, damaged or holds other objects than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)  # refuses all but tensors and plain values
    except FileNotFoundError as error:
        raise ModelError(f"{path}: there is no such file") from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: not a whole file of weights ({reason}); download it again") from error
    if isinstance(tensors, dict):
        tensors = next((tensors[key] for key in ("state_dict", "model") if isinstance(tensors.get(key), dict)), tensors)
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ModelError(f"{path}: expected a table of names and tensors (a state dict); save net.state_dict() alone")
    return tensors
