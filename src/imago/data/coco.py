"""COCO's annotations as "things or not": every large object is the subject, small ones count for nothing.

For the training of cut-out models. (Boxes and single objects are the detection family's business.)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imago.core import runs
from imago.core.errors import DataError
from imago.core.labels import IGNORE, binary_labels
from imago.data.dataset import Dataset, Sample
from imago.data.splits import divide

LARGE = 0.03  # an object of this share of the photo or more is the subject; smaller ones are ignored


@dataclass(frozen=True)
class SubjectReader:
    """Draws one photo's objects as a label map."""

    size_hw: tuple[int, int]
    objects: tuple[Any, ...]  # the annotations of the photo
    large: float = LARGE

    def __call__(self) -> np.ndarray:
        label = np.zeros(self.size_hw, np.uint8)
        area = self.size_hw[0] * self.size_hw[1]
        for thing in sorted(self.objects, key=lambda o: o["area"]):  # the large last: they win over the small
            mask = object_mask(thing["segmentation"], self.size_hw)
            subject = not thing.get("iscrowd") and mask.sum() >= self.large * area
            label[mask] = 1 if subject else IGNORE
        return label


def object_mask(segmentation: Any, size_hw: tuple[int, int]) -> np.ndarray:
    """bool (H, W) of COCO's polygons (lists of x, y) or run lengths (column-major, plain list or packed text)."""
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        height, width = segmentation["size"]
        return runs.mask_of(counts if isinstance(counts, list) else runs.unpack(counts), (height, width))
    mask = np.zeros(size_hw, np.uint8)
    for polygon in segmentation:
        # COCO's coordinates have the pixel's corner at whole numbers, OpenCV's its centre.
        points = np.round(np.array(polygon, np.float64).reshape(-1, 2) - 0.5).astype(np.int32)
        cv2.fillPoly(mask, [points], 1)
    return mask.astype(bool)


def open_coco(root: Path, licences: tuple[int, ...] = (), large: float = LARGE, channels: int = 3) -> Dataset:
    """The photos of ``annotations/instances_*.json`` as subject or background.

    ``licences``: take only photos whose licence id is one of these (all if empty). Photos without an object are kept
    as photos without a subject only where nothing was annotated at all.
    """
    splits: dict[str, tuple[Sample, ...]] = {}
    files = sorted((root / "annotations").glob("instances_*.json"))
    if not files:
        raise DataError(f"{root / 'annotations'}: expected instances_*.json")
    for path in files:
        try:
            content = json.loads(path.read_text("utf-8"))
            samples = _samples(root, path, content, licences, large, channels)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not COCO's annotation format ({error!r})") from error
        splits["val" if "val" in path.stem else "train"] = samples
    if "train" not in splits:
        raise DataError(f"{files[0]}: holds photos for validation alone; give instances_train*.json beside it")
    if "val" not in splits:
        by_name = {sample.name: sample for sample in splits["train"]}
        train, val = divide(list(by_name))
        splits = {"train": tuple(by_name[n] for n in train), "val": tuple(by_name[n] for n in val)}
    return Dataset(root, binary_labels(), splits, (f"objects of {large:.0%} of the photo or more are the subject",))


def _samples(
    root: Path, path: Path, content: dict[str, Any], licences: tuple[int, ...], large: float, channels: int
) -> tuple[Sample, ...]:
    objects: dict[int, list[Any]] = {}
    for thing in content["annotations"]:
        objects.setdefault(thing["image_id"], []).append(thing)
    folders = [root / path.stem.removeprefix("instances_"), root / "images", root]
    samples = []
    faults = []
    for photo in content["images"]:
        if licences and photo.get("license") not in licences:
            continue
        things = tuple(objects.get(photo["id"], ()))
        area = photo["height"] * photo["width"]
        if things and not any(t["area"] >= large * area and not t.get("iscrowd") for t in things):
            continue  # only small things: neither a subject nor surely a photo without one
        image_path = next((f / photo["file_name"] for f in folders if (f / photo["file_name"]).is_file()), None)
        if image_path is None:
            faults.append(f"{path}: photo {photo['file_name']} is missing")
            continue
        reader = SubjectReader((photo["height"], photo["width"]), things, large)
        samples.append(Sample(Path(photo["file_name"]).stem, image_path, reader, channels=channels))
    if faults:
        raise DataError(f"{root}: {len(faults)} faults in the data set", tuple(faults))
    return tuple(samples)
