"""The nets that find objects, by name. ``imago.models.things.THING_BUILDERS["maskrcnn"](classes=2)`` makes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from imago.core.errors import ModelError

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
    proposals: int = 0,
    samples: int = 0,
    frozen_norms: bool = False,
    score: float = 0.05,
    iou: float = 0.5,
    most: int = 100,
) -> ThingNet:
    """``encoder`` vgg16 or vgg16_bn: the paper's net, ``width`` 64 is VGG's; else a pyramid of ``width`` 256 channels
    over it. 0 and empty: the published form's own. ``sizes``: of the anchors, pixels; one a map of the pyramid.
    ``proposals``: that go on in use, ``samples``: regions an image and training step; fewer are faster."""
    from imago.models import fasterrcnn as forms
    from imago.models.encoders import build_encoder
    from imago.models.pyramid import Pyramid

    if encoder in ("vgg16", "vgg16_bn"):
        if frozen_norms:
            raise ValueError("frozen_norms is for encoders with a pyramid; leave it out with VGG-16")
        net = forms.on_vgg(
            classes, in_channels, width or 64, encoder == "vgg16_bn", fc_width or 4096, sizes or (128, 256, 512),
            proposals or 300, samples or 128, pretrained,
        )  # fmt: skip
    else:
        features = Pyramid(build_encoder(encoder, in_channels, pretrained), width or 256, frozen_norms)
        net = forms.on_pyramid(
            classes, in_channels, features, fc_width or 1024, sizes or (32, 64, 128, 256, 512), proposals or 1000,
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


def build_things(architecture: str, **options: Any) -> ThingNet:
    """A new net with fresh weights, as ``imago.models.build`` makes the others. Raises ModelError."""
    if architecture not in THING_BUILDERS:
        raise ModelError(f"architecture {architecture!r} finds no objects; choose from {', '.join(THING_BUILDERS)}")
    known = tuple(inspect.signature(THING_BUILDERS[architecture]).parameters)
    for name in options:
        if name not in known:
            raise ModelError(f"architecture {architecture!r} has no option {name!r}; it takes {', '.join(known)}")
    try:
        return THING_BUILDERS[architecture](**options)
    except (TypeError, ValueError) as error:
        raise ModelError(f"architecture {architecture!r}: {error}") from error
