"""COCO's annotations as objects: boxes, classes, polygons or run lengths, crowd regions.

``annotations/instances_train2017.json`` with photos in ``train2017/``, ``images/train2017/`` or ``images/``; or
``instances_train.json`` beside ``train/``; or one ``instances.json`` with ``images/`` and, where the photos are parted,
``train.txt`` and ``val.txt`` (a name a line). Category ids may have gaps (COCO's own have): in their order they become
the classes 1 .. K. Where no annotation has an outline the data set has boxes alone.

https://cocodataset.org/#format-data (Lin et al. 2014, arXiv:1405.0312).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imago.core import boxes
from imago.core.errors import DataError
from imago.core.instances import CroppedMask, Instances
from imago.core.labels import Labels
from imago.data.detection import DetectionDataset, DetectionSample
from imago.data.formats.checks import find_box_fault, instance_labels
from imago.data.formats.coco_subjects import annotation_files, object_crop, photo_path
from imago.data.splits import NAMES, find_splits, split_names


@dataclass(frozen=True)
class CocoInstance:
    """One annotation, as small as it goes: COCO has 860,000 of them."""

    number: Any  # its id, for messages
    value: int  # class, 1 and more
    crowd: bool
    box: tuple[float, float, float, float] | None  # x1 y1 x2 y2 as in the file; None: the mask's
    outline: Any = field(repr=False)  # arrays of x y x y ..., run lengths, or None


@dataclass(frozen=True)
class CocoReader:
    """Reads one photo's objects."""

    where: str  # file and photo, for messages
    size_hw: tuple[int, int]
    instances: tuple[CocoInstance, ...]
    has_masks: bool

    def __call__(self) -> Instances:
        masks = tuple(self._mask(instance) for instance in self.instances) if self.has_masks else None
        found = [instance.box if instance.box else masks[i].box for i, instance in enumerate(self.instances)]  # type: ignore[index]
        return Instances.make(
            self.size_hw,
            boxes.clip(boxes.as_boxes(found), self.size_hw),
            [instance.value for instance in self.instances],
            cropped=masks,
            crowd=[instance.crowd for instance in self.instances],
        )

    def _mask(self, instance: CocoInstance) -> CroppedMask:
        try:
            return object_crop(instance.outline, self.size_hw)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.where}, annotation {instance.number}: damaged outline ({error})") from error


def is_coco(root: Path) -> bool:
    return bool(annotation_files(root))


def survey_coco(
    root: Path, channels: int = 3, licenses: tuple[int, ...] = (), masks: bool | None = None
) -> tuple[DetectionDataset, tuple[str, ...]]:
    """The data set without what is damaged, and the faults. ``licenses``: only photos whose licence id is one of these.

    ``masks``: False takes boxes alone; True demands outlines; None takes what there is.
    """
    contents: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path in annotation_files(root):
        split = next((name for name in NAMES if name in path.stem), "train")
        if split in contents:
            raise DataError(f"{root}: {path.name} and {contents[split][0].name} both hold {split!r}; take one away")
        contents[split] = path, _read_content(path)
    faults: list[str] = []
    labels, values = _read_classes(root, [content for _, content in contents.values()])
    has_masks = masks is not False and any(
        instance.get("segmentation") for _, content in contents.values() for instance in content["annotations"]
    )
    if masks and not has_masks:
        raise DataError(f"{root}: no annotation has a segmentation; there are boxes alone (masks=False)")
    splits: dict[str, tuple[DetectionSample, ...]] = {}
    home: dict[Path, str] = {}
    for split in NAMES:
        if split in contents:
            path, content = contents[split]
            reader = _Reader(root, path, values, has_masks, channels, licenses, faults)
            splits[split] = reader.samples(content)
            for sample in splits[split]:
                if home.setdefault(sample.image_path, split) != split:
                    faults.append(f"{path}: photo {sample.image_path.name} stands in {home[sample.image_path]!r} too")
    notes: tuple[str, ...] = ()
    if list(splits) == ["train"] and (root / "train.txt").is_file():
        by_name = {sample.name: sample for sample in splits["train"]}
        divided = find_splits(root, list(by_name), set(by_name))
        splits = {split: tuple(by_name[n] for n in members) for split, members in divided.members.items()}
        notes = divided.notes
        faults += divided.faults
    elif "val" not in splits and splits.get("train"):
        by_name = {sample.name: sample for sample in splits["train"]}
        train, val = split_names(list(by_name))
        splits |= {"train": tuple(by_name[n] for n in train), "val": tuple(by_name[n] for n in val)}
        notes = (f"no instances_val*.json: {len(val)} photos kept for validation, by the hash of the name",)
    if licenses:
        total = sum(len(content["images"]) for _, content in contents.values())
        notes += (f"{sum(map(len, splits.values()))} of {total} photos have a licence of {licenses}",)
    return DetectionDataset(root, labels, splits, has_masks, notes), tuple(faults)


