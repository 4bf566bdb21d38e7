"""COCO's annotations as "subject or not": every large object is the subject, small ones count for nothing.

For the training of cut-out models. (Boxes and single objects are the detection family's business.)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imago.core import rle as runs
from imago.core.errors import DataError
from imago.core.instances import CroppedMask
from imago.core.labels import IGNORE, binary_labels
from imago.core.polygons import fill_polygons
from imago.core.text import unescape
from imago.data.dataset import Dataset, Sample
from imago.data.splits import split_names

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
        for instance in sorted(self.objects, key=lambda o: o["area"]):  # the large last: they win over the small
            mask = object_mask(instance["segmentation"], self.size_hw)
            subject = not instance.get("iscrowd") and mask.sum() >= self.large * area
            label[mask] = 1 if subject else IGNORE
        return label


def object_mask(segmentation: Any, size_hw: tuple[int, int]) -> np.ndarray:
    """bool (H, W) of COCO's polygons (lists of x, y) or run lengths (column-major, plain list or packed text)."""
    return object_crop(segmentation, size_hw).to_full(size_hw)


def object_crop(segmentation: Any, size_hw: tuple[int, int]) -> CroppedMask:
    """The same, small. Raises ValueError, KeyError or TypeError for what is no outline in an image of ``size_hw``."""
    if not isinstance(segmentation, dict):
        return fill_polygons(segmentation, size_hw)
    counts = segmentation["counts"]
    lengths = [int(run) for run in counts] if isinstance(counts, list) else runs.unpack_rle(counts)
    height, width = size_hw
    if tuple(segmentation["size"]) != size_hw:
        raise ValueError(f"run lengths for {tuple(segmentation['size'])} (height, width); the photo is {size_hw}")
    if sum(lengths) != height * width or min(lengths) < 0:
        runs.decode_rle(lengths, size_hw)  # raises, with the numbers
    ends = np.cumsum(lengths)
    if len(lengths) < 2:
        return CroppedMask.from_mask(np.zeros((0, 0), bool))
    # Only the columns from the first set pixel to the last: of a small object in a large photo they are few.
    left, right = int(ends[0]) // height, -(-int(ends[len(ends) // 2 * 2 - 1]) // height)
    edges = np.clip(ends, left * height, right * height) - left * height
    values = np.arange(len(lengths)) % 2 == 1
    part = np.repeat(values, np.diff(edges, prepend=0))
    return CroppedMask.from_mask(part.reshape(right - left, height).T, left, 0)


def annotation_files(root: Path) -> list[Path]:
    """``instances_*.json`` of a data set, in ``annotations/`` or beside the folders of photos; ``instances.json`` of
    one whose splits are lists of names."""
    parted = sorted((root / "annotations").glob("instances_*.json")) or sorted(root.glob("instances_*.json"))
    return parted or sorted(root.glob("instances.json"))


def photo_path(root: Path, annotations: Path, file_name: str) -> Path | None:
    """Where the photo lies that ``annotations`` calls ``file_name``, as it is or as ``core.text.escape`` wrote it; None
    where it is missing."""
    which = annotations.stem.removeprefix("instances_")
    folders = (root / which, root / "images" / which, root / "images", root)
    places = [folder / name for name in (file_name, unescape(file_name)) for folder in folders]
    return next((place for place in places if place.is_file()), None)


def open_coco(root: Path, licenses: tuple[int, ...] = (), large: float = LARGE, channels: int = 3) -> Dataset:
    """The photos of ``annotations/instances_*.json`` as subject or background.

    ``licenses``: take only photos whose licence id is one of these (all if empty). Photos without an object are kept
    as photos without a subject only where nothing was annotated at all.
    """
    splits: dict[str, tuple[Sample, ...]] = {}
    files = sorted((root / "annotations").glob("instances_*.json"))
    if not files:
        raise DataError(f"{root / 'annotations'}: expected instances_*.json")
    for path in files:
        try:
            content = json.loads(path.read_text("utf-8"))
            samples = _samples(root, path, content, licenses, large, channels)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not COCO's annotation format ({error!r})") from error
        splits["val" if "val" in path.stem else "train"] = samples
    if "train" not in splits:
        raise DataError(f"{files[0]}: holds photos for validation alone; give instances_train*.json beside it")
    if "val" not in splits:
        by_name = {sample.name: sample for sample in splits["train"]}
        train, val = split_names(list(by_name))
        splits = {"train": tuple(by_name[n] for n in train), "val": tuple(by_name[n] for n in val)}
    return Dataset(root, binary_labels(), splits, (f"objects of {large:.0%} of the photo or more are the subject",))


def _samples(
    root: Path, path: Path, content: dict[str, Any], licenses: tuple[int, ...], large: float, channels: int
) -> tuple[Sample, ...]:
    objects: dict[int, list[Any]] = {}
    for instance in content["annotations"]:
        objects.setdefault(instance["image_id"], []).append(instance)
    samples = []
    faults = []
    for photo in content["images"]:
        if licenses and photo.get("license") not in licenses:
            continue
        instances = tuple(objects.get(photo["id"], ()))
        area = photo["height"] * photo["width"]
        if instances and not any(t["area"] >= large * area and not t.get("iscrowd") for t in instances):
            continue  # only small objects: neither a subject nor surely a photo without one
        image_path = photo_path(root, path, photo["file_name"])
        if image_path is None:
            faults.append(f"{path}: photo {photo['file_name']} is missing")
            continue
        reader = SubjectReader((photo["height"], photo["width"]), instances, large)
        samples.append(Sample(Path(photo["file_name"]).stem, image_path, reader, channels=channels))
    if faults:
        raise DataError(f"{root}: {len(faults)} faults in the data set", tuple(faults))
    return tuple(samples)
