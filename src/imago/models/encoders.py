"""Encoders: networks of timm that answer with a pyramid of feature maps.

An encoder gives a list of maps, from fine to coarse. Example: ``build_encoder("resnet34_slim")`` and an input
(1, 3, 64, 64) give maps of stride 2, 4, 8, 16, 32 with 32, 32, 64, 128, 192 channels. Ask it for its facts
(``encoder.strides``, ``encoder.channels``), never for its name.
"""

from __future__ import annotations

from typing import Any

import timm
from torch import Tensor, nn

from imago.core.errors import ModelError

# Narrow forms for small files and CPUs: half the width or less, and three thin 3 x 3 convolutions in place of the 7 x 7
# stem (He et al. 2019, arXiv:1812.01187, "ResNet-C"), which costs a third less on a CPU.
NARROW: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet18_half": ("resnet18", {"channels": (32, 64, 128, 256), "stem_type": "deep", "stem_width": 16}),
    "resnet34_slim": ("resnet34", {"channels": (32, 64, 128, 192), "stem_type": "deep", "stem_width": 16}),
}


class Encoder(nn.Module):
    """A timm network cut to its feature maps."""

    def __init__(self, network: nn.Module, strides: tuple[int, ...], channels: tuple[int, ...]) -> None:
        super().__init__()
        self.network = network
        self.strides = strides
        self.channels = channels

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.network(images)


def build_encoder(name: str, in_channels: int = 3, pretrained: bool = False) -> Encoder:
    """``name`` is a key of ``NARROW`` or any timm model that has ``features_only``.

    ``pretrained`` loads timm's published weights (needs a network, and a name that is not in ``NARROW``).
    """
    base, extra = NARROW.get(name, (name, {}))
    if pretrained and extra:
        raise ModelError(f"encoder {name!r} has no published weights; use {base!r} or pretrained=False")
    try:
        network = timm.create_model(base, features_only=True, in_chans=in_channels, pretrained=pretrained, **extra)
    except (RuntimeError, OSError) as error:  # unknown name; published weights that cannot be fetched
        raise ModelError(
            f"encoder {name!r} is not to be had: {error}. Names: {', '.join(NARROW)}, or one of timm.list_models()"
        ) from error
    info: Any = network.feature_info  # timm's own class, which nn.Module's types do not know
    return Encoder(network, tuple(info.reduction()), tuple(info.channels()))
