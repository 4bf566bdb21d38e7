"""PSPNet (Zhao, Shi, Qi, Wang and Jia 2017, arXiv:1612.01105).

A ResNet dilated to stride 8; the coarsest map is averaged over 1, 2 x 2, 3 x 3 and 6 x 6 parts of the photo, each
narrowed to a quarter of the channels, enlarged and joined to the map (figure 3). An auxiliary head on the map before
the last counts 0.4 in the loss (section 4).
Differs from the paper: the ResNet's stem is torch's 7 x 7 (the paper's code has three 3 x 3); any dilated encoder may
take its place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from imago.models.blocks import conv_norm, resize_to
from imago.models.encoders import Encoder
from imago.models.semantic.auxiliary import AuxiliaryNet

BINS = (1, 2, 3, 6)


def shares(length: int, parts: int, like: Tensor) -> Tensor:
    """(parts, length): row i averages from floor(i L / p) up to ceil((i + 1) L / p), as adaptive pooling does."""
    part = torch.arange(parts, device=like.device)[:, None]
    place = torch.arange(length, device=like.device)[None, :]
    start = part * length // parts
    end = ((part + 1) * length + parts - 1) // parts
    inside = ((place >= start) & (place < end)).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


def average_parts(x: Tensor, parts: int) -> Tensor:
    """(N, C, H, W) -> (N, C, parts, parts): adaptive average pooling as two matrix products.

    The same numbers as ``F.adaptive_avg_pool2d``, for which exporters have no form where ``parts`` does not divide the
    map; the map may have any size in the exported file too.
    """
    rows, columns = shares(x.shape[-2], parts, x), shares(x.shape[-1], parts, x)
    return rows @ x @ columns.transpose(0, 1)


class PyramidPooling(nn.Module):
    """(N, C, H, W) -> (N, 2 C, H, W): the map, and its averages over ever smaller parts."""

    def __init__(self, channels: int, bins: tuple[int, ...] = BINS) -> None:
        super().__init__()
        self.bins = bins
        self.branches = nn.ModuleList(conv_norm(channels, channels // len(bins), 1) for _ in bins)

    def forward(self, x: Tensor) -> Tensor:
        feature_maps = [x]
        for parts, branch in zip(self.bins, self.branches, strict=True):
            feature_maps.append(resize_to(branch(average_parts(x, parts)), x))
        return torch.cat(feature_maps, dim=1)


class PSPNet(AuxiliaryNet):
    """``width``: channels of the head, 512 in the paper. Any size of input."""

    def __init__(self, encoder: Encoder, classes: int, in_channels: int, width: int = 512, aux: bool = True) -> None:
        super().__init__(classes, in_channels)
        self.encoder = encoder
        channels = encoder.channels[-1]
        if channels % len(BINS):
            raise ValueError(f"the encoder's last map must have a multiple of {len(BINS)} channels; it has {channels}")
        self.pyramid = PyramidPooling(channels)
        self.head = nn.Sequential(*conv_norm(2 * channels, width), nn.Dropout2d(0.1), nn.Conv2d(width, classes, 1))
        self.add_auxiliary(0.4 if aux else 0.0)

    def scores(self, x: Tensor) -> Tensor:
        return self.head(self.pyramid(x))
