"""Objects drawn at random, what a middling model would make of them, and both as COCO's files have them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from imago.core.boxes import to_xywh
from imago.core.instances import CroppedMask, Instances, masks_to_boxes


def ellipse(size_hw: tuple[int, int], center_xy: tuple[float, float], radii_xy: tuple[float, float]) -> np.ndarray:
    """bool (H, W)."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    return ((x - center_xy[0]) / radii_xy[0]) ** 2 + ((y - center_xy[1]) / radii_xy[1]) ** 2 <= 1


def draw_instances(seed: int, classes: int = 4, size_hw: tuple[int, int] = (240, 320), most: int = 12) -> Instances:
    """Ellipses of all sizes; one in ten is a crowd. ``stated_areas`` differ a little from the pixels, as in COCO."""
    random = np.random.default_rng(seed)
    masks, values, crowd = [], [], []
    for _ in range(int(random.integers(0, most + 1))):
        radius = float(np.exp(random.uniform(np.log(4), np.log(90))))
        center = float(random.uniform(0, size_hw[1])), float(random.uniform(0, size_hw[0]))
        mask = ellipse(size_hw, center, (radius, radius * random.uniform(0.5, 1.5)))
        if mask.any():
            masks.append(CroppedMask.from_mask(mask))
            values.append(int(random.integers(1, classes)))
            crowd.append(bool(random.random() < 0.1))
    stated = np.array([mask.area for mask in masks]) * random.uniform(0.97, 1.03, len(masks))
    return Instances.make(size_hw, masks_to_boxes(masks), values, None, masks, crowd, None, stated)


def guess(truth: Instances, seed: int, classes: int = 4) -> Instances:
    """The truth moved, grown, doubled, renamed or left out, and some that are nothing; scores to one decimal, so that
    many are equal."""
    random = np.random.default_rng(seed)
    boxes, values, masks = [], [], []
    size_hw = truth.size_hw
    for index in range(len(truth)):
        for _ in range(int(random.choice([0, 1, 1, 1, 2, 3]))):
            assert truth.cropped is not None
            mask = _moved(truth.cropped[index].to_full(size_hw), random)
            if not mask.any():
                continue
            masks.append(CroppedMask.from_mask(mask))
            boxes.append(np.array(masks[-1].box) + random.uniform(-1, 1, 4))
            renamed = random.random() < 0.15
            values.append(int(random.integers(1, classes)) if renamed else int(truth.classes[index]))
    for _ in range(int(random.integers(0, 4))):
        x, y, radius = random.uniform(5, size_hw[1] - 5), random.uniform(5, size_hw[0] - 5), random.uniform(3, 60)
        masks.append(CroppedMask.from_mask(ellipse(size_hw, (x, y), (radius, radius))))
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
    for number, instances in enumerate(images, 1):
        for index in range(len(instances)):
            assert instances.cropped is not None
            assert instances.crowd is not None
            assert instances.stated_areas is not None
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(instances.classes[index]),
                    "bbox": _xywh(instances, index),
                    "segmentation": _packed(instances, index),
                    "iscrowd": int(instances.crowd[index]),
                    "area": float(instances.stated_areas[index]),
                }
            )
    sizes = [{"id": n, "height": t.size_hw[0], "width": t.size_hw[1]} for n, t in enumerate(images, 1)]
    names = [{"id": value, "name": str(value)} for value in range(1, classes)]
    return {"info": {}, "images": sizes, "annotations": annotations, "categories": names}


def coco_found(images: list[Instances], kind: str) -> list[dict[str, Any]]:
    """What a model would hand in: ``kind`` is "bbox" or "segm"."""
    rows = []
    for number, instances in enumerate(images, 1):
        for index in range(len(instances)):
            row = {
                "image_id": number,
                "category_id": int(instances.classes[index]),
                "score": float(instances.scores[index]),
            }
            key = "bbox" if kind == "bbox" else "segmentation"
            rows.append({**row, key: _xywh(instances, index) if kind == "bbox" else _packed(instances, index)})
    return rows


def _xywh(instances: Instances, index: int) -> list[float]:
    return [float(v) for v in to_xywh(instances.boxes[index : index + 1].astype(np.float64))[0]]


def _packed(instances: Instances, index: int) -> dict[str, Any]:
    from pycocotools import mask as peer

    assert instances.cropped is not None
    packed = peer.encode(np.asfortranarray(instances.cropped[index].to_full(instances.size_hw).astype(np.uint8)))
    return {"size": list(instances.size_hw), "counts": packed["counts"].decode()}
