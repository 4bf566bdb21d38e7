"""torchvision's published segmentation weights into our nets: which of its names is which of ours.

backbone.layer1.0.conv1.weight      encoder.network.layer1.0.conv1.weight
classifier.0.convs.2.0.weight       pyramid.wide.1.0.weight
aux_classifier.4.bias               aux.4.bias
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from imago.core.errors import ModelError
from imago.models.base import SegmentationNet
from imago.models.checkpoint import copy_strictly
from imago.models.state_dict import read_state_dict

Parts = tuple[tuple[str, str], ...]  # (pattern of their names, our form of it), the first that fits counts

_BACKBONE = (r"backbone\.(.+)", r"encoder.network.\1")
_AUX = (r"aux_classifier\.(.+)", r"aux.\1")
_HEAD = r"classifier\."

PARTS: dict[str, Parts] = {
    "fcn": (_BACKBONE, _AUX, (_HEAD + r"(.+)", r"head.\1")),
    "deeplabv3": (
        _BACKBONE,
        _AUX,
        (_HEAD + r"0\.convs\.0\.(.+)", r"pyramid.point.\1"),
        (_HEAD + r"0\.convs\.1\.(.+)", r"pyramid.wide.0.\1"),
        (_HEAD + r"0\.convs\.2\.(.+)", r"pyramid.wide.1.\1"),
        (_HEAD + r"0\.convs\.3\.(.+)", r"pyramid.wide.2.\1"),
        (_HEAD + r"0\.convs\.4\.1\.(.+)", r"pyramid.whole.0.\1"),
        (_HEAD + r"0\.convs\.4\.2\.(.+)", r"pyramid.whole.1.\1"),
        (_HEAD + r"0\.project\.(.+)", r"pyramid.project.\1"),
        (_HEAD + r"1\.(.+)", r"head.0.\1"),
        (_HEAD + r"2\.(.+)", r"head.1.\1"),
        (_HEAD + r"4\.(.+)", r"head.3.\1"),
    ),
    "lraspp": (
        _BACKBONE,
        (_HEAD + r"cbr\.(.+)", r"narrow.\1"),
        (_HEAD + r"scale\.(.+)", r"gate.\1"),
        (_HEAD + r"low_classifier\.(.+)", r"fine_score.\1"),
        (_HEAD + r"high_classifier\.(.+)", r"coarse_score.\1"),
    ),
}


def translate_names(tensors: Mapping[str, Tensor], parts: Parts) -> dict[str, Tensor]:
    """``tensors`` under our names. Raises ModelError for a name that fits no pattern."""
    named = {}
    for theirs, tensor in tensors.items():
        for pattern, ours in parts:
            if re.fullmatch(pattern, theirs):
                named[re.sub(pattern, ours, theirs)] = tensor
                break
        else:
            raise ModelError(f"{theirs!r} is not a tensor of torchvision's net; is it another network's file?")
    return named


def load_torchvision(net: SegmentationNet, architecture: str, path: Path) -> None:
    """Fill ``net`` (``architecture`` is a key of ``PARTS``) from torchvision's ``.pth``; its auxiliary head, where it
    has one, too. No code from the file is run. Raises ModelError that names the file where it does not fit.
    """
    fill(net, read_state_dict(path), PARTS[architecture], path)


def fill(net: nn.Module, tensors: Mapping[str, Tensor], parts: Parts, path: Path) -> None:
    """``tensors`` of the file ``path`` into ``net``. Raises ModelError that names the file."""
    try:
        named = translate_names(tensors, parts)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    copy_strictly(net, named, path)
