"""The nets: one architecture a file, and one literal dict from name to builder.

``imago.models.build("unet", classes=12, in_channels=3, encoder="resnet34")`` makes one. Needs the ``train`` extra.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from imago.core.errors import ModelError

if TYPE_CHECKING:
    from imago.models.base import SegmentationNet


def _unet(
    classes: int = 1,
    in_channels: int = 3,
    width: int = 64,
    norm: bool = True,
    encoder: str = "",
    pretrained: bool = False,
    widths: Sequence[int] = (256, 128, 64, 32),
    context: int = 0,
) -> SegmentationNet:
    """``encoder`` empty: the network of the paper, ``width`` and ``norm`` count; else ``widths`` and ``context``."""
    from imago.models.encoders import build_encoder
    from imago.models.unet import EncoderUNet, UNet

    if not encoder:
        return UNet(classes, in_channels, width, norm)
    return EncoderUNet(build_encoder(encoder, in_channels, pretrained), classes, in_channels, tuple(widths), context)


def _u2net(classes: int = 1, in_channels: int = 3, width: int = 64) -> SegmentationNet:
    """``width`` scales all channels; 64 is the paper's."""
    from imago.models.u2net import u2net

    return u2net(classes, in_channels, width)


def _u2netp(classes: int = 1, in_channels: int = 3, width: int = 64) -> SegmentationNet:
    """``width`` scales all channels; 64 is the paper's."""
    from imago.models.u2net import u2netp

    return u2netp(classes, in_channels, width)


BUILDERS: dict[str, Callable[..., SegmentationNet]] = {
    "unet": _unet,
    "u2net": _u2net,
    "u2netp": _u2netp,
}


def build(architecture: str, **options: Any) -> SegmentationNet:
    """A new net with fresh weights. ``options``: ``classes`` (1 is binary), ``in_channels`` and what the net has.

    Raises ModelError for a name or option that there is not, and for a value that the net cannot have.
    """
    if architecture not in BUILDERS:
        raise ModelError(f"architecture {architecture!r} is not known; choose from {', '.join(BUILDERS)}")
    builder = BUILDERS[architecture]
    known = inspect.signature(builder).parameters
    for name in options:
        if name not in known:
            raise ModelError(f"architecture {architecture!r} has no option {name!r}; it takes {', '.join(known)}")
    try:
        return builder(**options)
    except (TypeError, ValueError) as error:
        raise ModelError(f"architecture {architecture!r}: {error}") from error
