"""Encoders: networks of timm (torchvision for what timm lacks) that answer with a pyramid of feature maps.

An encoder gives a list of maps, from fine to coarse. Example: ``build_encoder("resnet34_slim")`` and an input
(1, 3, 64, 64) give maps of stride 2, 4, 8, 16, 32 with 32, 32, 64, 128, 192 channels. Ask it for its facts
(``encoder.strides``, ``encoder.channels``), never for its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import timm
import torchvision
from timm.models import adapt_input_conv
from torch import Tensor, nn

from imago.core.errors import ModelError
from imago.core.input_spec import IMAGENET_MEAN, IMAGENET_STD
from imago.models.matching import COUNTER, match_in_order
from imago.models.pretrained import PACKAGED, PackagedWeights, fetching

# Narrow forms for small files and CPUs: half the width or less, and three thin 3 x 3 convolutions in place of the 7 x 7
# stem (He et al. 2019, arXiv:1812.01187, "ResNet-C"), which costs a third less on a CPU.
NARROW: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet18_half": ("resnet18", {"channels": (32, 64, 128, 256), "stem_type": "deep", "stem_width": 16}),
    "resnet34_slim": ("resnet34", {"channels": (32, 64, 128, 192), "stem_type": "deep", "stem_width": 16}),
}


class Encoder(nn.Module):
    """A network cut to its feature maps, fine to coarse.

    ``mean`` and ``std`` are what its weights want taken out of images on the 0..1 scale, one a channel; empty where
    they are fresh and take what they are given.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __init__(self, network: nn.Module, strides: tuple[int, ...], channels: tuple[int, ...]) -> None:
        super().__init__()
        self.network = network
        self.strides = strides
        self.channels = channels

    @property
    def ends_pooled(self) -> bool:
        """Nothing but a pool lies between the last two maps (VGG)."""
        return isinstance(list(self.network.children())[-1], nn.MaxPool2d)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> maps (N, ``channels[i]``, H / ``strides[i]``, W / ``strides[i]``), fine to coarse."""
        return self.network(images)


class TappedEncoder(Encoder):
    """A chain of modules; the maps are taken behind those numbered ``taps``."""

    def __init__(
        self, network: nn.Sequential, taps: tuple[int, ...], strides: tuple[int, ...], channels: tuple[int, ...]
    ) -> None:
        super().__init__(network, strides, channels)
        self.taps = taps

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        x = images
        for number, module in enumerate(self.network.children()):
            x = module(x)
            if number in self.taps:
                maps.append(x)
        return maps


def build_encoder(
    name: str, in_channels: int = 3, pretrained: bool = False, output_stride: int = 32, multi_grid: Sequence[int] = ()
) -> Encoder:
    """``name`` is a key of ``NARROW`` or ``TORCHVISION``, or any timm model that has ``features_only``.

    ``pretrained`` loads published ImageNet weights: of an installed package (imago.models.pretrained.PACKAGED), else
    from timm's hub or torchvision (needs a network once). Names in ``NARROW`` have none.
    ``output_stride`` 8 or 16: the last stages keep their size and look through holes instead. ``multi_grid``: factors
    of those holes in the last stage's blocks (DeepLab v3). Raises ModelError; WeightsUnavailable without a network.
    """
    if output_stride not in (8, 16, 32):
        raise ModelError(f"output_stride is 8, 16 or 32; got {output_stride}")
    with fetching(f"encoder {name!r}") if pretrained else nullcontext():
        if name in TORCHVISION:
            encoder: Encoder = TORCHVISION[name](in_channels, pretrained, output_stride)
        else:
            encoder = _from_timm(name, in_channels, pretrained, output_stride)
    if encoder.strides[-1] > output_stride:
        ends = encoder.strides[-1]
        raise ModelError(
            f"encoder {name!r} ends at stride {ends}, and output_stride {output_stride} was asked for; "
            + (f"use output_stride={ends}" if ends == 16 else _DILATED)
        )
    if multi_grid:
        set_multi_grid(encoder, name, tuple(multi_grid))
    return encoder


_DILATED = (
    "this net wants one that can be dilated: a ResNet, ResNeXt, Xception (xception41), EfficientNet or MobileNetV3"
)


def _from_timm(name: str, in_channels: int, pretrained: bool, output_stride: int) -> Encoder:
    base, extra = NARROW.get(name, (name, {}))
    if pretrained and extra:
        raise ModelError(f"encoder {name!r} has no published weights; use {base!r} or pretrained=False")
    dilated: dict[str, Any] = {"output_stride": output_stride} if output_stride != 32 else {}
    packaged = PACKAGED.get(name) if pretrained else None
    path = packaged.find() if packaged else None
    if packaged and path:
        extra = {"pretrained_cfg_overlay": {"state_dict": _named_as_timm(packaged, path, name)}}
    try:
        network = timm.create_model(
            base, features_only=True, in_chans=in_channels, pretrained=pretrained, **extra, **dilated
        )
    except RuntimeError as error:  # unknown name; no weights are published for it
        raise ModelError(
            f"encoder {name!r} is not to be had: {error}. Names: {', '.join([*NARROW, *TORCHVISION])}, or one of "
            "timm.list_models()"
        ) from error
    except (AssertionError, TypeError) as error:  # what timm raises where a network has no holes
        if not dilated:
            raise
        raise ModelError(f"encoder {name!r} cannot end at stride {output_stride}; {_DILATED}") from error
    info: Any = network.feature_info  # timm's own class, which nn.Module's types do not know
    encoder = Encoder(network, tuple(info.reduction()), tuple(info.channels()))
    if pretrained and in_channels == 3:
        published: Any = network.pretrained_cfg
        encoder.mean = packaged.mean if packaged and path else tuple(published["mean"])
        encoder.std = packaged.std if packaged and path else tuple(published["std"])
    return encoder


def _named_as_timm(packaged: PackagedWeights, path: Path, name: str) -> dict[str, Tensor]:
    """The package's tensors under timm's names."""
    own = timm.create_model(name).state_dict()
    named = match_in_order(own, packaged.read(path))
    if len(named) < sum(not key.endswith(COUNTER) for key in own):
        raise ModelError(f"{path}: does not fit timm's {name!r} (timm {timm.__version__}); use pretrained=False")
    return named


def find_normalization(net: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and spread that the pretrained encoder of ``net`` wants taken out of its images, on the 0..1 scale, one a
    channel; None where it has none."""
    for module in net.modules():
        if isinstance(module, Encoder) and module.mean:
            return module.mean, module.std
    return None


