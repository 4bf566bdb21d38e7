"""Segments.ai's release: one JSON of samples; objects are polygons, boxes, or values of a bitmap beside it.

In a bitmap an object's id is R + 256 G + 65536 B. The release names addresses; photos and bitmaps are found by the last
part of theirs. The label set ``ground-truth`` counts, else the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imago.core.errors import DataError
from imago.core.instances import CroppedMask
from imago.data.formats.checks import read_annotations
from imago.data.formats.drawn import WRONG, Drawn, Page, build_dataset, describe
from imago.data.formats.find_files import PhotoFinder, iter_annotations
from imago.data.formats.format import Format, Found, ReadOptions, Truth
from imago.data.formats.shapes import Raster, Shape, polygon
from imago.data.formats.shapes import box as make_box
from imago.data.mask_pixels import UNREADABLE

LABEL_SET = "ground-truth"


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if next(_files(root), None) else ()


def _files(root: Path) -> Iterator[Path]:
    return iter_annotations(root, "Segments.ai")


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The data set without what is damaged, and the faults, a line each."""
    faults: list[str] = []
    pages = []
    finder = PhotoFinder(root)
    names: dict[str, str] = {}
    for path in _files(root):
        try:
            dataset = read_annotations(path)["dataset"]
            names |= {str(one["id"]): str(one["name"]) for one in dataset["task_attributes"]["categories"]}
            samples = list(dataset["samples"])
        except WRONG as error:
            raise DataError(f"{path}: not Segments.ai's release ({describe(error)})") from error
        for number, sample in enumerate(samples, 1):
            try:
                pages.append(_read_sample(sample, path, finder, names))
            except WRONG as error:
                faults.append(f"{path}: sample {number}: {describe(error)}")
    return build_dataset(root, pages, options, faults, declared=list(names.values()))


def _read_sample(sample: dict[str, Any], path: Path, finder: PhotoFinder, names: dict[str, str]) -> Page:
    sets = sample.get("labels") or {}
    label = sets.get(LABEL_SET) or next(filter(None, sets.values()), None)
    said = (label or {}).get("attributes") or {}
    url = (said.get("segmentation_bitmap") or {}).get("url")
    bitmap = finder.find(str(url), path.parent) if url else None
    if url and bitmap is None:
        raise ValueError(f"its bitmap {url} is missing; download it beside the release")
    objects = []
    for one in said.get("annotations", ()):
        shape = _read_shape(one, bitmap)
        objects.append(Drawn(names[str(one["category_id"])], (shape,), f"annotation {one['id']}"))
    image = (sample["attributes"].get("image") or {}).get("url")
    return Page(str(sample["name"]), path, tuple(objects), aliases=(str(image),) if image else ())


def _read_shape(one: dict[str, Any], bitmap: Path | None) -> Shape:
    if one.get("type") == "polygon":
        return polygon(one["points"])
    if one.get("type") == "bbox":
        return make_box(*one["points"][0], *one["points"][1])
    if bitmap is None:
        raise ValueError("has neither points nor a bitmap")
    return Raster(InBitmap(bitmap, int(one["id"])))


@dataclass(frozen=True)
class InBitmap:
    """The pixels of one id in a bitmap of the photo's size."""

    path: Path
    number: int

    def __call__(self, size_hw: tuple[int, int]) -> CroppedMask:
        numbers = _read_bitmap(self.path)
        if numbers.shape != size_hw:
            raise ValueError(f"{self.path}: is {numbers.shape} (height, width), its photo {size_hw}")
        return CroppedMask.from_mask(numbers == self.number)


@lru_cache(maxsize=2)  # all objects of a photo are in one
def _read_bitmap(path: Path) -> np.ndarray:
    """int (H, W)."""
    try:
        with Image.open(path) as image:
            rgb = np.asarray(image.convert("RGB"), np.int64)
    except UNREADABLE as error:
        raise ValueError(f"{path}: cannot be read as a bitmap ({error})") from error
    return rgb @ np.array([1, 256, 65536])


FORMAT = Format(
    name="Segments.ai's",
    layout="Segments.ai's release JSON with its photos and bitmaps",
    recognize=recognize,
    read_objects=read_objects,
    cannot_hold="crowd regions",
)
