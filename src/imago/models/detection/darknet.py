"""The parts and the backbones of YOLO: Darknet-19 (Redmon and Farhadi 2017, arXiv:1612.08242, table 6), Darknet-53
(2018, arXiv:1804.02767, table 1), and the column of their tiny forms (yolov2-tiny.cfg and yolov3-tiny.cfg of
github.com/pjreddie/darknet; no paper has it).

Without the classifiers, whose last convolution no detector has. Layers are made in the order in which a .cfg lists
them, which is the order of the values in a .weights file; each layer with values is a ``Conv``, a ``LocalConv`` or a
Linear. Differs from darknet: batch norms add 1e-5 to the variance (darknet's CPU code adds 1e-6 to the spread, its GPU
code 1e-5 to the variance), and their memory keeps torch's 0.9 a step (darknet 0.99), since our data sets are small.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imago.core.input_spec import IMAGENET_MEAN, IMAGENET_STD

SLOPE = 0.1  # of the leaky ReLU below 0 (YOLO v1, equation 2)


class ToUnit(nn.Module):
    """Images as ``InputSpec`` gives them -> 0..1, which darknet works on: ImageNet's mean and spread are undone, or
    where there are not three channels 0.5 and 0.25, as the training has them."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        mean = IMAGENET_MEAN if in_channels == 3 else (0.5,) * in_channels
        std = IMAGENET_STD if in_channels == 3 else (0.25,) * in_channels
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W), normalised -> 0..1."""
        return images * self.std + self.mean


class Conv(nn.Module):
    """darknet's [convolutional]: convolution, (batch norm,) leaky ReLU; padded so that stride 1 keeps the size.

    ``norm`` False: a bias in its place; ``leaky`` False: linear, as the last layer is.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        norm: bool = True,
        leaky: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=not norm)
        self.norm = nn.BatchNorm2d(out_channels) if norm else None
        self.leaky = leaky
        # He's spread, so that the forms without norms pass their signal through 24 layers. A linear layer's answers
        # start near nothing: a tenth of it.
        nn.init.kaiming_normal_(self.conv.weight, SLOPE, nonlinearity="leaky_relu")
        if not leaky:
            with torch.no_grad():
                self.conv.weight.mul_(0.1)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return F.leaky_relu(x, SLOPE) if self.leaky else x


class LocalConv(nn.Module):
    """darknet's [local]: a 3 x 3 convolution whose weights differ from place to place, with leaky ReLU.

    (N, in, side, side) -> (N, out, side, side). ``weight`` is (side², out, in * 9), ``bias`` (out, side²).
    """

    def __init__(self, in_channels: int, out_channels: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.weight = nn.Parameter(torch.empty(side**2, out_channels, in_channels * 9))
        self.bias = nn.Parameter(torch.zeros(out_channels, side**2))
        nn.init.normal_(self.weight, std=math.sqrt(2 / (1 + SLOPE**2) / (in_channels * 9)))

    def forward(self, x: Tensor) -> Tensor:
        patches = F.unfold(x, 3, padding=1)  # (N, in * 9, side²)
        x = torch.einsum("lok,nkl->nol", self.weight, patches) + self.bias
        return F.leaky_relu(x, SLOPE).unflatten(2, (self.side, self.side))


def bottleneck(in_channels: int, out_channels: int, convs: int, first: int = 3) -> nn.Sequential:
    """``convs`` convolutions that take turns: 3 x 3 to ``out_channels``, 1 x 1 to half of it, the kernel ``first``
    first."""
    layers = []
    for index in range(convs):
        kernel = first if index % 2 == 0 else 4 - first
        channels = out_channels if kernel == 3 else out_channels // 2
        layers.append(Conv(in_channels, channels, kernel))
        in_channels = channels
    return nn.Sequential(*layers)


def halve(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H / 2, W / 2): 2 x 2 maxima of stride 2."""
    return F.max_pool2d(x, 2)


def maxima_in_place(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H, W): 2 x 2 maxima of stride 1, each with its right, lower and lower right neighbour."""
    return F.max_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2, 1)


def reorg(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 4 C, H / 2, W / 2), in the order that darknet's [reorg] has by mistake.

    Meant was: each 2 x 2 block becomes four channels. But the code takes the input for the output: it reads the memory
    of (C, H, W) as if it were (C / 4, 2 H, 2 W), makes 2 x 2 blocks there, and reads the result as (4 C, H / 2, W / 2).
    Published weights want just that. C must be a multiple of 4.
    """
    count, channels, height, width = x.shape
    x = x.reshape(count, channels // 4, height, 2, width, 2)
    x = x.permute(0, 3, 5, 1, 2, 4)  # (N, row in the block, column in it, C / 4, H, W)
    return x.reshape(count, channels * 4, height // 2, width // 2)


def double(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2 H, 2 W), each value four times."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class Darknet19(nn.Module):
    """18 of the 19 convolutions. (N, C, H, W) -> maps of strides 16 and 32 with 16 and 32 times ``width`` channels.

    ``width`` is 32 in the paper. Example: (1, 3, 64, 64) gives (1, 512, 4, 4) and (1, 1024, 2, 2).
    """

    def __init__(self, in_channels: int, width: int = 32) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for stage, convs in enumerate((1, 1, 3, 3, 5, 5)):
            self.stages.append(bottleneck(in_channels, width * 2**stage, convs))
            in_channels = width * 2**stage
        self.channels = (16 * width, 32 * width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = x
        for index, stage in enumerate(self.stages):
            fine = x
            x = stage(halve(x) if index else x)
        return fine, x


class TinyDarknet(nn.Module):
    """Seven convolutions. (N, C, H, W) -> maps of strides 16 and 32 with 16 and 64 times ``width`` channels."""

    def __init__(self, in_channels: int, width: int = 16) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(7)]  # 16 ... 1024
        self.convs = nn.ModuleList(Conv(i, o) for i, o in zip([in_channels, *widths[:-1]], widths, strict=True))
        self.channels = (16 * width, 64 * width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        *down, last, final = self.convs
        for index, conv in enumerate(down):
            x = conv(halve(x) if index else x)
        fine = x  # (N, 256, H / 16, W / 16)
        return fine, final(maxima_in_place(last(halve(x))))


class Residual(nn.Module):
    """1 x 1 to half the channels, 3 x 3 back; the input is added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = Conv(channels, channels // 2, 1)
        self.widen = Conv(channels // 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return x + self.widen(self.narrow(x))


class Darknet53(nn.Module):
    """52 of the 53 convolutions. (N, C, H, W) -> maps of strides 8, 16, 32 with 8, 16, 32 times ``width`` channels.

    ``width`` is 32 in the paper. Example: (1, 3, 64, 64) gives (1, 256, 8, 8), (1, 512, 4, 4) and (1, 1024, 2, 2).
    """

    def __init__(self, in_channels: int, width: int = 32) -> None:
        super().__init__()
        self.first = Conv(in_channels, width)
        self.stages = nn.ModuleList()
        for stage, blocks in enumerate((1, 2, 8, 8, 4)):
            channels = width * 2 ** (stage + 1)
            shrink = Conv(channels // 2, channels, stride=2)
            self.stages.append(nn.Sequential(shrink, *(Residual(channels) for _ in range(blocks))))
        self.channels = (8 * width, 16 * width, 32 * width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.first(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[2], maps[3], maps[4]