def _read_content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); copy it again") from error
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{path}: not COCO's annotation format; expected a list of objects under {key!r}")
    return content


def _read_classes(root: Path, contents: Iterable[dict[str, Any]]) -> tuple[Labels, dict[int, int]]:
    """The labels, and category id -> class. Every file must name the same categories."""
    found: dict[int, str] | None = None
    for content in contents:
        try:
            named = {int(category["id"]): str(category["name"]) for category in content["categories"]}
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{root}: a category lacks its id or name ({error!r})") from error
        if found is not None and named != found:
            raise DataError(f"{root}: the files name different categories ({len(found)} and {len(named)}); join them")
        found = named
    if not found:
        raise DataError(f"{root}: no categories; COCO's file lists id and name of each class")
    ids = sorted(found)
    return instance_labels([found[i] for i in ids], root), {number: value for value, number in enumerate(ids, 1)}


@dataclass(frozen=True)
class _Reader:
    """Turns the entries of one file into samples, and gathers its faults."""

    root: Path
    path: Path
    values: dict[int, int]  # category id -> class
    has_masks: bool
    channels: int
    licenses: tuple[int, ...]
    faults: list[str]

    def samples(self, content: dict[str, Any]) -> tuple[DetectionSample, ...]:
        photos: dict[Any, tuple[str, tuple[int, int]]] = {}
        known: set[Any] = set()
        stems: dict[str, str] = {}  # name without suffix -> with it
        for index, photo in enumerate(content["images"]):
            try:
                name, size_hw = str(photo["file_name"]), (int(photo["height"]), int(photo["width"]))
                number = photo["id"]
            except (KeyError, TypeError, ValueError) as error:
                self.faults.append(f"{self.path}: image {index} of the list lacks something ({error!r})")
                continue
            if number in known:
                self.faults.append(f"{self.path}: photo {name} has the id {number}, which stands there already")
                continue
            known.add(number)
            if self.licenses and photo.get("license") not in self.licenses:
                continue
            stem = Path(name).with_suffix("").as_posix()
            if stem in stems:
                self.faults.append(f"{self.path}: photos {stems[stem]} and {name} have the same name; rename one")
                continue
            stems[stem] = name
            photos[number] = stem, size_hw
        instances = self._read_instances(content["annotations"], photos, known)
        samples = []
        for number, (stem, size_hw) in photos.items():
            image_path = photo_path(self.root, self.path, stems[stem])
            if image_path is None:
                self.faults.append(f"{self.path}: photo {stems[stem]} is missing")
                continue
            where = f"{self.path}: photo {stems[stem]}"
            reader = CocoReader(where, size_hw, tuple(instances.get(number, ())), self.has_masks)
            samples.append(DetectionSample(stem, image_path, reader, self.channels))
        return tuple(samples)

    def _read_instances(
        self, entries: list[Any], photos: dict[Any, tuple[str, tuple[int, int]]], known: set[Any]
    ) -> dict[Any, list[CocoInstance]]:
        instances: dict[Any, list[CocoInstance]] = {}
        for index, entry in enumerate(entries):
            number = entry.get("id", f"number {index} of the list")
            of = entry.get("image_id")
            if of not in known:
                self.faults.append(f"{self.path}: annotation {number} belongs to photo {of!r}, which is not listed")
            elif of in photos:
                stem, size_hw = photos[of]
                try:
                    instances.setdefault(of, []).append(self._read_instance(number, entry, size_hw))
                except (ValueError, KeyError, TypeError) as error:
                    words = f"lacks {error}" if isinstance(error, KeyError) else str(error)
                    self.faults.append(f"{self.path}: annotation {number} of photo {stem}: {words}")
        return instances

    def _read_instance(self, number: Any, entry: dict[str, Any], size_hw: tuple[int, int]) -> CocoInstance:
        if entry["category_id"] not in self.values:
            raise ValueError(f"class id {entry['category_id']!r} is not among the categories")
        outline = entry.get("segmentation") if self.has_masks else None
        if self.has_masks and not outline:
            raise ValueError("has no outline, which others have; outline it, or take boxes alone (masks=False)")
        if isinstance(outline, list):
            outline = tuple(np.asarray(polygon, np.float32) for polygon in outline)
            if any(polygon.ndim != 1 or polygon.size < 6 or polygon.size % 2 for polygon in outline):
                raise ValueError("a polygon is no list of x and y of three corners or more")
        box = None
        if entry.get("bbox") or not outline:
            x, y, width, height = map(float, entry["bbox"])
            box = (x, y, x + width, y + height)
            if fault := find_box_fault(box, size_hw):
                raise ValueError(fault)
        return CocoInstance(number, self.values[entry["category_id"]], bool(entry.get("iscrowd")), box, outline)
