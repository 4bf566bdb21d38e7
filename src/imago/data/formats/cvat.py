"""CVAT for images 1.1: one ``annotations.xml``, photos in ``images/``.

    <image name="a.jpg" width="640" height="480" subset="Train">
        <polygon label="cat" points="1.00,2.00;..." z_order="0"/>
        <mask label="cat" rle="3, 4, ..." left="10" top="20" width="30" height="40" z_order="1"/>

Also boxes and ellipses (turned by ``rotation`` about their middle), polylines and points. A mask's runs are zeros,
ones, ... row by row in its rectangle. Of two objects in one place a label map shows the one of the higher ``z_order``;
polygons and masks of one label and ``group_id`` are parts of one object, as in CVAT's own export to COCO. The attribute
``is_crowd`` marks crowd regions. Tags, skeletons and cuboids are not used.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from imago.core.errors import DataError
from imago.core.instances import CroppedMask
from imago.core.labels import Labels
from imago.core.polygons import join_rings
from imago.core.rle import encode_rle
from imago.core.text import to_utf8
from imago.data.formats.checks import read_annotation_xml
from imago.data.formats.drawn import WRONG, Drawn, Page, build_dataset, describe
from imago.data.formats.find_files import iter_annotations
from imago.data.formats.format import (
    Annotated,
    Format,
    Found,
    Losses,
    Outlined,
    ReadOptions,
    Truth,
    WriteOptions,
    Writer,
    outline_instances,
)
from imago.data.formats.shapes import Raster, Shape, ellipse, line, number, point, polygon, turned_box
from imago.data.splits import parse_split
from imago.files.writing import atomic_write

CROWD = ("is_crowd", "iscrowd")
NOT_USED = ("tag", "skeleton", "cuboid")


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if next(_files(root), None) else ()


def _files(root: Path) -> Iterator[Path]:
    return iter_annotations(root, "CVAT", (".xml",))


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The data set without what is damaged, and the faults, a line each."""
    faults: list[str] = []
    pages = []
    declared: dict[str, None] = {}
    unused: Counter[str] = Counter()
    for path in _files(root):
        tree = read_annotation_xml(path)
        if tree.find("track") is not None:
            raise DataError(
                f"{path}: holds the tracks of a video; export it from CVAT as 'CVAT for images 1.1' with its photos"
            )
        for label in tree.iterfind("meta//labels/label"):
            if label.findtext("parent") is None:  # parts of skeletons are no classes
                declared[label.findtext("name", "").strip()] = None
        for image in tree.iterfind("image"):
            pages.append(_read_image(image, path, options.reading.line_width, faults))
            unused.update(one.tag for one in image if one.tag in NOT_USED)
    notes = [f"not used: {', '.join(f'{count} {tag}' for tag, count in sorted(unused.items()))}"] if unused else []
    return build_dataset(root, pages, options, faults, notes, list(declared))


def _read_image(image: ElementTree.Element, path: Path, line_width: int, faults: list[str]) -> Page:
    name = image.get("name", "")
    sides = image.get("height", ""), image.get("width", "")
    size_hw = (int(sides[0]), int(sides[1])) if all(s.isdecimal() and int(s) for s in sides) else None
    objects: dict[object, Drawn] = {}
    for index, entry in enumerate((one for one in image if one.tag not in NOT_USED), 1):
        where, label = f"{entry.tag} {index}", entry.get("label", "").strip()
        try:
            if not label:
                raise ValueError("has no label")
            shape = _read_shape(entry, line_width)
            z_order = int(entry.get("z_order") or 0)
        except WRONG as error:
            faults.append(f"{path}: photo {name}, {where} ({label or 'no label'}): {describe(error)}")
            continue
        if shape is None:
            continue
        crowd = any(one.get("name") in CROWD and one.text == "true" for one in entry.findall("attribute"))
        group = entry.get("group_id") if entry.tag in ("polygon", "mask") else None
        key = (label, group, crowd) if group else index
        shapes = (*objects[key].shapes, shape) if key in objects else (shape,)
        objects[key] = Drawn(label, shapes, where, crowd=crowd, z_order=z_order)
    return Page(name, path, tuple(objects.values()), size_hw, parse_split(image.get("subset", "")))


def _read_shape(entry: ElementTree.Element, line_width: int) -> Shape | None:
    """None for lines and points that are left out. Raises one of WRONG."""

    def value(name: str) -> float:
        return number(entry.attrib[name])

    angle = number(entry.get("rotation") or 0)
    if entry.tag == "box":
        x1, y1, x2, y2 = map(value, ("xtl", "ytl", "xbr", "ybr"))
        return turn_about_middle(x1, y1, x2 - x1, y2 - y1, angle)
    if entry.tag == "ellipse":
        return ellipse(value("cx"), value("cy"), value("rx"), value("ry"), angle)
    if entry.tag == "mask":
        size_hw = int(value("height")), int(value("width"))
        return Raster(RunLengths(entry.attrib["rle"], (int(value("left")), int(value("top"))), size_hw))
    points = [pair.split(",") for pair in entry.attrib["points"].split(";")]
    if entry.tag == "polygon":
        return polygon(points)
    if entry.tag == "polyline":
        return line(points, line_width) if line_width else None
    if entry.tag == "points":
        if len(points) > 1:
            raise ValueError("holds several points, which are no outline")
        return point(points[0], line_width) if line_width else None
    raise ValueError("is no shape that is known")


