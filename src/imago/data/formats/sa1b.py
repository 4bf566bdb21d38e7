"""SA-1B (Kirillov et al. 2023, arXiv:2304.02643): one JSON a photo, with run lengths and no classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imago.core.errors import DataError
from imago.core.instances import CroppedMask
from imago.core.rle import unpack_rle
from imago.data.formats.checks import read_annotations
from imago.data.formats.coco_entries import draw_outline
from imago.data.formats.drawn import UNNAMED, WRONG, Drawn, Page, build_dataset, describe
from imago.data.formats.find_files import iter_annotations
from imago.data.formats.format import Format, Found, ReadOptions, Truth
from imago.data.formats.shapes import Raster


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if next(_files(root), None) else ()


def _files(root: Path) -> Iterator[Path]:
    return iter_annotations(root, "SA-1B")


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The data set without what is damaged, and the faults, a line each."""
    faults: list[str] = []
    pages = []
    for path in _files(root):
        try:
            content = read_annotations(path)
            image = content["image"]
            shapes = [(one.get("id"), Raster(Outline(one["segmentation"]))) for one in content["annotations"]]
            objects = tuple(Drawn(UNNAMED, (shape,), f"annotation {number}") for number, shape in shapes)
            pages.append(Page(str(image["file_name"]), path, objects, (int(image["height"]), int(image["width"]))))
        except (DataError, *WRONG) as error:
            faults.append(str(error) if isinstance(error, DataError) else f"{path}: {describe(error)}")
    return build_dataset(root, pages, options, faults)


@dataclass(frozen=True)
class Outline:
    """COCO's run lengths."""

    segmentation: Any = field(repr=False)

    def __call__(self, size_hw: tuple[int, int]) -> CroppedMask:
        counts = self.segmentation["counts"]
        if isinstance(counts, str) and len(unpack_rle(counts)) < 2:  # an empty one says nothing of its size
            return CroppedMask.from_mask(np.zeros((0, 0), bool))
        return draw_outline(self.segmentation, size_hw)


FORMAT = Format(
    name="SA-1B's",
    layout="SA-1B's JSON files beside their photos",
    recognize=recognize,
    read_objects=read_objects,
    cannot_hold="classes (there is one), crowd regions",
)
