"""The entries of one of COCO's files: whatever is written there, a photo, an object, or one line that says what is
wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imago.core import boxes
from imago.core import rle as runs
from imago.core.errors import DataError
from imago.core.instances import CroppedMask, Instances
from imago.core.polygons import fill_polygons, read_corners
from imago.data.formats.checks import LARGEST_SIDE, WITHOUT_OUTLINE, Outside, find_box_fault, strip_suffix

# What a value of the wrong kind raises, wherever it is read.
WRONG = (ValueError, KeyError, TypeError, OverflowError, IndexError)


class Photo(NamedTuple):
    """One entry of "images"."""

    name: str  # without suffix; sub-folders are part of it
    file_name: str
    size_hw: tuple[int, int]


@dataclass(frozen=True)
class CocoInstance:
    """One annotation, as small as it goes: COCO has 860,000 of them."""

    number: Any  # its id, for messages
    value: int  # class, 1 and more
    crowd: bool
    box: tuple[float, float, float, float] | None  # x1 y1 x2 y2 as in the file; None: the mask's
    outline: Any = field(repr=False)  # corners (n, 2) of each polygon, run lengths, or None
    area: float | None = None  # as the file says


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

    def polygons(self) -> list[tuple[int, np.ndarray]]:
        """The number of the object, from 0, and float64 (2 n,), x y x y ..., of each polygon as the file has it."""
        return [
            (index, polygon)
            for index, instance in enumerate(self.instances)
            if isinstance(instance.outline, tuple)
            for polygon in instance.outline
        ]

    def area_shares(self) -> tuple[np.ndarray, np.ndarray] | None:
        """float64 (K,), shares of the photo, and bool (K,), crowd regions; None where the file does not say."""
        areas = [instance.area for instance in self.instances]
        if any(area is None for area in areas):
            return None
        crowd = np.array([instance.crowd for instance in self.instances], bool)
        shares = np.array(areas, np.float64) / (self.size_hw[0] * self.size_hw[1])
        return shares, crowd

    def _mask(self, instance: CocoInstance) -> CroppedMask:
        try:
            return draw_outline(instance.outline, self.size_hw)
        except WRONG as error:
            raise DataError(f"{self.where}, annotation {instance.number}: damaged outline ({error})") from error


def draw_outline(segmentation: Any, size_hw: tuple[int, int]) -> CroppedMask:
    """COCO's polygons (lists of x, y) or run lengths (column-major, plain list or packed text) as a mask.

    Raises ValueError, KeyError or TypeError for what is no outline in an image of ``size_hw``.
    """
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


def read_id(value: Any) -> int | str:
    """An id as it is compared: ``7``, ``7.0`` and ``"7"`` are the same; other words stay words."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int):
        return int(value)
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text


def read_size(photo: dict[str, Any]) -> tuple[int, int]:
    """(height, width) of an entry, 96 or 96.0. Raises ValueError or KeyError."""
    sides = []
    for side in ("height", "width"):
        number = float(photo[side])
        if not math.isfinite(number) or number != int(number) or not 1 <= number <= LARGEST_SIDE:
            raise ValueError(f"{side} is {photo[side]!r}; expected pixels, 1 to {LARGEST_SIDE}")
        sides.append(int(number))
    return sides[0], sides[1]


