"""Open Images (Kuznetsova et al. 2020, arXiv:1811.00982): CSV files of boxes and of masks, photos by their id.

    annotations/train-annotations-bbox.csv      annotations/train-annotations-object-segmentation.csv
    annotations/class-descriptions.csv          images/train/ID.jpg      masks/train/MASK.png

The files describe millions of photos: those that are not there are passed over, and counted. A box beside a mask of
the same place and class is that mask's; ``IsGroupOf`` marks crowd regions. Masks of another size are brought to the
photo's.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from imago.core.errors import DataError, ImageError
from imago.core.instances import CroppedMask
from imago.core.text import plural
from imago.data.formats.drawn import WRONG, Drawn, Page, build_dataset, describe
from imago.data.formats.find_files import PhotoFinder, walk
from imago.data.formats.format import Format, Found, ReadOptions, Truth
from imago.data.formats.shapes import Raster
from imago.data.formats.shapes import box as make_box
from imago.data.mask_pixels import read_mask
from imago.data.splits import parse_split
from imago.files.images import image_size

BOXES, MASKS, NAMES = "annotations-bbox.csv", "annotations-object-segmentation.csv", "class-descriptions"
Row = dict[str, str]


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if next(_files(root, (BOXES, MASKS)), None) else ()


def _files(root: Path, ends: tuple[str, ...]) -> Iterator[Path]:
    for folder, names in walk(root, 2):
        yield from (folder / name for name in names if name.endswith(ends))


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The data set without what is damaged, and the faults, a line each."""
    faults: list[str] = []
    named = _read_names(root)
    finder = PhotoFinder(root)
    photos = {path.stem: path for path in finder.photos if "masks" not in path.relative_to(root).parts[:-1]}
    masks, missing = _rows(root, MASKS, photos)
    boxes, more = _rows(root, BOXES, photos)
    pages = []
    for name, path in photos.items():
        found = masks.get(name, [])
        objects = []
        try:
            outlined = {_place(row, "Box") for _, row in found}
            alone = [(source, row) for source, row in boxes.get(name, []) if _place(row) not in outlined]
            size_hw = image_size(path)
            for number, (source, row) in enumerate([*found, *alone], 1):
                objects.append(_read_row(row, source, size_hw, named, finder, number))
            sources = [source for source, _ in (*found, *alone)]
            split = parse_split(sources[0].stem if sources else path.parent.name)
            pages.append(Page(path.name, path, tuple(objects), size_hw, split, path))
        except (ImageError, *WRONG) as error:
            faults.append(f"{path}: {describe(error)}")
    notes = [f"{plural(len(missing | more), 'photo')} of the annotations are not there"] if missing | more else []
    return build_dataset(root, pages, options, faults, notes)


def _read_names(root: Path) -> dict[str, str]:
    """``/m/01g317`` -> ``Person``."""
    path = next((p for p in _files(root, (".csv",)) if NAMES in p.name), None)
    if path is None:
        return {}
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        return {row[0]: row[1] for row in csv.reader(stream) if len(row) > 1}


def _rows(root: Path, end: str, photos: dict[str, Path]) -> tuple[dict[str, list[tuple[Path, Row]]], set[str]]:
    """Rows by photo, and the photos that are not there."""
    found: dict[str, list[tuple[Path, Row]]] = {}
    missing: set[str] = set()
    for path in _files(root, (end,)):
        try:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                for row in csv.DictReader(stream):
                    if row["ImageID"] in photos:
                        found.setdefault(row["ImageID"], []).append((path, row))
                    else:
                        missing.add(row["ImageID"])
        except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
            raise DataError(f"{path}: cannot be read as Open Images' CSV ({error!r})") from error
    return found, missing


def _place(row: Row, prefix: str = "") -> tuple[object, ...]:
    sides = (row[f"{prefix}{side}"] for side in ("XMin", "XMax", "YMin", "YMax"))
    return row["LabelName"], *(round(float(side), 3) for side in sides)


def _read_row(
    row: Row, source: Path, size_hw: tuple[int, int], named: dict[str, str], finder: PhotoFinder, number: int
) -> Drawn:
    name = named.get(row["LabelName"], row["LabelName"])
    if "MaskPath" in row:
        path = finder.find(row["MaskPath"], source.parent)
        if path is None:
            raise ValueError(f"its mask {row['MaskPath']} is missing")
        return Drawn(name, (Raster(MaskFile(path)),), f"mask {number}")
    height, width = size_hw
    x1, x2, y1, y2 = (float(row[side]) for side in ("XMin", "XMax", "YMin", "YMax"))
    shape = make_box(x1 * width, y1 * height, x2 * width, y2 * height)
    return Drawn(name, (shape,), f"box {number}", crowd=row.get("IsGroupOf") == "1")


@dataclass(frozen=True)
class MaskFile:
    """A PNG of one object, of the photo's shape."""

    path: Path

    def __call__(self, size_hw: tuple[int, int]) -> CroppedMask:
        mask = read_mask(self.path) > 0
        if mask.shape != size_hw:
            mask = cv2.resize(mask.astype(np.uint8), (size_hw[1], size_hw[0]), interpolation=cv2.INTER_NEAREST) > 0
        return CroppedMask.from_mask(mask)


FORMAT = Format(
    name="Open Images'",
    layout="Open Images' annotations/*-annotations-bbox.csv and *-object-segmentation.csv with images/ and masks/",
    recognize=recognize,
    read_objects=read_objects,
    lists_mask_files=True,
    cannot_hold="holes of boxes",
)
