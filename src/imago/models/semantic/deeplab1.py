"""DeepLab v1, LargeFOV (Chen, Papandreou, Kokkinos, Murphy and Yuille 2015, arXiv:1412.7062).

VGG-16 whose pools 4 and 5 do not shrink; the convolutions behind them look through holes instead, so that scores come
at stride 8. fc6 is a 3 x 3 convolution with holes of 12 (a view of 224 pixels) and 1024 channels, fc7 a 1 x 1. The
dense CRF of the paper is a step of its own that any model may take.
As in the authors' LargeFOV files the pools are 3 x 3. Differs: the loss is taken at the image's size, not on labels
shrunk by 8; ``norm`` adds batch norms for training from scratch (off as in the paper).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from imago.models import vgg
from imago.models.base import SegmentationNet
from imago.models.blocks import resize_to

POOL_STRIDES = (2, 2, 2, 1, 1)


def run_dilated_vgg(stages: nn.ModuleList, images: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 8 width, about H / 8, W / 8): the five stages, each with a 3 x 3 pool behind it."""
    x = images
    for stage, stride in zip(stages, POOL_STRIDES, strict=True):
        x = F.max_pool2d(stage(x), 3, stride=stride, padding=1)
    return x


def field_of_view(in_channels: int, width: int, rate: int) -> nn.Sequential:
    """fc6 with holes, and fc7: (N, in, h, w) -> (N, width, h, w)."""
    layers: list[nn.Module] = []
    for conv in (nn.Conv2d(in_channels, width, 3, padding=rate, dilation=rate), nn.Conv2d(width, width, 1)):
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        layers += [conv, nn.ReLU(inplace=True), nn.Dropout2d(0.5)]
    return nn.Sequential(*layers)


class DeepLabV1(SegmentationNet):
    """``width`` 64 and ``fc_width`` 1024 are the paper's. Any size of input."""

    def __init__(
        self, classes: int = 21, in_channels: int = 3, width: int = 64, fc_width: int = 1024, norm: bool = False
    ) -> None:
        super().__init__(classes, in_channels)
        self.stages = vgg.vgg16_stages(in_channels, width, norm, dilation=2)
        self.view = field_of_view(vgg.stage_channels(width)[-1], fc_width, rate=12)
        self.score = nn.Conv2d(fc_width, classes, 1)

    def load_imagenet(self) -> None:
        """The 13 convolutions; fc6 and fc7 start anew (the authors thin out the published ones)."""
        vgg.load_imagenet(self.stages)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        return (resize_to(self.score(self.view(run_dilated_vgg(self.stages, images))), images),)
