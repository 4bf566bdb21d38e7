"""U2-Net (Qin et al. 2020, "U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection").

arXiv:2005.09007. A U whose stages are small U's themselves (figures 2 and 5 of the paper). ``u2net`` is the full form
(44.0 M parameters), ``u2netp`` the small one (1.13 M), both as in the paper's table. Follows the authors' code where
the paper is silent: pooling rounds up, so that any size of input works; maps are enlarged bilinearly to the size of
their partner. Differs from the paper:
- logits come out, not probabilities: the sigmoid is in the loss and in ``decode``;
- any number of classes: each side output and the fused one then has that many channels (softmax);
- initial weights are torch's, where the paper has Xavier's (the authors' code has torch's too);
- ``width`` scales all channels (64 in the paper).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imago.models.base import SegmentationNet
from imago.models.blocks import resize_to


class Conv(nn.Module):
    """3 x 3 convolution, batch norm, ReLU; ``dilation`` widens its view. Size stays."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1) -> None:
        super().__init__()
        # The bias has no effect before a batch norm; it is there because the published weights have it.
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H, W)."""
        return F.relu(self.norm(self.conv(x)), inplace=True)


def halve(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, ceil(H/2), ceil(W/2)) by the largest of each 2 x 2."""
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


class RSU(nn.Module):
    """Residual U-block RSU-L: a U of ``height`` L inside, its input (after one convolution) added to its output.

    L - 2 times down; the lowest convolution, L, does not shrink but has dilation 2. (N, in, H, W) -> (N, out, H, W).
    """

    def __init__(self, height: int, in_channels: int, mid_channels: int, out_channels: int) -> None:
        super().__init__()
        self.enter = Conv(in_channels, out_channels)
        self.down = nn.ModuleList(  # convolutions 1 to L, fine to coarse
            [Conv(out_channels, mid_channels)]
            + [Conv(mid_channels, mid_channels) for _ in range(height - 2)]
            + [Conv(mid_channels, mid_channels, dilation=2)]
        )
        self.up = nn.ModuleList(  # convolutions 1 to L - 1, fine to coarse too: up[i] is the partner of down[i]
            Conv(2 * mid_channels, out_channels if level == 0 else mid_channels) for level in range(height - 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        entered = self.enter(x)
        *fine, lowest = self.down
        feature_maps = [fine[0](entered)]
        for conv in fine[1:]:
            feature_maps.append(conv(halve(feature_maps[-1])))  # (N, mid, H / 2^i, W / 2^i)
        x = lowest(feature_maps[-1])
        for conv, partner in zip(reversed(self.up), reversed(feature_maps), strict=True):
            x = conv(torch.cat([resize_to(x, partner), partner], dim=1))
        return x + entered


class RSU4F(nn.Module):
    """RSU-4F: dilations 1, 2, 4, 8 in place of shrinking, for stages whose maps are small already."""

    def __init__(self, in_channels: int, mid_channels: int, out_channels: int) -> None:
        super().__init__()
        self.enter = Conv(in_channels, out_channels)
        self.down = nn.ModuleList(
            Conv(out_channels if dilation == 1 else mid_channels, mid_channels, dilation) for dilation in (1, 2, 4, 8)
        )
        self.up = nn.ModuleList(
            Conv(2 * mid_channels, out_channels if dilation == 1 else mid_channels, dilation) for dilation in (1, 2, 4)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H, W)."""
        x = entered = self.enter(x)
        feature_maps = []
        for conv in self.down:
            x = conv(x)
            feature_maps.append(x)
        for conv, partner in zip(reversed(self.up), reversed(feature_maps[:-1]), strict=True):
            x = conv(torch.cat([x, partner], dim=1))
        return x + entered


def residual_u(height: int, in_channels: int, mid_channels: int, out_channels: int) -> nn.Module:
    """RSU-``height``; 0 stands for RSU-4F."""
    if height:
        return RSU(height, in_channels, mid_channels, out_channels)
    return RSU4F(in_channels, mid_channels, out_channels)


HEIGHTS = (7, 6, 5, 4, 0, 0)  # of the RSU in encoder stages 1 to 6; decoder stages 1 to 5 have the same
Channels = tuple[tuple[int, int], ...]  # (mid, out) of each stage, from stage 1 on: the paper's M and O


class U2Net(SegmentationNet):
    """Six stages down, five up, a side output from each of the finest six maps, and their fusion.

    ``forward`` gives seven logits at the size of the input: fused, side 1 ... side 6. All seven count alike in the
    loss. Example: (2, 3, 64, 64) gives seven maps (2, K, 64, 64).
    """

    def __init__(self, classes: int, in_channels: int, encoder: Channels, decoder: Channels) -> None:
        super().__init__(classes, in_channels)
        self.side_weights = (1.0,) * 7
        outs = [out for _, out in encoder]
        self.encoder = nn.ModuleList(
            residual_u(height, before, mid, out)
            for height, before, (mid, out) in zip(HEIGHTS, [in_channels, *outs[:-1]], encoder, strict=True)
        )
        coarser = [*(out for _, out in decoder[1:]), outs[-1]]  # what comes from below into decoder stages 1 to 5
        self.decoder = nn.ModuleList(
            residual_u(height, below + skip, mid, out)
            for height, below, skip, (mid, out) in zip(HEIGHTS[:5], coarser, outs[:5], decoder, strict=True)
        )
        side_channels = [*(out for _, out in decoder), outs[-1]]
        self.side = nn.ModuleList(nn.Conv2d(channels, classes, 3, padding=1) for channels in side_channels)
        self.fuse = nn.Conv2d(6 * classes, classes, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        x = images
        feature_maps = []
        for level, stage in enumerate(self.encoder):
            x = stage(halve(x) if level else x)  # (N, out, H / 2^level, W / 2^level)
            feature_maps.append(x)
        answers = [x]  # coarse to fine
        for stage, partner in zip(reversed(self.decoder), reversed(feature_maps[:-1]), strict=True):
            x = stage(torch.cat([resize_to(x, partner), partner], dim=1))
            answers.append(x)
        sides = [resize_to(side(x), images) for side, x in zip(self.side, reversed(answers), strict=True)]
        return (self.fuse(torch.cat(sides, dim=1)), *sides)


def _scaled(channels: Channels, width: int) -> Channels:
    if width < 4 or width % 4:  # the least number in the tables is 16
        raise ValueError(f"width must be a multiple of 4 (64 in the paper); got {width}")
    return tuple((mid * width // 64, out * width // 64) for mid, out in channels)


def u2net(classes: int = 1, in_channels: int = 3, width: int = 64) -> U2Net:
    """The full form: 44,009,869 parameters at 1 class, 3 channels."""
    encoder = ((32, 64), (32, 128), (64, 256), (128, 512), (256, 512), (256, 512))
    decoder = ((16, 64), (32, 64), (64, 128), (128, 256), (256, 512))
    return U2Net(classes, in_channels, _scaled(encoder, width), _scaled(decoder, width))


def u2netp(classes: int = 1, in_channels: int = 3, width: int = 64) -> U2Net:
    """The small form: 1,131,181 parameters at 1 class, 3 channels."""
    return U2Net(classes, in_channels, _scaled(((16, 64),) * 6, width), _scaled(((16, 64),) * 5, width))
