"""Entries of the catalog for nets that find objects: torchvision's Faster and Mask R-CNN, darknet's YOLO.

torchvision's sizes are those that it states, and its SHA-256 begin with the eight digits in the file's name. A darknet
file's size is that of its net's values and its header; nobody publishes checksums of these, so each is here only
because lists of several others have the same one: yolov2-tiny, the VOC files and YOLO v1 have one list or none, and are
left out.
"""

from __future__ import annotations

from typing import Any

from imago.core.input_spec import InputSpec
from imago.core.labels import coco_labels, coco_numbered_labels
from imago.core.model_card import ModelCard
from imago.files.download import Remote
from imago.models.published.entries import TORCHVISION, Published

DARKNET = "https://data.pjreddie.com/files/"  # where pjreddie.com/media/files leads on to

_COCO = "{} (annotations CC BY 4.0; the photos under their Flickr owners' terms)"
_IMAGENET = "ImageNet-1k, on which the backbone began (for research use)"
# Those that the publishers measure with.
_RCNN_THRESHOLDS = {"score_thresh": 0.05, "nms_thresh": 0.5, "detections_per_img": 100}
_YOLO_THRESHOLDS = {"score_thresh": 0.005, "nms_thresh": 0.45, "detections_per_img": 100}


def _rcnn(name: str, architecture: str, file: str, size: int, sha256: str, scores: dict[str, float]) -> Published:
    """``scores``: average precision as torchvision states it."""
    card = ModelCard(
        name=name,
        architecture=architecture,
        options={"classes": 91, "in_channels": 3, "encoder": "resnet50", "frozen_norms": True, **_RCNN_THRESHOLDS},
        task="instances" if architecture == "maskrcnn" else "boxes",
        labels=coco_numbered_labels(),
        # torchvision brings the shorter side to 800 and the longer to 1,333 at most; at 4:3 that is 928 x 928 in area.
        input=InputSpec(rule="area", size_hw=(928, 928), multiple=32),
        scores={f"coco-val2017/{score}": value for score, value in scores.items()},
        data=(_COCO.format("COCO train2017"), _IMAGENET),
        license="BSD-3-Clause",
        note=f"Published by torchvision ({file}). The scores are torchvision's own, with the shorter side at 800 "
        "pixels; here a photo gets about 928 x 928 in area.",
    )
    return Published(Remote(TORCHVISION + file, size, sha256), card, "torchvision")


def _yolo(
    name: str, architecture: str, options: dict[str, Any], side: int, file: str, size: int, sha256: str, ap50: float
) -> Published:
    """``side``: of the square that darknet puts a photo into where it states ``ap50``, pixels."""
    # In that square a photo of 4:3 has three quarters of the pixels; about as many it gets here, without the rest.
    content = round(side * 0.75**0.5 / 16) * 16
    card = ModelCard(
        name=name,
        architecture=architecture,
        options={"classes": 81, "in_channels": 3, **options, **_YOLO_THRESHOLDS},
        task="boxes",
        labels=coco_labels(),
        input=InputSpec(rule="area", size_hw=(content, content), multiple=32),
        scores={"coco-test-dev/box_ap50": ap50},
        data=(_COCO.format("COCO trainval, 2014"), _IMAGENET),
        license="public domain (darknet's licence)",
        note=f"Published by darknet's authors ({file}). The score is their own, with photos in a square of {side} "
        f"pixels; here a photo gets about {content} x {content} in area.",
    )
    return Published(Remote(DARKNET + file, size, sha256), card, "darknet")


DETECTION_ENTRIES: tuple[Published, ...] = (
    _rcnn(
        "fasterrcnn-resnet50-coco",
        "fasterrcnn",
        "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
        167_502_836,
        "258fb6c638b15964ddcdd1ae0748c5eef1be9e732750120cc857feed3faac384",
        {"box_ap": 0.370},
    ),
    _rcnn(
        "maskrcnn-resnet50-coco",
        "maskrcnn",
        "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
        178_090_079,
        "bf2d0c1efbc936eeee2bc95a48e80ebc86b891f61b0106485937fc29f9315fc0",
        {"box_ap": 0.379, "mask_ap": 0.346},
    ),
    _yolo(
        "yolov2-coco",
        "yolov2",
        options={},
        side=608,
        file="yolov2.weights",
        size=203_934_260,
        sha256="d9945162ed6f54ce1a901e3ec537bdba4d572ecae7873087bd730e5a7942df3f",
        ap50=0.481,
    ),
    _yolo(
        "yolov3-coco",
        "yolov3",
        options={},
        side=608,
        file="yolov3.weights",
        size=248_007_048,
        sha256="523e4e69e1d015393a1b0a441cef1d9c7659e3eb2d7e15f793f060a21b32f297",
        ap50=0.579,
    ),
    _yolo(
        "yolov3-spp-coco",
        "yolov3_spp",
        options={},
        side=608,
        file="yolov3-spp.weights",
        size=252_209_544,
        sha256="87a1e8c85c763316f34e428f2295e1db9ed4abcec59dd9544f8052f50de327b4",
        ap50=0.606,
    ),
    _yolo(
        "yolov3-tiny-coco",
        "yolov3_tiny",
        # Not 0, 1, 2 for the fine map, as yolov3-tiny.cfg says now: the weights were learnt with a slip in that file
        # (github.com/AlexeyAB/darknet/issues/1341), and are worth half as much without it.
        options={"masks": [[3, 4, 5], [1, 2, 3]]},
        side=416,
        file="yolov3-tiny.weights",
        size=35_434_956,
        sha256="dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
        ap50=0.331,
    ),
)
