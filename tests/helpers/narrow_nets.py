"""Every net that labels pixels in a narrow form, and what it is known to give."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from imago.models import build
from imago.models.base import SegmentationNet


class Form(NamedTuple):
    """A narrow net, and what it is known to give."""

    architecture: str
    options: dict[str, Any]
    multiple: int
    outputs: int  # of forward
    mean: float  # of the first output for filled() weights and waves() images
    std: float


HALF = {"encoder": "resnet18_half"}

ENCODER = {**HALF, "widths": [24, 16, 12, 8], "projection": True}

FORMS = {
    "unet": Form("unet", {"width": 8}, 16, 1, 1.15562, 0.752016),
    "unet-plain": Form("unet", {"width": 8, "norm": False}, 16, 1, -1.1622, 86.0803),
    "unet-resnet": Form("unet", ENCODER, 32, 1, 0.751142, 3.99181),
    "unet-context": Form("unet", {**ENCODER, "context": 16}, 32, 1, 0.876039, 1.6034),
    "unet-slim": Form(
        "unet", {"encoder": "resnet34_slim", "widths": [24, 16, 12, 8], "projection": True}, 32, 1, 1.05926, 2.07534
    ),
    "unet-attention": Form("unet", {"width": 8, "attention": True}, 16, 1, 1.84289, 0.647339),
    "unet-full-size": Form("unet", {**HALF, "widths": [24, 16, 12, 8, 8], "attention": True}, 32, 1, 1.07188, 4.51646),
    "unet-detail": Form(
        "unet", {**HALF, "widths": [24, 16, 12, 8, 8], "projection": True, "detail": 4}, 32, 1, 0.950193, 8.00533
    ),
    "u2netp": Form("u2netp", {"width": 16}, 1, 7, -1.68438, 4.38718),
    "u2net": Form("u2net", {"width": 8}, 1, 7, -2.54531, 5.06055),
    "fcn32s": Form("fcn32s", {"width": 8, "fc_width": 16}, 32, 1, 182947, 125681),
    "fcn32s-googlenet": Form("fcn32s", {"encoder": "googlenet"}, 32, 1, -0.675948, 0.0949328),
    "fcn16s": Form("fcn16s", {"width": 8, "fc_width": 16, "encoder": "vgg16_bn"}, 32, 1, 1.95937, 0.476455),
    "fcn8s": Form("fcn8s", {"width": 8, "fc_width": 16}, 32, 1, 6011.39, 57513.1),
    "fcn8s-resnet": Form("fcn8s", HALF, 32, 1, 1.41514, 1.1388),
    "fcn": Form("fcn", HALF, 1, 2, 1.77762, 0.119774),
    "segnet": Form("segnet", {"width": 8}, 32, 1, 1.06513, 6.83352),
    "segnet_basic": Form("segnet_basic", {"width": 8}, 16, 1, 1.42742, 0.204346),
    "deeplabv1": Form("deeplabv1", {"width": 8, "fc_width": 16}, 1, 1, 1.60858e07, 1.46385e07),
    "deeplabv2": Form("deeplabv2", HALF, 1, 4, 12.3556, 12.0445),
    "deeplabv2-vgg": Form(
        "deeplabv2", {"encoder": "vgg16", "width": 8, "fc_width": 16, "scales": [1]}, 1, 1, 5.4844e07, 1.7715e07
    ),
    "deeplabv3": Form("deeplabv3", {**HALF, "width": 16}, 1, 2, 1.60166, 0.912936),
    "deeplabv3-grid": Form(
        "deeplabv3",
        {**HALF, "width": 16, "output_stride": 16, "multi_grid": [1, 2], "aux": False},
        1,
        1,
        1.67588,
        0.791874,
    ),
    "deeplabv3plus": Form("deeplabv3plus", {**HALF, "width": 16}, 16, 1, 2.15577, 1.39468),
    "pspnet": Form("pspnet", {**HALF, "width": 16}, 1, 2, 1.37367, 0.36763),
    "enet": Form("enet", {"width": 8}, 8, 1, 2.40544, 2.06845),
    "lraspp": Form("lraspp", {"width": 16}, 1, 1, 1.26406, 1.07278),
}

every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())


def make(form: Form, classes: int = 1, in_channels: int = 3) -> SegmentationNet:
    torch.manual_seed(0)
    return build(form.architecture, classes=classes, in_channels=in_channels, **form.options)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def undropped(net: SegmentationNet) -> SegmentationNet:
    """Without dropout, whose chance would hide what a few steps do."""
    for module in net.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return net
