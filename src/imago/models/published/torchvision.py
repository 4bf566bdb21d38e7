"""torchvision's published weights into our nets: which of its names is which of ours.

    backbone.layer1.0.conv1.weight              encoder.network.layer1.0.conv1.weight
    classifier.0.convs.2.0.weight               pyramid.wide.1.0.weight
    aux_classifier.4.bias                       aux.4.bias

and of Faster and Mask R-CNN (ResNet-50, feature pyramid, COCO):

    backbone.body.layer1.0.conv1.weight         features.encoder.network.layer1.0.conv1.weight
    backbone.fpn.inner_blocks.0.weight          features.fpn.inner_blocks.0.0.weight      (as in the published files)
    backbone.fpn.inner_blocks.0.0.weight        the same                                  (as torchvision names it now)
    roi_heads.mask_head.mask_fcn1.weight        mask_head.0.0.weight

The batch norms of those two are frozen and have no epsilon; ours add 1e-5 to the variance, so the norms' weights are
made larger by as much: the answers stay the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from imago.core.errors import ModelError
from imago.models.catalog import task_of
from imago.models.checkpoint import copy_strictly
from imago.models.state_dict import read_state_dict

Parts = tuple[tuple[str, str], ...]  # (pattern of their names, our form of it), the first that fits counts

_BACKBONE = (r"backbone\.(.+)", r"encoder.network.\1")
_AUX = (r"aux_classifier\.(.+)", r"aux.\1")
_HEAD = r"classifier\."

_BOX_PARTS: Parts = (
    (r"backbone\.body\.(.+)", r"features.encoder.network.\1"),
    (r"backbone\.fpn\.(\w+)\.(\d)\.(\w+)", r"features.fpn.\1.\2.0.\3"),
    (r"backbone\.fpn\.(.+)", r"features.fpn.\1"),
    (r"rpn\.head\.conv\.(\w+)", r"rpn.head.conv.0.0.\1"),
    (r"rpn\.(.+)", r"rpn.\1"),
    (r"roi_heads\.(box_head|box_predictor)\.(.+)", r"\1.\2"),
)
# The published files count the mask head's convolutions from 1; torchvision's code from 0.
_MASK_PARTS: Parts = (
    *((rf"roi_heads\.mask_head\.mask_fcn{n + 1}\.(.+)", rf"mask_head.{n}.0.\1") for n in range(4)),
    (r"roi_heads\.(mask_head|mask_predictor)\.(.+)", r"\1.\2"),
)

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
    "fasterrcnn": _BOX_PARTS,
    "maskrcnn": (*_BOX_PARTS, *_MASK_PARTS),
}

EPSILON = 1e-5  # of our batch norms


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


def fold_epsilon(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of norms without epsilon -> of norms with it, which answer the same."""
    changed = dict(tensors)
    for name, variance in tensors.items():
        if name.endswith(".running_var"):
            stem = name.removesuffix(".running_var")
            wider = ((variance.double() + EPSILON) / variance.double()).sqrt()
            changed[f"{stem}.weight"] = (tensors[f"{stem}.weight"].double() * wider).float()
            changed[f"{stem}.num_batches_tracked"] = torch.tensor(0)
    return changed


def load_torchvision(net: nn.Module, architecture: str, path: Path) -> None:
    """Fill ``net`` (``architecture`` is a key of ``PARTS``) from torchvision's ``.pth``; its auxiliary head, where it
    has one, too. No code from the file is run. Raises ModelError that names the file where it does not fit.
    """
    tensors = read_state_dict(path)
    if task_of(architecture) == "detection":
        tensors = fold_epsilon(tensors)
    try:
        named = translate_names(tensors, PARTS[architecture])
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    copy_strictly(net, named, path)
