"""Supervisely's project: ``meta.json`` with the classes, and in each data set ``img/`` and ``ann/NAME.EXT.json``.

Bitmaps (a PNG, packed by zlib, in base64, whose corner lies at ``origin``), polygons with holes, rectangles, lines and
points; other geometries are faults.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imago.core.errors import DataError
from imago.core.instances import CroppedMask
from imago.data.formats.checks import read_annotations
from imago.data.formats.drawn import WRONG, Drawn, Page, build_dataset, describe
from imago.data.formats.find_files import iter_annotations, walk
from imago.data.formats.format import Format, Found, ReadOptions, Truth
from imago.data.formats.packed_png import unpack_png
from imago.data.formats.shapes import Raster, Shape, line, point, polygon
from imago.data.formats.shapes import box as make_box


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if next(_projects(root), None) else ()


def _projects(root: Path) -> Iterator[Path]:
    """The files of classes: ``meta.json``, or ``obj_class_to_machine_color.json``'s neighbour of that name."""
    return (path for path in iter_annotations(root, "Supervisely") if path.name == "meta.json")


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The data set without what is damaged, and the faults, a line each."""
    faults: list[str] = []
    pages = []
    declared: dict[str, None] = {}
    for meta in _projects(root):
        try:
            declared |= {str(one["title"]): None for one in read_annotations(meta)["classes"]}
        except WRONG as error:
            raise DataError(f"{meta}: not Supervisely's list of classes ({describe(error)})") from error
        for folder, names in walk(meta.parent):
            if folder.name != "ann":
                continue
            for name in names:
                path = folder / name
                try:
                    pages.append(_read_page(path, options.reading.line_width, faults))
                except (DataError, *WRONG) as error:
                    faults.append(str(error) if isinstance(error, DataError) else f"{path}: {describe(error)}")
    return build_dataset(root, pages, options, faults, declared=list(declared))


def _read_page(path: Path, line_width: int, faults: list[str]) -> Page:
    content = read_annotations(path)
    name = path.name.removesuffix(".json")
    size_hw = int(content["size"]["height"]), int(content["size"]["width"])
    objects = []
    for number, said in enumerate(content["objects"], 1):
        try:
            shape = _read_shape(said, line_width)
            if shape is not None:
                objects.append(Drawn(str(said["classTitle"]), (shape,), f"object {number}"))
        except WRONG as error:
            faults.append(f"{path}: object {number}: {describe(error)}")
    photo = path.parent.parent / "img" / name
    return Page(f"img/{name}", path, tuple(objects), size_hw, image_path=photo if photo.is_file() else None)


def _read_shape(said: dict[str, Any], line_width: int) -> Shape | None:
    """None for lines and points that are left out. Raises one of WRONG."""
    kind = said["geometryType"]
    if kind == "bitmap":
        x, y = said["bitmap"]["origin"]
        return Raster(Bitmap(said["bitmap"]["data"], (int(x), int(y))))
    points = said["points"]["exterior"]
    if kind == "polygon":
        return polygon(points, *said["points"].get("interior", ()))
    if kind == "rectangle":
        return make_box(*points[0], *points[1])
    if kind == "line":
        return line(points, line_width) if line_width else None
    if kind == "point":
        return point(points[0], line_width) if line_width else None
    raise ValueError(f"{kind!r} is no geometry that has an area")


@dataclass(frozen=True)
class Bitmap:
    """A packed mask whose upper left corner lies at ``corner`` (x, y)."""

    text: str = field(repr=False)
    corner: tuple[int, int]

    def __call__(self, size_hw: tuple[int, int]) -> CroppedMask:
        return CroppedMask.from_mask(unpack_png(self.text, deflated=True), *self.corner)


FORMAT = Format(
    name="Supervisely's",
    layout="Supervisely's meta.json with img/ and ann/ in each data set",
    recognize=recognize,
    read_objects=read_objects,
    cannot_hold="crowd regions",
)
