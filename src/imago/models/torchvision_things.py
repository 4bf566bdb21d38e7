"""torchvision's published Faster and Mask R-CNN (ResNet-50, feature pyramid, COCO) into ours: names, and the card.

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
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from imago.core.card import ModelCard
from imago.core.errors import ModelError
from imago.core.labels import Labels
from imago.core.spec import InputSpec
from imago.models import checkpoint
from imago.models.state_dict import read_state_dict
from imago.models.things import build_things
from imago.models.torchvision_weights import Parts, our_names

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


def with_epsilon(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of norms without epsilon -> of norms with it, which answer the same."""
    changed = dict(tensors)
    for name, variance in tensors.items():
        if name.endswith(".running_var"):
            stem = name.removesuffix(".running_var")
            wider = ((variance.double() + EPSILON) / variance.double()).sqrt()
            changed[f"{stem}.weight"] = (tensors[f"{stem}.weight"].double() * wider).float()
            changed[f"{stem}.num_batches_tracked"] = torch.tensor(0)
    return changed


def coco_labels() -> Labels:
    """torchvision's 91 classes. COCO left some numbers free: they are named by themselves, as names must differ."""
    names = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    named = [f"unused {value}" if name == "N/A" else name for value, name in enumerate(names)]
    return Labels(("background", *named[1:]))


def convert(path_pth: Path, path_out: Path) -> ModelCard:
    """``fasterrcnn_resnet50_fpn_coco-258fb6c6.pth`` or ``maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth`` -> a checkpoint.

    No code from the file is run. Raises ModelError that names it where it is another network's.
    """
    tensors = read_state_dict(path_pth)
    architecture = "maskrcnn" if any(name.startswith("roi_heads.mask_") for name in tensors) else "fasterrcnn"
    try:
        named = our_names(with_epsilon(tensors), PARTS[architecture])
    except ModelError as error:
        raise ModelError(f"{path_pth}: {error}") from error
    options = {"classes": 91, "in_channels": 3, "encoder": "resnet50", "frozen_norms": True}
    net = build_things(architecture, **options)
    checkpoint.copy_strictly(net, named, path_pth)
    card = ModelCard(
        name=f"{architecture}-resnet50-coco",
        architecture=architecture,
        options=options | {"score": net.score, "iou": net.iou, "most": net.most},
        task="instances" if net.has_masks else "boxes",
        labels=coco_labels(),
        # They were trained at a shorter side of 800, a longer of at most 1,333 pixels; most photos are 4 : 3.
        input=InputSpec(rule="area", size_hw=(928, 928), multiple=32),
        data=("COCO 2017 (annotations CC BY 4.0)",),
        licence="BSD-3-Clause (torchvision)",
        note=f"torchvision's published weights, {path_pth.name}",
    )
    checkpoint.save(net, card, path_out)
    return card
