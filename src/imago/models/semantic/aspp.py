"""Atrous spatial pyramid pooling with image-level features, as DeepLab v3 and v3+ have it (arXiv:1706.05587, 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from imago.models.blocks import conv_norm, resize_to

RATES = {16: (6, 12, 18), 8: (12, 24, 36)}  # by the encoder's last stride: doubled where the map is twice as fine


def separable(in_channels: int, out_channels: int, dilation: int = 1) -> nn.Sequential:
    """A 3 x 3 convolution a channel, a 1 x 1 over all, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=dilation, dilation=dilation, groups=in_channels, bias=False),
        *conv_norm(in_channels, out_channels, 1),
    )


class ASPP(nn.Module):
    """1 x 1, three 3 x 3 of growing ``rates``, and the mean over the whole map, joined and projected to ``width``."""

    def __init__(
        self, in_channels: int, width: int, rates: tuple[int, ...], separate: bool = False, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.point = conv_norm(in_channels, width, 1)
        self.wide = nn.ModuleList(
            separable(in_channels, width, rate) if separate else conv_norm(in_channels, width, 3, rate)
            for rate in rates
        )
        self.whole = conv_norm(in_channels, width, 1)
        self.project = nn.Sequential(*conv_norm((2 + len(rates)) * width, width, 1), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, ``width``, h, w)."""
        whole = self.whole(x.mean(dim=(2, 3), keepdim=True))
        maps = [self.point(x), *(conv(x) for conv in self.wide), resize_to(whole, x)]
        return self.project(torch.cat(maps, dim=1))


def rates_for(stride: int) -> tuple[int, ...]:
    """The paper's rates for an encoder that ends at ``stride``."""
    if stride not in RATES:
        raise ValueError(f"DeepLab v3 wants an encoder that ends at stride 8 or 16, by dilation; it ends at {stride}")
    return RATES[stride]