@dataclass(frozen=True)
class FileReader:
    """Turns the entries of one file into photos with readers, and gathers the faults."""

    path: Path
    values: dict[int | str, int]  # category id -> class
    has_masks: bool
    licenses: tuple[int, ...]
    faults: list[str]
    clip: bool = False  # boxes that stick out are cut; their faults are told all the same
    stuff: bool = False  # the file is of regions, which have no crowds

    def read(self, content: dict[str, Any]) -> Iterator[tuple[Photo, CocoReader]]:
        photos, known = self._read_photos(content["images"])
        instances = self._read_instances(content["annotations"], photos, known)
        for number, photo in photos.items():
            where = f"{self.path}: photo {photo.file_name}"
            yield photo, CocoReader(where, photo.size_hw, tuple(instances.get(number, ())), self.has_masks)

    def _read_photos(self, entries: list[Any]) -> tuple[dict[int | str, Photo], set[int | str]]:
        """Those with a wanted licence by id, and all ids."""
        photos: dict[int | str, Photo] = {}
        known: set[int | str] = set()
        names: dict[str, str] = {}  # name without suffix -> with it
        for index, entry in enumerate(entries):
            try:
                file_name, size_hw, number = str(entry["file_name"]), read_size(entry), read_id(entry["id"])
            except KeyError as error:
                self.faults.append(f"{self.path}: image {index} of the list lacks something ({error!r})")
                if "id" in entry:
                    known.add(read_id(entry["id"]))  # so that its objects are no faults beside it
                continue
            except WRONG as error:
                self.faults.append(f"{self.path}: image {index} of the list ({entry['file_name']}): {error}")
                known.add(read_id(entry.get("id")))
                continue
            if number in known:
                self.faults.append(f"{self.path}: photo {file_name} has the id {number}, which stands there already")
                continue
            known.add(number)
            if self.licenses and read_id(entry.get("license")) not in self.licenses:
                continue
            name = strip_suffix(file_name)
            if name in names:
                self.faults.append(f"{self.path}: photos {names[name]} and {file_name} have the same name; rename one")
                continue
            names[name] = file_name
            photos[number] = Photo(name, file_name, size_hw)
        return photos, known

    def _read_instances(
        self, entries: list[Any], photos: dict[int | str, Photo], known: set[int | str]
    ) -> dict[int | str, list[CocoInstance]]:
        instances: dict[int | str, list[CocoInstance]] = {}
        for index, entry in enumerate(entries):
            number = entry.get("id", f"number {index} of the list")
            of = read_id(entry.get("image_id"))
            if of not in known:
                self.faults.append(f"{self.path}: annotation {number} belongs to photo {of!r}, which is not listed")
            elif of in photos:
                try:
                    instances.setdefault(of, []).append(self._read_instance(number, entry, photos[of]))
                except WRONG as error:
                    words = f"lacks {error}" if isinstance(error, KeyError) else error.args[0] if error.args else ""
                    self._tell(number, photos[of], words)
        return instances

    def _tell(self, number: Any, photo: Photo, fault: str) -> None:
        line = f"{self.path}: annotation {number} of photo {photo.name}: {fault}"
        self.faults.append(Outside(line) if isinstance(fault, Outside) else line)

    def _read_instance(self, number: Any, entry: dict[str, Any], photo: Photo) -> CocoInstance:
        value = self.values.get(read_id(entry["category_id"]))
        if value is None:
            raise ValueError(f"class id {entry['category_id']!r} is not among the categories")
        outline = _read_outline(entry.get("segmentation")) if self.has_masks else None
        box = None
        if entry.get("bbox") or not outline:
            x, y, width, height = map(float, entry["bbox"])
            box = (x, y, x + width, y + height)
            fault = find_box_fault(box, photo.size_hw)
            if fault and not (self.clip and isinstance(fault, Outside)):
                raise ValueError(fault)
            if fault:
                self._tell(number, photo, fault)
        crowd = read_id(entry.get("iscrowd") or 0) != 0 and not self.stuff  # which tools mark so for its run lengths
        if self.has_masks and not outline:
            assert box is not None
            self._tell(number, photo, f"has no outline, which others have; outline it, or {WITHOUT_OUTLINE}")
            x1, y1, x2, y2 = box
            outline, crowd = (read_corners([x1, y1, x2, y1, x2, y2, x1, y2]),), True
        area = entry.get("area")
        stated = float(area) if isinstance(area, int | float) and math.isfinite(area) else None
        return CocoInstance(number, value, crowd, box, outline, stated)


def _read_outline(segmentation: Any) -> Any:
    """Polygons as arrays; run lengths as they are. Raises ValueError."""
    if not isinstance(segmentation, list):
        if segmentation and not isinstance(segmentation, dict):
            raise ValueError(f"segmentation is {segmentation!r}; expected polygons or run lengths")
        return segmentation
    if segmentation and all(isinstance(number, int | float) for number in segmentation):
        segmentation = [segmentation]  # VIA writes one polygon so
    return tuple(read_corners(polygon) for polygon in segmentation)
