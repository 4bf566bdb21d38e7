"""Segments of COCO's panoptic annotations: a JSON that lists them, and a PNG a photo whose colours are their ids.

``annotations/panoptic_val2017.json`` with PNGs in ``annotations/panoptic_val2017/`` or ``panoptic_val2017/`` and photos
where coco.py finds them; or one ``panoptic.json`` that names the PNGs from where it lies, as
``imago panoptic`` writes it. A segment's id is red + 256 green + 256² blue; 0 is void. Category ids may have gaps: in
their order they become the classes 1 .. K. coco_panoptic.py makes label maps and objects of them.

https://cocodataset.org/#format-data (Kirillov et al. 2019, arXiv:1801.00868).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from imago.core.errors import DataError, ImageError
from imago.core.labels import Labels
from imago.core.panoptic import Panoptic, Segment, rgb_to_ids
from imago.core.text import to_json, unescape
from imago.data.dataset import Dataset, Sample
from imago.data.formats.checks import instance_labels
from imago.data.formats.coco import divide_one, find_photo, read_content
from imago.data.formats.coco_entries import WRONG, read_id
from imago.data.formats.find_files import PhotoFinder
from imago.data.formats.format import Found, ReadOptions, write_text
from imago.data.mask_pixels import UNREADABLE
from imago.data.splits import parse_split
from imago.files.clutter import glob_files

TOGETHER = "panoptic.json"  # beside its PNGs, or above them
PATTERNS = ("annotations/panoptic_*.json", "panoptic_*.json", TOGETHER)


@dataclass(frozen=True)
class PanopticReader:
    """Reads one photo's segments."""

    path: Path  # of the PNG
    segments: tuple[Segment, ...]  # without their areas

    def __call__(self) -> Panoptic:
        ids = read_ids(self.path)
        try:
            return Panoptic.of(ids, self.segments)
        except ValueError as error:
            raise DataError(f"{self.path}: its colours and the JSON do not belong together ({error})") from error


class _Entry(NamedTuple):
    """One photo of a file."""

    name: str
    photo: str
    png: str
    segments: tuple[Segment, ...]


def annotation_files(root: Path) -> list[Path]:
    """Those of the first pattern that finds any with a folder of PNGs."""
    for pattern in PATTERNS:
        found = [path for path in glob_files(root, pattern) if path.name == TOGETHER or _png_folders(root, path)]
        if found:
            return found
    return []


def _png_folders(root: Path, annotations: Path) -> list[Path]:
    places = (annotations.parent / annotations.stem, root / annotations.stem)
    return [place for place in dict.fromkeys(places) if place.is_dir()]


def read_segments(root: Path, options: ReadOptions) -> Found:
    """The data set with segments in its samples, without what is damaged, and the faults, a line each."""
    contents: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path in annotation_files(root):
        split = parse_split(path.stem.removeprefix("panoptic")) or "train"
        if split in contents:
            raise DataError(f"{root}: {path.name} and {contents[split][0].name} both hold {split!r}; take one away")
        contents[split] = path, read_content(path)
    labels, values, things = _read_classes(root, [content for _, content in contents.values()])
    faults: list[str] = []
    finder = PhotoFinder(root)
    splits: dict[str, tuple[Sample, ...]] = {}
    for split, (path, content) in sorted(contents.items()):
        samples = []
        for entry in _read_entries(path, content, values, things, faults):
            photo = find_photo(finder, path, entry.photo)
            png = next(
                filter(None, (_plain_file(at, entry.png) for at in (*_png_folders(root, path), path.parent))), None
            )
            photo = None if photo == png else photo  # whoever looks everywhere for a.png finds that of the segments too
            if photo is None or png is None:
                faults.append(f"{path}: {'photo ' + entry.photo if photo is None else 'PNG ' + entry.png} is missing")
                continue
            read = PanopticReader(png, entry.segments)
            samples.append(Sample(entry.name, photo, options.channels, read_panoptic=read, label_path=png))
        splits[split] = tuple(samples)
    splits, divided = divide_one(root, splits)
    dataset = Dataset(root, labels, splits, divided.notes, things=tuple(sorted(things)))
    return dataset, (*faults, *divided.faults)


def read_ids(path: Path) -> np.ndarray:
    """int32 (H, W): the ids of a PNG. Raises ImageError."""
    try:
        with Image.open(path) as image:
            image.load()
            mode, colors = image.mode, np.array(image)
    except UNREADABLE as error:
        raise ImageError(f"{path}: the PNG of segments cannot be read ({error})") from error
    if mode not in ("RGB", "RGBA"):
        raise ImageError(f"{path}: is {mode}; ids of segments are stored in red, green and blue")
    return rgb_to_ids(colors)


def _plain_file(folder: Path, name: str) -> Path | None:
    for each in (name, unescape(name)):
        try:
            if (folder / each).is_file():
                return folder / each
        except (OSError, ValueError):  # no name that a file can have
            continue
    return None


