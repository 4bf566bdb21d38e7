"""COCO panoptic (Kirillov et al. 2019, arXiv:1801.00868): ``annotations/panoptic_val2017.json``, and a PNG a photo in
the folder of the same name, in which R + 256 G + 65536 B is the number of the segment, and 0 is no segment.

The JSON says of each segment its category, and whether it is a crowd; ``isthing`` of a category whether its segments
are objects. What is in no segment counts for nothing in label maps, and so do crowds.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from PIL import Image

from imago.core.errors import DataError
from imago.core.labels import IGNORE, Labels
from imago.core.text import to_json
from imago.data.formats.checks import strip_suffix
from imago.data.formats.coco import find_photo
from imago.data.formats.coco_entries import read_id
from imago.data.formats.coco_segments import annotation_files, read_segments
from imago.data.formats.find_files import PhotoFinder
from imago.data.formats.format import Format, Found, ImageDetections, ReadOptions, Truth, write_text
from imago.data.formats.segments import (
    VOID,
    ClassTable,
    Entry,
    Segment,
    Segments,
    make_maps,
    make_objects,
    read_numbers,
)  # fmt: skip
from imago.data.mask_pixels import UNKNOWN
from imago.data.splits import Splits, find_splits, parse_split
from imago.files.clutter import glob_files
from imago.files.text import read_json
from imago.files.writing import atomic_write

PATTERNS = ("annotations/panoptic_*.json", "panoptic_*.json", "panoptic.json")  # the first that finds a file counts
_WRONG = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class ReadPanoptic:
    """Reads one photo's segments."""

    path: Path
    meanings: Mapping[int, Segment]

    def __call__(self) -> Segments:
        packed = read_numbers(self.path, colored=True)
        numbers = (packed & 255) << 16 | packed & 0xFF00 | packed >> 16  # the first channel is the lowest
        unknown = sorted({int(number) for number in np.unique(numbers)} - {0} - self.meanings.keys())
        if unknown:
            raise DataError(f"{self.path}: segment {unknown[0]} is not listed in the JSON's segments_info")
        return Segments(numbers, self.meanings)


def recognize(root: Path) -> tuple[Truth, ...]:
    maps: tuple[Truth, ...] = ("label maps", "objects") if _find_files(root) else ()
    return (*maps, "segments") if annotation_files(root) else maps


def _find_files(root: Path) -> list[Path]:
    """Those that have their folder of PNGs."""
    for pattern in PATTERNS:
        found = [path for path in glob_files(root, pattern) if path.with_suffix("").is_dir()]
        if found:
            return found
    return []