def set_multi_grid(encoder: Encoder, name: str, factors: tuple[int, ...]) -> None:
    """Multiplies the holes of the last stage's blocks by ``factors``, one a block."""
    stage = getattr(encoder.network, "layer4", None)
    blocks = list(stage.children()) if isinstance(stage, nn.Module) else []
    if len(blocks) != len(factors):
        raise ModelError(
            f"multi_grid wants a ResNet whose last stage has {len(factors)} blocks; {name!r} has "
            f"{len(blocks) or 'none'}"
        )
    wide = max(conv.dilation[0] for block in blocks for conv in block.modules() if isinstance(conv, nn.Conv2d))
    for block, factor in zip(blocks, factors, strict=True):
        for conv in block.modules():
            if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3):
                conv.dilation = conv.padding = (wide * factor, wide * factor)


class Recenter(nn.Module):
    """From ImageNet's mean and spread to -1..1, which the published GoogLeNet was trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> the same, on the other scale."""
        scale = 2 * x.new_tensor(IMAGENET_STD)[:, None, None]
        return x * scale + (2 * x.new_tensor(IMAGENET_MEAN)[:, None, None] - 1)


def _first_conv(conv: nn.Conv2d, in_channels: int, pretrained: bool) -> nn.Conv2d:
    """The same for ``in_channels``; published weights are repeated over them and weakened by as much, as timm does."""
    side, stride, padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
    own = nn.Conv2d(in_channels, conv.out_channels, side, stride=stride, padding=padding, bias=False)
    if pretrained:
        own.weight.data = adapt_input_conv(in_channels, conv.weight.data)
    return own


def _googlenet(in_channels: int, pretrained: bool, output_stride: int) -> Encoder:
    """Szegedy et al. 2014 (arXiv:1409.4842), which timm lacks; without its classifiers."""
    net = torchvision.models.googlenet(
        weights="IMAGENET1K_V1" if pretrained else None, aux_logits=pretrained, init_weights=False
    )
    if in_channels != 3:
        net.conv1.conv = _first_conv(net.conv1.conv, in_channels, pretrained)
    stem = nn.Sequential(Recenter(), net.conv1) if in_channels == 3 else net.conv1
    chain = [
        stem, net.maxpool1, net.conv2, net.conv3, net.maxpool2, net.inception3a, net.inception3b, net.maxpool3,
        net.inception4a, net.inception4b, net.inception4c, net.inception4d, net.inception4e, net.maxpool4,
        net.inception5a, net.inception5b,
    ]  # fmt: skip
    return TappedEncoder(nn.Sequential(*chain), (0, 3, 6, 12, 15), (2, 4, 8, 16, 32), (64, 192, 480, 832, 1024))


def _mobilenet_v3_large(in_channels: int, pretrained: bool, output_stride: int) -> Encoder:
    """Howard et al. 2019 (arXiv:1905.02244) in torchvision's form, whose segmentation weights are published. The maps
    are those that torchvision's own nets take: the first of stride 2, 4 and 8, and the last."""
    dilated = output_stride < 32
    net = torchvision.models.mobilenet_v3_large(weights="IMAGENET1K_V2" if pretrained else None, dilated=dilated)
    if in_channels != 3:
        net.features[0][0] = _first_conv(net.features[0][0], in_channels, pretrained)
    return TappedEncoder(net.features, (0, 2, 4, 16), (2, 4, 8, 16 if dilated else 32), (16, 24, 40, 960))


def least_stride(name: str) -> int:
    """What a net that wants fine maps asks of the encoder by default: 8, or 16 where that is all that there is."""
    return 16 if name == "mobilenet_v3_large" else 8


TORCHVISION: dict[str, Callable[[int, bool, int], Encoder]] = {
    "googlenet": _googlenet,
    "mobilenet_v3_large": _mobilenet_v3_large,
}