def _read_classes(root: Path, contents: Iterable[dict[str, Any]]) -> tuple[Labels, dict[int | str, int], set[int]]:
    """The labels, category id -> class, and which classes are things. Every file must name the same categories."""
    found: dict[int | str, tuple[str, bool, Any]] | None = None
    for content in contents:
        try:
            named = {
                read_id(each["id"]): (str(each["name"]), bool(each["isthing"]), tuple(each.get("color", ())))
                for each in content["categories"]
            }
        except (KeyError, TypeError) as error:
            raise DataError(f"{root}: a category lacks its id, name or isthing ({error!r})") from error
        if len(named) < len(content["categories"]):
            raise DataError(f"{root}: two categories have the same id; give each its own")
        if found is not None and named != found:
            raise DataError(f"{root}: the files name different categories ({len(found)} and {len(named)}); join them")
        found = named
    if not found:
        raise DataError(f"{root}: no categories; COCO's file lists id, name and isthing of each class")
    ids = sorted(found, key=lambda number: (isinstance(number, str), number))
    labels = instance_labels([found[i][0] for i in ids], root)
    colors = [found[i][2] for i in ids]
    if all(_is_color(color) for color in colors) and len(set(colors)) == len(colors):
        labels = Labels(labels.names, ((0, 0, 0), *colors), labels.ignore, background=0)
    return labels, {i: value for value, i in enumerate(ids, 1)}, {v for v, i in enumerate(ids, 1) if found[i][1]}


def _is_color(color: tuple[Any, ...]) -> bool:
    return len(color) == 3 and all(isinstance(part, int) and 0 <= part <= 255 for part in color)


def _read_entries(
    path: Path, content: dict[str, Any], values: dict[int | str, int], things: set[int], faults: list[str]
) -> Iterator[_Entry]:
    """The photos of one file, each with its segments; what is wrong becomes a line of ``faults``."""
    photos: dict[int | str, str] = {}
    nameless = set()
    for image in content["images"]:
        try:
            photos[read_id(image["id"])] = str(image["file_name"]).replace("\\", "/")
        except WRONG as error:
            nameless.add(read_id(image.get("id")))
            faults.append(f"{path}: a photo lacks its id or file_name ({error!r})")
    seen: set[str] = set()
    for annotation in content["annotations"]:
        number = annotation.get("image_id")
        if read_id(number) in nameless:
            continue
        try:
            photo, png = photos[read_id(number)], str(annotation["file_name"]).replace("\\", "/")
            segments = tuple(_read_segment(each, values, things) for each in annotation["segments_info"])
            Panoptic.of(np.array([[segment.id for segment in segments]], np.int32), segments)  # ids, classes
        except WRONG as error:
            faults.append(f"{path}: the annotation of photo {number} cannot be used ({error!r})")
            continue
        name = photo.rpartition(".")[0] or photo
        if name in seen:
            faults.append(f"{path}: two annotations are of photo {photo}; take one away")
            continue
        seen.add(name)
        yield _Entry(name, photo, png, segments)


def _read_segment(entry: dict[str, Any], values: dict[int | str, int], things: set[int]) -> Segment:
    category = read_id(entry["category_id"])
    if category not in values:
        raise ValueError(f"segment {entry['id']} is of category {category}, which is not listed")
    score = entry.get("score")
    return Segment(
        int(entry["id"]), values[category], values[category] in things,
        score=None if score is None else float(score), crowd=bool(entry.get("iscrowd", 0)),
    )  # fmt: skip


# Writing


@dataclass(frozen=True)
class PhotoSegments:
    """The segments of one photo, and what a written file is to call it and its PNG."""

    file_name: str
    png_name: str
    panoptic: Panoptic


def to_coco_panoptic(photos: Iterable[PhotoSegments], labels: Labels, things: Iterable[int]) -> dict[str, Any]:
    """COCO's panoptic format, without the PNGs (``Prediction.write_panoptic``); category ids are the class values."""
    images, annotations = [], []
    for number, photo in enumerate(photos, 1):
        height, width = photo.panoptic.size_hw
        images.append({"id": number, "file_name": photo.file_name, "height": height, "width": width})
        infos = [
            {
                "id": segment.id,
                "category_id": segment.value,
                "area": segment.area,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "iscrowd": int(segment.crowd),
                **({} if segment.score is None else {"score": float(str(np.float32(segment.score)))}),
            }
            for segment, (x1, y1, x2, y2) in zip(photo.panoptic.segments, photo.panoptic.boxes().tolist(), strict=True)
        ]
        annotations.append({"image_id": number, "file_name": photo.png_name, "segments_info": infos})
    are_things, colors = set(things), labels.colors
    categories = [
        {"id": value, "name": name, "isthing": int(value in are_things), "color": list(colors[value])}
        for value, name in enumerate(labels.names)
        if value > 0
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco_panoptic(
    path: Path, photos: Iterable[PhotoSegments], labels: Labels, things: Iterable[int], overwrite: bool = False
) -> None:
    """``to_coco_panoptic`` as a file."""
    write_text(path, to_json(to_coco_panoptic(photos, labels, things)), overwrite)
