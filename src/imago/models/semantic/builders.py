"""The nets that label pixels: how each is put together from plain options. ``imago.models.catalog`` has their names.

``classes`` counts the net's outputs: 1 is binary, else the background counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from imago.core.errors import ModelError

if TYPE_CHECKING:
    from imago.models.base import SegmentationNet

Builder = Callable[..., "SegmentationNet"]


def build_unet(
    classes: int = 1,
    in_channels: int = 3,
    encoder: str = "",
    pretrained: bool = False,
    width: int = 64,
    norm: bool = True,
    widths: Sequence[int] = (256, 128, 64, 32, 16),
    context: int = 0,
    projection: bool = False,
    attention: bool = False,
    detail: int = 0,
) -> SegmentationNet:
    """``encoder`` empty: the network of the paper, ``width`` and ``norm`` count; else those from ``widths`` on."""
    from imago.models.encoders import build_encoder
    from imago.models.semantic.unet import EncoderUNet, UNet

    if not encoder:
        _refuse_pretrained(pretrained, "unet without an encoder")
        if detail:
            raise ValueError(f"detail={detail} is for a unet with an encoder; without one it starts at full size")
        return UNet(classes, in_channels, width, norm, attention)
    maps = build_encoder(encoder, in_channels, pretrained)
    return EncoderUNet(
        maps,
        classes,
        in_channels,
        widths=tuple(widths),
        context=context,
        projection=projection,
        attention=attention,
        detail=detail,
    )


def build_u2net(classes: int = 1, in_channels: int = 3, width: int = 64) -> SegmentationNet:
    """``width`` scales all channels; 64 is the paper's."""
    from imago.models.semantic.u2net import u2net

    return u2net(classes, in_channels, width)


def build_u2netp(classes: int = 1, in_channels: int = 3, width: int = 64) -> SegmentationNet:
    """``width`` scales all channels; 64 is the paper's."""
    from imago.models.semantic.u2net import u2netp

    return u2netp(classes, in_channels, width)


def fcn_builder(stride: int) -> Builder:
    def build_fcn_at(
        classes: int = 1,
        in_channels: int = 3,
        encoder: str = "vgg16",
        pretrained: bool = False,
        width: int = 64,
        fc_width: int = 4096,
    ) -> SegmentationNet:
        """``encoder`` vgg16 (the paper's) or vgg16_bn: ``width`` and ``fc_width`` count; or any other."""
        from imago.models.encoders import build_encoder
        from imago.models.semantic.fcn import FCN, EncoderFCN

        if encoder not in VGG:
            return EncoderFCN(build_encoder(encoder, in_channels, pretrained), classes, in_channels, stride)
        return _load_published(FCN(classes, in_channels, stride, width, fc_width, VGG[encoder]), pretrained)

    return build_fcn_at


def build_fcn(
    classes: int = 1,
    in_channels: int = 3,
    encoder: str = "resnet50",
    pretrained: bool = False,
    output_stride: int = 8,
    aux: bool = True,
) -> SegmentationNet:
    """torchvision's form on a dilated ResNet."""
    from imago.models.encoders import build_encoder
    from imago.models.semantic.fcn import ResFCN

    return ResFCN(build_encoder(encoder, in_channels, pretrained, output_stride), classes, in_channels, aux)


def build_segnet(classes: int = 1, in_channels: int = 3, pretrained: bool = False, width: int = 64) -> SegmentationNet:
    from imago.models.semantic.segnet import SegNet

    return _load_published(SegNet(classes, in_channels, width), pretrained)


def build_segnet_basic(classes: int = 1, in_channels: int = 3, width: int = 64) -> SegmentationNet:
    from imago.models.semantic.segnet import SegNetBasic

    return SegNetBasic(classes, in_channels, width)


def build_enet(classes: int = 1, in_channels: int = 3, width: int = 16) -> SegmentationNet:
    from imago.models.semantic.enet import ENet

    return ENet(classes, in_channels, width)


def build_deeplabv1(
    classes: int = 1,
    in_channels: int = 3,
    encoder: str = "vgg16",
    pretrained: bool = False,
    width: int = 64,
    fc_width: int = 1024,
) -> SegmentationNet:
    """``encoder``: vgg16 (the paper's) or vgg16_bn."""
    from imago.models.semantic.deeplab1 import DeepLabV1

    return _load_published(
        DeepLabV1(classes, in_channels, width, fc_width, _vgg_norm(encoder, "deeplabv1")), pretrained
    )


