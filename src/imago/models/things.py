"""The nets that find objects, by name. ``imago.models.things.THING_BUILDERS["maskrcnn"](classes=2)`` makes one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imago.models.thing_base import ThingNet

ThingBuilder = Callable[..., "ThingNet"]


def _fasterrcnn(
    classes: int = 2,
    in_channels: int = 3,
    encoder: str = "resnet50",
    pretrained: bool = False,
    width: int = 0,
    fc_width: int = 0,
    sizes: Sequence[float] = (),
    proposals: int = 1000,
    samples: int = 0,
    frozen_norms: bool = False,
    score: float = 0.05,
    iou: float = 0.5,
    most: int = 100,
) -> ThingNet:
    """``encoder`` vgg16 or vgg16_bn: the paper's net, ``width`` 64 is VGG's; else a pyramid of ``width`` 256 channels
    over it. 0 and empty: the published form's own. ``sizes``: of the anchors, pixels; one a map of the pyramid."""
    from imago.models import fasterrcnn as forms
    from imago.models.encoders import build_encoder
    from imago.models.pyramid import Pyramid

    if encoder in ("vgg16", "vgg16_bn"):
        net = forms.on_vgg(
            classes, in_channels, width or 64, encoder == "vgg16_bn", fc_width or 4096, sizes or (128, 256, 512),
            samples or 128, pretrained,
        )  # fmt: skip
    else:
        features = Pyramid(build_encoder(encoder, in_channels, pretrained), width or 256, frozen_norms)
        net = forms.on_pyramid(
            classes, in_channels, features, fc_width or 1024, sizes or (32, 64, 128, 256, 512), proposals,
            samples or 512,
        )  # fmt: skip
    net.score, net.iou, net.most = score, iou, most
    return net


def _maskrcnn(
    classes: int = 2,
    in_channels: int = 3,
    encoder: str = "resnet50",
    pretrained: bool = False,
    width: int = 256,
    fc_width: int = 1024,
    sizes: Sequence[float] = (32, 64, 128, 256, 512),
    proposals: int = 1000,
    samples: int = 512,
    mask_widths: Sequence[int] = (256, 256, 256, 256),
    frozen_norms: bool = False,
    score: float = 0.05,
    iou: float = 0.5,
    most: int = 100,
) -> ThingNet:
    """``width``: of the pyramid; ``fc_width``: of the box head; ``sizes``: of the anchors, pixels, one a map."""
    from imago.models.encoders import build_encoder
    from imago.models.maskrcnn import MaskRCNN
    from imago.models.pyramid import Pyramid

    features = Pyramid(build_encoder(encoder, in_channels, pretrained), width, frozen_norms)
    net = MaskRCNN(classes, in_channels, features, fc_width, sizes, proposals, samples, tuple(mask_widths))
    net.score, net.iou, net.most = score, iou, most
    return net


THING_BUILDERS: dict[str, ThingBuilder] = {
    "fasterrcnn": _fasterrcnn,
    "maskrcnn": _maskrcnn,
}
