"""Objects drawn at random, what a middling model would make of them, and both as COCO's files have them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from imago.core.boxes import to_xywh
from imago.core.instances import CroppedMask, Instances, boxes_of


def ellipse(size_hw: tuple[int, int], centre_xy: tuple[float, float], radii_xy: tuple[float, float]) -> np.ndarray:
    """bool (H, W)."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    return ((x - centre_xy[0]) / radii_xy[0]) ** 2 + ((y - centre_xy[1]) / radii_xy[1]) ** 2 <= 1


def draw_things(seed: int, classes: int = 4, size_hw: tuple[int, int] = (240, 320), most: int = 12) -> Instances:
    """Ellipses of all sizes; one in ten is a crowd. ``stated_areas`` differ a little from the pixels, as in COCO."""
    random = np.random.default_rng(seed)
    masks, values, crowd = [], [], []
    for _ in range(int(random.integers(0, most + 1))):
        radius = float(np.exp(random.uniform(np.log(4), np.log(90))))
        centre = float(random.uniform(0, size_hw[1])), float(random.uniform(0, size_hw[0]))
        mask = ellipse(size_hw, centre, (radius, radius * random.uniform(0.5, 1.5)))
        if mask.any():
            masks.append(CroppedMask.of(mask))
            values.append(int(random.integers(1, classes)))
            crowd.append(bool(random.random() < 0.1))
    stated = np.array([mask.area for mask in masks]) * random.uniform(0.97, 1.03, len(masks))
    return Instances.make(size_hw, boxes_of(masks), values, None, masks, crowd, None, stated)


def guess(truth: Instances, seed: int, classes: int = 4) -> Instances:
    """The truth moved, grown, doubled, renamed or left out, and some that are nothing; scores to one decimal, so that
    many are equal."""
    random = np.random.default_rng(seed)
    boxes, values, masks = [], [], []
    size_hw = truth.size_hw
    for index in range(len(truth)):
        for _ in range(int(random.choice([0, 1, 1, 1, 2, 3]))):
            assert truth.cropped is not None
            mask = _moved(truth.cropped[index].full(size_hw), random)
            if not mask.any():
                continue
            masks.append(CroppedMask.of(mask))
            boxes.append(np.array(masks[-1].box) + random.uniform(-1, 1, 4))
            renamed = random.random() < 0.15
            values.append(int(random.integers(1, classes)) if renamed else int(truth.classes[index]))
    for _ in range(int(random.integers(0, 4))):
        x, y, radius = random.uniform(5, size_hw[1] - 5), random.uniform(5, size_hw[0] - 5), random.uniform(3, 60)
        masks.append(CroppedMask.of(ellipse(size_hw, (x, y), (radius, radius))))
        boxes.append(np.array(masks[-1].box, float))
        values.append(int(random.integers(1, classes)))
    return Instances.make(size_hw, boxes, values, random.integers(1, 11, len(values)) / 10, masks)


def _moved(mask: np.ndarray, random: np.random.Generator) -> np.ndarray:
    spread = 0.12 * np.sqrt(mask.sum())
    shift = np.array([[1, 0, random.normal(0, spread)], [0, 1, random.normal(0, spread)]], np.float32)
    moved = cv2.warpAffine(mask.astype(np.uint8), shift, mask.shape[::-1], flags=cv2.INTER_NEAREST)
    side = int(random.integers(1, 4))
    return cv2.dilate(moved, np.ones((side, side), np.uint8)).astype(bool)


def coco_truth(images: list[Instances], classes: int) -> dict[str, Any]:
    """What an annotation file of COCO would hold."""
    annotations = []
    for number, things in enumerate(images, 1):
        for index in range(len(things)):
            assert things.cropped is not None
            assert things.crowd is not None
            assert things.stated_areas is not None
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(things.classes[index]),
                    "bbox": _xywh(things, index),
                    "segmentation": _packed(things, index),
                    "iscrowd": int(things.crowd[index]),
                    "area": float(things.stated_areas[index]),
                }
            )
    sizes = [{"id": n, "height": t.size_hw[0], "width": t.size_hw[1]} for n, t in enumerate(images, 1)]
    names = [{"id": value, "name": str(value)} for value in range(1, classes)]
    return {"info": {}, "images": sizes, "annotations": annotations, "categories": names}


def coco_found(images: list[Instances], kind: str) -> list[dict[str, Any]]:
    """What a model would hand in: ``kind`` is "bbox" or "segm"."""
    rows = []
    for number, things in enumerate(images, 1):
        for index in range(len(things)):
            row = {
                "image_id": number,
                "category_id": int(things.classes[index]),
                "score": float(things.scores[index]),
            }
            key = "bbox" if kind == "bbox" else "segmentation"
            rows.append({**row, key: _xywh(things, index) if kind == "bbox" else _packed(things, index)})
    return rows


def _xywh(things: Instances, index: int) -> list[float]:
    return [float(v) for v in to_xywh(things.boxes[index : index + 1].astype(np.float64))[0]]


def _packed(things: Instances, index: int) -> dict[str, Any]:
    from pycocotools import mask as peer

    assert things.cropped is not None
    packed = peer.encode(np.asfortranarray(things.cropped[index].full(things.size_hw).astype(np.uint8)))
    return {"size": list(things.size_hw), "counts": packed["counts"].decode()}
