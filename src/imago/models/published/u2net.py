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

import re
from pathlib import Path

from imago.core.errors import ModelError
from imago.models.base import SegmentationNet
from imago.models.checkpoint import copy_strictly
from imago.models.state_dict import read_state_dict

_STAGE = re.compile(r"stage([1-6])(d?)\.rebnconv(in|[1-7])(d?)\.(conv|bn)_s1\.(\w+)")
_SIDE = re.compile(r"side([1-6])\.(\w+)")


def translate_name(official: str) -> str | None:
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
    for official, tensor in read_state_dict(path).items():
        name = translate_name(official)
        if name is None:
            raise ModelError(
                f"{path}: {official!r} is not a tensor of the official U2-Net; is it another network's file?"
            )
        named[name] = tensor
    copy_strictly(net, named, path)
