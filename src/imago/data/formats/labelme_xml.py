"""LabelMe's XML (Russell et al. 2008), one a photo: the web tool's, not that of the later program labelme.

    <annotation><filename>a.jpg</filename><imagesize><nrows>480</nrows><ncols>640</ncols></imagesize>
        <object><name>cat</name><deleted>0</deleted><polygon><pt><x>1</x><y>2</y></pt> ... </polygon></object>

An object is a polygon, a box (``<type>bounding_box``) or a mask: ``<segm><mask>NAME.png`` in ``Masks/``, whose pixels
are the object where they are neither 0 nor clear. What is ``<deleted>1`` is none.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from imago.core.errors import DataError
from imago.core.instances import CroppedMask
from imago.data.formats.checks import read_annotation_xml
from imago.data.formats.drawn import WRONG, Drawn, Page, build_dataset, describe
from imago.data.formats.find_files import iter_annotations
from imago.data.formats.format import Format, Found, ReadOptions, Truth
from imago.data.formats.shapes import Raster, Shape, polygon, to_points
from imago.data.formats.shapes import box as make_box
from imago.data.mask_pixels import UNREADABLE


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if next(_files(root), None) else ()


def _files(root: Path) -> Iterator[Path]:
    return iter_annotations(root, "LabelMe XML", (".xml",))


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The data set without what is damaged, and the faults, a line each."""
    faults: list[str] = []
    pages = []
    for path in _files(root):
        try:
            pages.append(_read_page(path, faults))
        except (DataError, *WRONG) as error:
            faults.append(str(error) if isinstance(error, DataError) else f"{path}: {describe(error)}")
    return build_dataset(root, pages, options, faults)


def _read_page(path: Path, faults: list[str]) -> Page:
    tree = read_annotation_xml(path)
    name = tree.findtext("filename", "").strip()
    sides = [tree.findtext(f"imagesize/{side}", "").strip() for side in ("nrows", "ncols")]
    size_hw = (int(sides[0]), int(sides[1])) if all(s.isdecimal() and int(s) for s in sides) else None
    objects = []
    for number, entry in enumerate(tree.findall("object"), 1):
        if entry.findtext("deleted", "0").strip() == "1":
            continue
        label = entry.findtext("name", "").strip()
        try:
            if not label:
                raise ValueError("has no name")
            objects.append(Drawn(label, (_read_shape(entry, path),), f"object {number}"))
        except WRONG as error:
            faults.append(f"{path}: object {number} ({label or 'no name'}): {describe(error)}")
    return Page(name, path, tuple(objects), size_hw)


def _read_shape(entry: ElementTree.Element, path: Path) -> Shape:
    mask = entry.findtext("segm/mask", "").strip()
    if mask:
        return Raster(MaskFile(next(iter((path.parent / folder / mask) for folder in _folders(path, mask)))))
    points = to_points([(pt.findtext("x"), pt.findtext("y")) for pt in entry.findall("polygon/pt")])
    if entry.findtext("type", "").strip() == "bounding_box":
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        return make_box(left, top, right, bottom)
    return polygon(points)


def _folders(path: Path, mask: str) -> list[str]:
    """Where the mask lies, beside the file. Raises ValueError."""
    found = [folder for folder in ("Masks", "../Masks", ".") if (path.parent / folder / mask).is_file()]
    if not found:
        raise ValueError(f"its mask Masks/{mask} is missing")
    return found


@dataclass(frozen=True)
class MaskFile:
    """A PNG of the photo's size."""

    path: Path

    def __call__(self, size_hw: tuple[int, int]) -> CroppedMask:
        try:
            with Image.open(self.path) as image:
                rgba = np.asarray(image.convert("RGBA"))
        except UNREADABLE as error:
            raise ValueError(f"{self.path}: cannot be read as a PNG ({error})") from error
        if rgba.shape[:2] != size_hw:
            raise ValueError(f"{self.path}: is {rgba.shape[:2]} (height, width), its photo {size_hw}")
        return CroppedMask.from_mask((rgba[..., :3] > 0).any(axis=2) & (rgba[..., 3] > 0))


FORMAT = Format(
    name="LabelMe's XML",
    layout="LabelMe's XML files beside their photos",
    recognize=recognize,
    read_objects=read_objects,
    cannot_hold="crowd regions",
)
