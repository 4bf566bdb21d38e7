"""Parts that three nets or more share. Shapes are (N, C, H, W)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def conv_norm(
    in_channels: int, out_channels: int, kernel: int = 3, dilation: int = 1, stride: int = 1
) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU. The size stays where ``stride`` is 1."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def resize_to(x: Tensor, skip: Tensor) -> Tensor:
    """``x`` at the height and width of ``skip`` (N, C, h, w), bilinear, pixels as areas (corners not aligned)."""
    return F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)


def fcn_head(in_channels: int, classes: int) -> nn.Sequential:
    """Scores from a coarse map: 3 x 3 convolution to a quarter of the channels, norm, ReLU, dropout 0.1, 1 x 1.

    The head of torchvision's FCN, and the auxiliary head of PSPNet and DeepLab v3 there.
    """
    return nn.Sequential(
        *conv_norm(in_channels, in_channels // 4), nn.Dropout(0.1), nn.Conv2d(in_channels // 4, classes, 1)
    )
