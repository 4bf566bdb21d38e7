"""The nets that find objects: one literal dict from name to builder.

``classes`` counts the background: two kinds of objects are ``classes=3``. Anchors are width and height in network
pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imago.models.thing_base import ThingNet

ThingBuilder = Callable[..., ThingNet]
Pairs = Sequence[Sequence[float]]


def _yolov1(
    classes: int = 2,
    in_channels: int = 3,
    width: int = 64,
    size: int = 448,
    boxes: int = 2,
    norm: bool = True,
    published: bool = False,
) -> ThingNet:
    """``size`` is the image's side, a multiple of 64. The paper's: ``width`` 64, ``boxes`` 2, ``norm`` False."""
    from imago.models.yolo1 import yolov1

    return yolov1(classes, in_channels, width, size, boxes, norm, published)


def _yolov1_fast(
    classes: int = 2,
    in_channels: int = 3,
    width: int = 16,
    size: int = 448,
    boxes: int = 2,
    norm: bool = True,
    published: bool = False,
) -> ThingNet:
    """As yolov1; ``width`` is 16 in the authors' .cfg."""
    from imago.models.yolo1 import yolov1_fast

    return yolov1_fast(classes, in_channels, width, size, boxes, norm, published)


def _yolov2(classes: int = 2, in_channels: int = 3, width: int = 32, anchors: Pairs = ()) -> ThingNet:
    """``width`` 32 is the paper's; ``anchors``, any number of them, empty: those for COCO."""
    from imago.models.yolo2 import ANCHORS, yolov2

    return yolov2(classes, in_channels, width, anchors or ANCHORS)


def _yolov2_tiny(
    classes: int = 2, in_channels: int = 3, width: int = 16, last: int = 32, anchors: Pairs = ()
) -> ThingNet:
    """``width`` is 16 in the authors' .cfg, ``last`` 32 (COCO) or 64 (VOC)."""
    from imago.models.yolo2 import ANCHORS, yolov2_tiny

    return yolov2_tiny(classes, in_channels, width, last, anchors or ANCHORS)


def _yolov3(
    classes: int = 2,
    in_channels: int = 3,
    width: int = 32,
    anchors: Pairs = (),
    masks: Sequence[Sequence[int]] = (),
) -> ThingNet:
    """``width`` 32 is the paper's; ``anchors``: nine, the smallest first; empty: those for COCO."""
    from imago.models.yolo3 import ANCHORS, MASKS, yolov3

    return yolov3(classes, in_channels, width, anchors or ANCHORS, masks or MASKS)


def _yolov3_spp(
    classes: int = 2,
    in_channels: int = 3,
    width: int = 32,
    anchors: Pairs = (),
    masks: Sequence[Sequence[int]] = (),
) -> ThingNet:
    """yolov3 with pyramid pooling before the coarsest answers."""
    from imago.models.yolo3 import ANCHORS, MASKS, yolov3

    return yolov3(classes, in_channels, width, anchors or ANCHORS, masks or MASKS, spp=True)


def _yolov3_tiny(
    classes: int = 2,
    in_channels: int = 3,
    width: int = 16,
    anchors: Pairs = (),
    masks: Sequence[Sequence[int]] = (),
) -> ThingNet:
    """``width`` is 16 in the authors' .cfg; ``anchors``: six, the smallest first; empty: those for COCO."""
    from imago.models.yolo3 import TINY_ANCHORS, TINY_MASKS, yolov3_tiny

    return yolov3_tiny(classes, in_channels, width, anchors or TINY_ANCHORS, masks or TINY_MASKS)


THING_BUILDERS: dict[str, ThingBuilder] = {
    "yolov1": _yolov1,
    "yolov1_fast": _yolov1_fast,
    "yolov2": _yolov2,
    "yolov2_tiny": _yolov2_tiny,
    "yolov3": _yolov3,
    "yolov3_tiny": _yolov3_tiny,
    "yolov3_spp": _yolov3_spp,
}
