"""The 13 convolutions of VGG-16 (Simonyan and Zisserman 2014, arXiv:1409.1556, configuration D), stage by stage.

FCN, SegNet and the first two DeepLabs change what lies between the stages (pools, strides, holes), so they take the
stages and put their own in between. Example: ``vgg16_stages(3)`` gives five stages of 64, 128, 256, 512, 512 channels,
with 2, 2, 3, 3, 3 convolutions; a stage does not change the size.
"""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from imago.models.pretrained import fetching

DEPTHS = (2, 2, 3, 3, 3)  # convolutions a stage


def stage_channels(width: int) -> tuple[int, ...]:
    """Output channels of the five stages; ``width`` is 64 in the paper."""
    return width, 2 * width, 4 * width, 8 * width, 8 * width


def vgg16_stages(in_channels: int, width: int = 64, norm: bool = False, dilation: int = 1) -> nn.ModuleList:
    """Five stages of 3 x 3 convolution, (batch norm,) ReLU. ``dilation``: of the last stage's convolutions.

    Initial weights are He's (arXiv:1502.01852): without a norm 13 layers of torch's own would let the signal fade.
    """
    stages = nn.ModuleList()
    for depth, channels in zip(DEPTHS, stage_channels(width), strict=True):
        spread = dilation if len(stages) == len(DEPTHS) - 1 else 1
        layers: list[nn.Module] = []
        for _ in range(depth):
            conv = nn.Conv2d(in_channels, channels, 3, padding=spread, dilation=spread)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            layers += [conv, *([nn.BatchNorm2d(channels)] if norm else []), nn.ReLU(inplace=True)]
            in_channels = channels
        stages.append(nn.Sequential(*layers))
    return stages


def load_imagenet(stages: nn.ModuleList) -> nn.Module:
    """Fill ``stages`` (of width 64) with timm's ImageNet weights, adapted to other channels than 3; gives timm's whole
    network.

    Needs a network the first time. Raises WeightsUnavailable without one, RuntimeError where the weights do not fit.
    """
    norm = any(isinstance(module, nn.BatchNorm2d) for module in stages.modules())
    channels = next(m for m in stages.modules() if isinstance(m, nn.Conv2d)).in_channels
    name = "vgg16_bn" if norm else "vgg16"
    with fetching(name):
        published: Any = timm.create_model(name, pretrained=True, in_chans=channels)
    theirs = [m for m in published.features.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
    mine = [m for m in stages.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
    for own, other in zip(mine, theirs, strict=True):
        own.load_state_dict(other.state_dict())
    return published


def load_imagenet_head(published: Any, fc6: nn.Linear, fc7: nn.Linear) -> None:
    """Fill the layers behind a 7 x 7 map of 512 channels with those of ``published``, which ``load_imagenet`` gave;
    timm has them as convolutions of 7 x 7 and 1 x 1."""
    for own, other in ((fc6, published.pre_logits.fc1), (fc7, published.pre_logits.fc2)):
        own.load_state_dict({"weight": other.weight.detach().flatten(1), "bias": other.bias.detach()})