def turn_about_middle(x: float, y: float, width: float, height: float, angle_deg: float) -> Shape:
    """A rectangle, turned about its middle, clockwise as the picture is seen."""
    angle = math.radians(angle_deg)
    half = np.array([width, height]) / 2
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    corner = np.array([x, y]) + half + turn @ -half
    return turned_box(float(corner[0]), float(corner[1]), width, height, angle_deg)


@dataclass(frozen=True)
class RunLengths:
    """Runs of zeros, ones, ..., row by row in a rectangle whose upper left corner lies at ``corner`` (x, y)."""

    text: str = field(repr=False)
    corner: tuple[int, int]
    size_hw: tuple[int, int]

    def __call__(self, size_hw: tuple[int, int]) -> CroppedMask:
        runs = np.array([int(run) for run in self.text.split(",")], np.int64)
        height, width = self.size_hw
        if height > size_hw[0] or width > size_hw[1]:
            raise ValueError(
                f"its rectangle of {height} x {width} is larger than the photo of {size_hw[0]} x {size_hw[1]}"
            )
        if (runs < 0).any() or runs.sum() != height * width:
            raise ValueError(f"its runs count {runs.sum()} pixels; {width} x {height} are {height * width}")
        values = np.arange(len(runs)) % 2 == 1
        return CroppedMask.from_mask(np.repeat(values, runs).reshape(height, width), *self.corner)


def write(folder: Path, labels: Labels, photos: Iterable[Annotated], options: WriteOptions) -> Losses:
    """``annotations.xml``. Objects of one part without holes are polygons, others are masks."""
    losses = Losses()
    with atomic_write(folder / "annotations.xml") as stream:
        stream.write(b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
        stream.write(to_utf8(f"  <meta>\n    <task>\n      <labels>\n{_write_labels(labels)}      </labels>\n"))
        stream.write(b"    </task>\n  </meta>\n")
        for number, photo in enumerate(photos):
            height, width = photo.size_hw
            name, subset = quoteattr(photo.photo.removeprefix("images/")), quoteattr(photo.split)
            stream.write(
                to_utf8(f'  <image id="{number}" name={name} subset={subset} width="{width}" height="{height}">\n')
            )
            for one in outline_instances(photo.instances):
                stream.write(to_utf8(_write_shape(one, labels.names[one.value], options, losses, photo.size_hw)))
            stream.write(b"  </image>\n")
        stream.write(b"</annotations>\n")
    return losses


def _write_labels(labels: Labels) -> str:
    crowd = (
        f"<attribute><name>{CROWD[0]}</name><mutable>False</mutable><input_type>checkbox</input_type>"
        "<default_value>false</default_value><values>false</values></attribute>"
    )
    return "".join(
        f"        <label><name>{escape(name)}</name><attributes>{crowd}</attributes></label>\n"
        for name in labels.names[1:]
    )


def _write_shape(one: Outlined, name: str, options: WriteOptions, losses: Losses, size_hw: tuple[int, int]) -> str:
    crowd = f'<attribute name="{CROWD[0]}">true</attribute>' if one.crowd else ""
    said = f'label={quoteattr(name)} source="file" occluded="0" z_order="0"'
    if one.mask is None:
        x1, y1, x2, y2 = one.box
        return f'    <box {said} xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}">{crowd}</box>\n'
    if len(one.parts) == 1 and (options.outlines == "polygons" or (options.outlines == "auto" and not one.has_holes)):
        ring = join_rings(one.parts[0])
        losses.measure(one.mask, [ring], size_hw)
        losses.count("joined", int(one.has_holes))
        points = ";".join(f"{x:.2f},{y:.2f}" for x, y in ring.tolist())
        return f'    <polygon {said} points="{points}">{crowd}</polygon>\n'
    crop = one.mask.crop
    runs = ", ".join(map(str, encode_rle(crop.T)))
    place = f'left="{one.mask.left}" top="{one.mask.top}" width="{crop.shape[1]}" height="{crop.shape[0]}"'
    return f'    <mask {said} rle="{runs}" {place}>{crowd}</mask>\n'


FORMAT = Format(
    name="CVAT's XML",
    layout="CVAT's annotations.xml with images/",
    recognize=recognize,
    read_objects=read_objects,
    cannot_hold="nothing that Imago knows",
    writer=Writer("objects", "images/{split}/{name}", write),
)
