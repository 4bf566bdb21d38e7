"""ENet (Paszke, Chaurasia, Kim and Culurciello 2016, arXiv:1606.02147).

A small net for real time: shrink early, work on thin maps, put values back to where the maxima lay.
Table 1 of the paper, top to bottom: initial; stage 1 (one shrinking and four plain bottlenecks); stages 2 and 3 (2.1 to
2.8 alike; only stage 2 shrinks); stages 4 and 5 (enlarge); full convolution. Modules stand in that order, and so do the
tensors inside a bottleneck, so that the authors' weights, ported to PyTorch, load by order and shape (matching.py).
Where the paper is silent this follows the authors' code (github.com/e-lab/ENet-training, 2016): the inner width is a
quarter of the OUTPUT's, only the middle convolution has a bias, no norm between the two asymmetric convolutions, one
PReLU slope a channel, batch norms with epsilon 1e-3, no dropout in the decoder, a 2 x 2 full convolution at the end.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imago.models.base import SegmentationNet
from imago.models.semantic.segnet import pool_with_indices, unpool

Kind = Literal["plain", "asymmetric", "shrink"]


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Initial(nn.Module):
    """Figure 2a: a 3 x 3 convolution of stride 2 beside a 2 x 2 pool. (N, C, H, W) -> (N, out, H / 2, W / 2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels - in_channels, 3, stride=2, padding=1)
        self.norm = norm(out_channels)
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(torch.cat([self.conv(x), F.max_pool2d(x, 2)], dim=1)))


class Bottleneck(nn.Module):
    """Figure 2b, encoder: narrow, convolve, widen, drop; the input is added.

    ``shrink``: the first convolution is 2 x 2 of stride 2, the input is pooled and its channels are filled up with
    zeros; ``asymmetric``: 1 x 5, then 5 x 1.
    """

    def __init__(
        self, in_channels: int, out_channels: int, dropout: float, kind: Kind = "plain", dilation: int = 1
    ) -> None:
        super().__init__()
        inner = out_channels // 4
        side = 2 if kind == "shrink" else 1
        middle: list[nn.Module] = [nn.Conv2d(inner, inner, 3, padding=dilation, dilation=dilation)]
        if kind == "asymmetric":
            middle = [
                nn.Conv2d(inner, inner, (1, 5), padding=(0, 2), bias=False),
                nn.Conv2d(inner, inner, (5, 1), padding=(2, 0)),
            ]
        self.main = nn.Sequential(
            *(nn.Conv2d(in_channels, inner, side, stride=side, bias=False), norm(inner), nn.PReLU(inner)),
            *(*middle, norm(inner), nn.PReLU(inner)),
            *(nn.Conv2d(inner, out_channels, 1, bias=False), norm(out_channels), nn.Dropout2d(dropout)),
        )
        self.act = nn.PReLU(out_channels)
        self.pool = pool_with_indices()
        self.filling = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W), of what does not shrink."""
        return self.act(x + self.main(x))

    def shrink(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) -> (N, out, H / 2, W / 2), and the places of the C maxima."""
        pooled, places = self.pool(x)
        return self.act(F.pad(pooled, (0, 0, 0, 0, 0, self.filling)) + self.main(x)), places


class Decode(nn.Module):
    """Figure 2b, decoder: ReLU in place of PReLU. With ``grow`` it doubles: a transposed convolution beside the input,
    whose values go back to where the maxima lay."""

    def __init__(self, in_channels: int, out_channels: int, grow: bool = False) -> None:
        super().__init__()
        inner = out_channels // 4
        middle = (
            nn.ConvTranspose2d(inner, inner, 3, stride=2, padding=1, output_padding=1)
            if grow
            else nn.Conv2d(inner, inner, 3, padding=1)
        )
        self.main = nn.Sequential(
            *(nn.Conv2d(in_channels, inner, 1, bias=False), norm(inner), nn.ReLU()),
            *(middle, norm(inner), nn.ReLU()),
            *(nn.Conv2d(inner, out_channels, 1, bias=False), norm(out_channels)),
        )
        self.other = (
            nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), norm(out_channels))
            if grow
            else nn.Identity()
        )

    def forward(self, x: Tensor, places: Tensor | None = None) -> Tensor:
        """(N, in, h, w) -> (N, out, h, w), or twice as high and wide with ``places`` (N, out, h, w)."""
        other = self.other(x)
        return F.relu(self.main(x) + (other if places is None else unpool(other, places)))


def middle_stage(channels: int) -> nn.Sequential:
    """2.1 to 2.8: plain and asymmetric ones between dilations 2, 4, 8, 16."""
    blocks: list[nn.Module] = []
    for first, second in ((2, 4), (8, 16)):
        blocks += [
            Bottleneck(channels, channels, 0.1),
            Bottleneck(channels, channels, 0.1, dilation=first),
            Bottleneck(channels, channels, 0.1, "asymmetric"),
            Bottleneck(channels, channels, 0.1, dilation=second),
        ]
    return nn.Sequential(*blocks)


class ENet(SegmentationNet):
    """``width`` is 16 in the paper: maps of 16, 64, 128 channels. 0.36 M parameters."""

    multiple = 8

    def __init__(self, classes: int = 12, in_channels: int = 3, width: int = 16) -> None:
        super().__init__(classes, in_channels)
        if width <= in_channels or width % 4:
            raise ValueError(
                f"width must be a multiple of 4 and larger than the {in_channels} channels of the image, which the "
                f"first block passes on; got {width}"
            )
        thin, thick = 4 * width, 8 * width
        self.initial = Initial(in_channels, width)
        self.shrink1 = Bottleneck(width, thin, 0.01, "shrink")
        self.stage1 = nn.Sequential(*(Bottleneck(thin, thin, 0.01) for _ in range(4)))
        self.shrink2 = Bottleneck(thin, thick, 0.1, "shrink")
        self.stage2 = middle_stage(thick)
        self.stage3 = middle_stage(thick)
        self.grow4 = Decode(thick, thin, grow=True)
        self.stage4 = nn.Sequential(Decode(thin, thin), Decode(thin, thin))
        self.grow5 = Decode(thin, width, grow=True)
        self.stage5 = Decode(width, width)
        self.full = nn.ConvTranspose2d(width, classes, 2, stride=2)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        x = self.initial(images)  # (N, 16, H / 2, W / 2)
        x, places1 = self.shrink1.shrink(x)  # (N, 64, H / 4, W / 4)
        x, places2 = self.shrink2.shrink(self.stage1(x))  # (N, 128, H / 8, W / 8)
        x = self.stage3(self.stage2(x))
        x = self.stage4(self.grow4(x, places2))  # (N, 64, H / 4, W / 4)
        x = self.stage5(self.grow5(x, places1))  # (N, 16, H / 2, W / 2)
        return (self.full(x),)  # (N, K, H, W)
