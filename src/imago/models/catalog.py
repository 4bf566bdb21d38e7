"""The one catalog of architectures: name, task, builder.

``imago.models.build("unet", classes=12, encoder="resnet34")`` makes a net that labels pixels, ``build("maskrcnn",
classes=2)`` one that finds objects. Making one needs the ``train`` extra; asking for names and options does not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from imago.core.errors import ModelError
from imago.models.detection import builders as detection
from imago.models.semantic import builders as semantic

if TYPE_CHECKING:
    from imago.models.base import SegmentationNet
    from imago.models.detection.base import DetectionModel

Net: TypeAlias = "SegmentationNet | DetectionModel"
NetTask = Literal["semantic", "detection"]  # labels pixels; finds objects


@dataclass(frozen=True)
class Architecture:
    """One row of the catalog."""

    name: str
    task: NetTask
    builder: Callable[..., Net]  # its keyword arguments are the architecture's options


ARCHITECTURES: dict[str, Architecture] = {
    each.name: each
    for each in (
        Architecture("fcn32s", "semantic", semantic.fcn_builder(32)),
        Architecture("fcn16s", "semantic", semantic.fcn_builder(16)),
        Architecture("fcn8s", "semantic", semantic.fcn_builder(8)),
        Architecture("fcn", "semantic", semantic.build_fcn),
        Architecture("segnet", "semantic", semantic.build_segnet),
        Architecture("segnet_basic", "semantic", semantic.build_segnet_basic),
        Architecture("unet", "semantic", semantic.build_unet),
        Architecture("u2net", "semantic", semantic.build_u2net),
        Architecture("u2netp", "semantic", semantic.build_u2netp),
        Architecture("deeplabv1", "semantic", semantic.build_deeplabv1),
        Architecture("deeplabv2", "semantic", semantic.build_deeplabv2),
        Architecture("deeplabv3", "semantic", semantic.build_deeplabv3),
        Architecture("deeplabv3plus", "semantic", semantic.build_deeplabv3plus),
        Architecture("pspnet", "semantic", semantic.build_pspnet),
        Architecture("enet", "semantic", semantic.build_enet),
        Architecture("lraspp", "semantic", semantic.build_lraspp),
        Architecture("rcnn", "detection", detection.build_rcnn),
        Architecture("fastrcnn", "detection", detection.build_fastrcnn),
        Architecture("fasterrcnn", "detection", detection.build_fasterrcnn),
        Architecture("maskrcnn", "detection", detection.build_maskrcnn),
        Architecture("yolov1", "detection", detection.build_yolov1),
        Architecture("yolov1_fast", "detection", detection.build_yolov1_fast),
        Architecture("yolov2", "detection", detection.build_yolov2),
        Architecture("yolov2_tiny", "detection", detection.build_yolov2_tiny),
        Architecture("yolov3", "detection", detection.yolov3_builder(spp=False)),
        Architecture("yolov3_tiny", "detection", detection.build_yolov3_tiny),
        Architecture("yolov3_spp", "detection", detection.yolov3_builder(spp=True)),
    )
}


def find_architecture(name: str) -> Architecture:
    """Raises ModelError for a name that there is not."""
    if name not in ARCHITECTURES:
        raise ModelError(f"architecture {name!r} is not known; choose from {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def task_of(name: str) -> NetTask:
    """What the architecture's nets do. Raises ModelError."""
    return find_architecture(name).task


def names_of(task: NetTask) -> tuple[str, ...]:
    """The names of all architectures of a task, in the catalog's order."""
    return tuple(each.name for each in ARCHITECTURES.values() if each.task == task)


def options_of(name: str) -> tuple[str, ...]:
    """The names of what ``build`` takes for it. Raises ModelError."""
    return tuple(inspect.signature(find_architecture(name).builder).parameters)


def build(name: str, **options: Any) -> Net:
    """A new net with fresh weights: a ``SegmentationNet``, or a ``DetectionModel``, as ``task_of(name)`` says.

    ``options``: ``classes``, ``in_channels`` and what ``options_of(name)`` lists. A net that labels pixels has 1 class
    where it is binary, and with ``distance=True`` says a distance map too (see imago.data.borders); one that finds
    objects counts the background, and takes ``score_thresh``, ``nms_thresh`` and ``detections_per_img`` besides.

    Raises ModelError for a name or option that there is not, and for a value that the net cannot have;
    WeightsUnavailable (see imago.models.pretrained) where ``pretrained`` weights cannot be fetched.
    """
    known = options_of(name)
    thresholds = detection.THRESHOLDS if task_of(name) == "detection" else ()
    distance = task_of(name) == "semantic" and options.pop("distance", False)
    for option in options:
        if option not in (*known, *thresholds):
            raise ModelError(f"architecture {name!r} has no option {option!r}; it takes {', '.join(known)}")
    if distance:
        options["classes"] = options.get("classes", 1) + 1
    try:
        net = ARCHITECTURES[name].builder(**{key: v for key, v in options.items() if key not in thresholds})
    except (TypeError, ValueError) as error:
        raise ModelError(f"architecture {name!r}: {error}") from error
    for threshold in thresholds:
        setattr(net, threshold, options.get(threshold, getattr(net, threshold)))
    if distance:
        net.classes, net.distance = net.classes - 1, True
    return net
