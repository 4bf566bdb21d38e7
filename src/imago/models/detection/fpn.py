"""Feature maps that regions are cut out of: the feature pyramid over any encoder, and VGG-16's one map.

Feature Pyramid Network: Lin et al. 2017 (arXiv:1612.03144), torchvision's module; RoIAlign: He et al. 2017
(arXiv:1703.06870, section 3); RoI pooling: Girshick 2015 (arXiv:1504.08083, section 2.1).

Both give, when called with images (N, C, H, W), a list of maps of ``channels`` channels, fine to coarse, and cut
regions out of them: ``pool(maps, regions, side)``, regions float32 (R, 5): number of the image in the batch, x1 y1 x2
y2 in network pixels -> (R, channels, side, side). Example: ``FeaturePyramid(build_encoder("resnet18_half"))`` and
images (1, 3, 64, 96) give five maps of 256 channels: 16 x 24, 8 x 12, 4 x 6, 2 x 3 and 1 x 2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork, roi_align, roi_pool
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from imago.models import vgg
from imago.models.encoders import Encoder

CANONICAL_SIDE, CANONICAL_LEVEL = 224, 4  # a region of 224 pixels a side is cut from the map of stride 2 ** 4 (eq. 1)
SAMPLES = 2  # points a side that RoIAlign averages in each of its cells; torchvision's, 4 in all as in the paper


class FeaturePyramid(nn.Module):
    """The encoder's maps of stride 4, 8, 16, 32 joined from coarse to fine, and the last once more at half its size.

    ``frozen_norms``: the encoder's batch norms keep the mean and spread that they came with, and their weights (what
    published nets do: the pictures of a batch are too few to measure them). ``frozen_stages``: so many of the encoder's
    maps, counted from the finest, keep all that makes them (torchvision freezes stem and first stage: 2); their part of
    the backward pass, the dearest at full size, falls away. Both are for encoders that come with published weights.
    Sides of images: multiples of 32.
    """

    def __init__(
        self, encoder: Encoder, channels: int = 256, frozen_norms: bool = False, frozen_stages: int = 0
    ) -> None:
        super().__init__()
        if not 0 <= frozen_stages <= len(encoder.strides):
            raise ValueError(f"frozen_stages lies from 0 to {len(encoder.strides)}; got {frozen_stages}")
        strides = [stride for stride in encoder.strides if stride >= 4]
        if strides != [4, 8, 16, 32]:
            raise ValueError(
                f"a feature pyramid needs an encoder with maps of stride 4, 8, 16 and 32; this one has "
                f"{encoder.strides}. ResNets and timm's MobileNets and EfficientNets have them"
            )
        self.encoder = encoder
        self.strides = strides
        self.taps = [encoder.strides.index(stride) for stride in strides]
        self.channels = channels
        self.multiple = strides[-1]
        self.frozen_norms = frozen_norms
        widths = [encoder.channels[tap] for tap in self.taps]
        self.fpn = FeaturePyramidNetwork(widths, channels, LastLevelMaxPool())
        if frozen_norms:
            for parameter in (p for norm in self.norms() for p in norm.parameters()):
                parameter.requires_grad_(False)
        frozen = makers(encoder, frozen_stages) if frozen_stages else set()
        for parameter in frozen:
            parameter.requires_grad_(False)
        self.still = [norm for norm in self.norms() if frozen_norms or norm.weight in frozen]

    def norms(self) -> list[nn.BatchNorm2d]:
        return [module for module in self.encoder.modules() if isinstance(module, nn.BatchNorm2d)]

    def train(self, mode: bool = True) -> FeaturePyramid:
        super().train(mode)
        for norm in self.still:
            norm.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> five maps (N, ``channels``, h, w)."""
        feature_maps = self.encoder(images)
        joined = self.fpn({str(level): feature_maps[tap] for level, tap in enumerate(self.taps)})
        return list(joined.values())  # strides 4, 8, 16, 32, 64

    def pool(self, feature_maps: list[Tensor], rois: Tensor, side: int) -> Tensor:
        """RoIAlign of regions (R, 5), each from the map that suits its size."""
        levels = self.levels(rois)
        parts, places = [], []
        for level, stride in enumerate(self.strides):
            place = torch.where(levels == level)[0]
            parts.append(roi_align(feature_maps[level], rois[place], side, 1 / stride, SAMPLES))
            places.append(place)
        return torch.cat(parts)[torch.argsort(torch.cat(places))]  # (R, channels, side, side), in the regions' order

    def levels(self, rois: Tensor) -> Tensor:
        """int64 (R,): which map each region is cut from (Lin et al., equation 1)."""
        sides = torch.sqrt((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2]))
        # A millionth, as torchvision: a side of exactly 224 is not to fall to the level below by rounding.
        levels = torch.floor(CANONICAL_LEVEL + torch.log2(sides / CANONICAL_SIDE) + 1e-6)
        finest = CANONICAL_LEVEL - 2  # stride 4 is level 2
        return (levels.clamp(finest, finest + len(self.strides) - 1) - finest).to(torch.int64)


def makers(encoder: Encoder, feature_maps: int) -> set[nn.Parameter]:
    """The parameters that the first ``maps`` of an encoder's maps depend on. The gradient tells: names and the order of
    modules differ from network to network."""
    parameters = [p for p in encoder.parameters() if p.requires_grad]
    first = next(encoder.parameters())
    channels = first.shape[1]  # of the image: the first layer is a convolution of one group
    training = [module for module in encoder.modules() if module.training]
    encoder.eval()
    with torch.enable_grad():
        found = encoder(first.new_ones(1, channels, 64, 64))[:feature_maps]
        wanted = torch.autograd.grad(sum(m.sum() for m in found), parameters, allow_unused=True)
    for module in training:
        module.training = True
    return {parameter for parameter, gradient in zip(parameters, wanted, strict=True) if gradient is not None}


class VGGFeatures(nn.Module):
    """VGG-16 up to the last convolution: one map of stride 16. Regions are max-pooled, as in the papers of 2015."""

    multiple = 16

    def __init__(self, in_channels: int, width: int = 64, norm: bool = False) -> None:
        super().__init__()
        self.stages = vgg.vgg16_stages(in_channels, width, norm)
        self.strides = [16]
        self.channels = vgg.stage_channels(width)[-1]

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> one map (N, ``channels``, H / 16, W / 16)."""
        x = self.stages[0](images)
        for stage in list(self.stages)[1:]:
            x = stage(F.max_pool2d(x, 2))
        return [x]

    def pool(self, feature_maps: list[Tensor], rois: Tensor, side: int) -> Tensor:
        """RoI max pooling of regions (R, 5) -> (R, ``channels``, side, side)."""
        # In float32: under autocast the map is bfloat16 and the regions are not, which torchvision refuses on the CPU.
        return roi_pool(feature_maps[0].float(), rois.float(), side, 1 / self.strides[0])
