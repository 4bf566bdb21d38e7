"""DeepLab v3+ (Chen, Zhu, Papandreou, Schroff and Adam 2018, arXiv:1802.02611).

DeepLab v3's pyramid, in separable convolutions, as an encoder; a short decoder joins it, enlarged to stride 4, with the
encoder's map of stride 4 narrowed to 48 channels (figure 2). Encoders: a dilated ResNet, or the aligned Xception of the
paper (timm's xception41, 65, 71).
As segmentation-models-pytorch has it, and differs from the paper: a further separable convolution behind the pyramid,
one (not two) behind the joint, and the pyramid is enlarged with corners aligned; its rates are 12, 24, 36 at any
stride.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imago.models.base import SegmentationNet
from imago.models.blocks import conv_norm
from imago.models.encoders import Encoder
from imago.models.semantic.aspp import ASPP, separable

RATES = (12, 24, 36)
THIN = 48  # channels of the fine map in the joint (paper, table 1)


class DeepLabV3Plus(SegmentationNet):
    """``width``: channels of pyramid and decoder, 256 in the paper."""

    def __init__(
        self, encoder: Encoder, classes: int, in_channels: int, width: int = 256, rates: tuple[int, ...] = RATES
    ) -> None:
        super().__init__(classes, in_channels)
        if 4 not in encoder.strides or encoder.strides[-1] not in (8, 16):
            raise ValueError(
                f"DeepLab v3+ wants a map of stride 4 and an end at stride 8 or 16; the encoder has {encoder.strides}"
            )
        self.encoder = encoder
        self.multiple = encoder.strides[-1]
        self.fine = encoder.strides.index(4)
        self.pyramid = nn.Sequential(ASPP(encoder.channels[-1], width, rates, separate=True), *separable(width, width))
        self.thin = conv_norm(encoder.channels[self.fine], THIN, 1)
        self.join = separable(THIN + width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        feature_maps = self.encoder(images)
        fine = self.thin(feature_maps[self.fine])  # (N, 48, H / 4, W / 4)
        coarse = F.interpolate(
            self.pyramid(feature_maps[-1]), size=fine.shape[-2:], mode="bilinear", align_corners=True
        )
        scores = self.head(self.join(torch.cat([coarse, fine], dim=1)))
        return (F.interpolate(scores, scale_factor=4.0, mode="bilinear", align_corners=True),)
