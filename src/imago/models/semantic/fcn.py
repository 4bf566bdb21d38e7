"""Fully convolutional networks (Long, Shelhamer and Darrell 2015, arXiv:1411.4038; journal form arXiv:1605.06211).

``FCN`` is the network of the paper: VGG-16 with fc6 and fc7 as convolutions, scores from the coarsest map (32s), joined
with scores from pool4 (16s) and pool3 (8s). The enlargements between them are transposed convolutions that start as
bilinear ones and learn; the last one is bilinear and fixed, as in the paper.
Differs from the paper:
- fc6 is padded, and the pools meet maps of equal size: the answer has the image's size. The paper pads the image by 100
  pixels and crops;
- ``norm`` adds batch norms (2015), without which training from scratch hardly starts; off as in the paper;
- the score layers start at small random weights, not at zero (with zeros no layer below would learn in the first step).

``EncoderFCN`` makes the same 32s, 16s, 8s from any encoder (the paper has GoogLeNet, 32s, without its last pooling).

``ResFCN`` is the form that torchvision publishes weights for (fcn_resnet50, fcn_resnet101): a dilated ResNet at
stride 8, one head, and an auxiliary head on the map before the last.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imago.models import vgg
from imago.models.base import SegmentationNet
from imago.models.blocks import fcn_head, resize_to
from imago.models.encoders import Encoder
from imago.models.semantic.auxiliary import AuxiliaryNet


def bilinear_kernel(factor: int) -> Tensor:
    """float32 (2 f, 2 f): what a transposed convolution of stride f enlarges bilinearly with."""
    place = torch.arange(2 * factor)
    line = 1 - (place - (2 * factor - 1) / 2).abs() / factor
    return line[:, None] * line[None, :]


class Enlarge(nn.ConvTranspose2d):
    """Learned enlargement by 2, each class by itself at the start: (N, K, H, W) -> (N, K, 2 H, 2 W)."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes, classes, 4, stride=2, padding=1, bias=False)
        with torch.no_grad():
            self.weight.zero_()
            self.weight[range(classes), range(classes)] = bilinear_kernel(2)


def score_layer(in_channels: int, classes: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, classes, 1)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


class Skips(nn.Module):
    """Scores of maps, coarse to fine, each enlarged by 2 and joined with the next by a sum (the paper's figure 3)."""

    def __init__(self, channels: list[int], classes: int) -> None:
        super().__init__()
        self.score = nn.ModuleList(score_layer(c, classes) for c in channels)
        self.enlarge = nn.ModuleList(Enlarge(classes) for _ in channels[1:])

    def forward(self, feature_maps: list[Tensor]) -> Tensor:
        """Maps (N, C, h, w), coarse to fine -> (N, K, h, w) of the finest."""
        first, *finer = self.score
        x = first(feature_maps[0])
        for score, enlarge, finer_map in zip(finer, self.enlarge, feature_maps[1:], strict=True):
            x = enlarge(x) + score(finer_map)
        return x


def check_stride(stride: int) -> int:
    """How many skips: 32s none, 16s one, 8s two."""
    if stride not in (32, 16, 8):
        raise ValueError(f"an FCN ends at stride 32, 16 or 8; got {stride}")
    return {32: 0, 16: 1, 8: 2}[stride]


class FCN(SegmentationNet):
    """FCN-32s, -16s or -8s on VGG-16. ``fc_width`` is 4096 in the paper."""

    multiple = 32

    def __init__(
        self, classes: int = 21, in_channels: int = 3, stride: int = 8, width: int = 64, fc_width: int = 4096,
        norm: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(classes, in_channels)
        skips = check_stride(stride)
        self.stages = vgg.vgg16_stages(in_channels, width, norm)
        channels = vgg.stage_channels(width)
        self.fc6 = nn.Conv2d(channels[-1], fc_width, 7, padding=3)
        self.fc7 = nn.Conv2d(fc_width, fc_width, 1)
        for conv in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        self.dropout = nn.Dropout2d(0.5)
        self.skips = Skips([fc_width, channels[3], channels[2]][: skips + 1], classes)

    def load_imagenet(self) -> None:
        """The 13 convolutions, and fc6 and fc7 from the fully connected layers (paper, section 4.1)."""
        published: Any = vgg.load_imagenet(self.stages)
        self.fc6.load_state_dict(published.pre_logits.fc1.state_dict())
        self.fc7.load_state_dict(published.pre_logits.fc2.state_dict())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        x = images
        pools = []
        for stage in self.stages:
            x = F.max_pool2d(stage(x), 2)
            pools.append(x)  # (N, ., H / 2, W / 2) ... (N, ., H / 32, W / 32)
        x = self.dropout(F.relu(self.fc6(x)))
        x = self.dropout(F.relu(self.fc7(x)))
        scores = self.skips([x, pools[3], pools[2]][: len(self.skips.score)])  # (N, K, H / stride, W / stride)
        return (resize_to(scores, images),)


class EncoderFCN(SegmentationNet):
    """FCN-32s, -16s or -8s on any encoder with maps of strides 8, 16 and 32."""

    def __init__(self, encoder: Encoder, classes: int, in_channels: int, stride: int = 32) -> None:
        super().__init__(classes, in_channels)
        wanted = [32, 16, 8][: check_stride(stride) + 1]
        missing = [str(s) for s in wanted if s not in encoder.strides]
        if missing:
            raise ValueError(
                f"FCN-{stride}s needs maps of stride {', '.join(missing)}; the encoder has {encoder.strides}"
            )
        self.encoder = encoder
        self.multiple = encoder.strides[-1]
        self.taps = [encoder.strides.index(s) for s in wanted]
        self.dropout = nn.Dropout2d(0.5)
        self.skips = Skips([encoder.channels[tap] for tap in self.taps], classes)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        feature_maps = self.encoder(images)
        coarsest, *finer = [feature_maps[tap] for tap in self.taps]
        return (resize_to(self.skips([self.dropout(coarsest), *finer]), images),)


class ResFCN(AuxiliaryNet):
    """torchvision's FCN: head on the last map, auxiliary head (weight 0.5) on the one before. Any size of input."""

    def __init__(self, encoder: Encoder, classes: int, in_channels: int, aux: bool = True) -> None:
        super().__init__(classes, in_channels)
        self.encoder = encoder
        self.head = fcn_head(encoder.channels[-1], classes)
        self.add_auxiliary(0.5 if aux else 0.0)

    def scores(self, x: Tensor) -> Tensor:
        return self.head(x)
