"""The authors' published U2-Net weights (``u2net.pth``, ``u2netp.pth``) into our ``u2net`` and ``u2netp``.

The names in those files come from the authors' code (github.com/xuebinqin/U-2-Net). The map, by example:

    stage3.rebnconvin.conv_s1.weight    encoder.2.enter.conv.weight
    stage3.rebnconv2.bn_s1.bias         encoder.2.down.1.norm.bias
    stage3.rebnconv4d.conv_s1.weight    encoder.2.up.3.conv.weight
    stage3d.rebnconvin.conv_s1.weight   decoder.2.enter.conv.weight
    side6.weight                        side.5.weight
    outconv.weight                      fuse.weight
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from imago.core.errors import ModelError
from imago.models.base import SegmentationNet
from imago.models.checkpoint import copy_strictly

_STAGE = re.compile(r"stage([1-6])(d?)\.rebnconv(in|[1-7])(d?)\.(conv|bn)_s1\.(\w+)")
_SIDE = re.compile(r"side([1-6])\.(\w+)")


def our_name(official: str) -> str | None:
    """Our name of one of the authors' tensors; None where there is none."""
    if match := _STAGE.fullmatch(official):
        stage, decoder, place, up, part, tensor = match.groups()
        where = f"{'decoder' if decoder else 'encoder'}.{int(stage) - 1}"
        conv = "enter" if place == "in" else f"{'up' if up else 'down'}.{int(place) - 1}"
        return f"{where}.{conv}.{'conv' if part == 'conv' else 'norm'}.{tensor}"
    if match := _SIDE.fullmatch(official):
        return f"side.{int(match[1]) - 1}.{match[2]}"
    if official.startswith("outconv."):
        return official.replace("outconv.", "fuse.", 1)
    return None


def load_official(net: SegmentationNet, path: Path) -> None:
    """Fill ``net`` (``u2net`` or ``u2netp``, 1 class, 3 channels) from the authors' ``.pth`` or a ``.safetensors``
    with the same names. No code from the file is run. Raises ModelError that names the file where it does not fit.
    """
    named = {}
    for official, tensor in read_tensors(path).items():
        name = our_name(official)
        if name is None:
            raise ModelError(
                f"{path}: {official!r} is not a tensor of the official U2-Net; is it another network's file?"
            )
        named[name] = tensor
    copy_strictly(net, named, path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A published file's table of tensors, ``.pth`` or ``.safetensors``; no code from it is run. Raises ModelError."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)  # refuses all but tensors and plain values
    except FileNotFoundError as error:
        raise ModelError(f"{path}: there is no such file") from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: not a whole file of weights ({reason}); download it again") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ModelError(f"{path}: expected a table of names and tensors (a state dict); save net.state_dict() alone")
    return tensors