def read_maps(root: Path, options: ReadOptions) -> Found:
    """Things and stuff, in the order of their category ids."""
    entries, classes, faults, splits = _read_files(root, crowds=False)
    return make_maps(root, entries, classes, faults, options, splits)


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The things."""
    entries, classes, faults, splits = _read_files(root, crowds=True)
    return make_objects(root, entries, classes, faults, options, splits)


def _read_files(root: Path, crowds: bool) -> tuple[dict[str, Entry], ClassTable, list[str], Splits]:
    entries: dict[str, Entry] = {}
    members: dict[str, tuple[str, ...]] = {}
    faults: list[str] = []
    categories: dict[int | str, dict[str, Any]] | None = None
    for path in _find_files(root):
        content = _read_content(path)
        try:
            named = {read_id(category["id"]): category for category in content["categories"]}
            named = {number: named[number] for number in sorted(named, key=lambda n: (isinstance(n, str), n))}
        except _WRONG as error:
            raise DataError(f"{path}: a category lacks its id ({error!r})") from error
        if categories is not None and named.keys() != categories.keys():
            raise DataError(f"{root}: the files name different categories; join them")
        categories = named
        found = _read_entries(root, path, content, named, crowds, faults)
        split = parse_split(path.stem) or "train"
        faults += [f"{path}: photo {name} stands in another file too" for name in found.keys() & entries.keys()]
        members[split] = (*members.get(split, ()), *(name for name in found if name not in entries))
        entries |= found
    assert categories is not None
    known = categories.values()
    names = tuple(str(category.get("name", number)) for number, category in categories.items())
    things = tuple(bool(category.get("isthing", 1)) for category in known)
    colors = tuple((c[0], c[1], c[2]) for c in (category.get("color") for category in known) if _is_color(c))
    classes = ClassTable(names, things, colors if len(colors) == len(names) else ())
    splits = Splits(members)
    if list(members) == ["train"]:
        splits = find_splits(root, list(entries))
    return entries, classes, faults, splits.with_val_split("no panoptic_val*.json")


def _is_color(said: Any) -> TypeGuard[list[int]]:
    return isinstance(said, list) and len(said) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in said)


def _read_content(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); copy it again") from error
    for key in ("annotations", "categories"):
        found = content.get(key) if isinstance(content, dict) else None
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise DataError(f"{path}: not COCO's panoptic format; expected a list of objects under {key!r}")
    return dict(content)


def _read_entries(
    root: Path, path: Path, content: dict[str, Any], categories: dict[int | str, dict[str, Any]], crowds: bool,
    faults: list[str],
) -> dict[str, Entry]:  # fmt: skip
    ids = list(categories)
    things = [bool(category.get("isthing", 1)) for category in categories.values()]
    listed = content.get("images")
    photos = {
        read_id(entry.get("id")): str(entry.get("file_name"))
        for entry in (listed if isinstance(listed, list) else [])
        if isinstance(entry, dict)
    }
    entries = {}
    finder = PhotoFinder(root)
    for number, annotation in enumerate(content["annotations"]):
        try:
            mask = path.with_suffix("") / str(annotation["file_name"])
            meanings = {}
            for segment in annotation["segments_info"]:
                crowd = bool(int(segment.get("iscrowd") or 0))
                value = ids.index(read_id(segment["category_id"]))
                meanings[int(segment["id"])] = Segment(VOID if crowd and not crowds else value, things[value], crowd)
            file_name = photos.get(read_id(annotation.get("image_id")), str(annotation["file_name"]))
        except _WRONG as error:
            faults.append(f"{path}: entry {number} of the annotations cannot be read ({error!r})")
            continue
        stem = strip_suffix(file_name)
        names = (file_name, *(f"{stem}{suffix}" for suffix in (".jpg", ".png", ".jpeg")))
        photo = next((one for name in names if (one := find_photo(finder, path, name)) and one != mask), None)
        if photo is None:
            faults.append(f"{path}: photo {file_name} is missing")
        elif stem in entries:
            faults.append(f"{path}: photo {file_name} stands there twice")
        else:
            entries[stem] = Entry(photo, mask, ReadPanoptic(mask, meanings))
    return entries


# Writing


def write_panoptic(
    path: Path, photos: Iterable[tuple[ImageDetections, np.ndarray]], labels: Labels, things: Iterable[int],
    overwrite: bool = False,
) -> None:  # fmt: skip
    """``path`` (a .json) and its folder of PNGs. Of each photo its objects, the first on top, and its label map, uint8
    (H, W), whose other classes are one segment of stuff each; IGNORE and the background are in no segment.

    ``things``: the values of classes that are counted.
    """
    counted = frozenset(things)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (photo, label) in enumerate(photos, 1):
        height, width = label.shape
        numbers, segments = _to_segments(photo, label, labels, counted)
        name = f"{Path(photo.file_name).with_suffix('').as_posix()}.png"
        target = path.with_suffix("") / name
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.stack([numbers & 255, numbers >> 8 & 255, numbers >> 16], axis=2).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        with atomic_write(target, overwrite) as stream:
            stream.write(buffer.getvalue())
        images.append({"id": number, "file_name": photo.file_name, "height": height, "width": width})
        annotations.append({"image_id": number, "file_name": name, "segments_info": segments})
    categories = [
        {"id": value, "name": name, "isthing": int(value in counted), "color": list(labels.colors[value])}
        for value, name in enumerate(labels.names)
        if value != labels.background
    ]
    write_text(path, to_json({"images": images, "annotations": annotations, "categories": categories}), overwrite)


def _to_segments(
    photo: ImageDetections, label: np.ndarray, labels: Labels, things: frozenset[int]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """int64 (H, W) of numbers, and segments_info."""
    instances = photo.instances
    numbers = np.zeros(label.shape, np.int64)
    kinds: list[tuple[int, bool]] = []
    for index in range(len(instances)):
        where, crop = instances.region(index)
        free = crop & (numbers[where] == 0)
        kinds.append((int(instances.classes[index]), bool(instances.crowd is not None and instances.crowd[index])))
        numbers[where][free] = len(kinds)
    for value in (int(v) for v in np.unique(label)):
        if value not in (IGNORE, UNKNOWN, labels.background) and value not in things:
            kinds.append((value, False))
            numbers[(label == value) & (numbers == 0)] = len(kinds)
    segments = []
    for number, (value, crowd) in enumerate(kinds, 1):
        rows, columns = np.nonzero(numbers == number)
        if rows.size:
            left, top = int(columns.min()), int(rows.min())
            box = [left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top]
            segments.append(
                {"id": number, "category_id": value, "iscrowd": int(crowd), "area": int(rows.size), "bbox": box}
            )
    return numbers, segments


FORMAT = Format(
    name="COCO panoptic",
    layout="COCO's annotations/panoptic_*.json with the folder of PNGs of the same name",
    recognize=recognize,
    read_maps=read_maps,
    read_objects=read_objects,
    read_segments=read_segments,
    parts_everything=True,
    cannot_hold="objects that overlap",
)
