"""SegNet (Badrinarayanan, Kendall and Cipolla 2015/2017, arXiv:1511.00561).

The encoder is VGG-16's 13 convolutions with batch norm; each pool remembers where its maxima lay, and the decoder, its
mirror image, puts values back to just those places. The last convolution gives the classes.
``SegNetBasic`` is the paper's small form: four 7 x 7 convolutions each way, 64 channels, no ReLU in the decoder, no
biases there (section 3.2). The paper's local contrast normalisation is left to the InputSpec (mean and spread).
"""

from __future__ import annotations

from torch import Tensor, nn

from imago.models import vgg
from imago.models.base import SegmentationNet
from imago.models.blocks import conv_norm


def pool_with_indices() -> nn.MaxPool2d:
    """(N, C, H, W) -> the largest of each 2 x 2, and its flat place in the H x W map.

    A module, not a function, so that the export can hook into it (see imago.export.parity).
    """
    return nn.MaxPool2d(2, return_indices=True)


def unpool(x: Tensor, places: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2 H, 2 W): each value at its remembered place, zeros elsewhere.

    A scatter, not ``max_unpool2d``: that one has no ONNX form in torch's exporter.
    """
    n, c, height, width = x.shape
    out = x.new_zeros((n, c, 4 * height * width))
    return out.scatter(2, places.flatten(2), x.flatten(2)).reshape(n, c, 2 * height, 2 * width)


class SegNet(SegmentationNet):
    """29.4 M parameters at ``width`` 64."""

    multiple = 32

    def __init__(self, classes: int = 12, in_channels: int = 3, width: int = 64) -> None:
        super().__init__(classes, in_channels)
        channels = vgg.stage_channels(width)
        self.encoder = vgg.vgg16_stages(in_channels, width, norm=True)
        self.pool = pool_with_indices()
        self.decoder = nn.ModuleList()  # coarse to fine
        for depth, inside, after in zip(reversed(vgg.DEPTHS), channels[::-1], [*channels[-2::-1], 0], strict=True):
            layers: list[nn.Module] = [conv_norm(inside, inside) for _ in range(depth - 1)]
            layers.append(conv_norm(inside, after) if after else nn.Conv2d(inside, classes, 3, padding=1))
            self.decoder.append(nn.Sequential(*layers))

    def load_imagenet(self) -> None:
        vgg.load_imagenet(self.encoder)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        x = images
        remembered = []
        for stage in self.encoder:
            x, places = self.pool(stage(x))  # (N, ., H / 2^i, W / 2^i)
            remembered.append(places)
        for stage, places in zip(self.decoder, reversed(remembered), strict=True):
            x = stage(unpool(x, places))
        return (x,)  # (N, K, H, W)


class SegNetBasic(SegmentationNet):
    """1.4 M parameters at ``width`` 64."""

    multiple = 16

    def __init__(self, classes: int = 12, in_channels: int = 3, width: int = 64) -> None:
        super().__init__(classes, in_channels)
        self.encoder = nn.ModuleList(conv_norm(i, width, 7) for i in (in_channels, width, width, width))
        self.pool = pool_with_indices()
        self.decoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 7, padding=3, bias=False), nn.BatchNorm2d(width)) for _ in range(4)
        )
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        x = images
        remembered = []
        for stage in self.encoder:
            x, places = self.pool(stage(x))
            remembered.append(places)
        for stage, places in zip(self.decoder, reversed(remembered), strict=True):
            x = stage(unpool(x, places))
        return (self.head(x),)
