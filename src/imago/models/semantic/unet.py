"""U-Net (Ronneberger et al. 2015, arXiv:1505.04597), with attention gates (Oktay et al. 2018, arXiv:1804.03999), and
with an encoder from the zoo.

``UNet`` is the network of the paper's figure 1. Differs from the paper:
- padded convolutions, so that the mask has the size of the image and nothing is cropped;
- batch normalisation after each convolution (on by default; the paper of 2015 has none); ``norm=False`` gives the
  plain form, 31,031,745 parameters at width 64, 3 channels and 1 class;
- no dropout at the end of the contracting path.
As in the paper: the initial weights are drawn from a normal distribution of spread sqrt(2 / inputs), so that the plain
form passes its signal through 23 layers without fading.

``EncoderUNet`` keeps the idea (contract, expand, join maps of equal size) and takes the contracting path from an
``Encoder``. Where the paper has 2 x 2 transposed convolutions it has nearest-neighbour doubling: no checkerboard. By
default it is the form of segmentation-models-pytorch (five steps up, the last without a partner). For small nets:
``projection`` puts a 1 x 1 convolution before the doubling, so that the narrow map is the one that grows; ``context``
lets the coarsest map see the whole photo; with fewer ``widths`` the answer is made at the stride of the finest map and
enlarged bilinearly. An encoder's first map mostly lies at stride 2, where objects a few pixels wide have run together:
``detail`` gives the last step up a partner at full size, so many features made of the photo's own pixels by one 3 x 3
convolution. Its initial weights are torch's; it always has batch normalisation.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imago.models.base import SegmentationNet
from imago.models.blocks import conv_norm, resize_to
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


class AttentionGate(nn.Module):
    """Additive attention (Oktay et al. 2018, equations 1 and 2): what of the fine map counts, asked of the coarse one.

    ``skip`` (N, F, H, W) and the coarser ``x`` (N, C, H / r, W / r) -> (N, F, H, W). As in the authors' code the fine
    map is brought to the coarse grid by an r x r convolution of stride r; the weighed map passes a 1 x 1 and a norm.
    """

    def __init__(self, skip_channels: int, channels: int, ratio: int) -> None:
        super().__init__()
        inner = max(1, skip_channels // 2)
        self.of_skip = nn.Conv2d(skip_channels, inner, ratio, stride=ratio, bias=False)
        self.of_coarse = nn.Conv2d(channels, inner, 1)
        self.weigh = nn.Conv2d(inner, 1, 1)
        self.out = nn.Sequential(nn.Conv2d(skip_channels, skip_channels, 1), nn.BatchNorm2d(skip_channels))

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        weights = torch.sigmoid(self.weigh(F.relu(self.of_skip(skip) + self.of_coarse(x))))  # (N, 1, H / r, W / r)
        return self.out(skip * resize_to(weights, skip))


class UNet(SegmentationNet):
    """The network of the paper: four times down, four times up. Any ``width`` (64 in the paper)."""

    multiple = 16

    def __init__(
        self, classes: int = 1, in_channels: int = 3, width: int = 64, norm: bool = True, attention: bool = False
    ) -> None:
        super().__init__(classes, in_channels)
        widths = [width * 2**level for level in range(5)]  # 64, 128, 256, 512, 1024
        self.down = nn.ModuleList(
            double_conv(i, o, norm) for i, o in zip([in_channels, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        coarse_to_fine = widths[::-1]
        self.grow = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in pairwise(coarse_to_fine))
        self.gates = nn.ModuleList(AttentionGate(o, i, 2) for i, o in pairwise(coarse_to_fine)) if attention else None
        self.up = nn.ModuleList(double_conv(2 * o, o, norm) for o in coarse_to_fine[1:])
        self.head = nn.Conv2d(width, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        feature_maps = []
        x = images
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)  # (N, width * 2^level, H / 2^level, W / 2^level)
            feature_maps.append(x)
        for step, (grow, block) in enumerate(zip(self.grow, self.up, strict=True)):
            skip = feature_maps[-2 - step]
            if self.gates is not None:
                skip = self.gates[step](skip, x)
            x = block(torch.cat([skip, grow(x)], dim=1))
        return (self.head(x),)  # (N, K, H, W)


class DecoderBlock(nn.Module):
    """One step up: (narrow by 1 x 1,) enlarge ``ratio`` times, join the finer map if there is one, two convolutions."""

    def __init__(
        self, in_channels: int, skip_channels: int, out_channels: int, ratio: int, projection: bool, attention: bool
    ) -> None:
        super().__init__()
        self.ratio = ratio
        self.gate = AttentionGate(skip_channels, in_channels, ratio) if attention and skip_channels else None
        self.narrow = nn.Conv2d(in_channels, out_channels, 1, bias=False) if projection else nn.Identity()
        self.block = double_conv((out_channels if projection else in_channels) + skip_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        if skip is not None and self.gate is not None:
            skip = self.gate(skip, x)
        x = F.interpolate(self.narrow(x), scale_factor=float(self.ratio), mode="nearest")
        return self.block(x if skip is None else torch.cat([x, skip], dim=1))


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
        """(N, ``channels``, h, w) -> (N, ``width``, h, w)."""
        x = self.narrow(x)
        whole = self.whole(x.mean(dim=(2, 3), keepdim=True))
        return self.join(x + whole + sum(conv(x) for conv in self.far))


class EncoderUNet(SegmentationNet):
    """``encoder`` contracts; ``widths`` are the channels of the expanding path, coarse to fine."""

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        in_channels: int,
        widths: tuple[int, ...] = (256, 128, 64, 32, 16),
        context: int = 0,
        projection: bool = False,
        attention: bool = False,
        detail: int = 0,
    ) -> None:
        super().__init__(classes, in_channels)
        # A map of the photo's own size is left out, as segmentation-models-pytorch does: it costs much, gains little.
        self.first = 1 if encoder.strides[0] == 1 else 0
        strides, channels = encoder.strides[self.first :], encoder.channels[self.first :]
        steps = len(channels) - 1
        if not steps <= len(widths) <= steps + 1:
            raise ValueError(f"the encoder has {steps} steps up, or {steps + 1} to full size; got {len(widths)} widths")
        if detail < 0 or (detail and len(widths) == steps):
            raise ValueError(
                f"detail is 0 or a count of features at full size, which takes {steps + 1} widths; got {detail} and "
                f"{len(widths)} widths"
            )
        if any(coarse % fine for fine, coarse in pairwise(strides)):
            raise ValueError(f"each stride of the encoder must be a multiple of the one before; it has {strides}")
        self.encoder = encoder
        self.multiple = strides[-1]
        # Behind a bare pool the coarsest map has not been looked at yet.
        center = double_conv(channels[-1], channels[-1]) if encoder.ends_pooled and not context else nn.Identity()
        self.context = Context(channels[-1], context) if context else center
        ins = [context or channels[-1], *widths]
        self.detail = conv_norm(in_channels, detail) if detail else None
        skips = [*channels[-2::-1], detail]
        ratios = [*(coarse // fine for fine, coarse in reversed(list(pairwise(strides)))), strides[0]]
        self.up = nn.ModuleList(
            DecoderBlock(i, skip, o, ratio, projection, attention)
            for i, o, skip, ratio in zip(ins, widths, skips, ratios, strict=False)
        )
        self.reaches_full_size = len(widths) > steps
        self.head = nn.Conv2d(widths[-1], classes, 3, padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        feature_maps = self.encoder(images)[self.first :]  # strides 2, 4, 8, 16, 32 for a ResNet
        x = self.context(feature_maps[-1])
        skips = [*feature_maps[-2::-1], None if self.detail is None else self.detail(images)]
        for join, skip in zip(self.up, skips, strict=False):
            x = join(x, skip)
        scores = self.head(x)
        # Not where it has the size already: a resize to the same size costs a step its share, and the file too.
        return (scores if self.reaches_full_size else resize_to(scores, images),)  # (N, K, H, W)
