"""What a prediction does with single objects: which are wanted, a map of classes, a list, each one by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from imago.core.boxes import suppress
from imago.core.detection_options import DetectionOptions
from imago.core.errors import ImagoError
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.core.model_card import DETECTION_TASKS, ModelCard
from imago.files.images import Photo
from imago.inference.cutout.alpha import ArrayAlpha

SOFT_PX = 0.8  # spread of an object's edge; masks of objects are hard
USUAL_IOU = 0.5  # overlap past which the weaker of two goes, where neither model nor user says anything
ROOM_PX = 8  # kept around an object, for its edge


def select(objects: Instances, labels: Labels, choice: DetectionOptions) -> Instances:
    """The wanted ones, the surest first. Raises ImagoError for a class that there is not."""
    kept, scores = pick(objects.boxes, objects.scores, objects.classes, labels, choice)
    return replace(objects[kept], scores=scores)


def pick(
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    labels: Labels,
    choice: DetectionOptions,
    model_thresh: float = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """int64 (k,), indices of the wanted ones of boxes (K, 4), the surest first, and their scores, float32 (k,). Raises
    ImagoError for a class that there is not.

    ``model_thresh``: the overlap up to which a model lets two of a class stand. 1: it left out none, and what becomes
    of overlaps is for the choice to say; 0: nothing overlaps, or nobody knows.
    """
    stays = scores >= choice.score_thresh
    if choice.classes:
        stays &= np.isin(classes, class_values(labels, choice.classes))
    kept = np.flatnonzero(stays)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    iou = choice.nms_thresh
    if not iou and (choice.class_agnostic or model_thresh >= 1):
        iou = model_thresh if 0 < model_thresh < 1 else USUAL_IOU
    soft = choice.nms == "soft"
    left = scores[kept]
    if iou or soft:
        stay, left = suppress(boxes[kept], left, classes[kept], iou, soft=soft, agnostic=choice.class_agnostic)
        enough = left >= choice.score_thresh  # a box whose score was too low before lowers no other one's
        kept, left = kept[stay][enough], left[enough]
    most = choice.detections_per_img or None
    return kept[:most], left[:most]


def model_nms_thresh(card: ModelCard) -> float:
    """The overlap up to which a model lets two of a class stand, see ``pick``."""
    return float(card.options.get("nms_thresh", USUAL_IOU)) if card.task in DETECTION_TASKS else 0.0


def explain_doubt(choice: DetectionOptions, card: ModelCard) -> str:
    """A word where soft suppression comes too late for a model; empty where it does not."""
    inside = model_nms_thresh(card)
    if choice.nms != "soft" or not 0 < inside < 1:
        return ""
    return (
        f"the model {card.name!r} has left out what overlaps by more than {inside:g} itself; soft suppression only "
        "lowers scores of what is left. Export it with --nms-thresh 1"
    )


def class_values(labels: Labels, names: Sequence[str]) -> list[int]:
    """The values of classes of objects by their names. Raises ImagoError."""
    unknown = [name for name in names if name not in labels.names[1:]]
    if unknown:
        raise ImagoError(
            f"the model has no class {', '.join(map(repr, unknown))}; it finds {', '.join(labels.names[1:])}"
        )
    return [labels.names.index(name) for name in names]


def check_objects(objects: Instances, labels: Labels, size_hw: tuple[int, int]) -> None:
    """Raises ValueError for objects of another image, or of classes that there are not."""
    if objects.size_hw != size_hw:
        raise ValueError(f"the photo is {size_hw}, the objects are of an image of {objects.size_hw}")
    if len(objects) and not 1 <= int(objects.classes.min()) <= int(objects.classes.max()) < len(labels):
        raise ValueError(
            f"classes of objects lie from 1 to {len(labels) - 1} (0 is the background); got {objects.classes.min()} to "
            f"{objects.classes.max()}"
        )


def to_class_map(objects: Instances, classes: int) -> np.ndarray:
    """uint8 (H, W), uint16 from 255 classes on: the class of the surest object that is there, else 0."""
    painted = np.zeros(objects.size_hw, np.uint8 if classes < 255 else np.uint16)
    for index in np.argsort(objects.scores, kind="stable"):
        where, crop = objects.region(int(index))
        painted[where][crop] = objects.classes[index]
    return painted


def to_records(objects: Instances, labels: Labels) -> list[dict[str, Any]]:
    """A plain dict an object: class, score (0..1), box_xyxy and area in pixels."""
    return [
        {
            "class": labels.names[int(objects.classes[index])],
            "score": round(float(objects.scores[index]), 4),
            "box_xyxy": [round(float(value), 2) for value in objects.boxes[index]],
            "area": float(area),
        }
        for index, area in enumerate(objects.areas)
    ]


def iter_instances(photo: Photo, objects: Instances, margin: float) -> Iterator[tuple[int, Photo, ArrayAlpha]]:
    """For each object that has pixels: its class, the part of the photo around it, and its alpha there.

    ``margin``: what is kept around it at least, as a share of its longer side.
    """
    for index in range(len(objects)):
        where, crop = objects.region(index)
        if not crop.any():
            continue
        room = ROOM_PX + round(margin * max(crop.shape))
        (top, bottom), (left, right) = (
            (max(0, part.start - room), min(limit, part.stop + room))
            for part, limit in zip(where, objects.size_hw, strict=True)
        )
        mask = np.zeros((bottom - top, right - left), np.uint8)
        mask[where[0].start - top : where[0].stop - top, where[1].start - left : where[1].stop - left][crop] = 255
        part_of_photo = replace(photo, opacity=None, pixels=np.ascontiguousarray(photo.pixels[top:bottom, left:right]))
        yield int(objects.classes[index]), part_of_photo, ArrayAlpha(cv2.GaussianBlur(mask, (0, 0), SOFT_PX))
