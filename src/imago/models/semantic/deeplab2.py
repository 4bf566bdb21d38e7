"""DeepLab v2 (Chen, Papandreou, Kokkinos, Murphy and Yuille 2016, arXiv:1606.00915).

Atrous spatial pyramid pooling in its first form: four branches with holes of 6, 12, 18 and 24 look at the same map of
stride 8, and their scores are added. On VGG-16 a branch is fc6, fc7 and scores; on ResNet-101 a single 3 x 3
convolution (section 4.1 of the paper; ``ASPP-L``). The image is seen at several scales, and the largest score of each
pixel and class counts; each scale has a loss of its own beside the fused one, as in the authors' files. The dense CRF
is a step of its own.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imago.models import vgg
from imago.models.base import SegmentationNet
from imago.models.blocks import resize_to
from imago.models.encoders import Encoder
from imago.models.semantic.deeplab1 import field_of_view, run_dilated_vgg

RATES = (6, 12, 18, 24)
SCALES = (1.0, 0.75, 0.5)  # of the image, as the authors train and test


class MultiScale(SegmentationNet):
    """One net over an image pyramid, fused by maximum. ``scores`` is the net at one scale."""

    def __init__(self, classes: int, in_channels: int, scales: tuple[float, ...]) -> None:
        super().__init__(classes, in_channels)
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales are factors above 0, at least one; got {scales}")
        self.scales = scales
        self.least = math.ceil(1 / min(scales))
        self.side_weights = (1.0,) * (1 if len(scales) == 1 else 1 + len(scales))

    def scores(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> logits (N, K, h, w)."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) -> fused logits, then those of each scale (only fused where there is one scale), (N, K, H,
        W)."""
        self.check(images)
        each = []
        for scale in self.scales:
            # Whole numbers: torch's exporter cannot follow a fraction of a free size.
            above, below = Fraction(scale).limit_denominator(64).as_integer_ratio()
            size_hw = [side * above // below for side in images.shape[-2:]]
            small = images if scale == 1 else F.interpolate(images, size=size_hw, mode="bilinear", align_corners=False)
            each.append(resize_to(self.scores(small), images))
        return tuple(each) if len(each) == 1 else (torch.stack(each).amax(dim=0), *each)


def wide_score(in_channels: int, classes: int, rate: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, classes, 3, padding=rate, dilation=rate)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


class DeepLabV2(MultiScale):
    """On a dilated encoder (ResNet-101 in the paper)."""

    def __init__(
        self, encoder: Encoder, classes: int = 21, in_channels: int = 3, scales: tuple[float, ...] = SCALES
    ) -> None:
        super().__init__(classes, in_channels, scales)
        if encoder.strides[-1] != 8:
            raise ValueError(
                f"DeepLab v2 wants an encoder that ends at stride 8, by dilation; it ends at {encoder.strides[-1]}"
            )
        self.encoder = encoder
        self.branches = nn.ModuleList(wide_score(encoder.channels[-1], classes, rate) for rate in RATES)

    def scores(self, images: Tensor) -> Tensor:
        x = self.encoder(images)[-1]
        return torch.stack([branch(x) for branch in self.branches]).sum(dim=0)


class DeepLabV2VGG(MultiScale):
    """On VGG-16, ``fc_width`` 1024 as in the paper."""

    def __init__(
        self, classes: int = 21, in_channels: int = 3, width: int = 64, fc_width: int = 1024, norm: bool = False,
        scales: tuple[float, ...] = SCALES,
    ) -> None:  # fmt: skip
        super().__init__(classes, in_channels, scales)
        self.stages = vgg.vgg16_stages(in_channels, width, norm, dilation=2)
        channels = vgg.stage_channels(width)[-1]
        self.branches = nn.ModuleList(
            nn.Sequential(field_of_view(channels, fc_width, rate), nn.Conv2d(fc_width, classes, 1)) for rate in RATES
        )

    def load_imagenet(self) -> None:
        vgg.load_imagenet(self.stages)

    def scores(self, images: Tensor) -> Tensor:
        x = run_dilated_vgg(self.stages, images)
        return torch.stack([branch(x) for branch in self.branches]).sum(dim=0)
