"""LR-ASPP (Howard et al. 2019, "Searching for MobileNetV3", arXiv:1905.02244, section 6.4), for the smallest machines.

The coarsest map, narrowed, weighed by its own mean over the photo, enlarged, and its scores added to those of the map
of stride 8. The form of torchvision, whose published weights load: the mean is over the whole map, where the paper has
windows of 49 x 49.
"""

from __future__ import annotations

from torch import Tensor, nn

from imago.models.base import SegmentationNet
from imago.models.blocks import conv_norm, resize_to
from imago.models.encoders import Encoder


class LRASPP(SegmentationNet):
    """``width``: channels of the narrowed map, 128 in the paper. Any size of input."""

    def __init__(self, encoder: Encoder, classes: int, in_channels: int, width: int = 128) -> None:
        super().__init__(classes, in_channels)
        if 8 not in encoder.strides[:-1]:
            raise ValueError(f"LR-ASPP wants a map of stride 8 before the last; the encoder has {encoder.strides}")
        self.encoder = encoder
        self.fine = encoder.strides.index(8)
        self.narrow = conv_norm(encoder.channels[-1], width, 1)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(encoder.channels[-1], width, 1, bias=False), nn.Sigmoid()
        )
        self.fine_score = nn.Conv2d(encoder.channels[self.fine], classes, 1)
        self.coarse_score = nn.Conv2d(width, classes, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        feature_maps = self.encoder(images)
        fine, coarse = feature_maps[self.fine], feature_maps[-1]
        x = resize_to(self.narrow(coarse) * self.gate(coarse), fine)
        return (resize_to(self.fine_score(fine) + self.coarse_score(x), images),)