def build_deeplabv2(
    classes: int = 1,
    in_channels: int = 3,
    encoder: str = "resnet101",
    pretrained: bool = False,
    width: int = 64,
    fc_width: int = 1024,
    scales: Sequence[float] = (1.0, 0.75, 0.5),
) -> SegmentationNet:
    """``encoder`` vgg16 or vgg16_bn: ``width`` and ``fc_width`` count; else one that can be dilated to stride 8."""
    from imago.models.encoders import build_encoder
    from imago.models.semantic.deeplab2 import DeepLabV2, DeepLabV2VGG

    if encoder in VGG:
        net = DeepLabV2VGG(classes, in_channels, width, fc_width, VGG[encoder], tuple(scales))
        return _load_published(net, pretrained)
    return DeepLabV2(build_encoder(encoder, in_channels, pretrained, 8), classes, in_channels, tuple(scales))


def build_deeplabv3(
    classes: int = 1,
    in_channels: int = 3,
    encoder: str = "resnet50",
    pretrained: bool = False,
    output_stride: int = 0,
    width: int = 256,
    multi_grid: Sequence[int] = (),
    rates: Sequence[int] = (),
    aux: bool = True,
) -> SegmentationNet:
    """``output_stride`` 0: 8, or 16 with MobileNetV3; ``rates`` empty: the paper's for it."""
    from imago.models.encoders import build_encoder, least_stride
    from imago.models.semantic.deeplab3 import DeepLabV3

    maps = build_encoder(encoder, in_channels, pretrained, output_stride or least_stride(encoder), multi_grid)
    return DeepLabV3(maps, classes, in_channels, width, aux, tuple(rates))


def build_deeplabv3plus(
    classes: int = 1,
    in_channels: int = 3,
    encoder: str = "resnet50",
    pretrained: bool = False,
    output_stride: int = 16,
    width: int = 256,
    rates: Sequence[int] = (12, 24, 36),
) -> SegmentationNet:
    from imago.models.encoders import build_encoder
    from imago.models.semantic.deeplab3plus import DeepLabV3Plus

    maps = build_encoder(encoder, in_channels, pretrained, output_stride)
    return DeepLabV3Plus(maps, classes, in_channels, width, tuple(rates))


def build_pspnet(
    classes: int = 1,
    in_channels: int = 3,
    encoder: str = "resnet50",
    pretrained: bool = False,
    output_stride: int = 8,
    width: int = 512,
    aux: bool = True,
) -> SegmentationNet:
    from imago.models.encoders import build_encoder
    from imago.models.semantic.pspnet import PSPNet

    return PSPNet(build_encoder(encoder, in_channels, pretrained, output_stride), classes, in_channels, width, aux)


def build_lraspp(
    classes: int = 1,
    in_channels: int = 3,
    encoder: str = "mobilenet_v3_large",
    pretrained: bool = False,
    output_stride: int = 16,
    width: int = 128,
) -> SegmentationNet:
    from imago.models.encoders import build_encoder
    from imago.models.semantic.lraspp import LRASPP

    return LRASPP(build_encoder(encoder, in_channels, pretrained, output_stride), classes, in_channels, width)


VGG = {"vgg16": False, "vgg16_bn": True}  # encoders that FCN and the first DeepLabs build themselves; with batch norm?


def _vgg_norm(encoder: str, architecture: str) -> bool:
    if encoder not in VGG:
        raise ValueError(f"{architecture} is VGG-16 with holes: encoder is vgg16 or vgg16_bn; got {encoder!r}")
    return VGG[encoder]


def _refuse_pretrained(pretrained: bool, what: str) -> None:
    if pretrained:
        raise ValueError(f"there are no published ImageNet weights for {what}; use pretrained=False")


def _load_published(net: Any, pretrained: bool) -> SegmentationNet:
    """``net``, with ImageNet weights if asked for."""
    if pretrained:
        try:
            net.load_imagenet()
        except RuntimeError as error:
            raise ModelError(f"published ImageNet weights do not fit: {error}") from error
    return net
