"""U-Net (Ronneberger et al. 2015, arXiv:1505.04597), and its form with an encoder from the zoo.

``UNet`` is the network of the paper's figure 1. Differs from the paper:
- padded convolutions, so that the mask has the size of the image and nothing is cropped;
- batch normalisation after each convolution (on by default; the paper of 2015 has none); ``norm=False`` gives the
  plain form, 31,031,745 parameters at width 64, 3 channels and 1 class;
- no dropout at the end of the contracting path.
As in the paper: the initial weights are drawn from a normal distribution of spread sqrt(2 / inputs), so that the plain
form passes its signal through 23 layers without fading.

``EncoderUNet`` keeps the idea (contract, expand, join maps of equal size) and takes the contracting path from an
``Encoder``. Where the paper has 2 x 2 transposed convolutions it has a 1 x 1 convolution and nearest-neighbour
doubling: no checkerboard, and the narrow map is the one that grows. Its answer is made at the stride of the finest map
and enlarged bilinearly. Its initial weights are torch's; it always has batch normalisation.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imago.models.base import SegmentationNet
from imago.models.encoders import Encoder


def double_conv(in_channels: int, out_channels: int, norm: bool = True) -> nn.Sequential:
    """Two 3 x 3 convolutions, each with (batch norm and) ReLU: the "blue arrows" of the paper's figure 1."""
    layers: list[nn.Module] = []
    for i in (in_channels, out_channels):
        layers.append(nn.Conv2d(i, out_channels, 3, padding=1, bias=not norm))
        if norm:
            layers.append(nn.BatchNorm2d(out_channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class UNet(SegmentationNet):
    """The network of the paper: four times down, four times up. Any ``width`` (64 in the paper)."""

    multiple = 16

    def __init__(self, classes: int = 1, in_channels: int = 3, width: int = 64, norm: bool = True) -> None:
        super().__init__(classes, in_channels)
        widths = [width * 2**level for level in range(5)]  # 64, 128, 256, 512, 1024
        self.down = nn.ModuleList(
            double_conv(i, o, norm) for i, o in zip([in_channels, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        coarse_to_fine = widths[::-1]
        self.grow = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in pairwise(coarse_to_fine))
        self.up = nn.ModuleList(double_conv(2 * o, o, norm) for o in coarse_to_fine[1:])
        self.head = nn.Conv2d(width, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        maps = []
        x = images
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)  # (N, width * 2^level, H / 2^level, W / 2^level)
            maps.append(x)
        for grow, block, skip in zip(self.grow, self.up, reversed(maps[:-1]), strict=True):
            x = block(torch.cat([skip, grow(x)], dim=1))
        return (self.head(x),)  # (N, K, H, W)


class Join(nn.Module):
    """One step up: narrow by 1 x 1, double, join the finer map, two convolutions."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.narrow = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.block = double_conv(out_channels + skip_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(self.narrow(x), scale_factor=float(self.ratio), mode="nearest")
        return self.block(torch.cat([x, skip], dim=1))


class Context(nn.Module):
    """What the whole photo shows, added to the coarsest map.

    Pyramid pooling (Zhao et al. 2017) in its lightest form: the mean over the map, a 1 x 1 convolution, added to
    every place; with two dilated 3 x 3 convolutions so that far parts of a large subject meet.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.narrow = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.whole = nn.Conv2d(width, width, 1)
        self.far = nn.ModuleList(nn.Conv2d(width, width, 3, padding=d, dilation=d, bias=False) for d in (1, 3))
        self.join = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        x = self.narrow(x)
        whole = self.whole(x.mean(dim=(2, 3), keepdim=True))
        return self.join(x + whole + sum(conv(x) for conv in self.far))


class EncoderUNet(SegmentationNet):
    """``encoder`` contracts; ``widths`` are the channels of the expanding path, coarse to fine."""

    def __init__(
        self, encoder: Encoder, classes: int, in_channels: int, widths: tuple[int, ...], context: int = 0
    ) -> None:
        super().__init__(classes, in_channels)
        steps = len(encoder.channels) - 1
        if len(widths) < steps:
            raise ValueError(f"the encoder has {steps} steps up; got {len(widths)} widths")
        self.encoder = encoder
        self.multiple = encoder.strides[-1]
        self.context = Context(encoder.channels[-1], context) if context else nn.Identity()
        ins = [context or encoder.channels[-1], *widths]
        ratios = [c // f for f, c in zip(encoder.strides[:-1], encoder.strides[1:], strict=True)]
        self.up = nn.ModuleList(
            Join(i, skip, o, ratio)
            for i, o, skip, ratio in zip(ins, widths[:steps], encoder.channels[-2::-1], reversed(ratios), strict=False)
        )
        self.head = nn.Conv2d(widths[steps - 1], classes, 3, padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        maps = self.encoder(images)  # strides 2, 4, 8, 16, 32 for a ResNet
        x = self.context(maps[-1])
        for step, skip in zip(self.up, reversed(maps[:-1]), strict=True):
            x = step(x, skip)
        logits = self.head(x)  # (N, K, H/2, W/2)
        return (F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False),)
