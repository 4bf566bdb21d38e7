"""torchvision's published Faster and Mask R-CNN (ResNet-50, feature pyramid, COCO) into ours: which name is which.

backbone.body.layer1.0.conv1.weight         features.encoder.network.layer1.0.conv1.weight
backbone.fpn.inner_blocks.0.weight          features.fpn.inner_blocks.0.0.weight      (as in the published files)
backbone.fpn.inner_blocks.0.0.weight        the same                                  (as torchvision names it now)
roi_heads.mask_head.mask_fcn1.weight        mask_head.0.0.weight

Their batch norms are frozen and have no epsilon; ours add 1e-5 to the variance, so the norms' weights are made larger
by as much: the answers stay the same.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from imago.models.detection.base import DetectionModel
from imago.models.published.torchvision import Parts, fill
from imago.models.state_dict import read_state_dict

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
PARTS: dict[str, Parts] = {"fasterrcnn": _BOX_PARTS, "maskrcnn": (*_BOX_PARTS, *_MASK_PARTS)}

EPSILON = 1e-5  # of our batch norms


def fold_epsilon(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of norms without epsilon -> of norms with it, which answer the same."""
    changed = dict(tensors)
    for name, variance in tensors.items():
        if name.endswith(".running_var"):
            stem = name.removesuffix(".running_var")
            wider = ((variance.double() + EPSILON) / variance.double()).sqrt()
            changed[f"{stem}.weight"] = (tensors[f"{stem}.weight"].double() * wider).float()
            changed[f"{stem}.num_batches_tracked"] = torch.tensor(0)
    return changed


def load_torchvision_detection(net: DetectionModel, architecture: str, path: Path) -> None:
    """Fill ``net`` (``architecture`` is a key of ``PARTS``) from ``fasterrcnn_resnet50_fpn_coco-258fb6c6.pth`` or
    ``maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth``. No code from the file is run. Raises ModelError that names the file
    where it does not fit."""
    fill(net, fold_epsilon(read_state_dict(path)), PARTS[architecture], path)
