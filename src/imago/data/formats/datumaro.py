"""Datumaro's JSON: ``annotations/SUBSET.json``, photos in ``images/SUBSET/``.

Masks, polygons and boxes of one group and label are one object; a box beside an outline is that outline's. Labels,
captions and points are not used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imago.core.errors import DataError
from imago.core.text import plural
from imago.data.formats.checks import read_annotations
from imago.data.formats.drawn import WRONG, Drawn, Page, build_dataset, describe
from imago.data.formats.find_files import iter_annotations
from imago.data.formats.format import Format, Found, ReadOptions, Truth
from imago.data.formats.sa1b import Outline
from imago.data.formats.shapes import Raster, Shape, line, polygon, turned_box
from imago.data.splits import parse_split

NOT_USED = ("label", "caption", "points", "skeleton", "cuboid_3d", "feature_vector")


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if next(_files(root), None) else ()


def _files(root: Path) -> Iterator[Path]:
    return iter_annotations(root, "Datumaro")


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The data set without what is damaged, and the faults, a line each."""
    faults: list[str] = []
    pages = []
    declared: dict[str, None] = {}
    unused: Counter[str] = Counter()
    for path in _files(root):
        try:
            content = read_annotations(path)
            names = [str(one["name"]) for one in content["categories"]["label"]["labels"]]
            items = list(content["items"])
        except WRONG as error:
            raise DataError(f"{path}: not Datumaro's annotations ({describe(error)})") from error
        declared |= dict.fromkeys(names)
        for number, item in enumerate(items, 1):
            try:
                pages.append(_read_item(item, path, names, options.reading.line_width, faults))
                unused.update(one["type"] for one in item["annotations"] if one["type"] in NOT_USED)
            except WRONG as error:
                faults.append(f"{path}: item {number}: {describe(error)}")
    notes = [f"not used: {', '.join(plural(count, kind) for kind, count in sorted(unused.items()))}"] if unused else []
    return build_dataset(root, pages, options, faults, notes, list(declared))


def _read_item(item: dict[str, Any], path: Path, names: list[str], line_width: int, faults: list[str]) -> Page:
    image = item.get("image") or {}
    size = image.get("size")
    size_hw = (int(size[0]), int(size[1])) if size else None
    grouped: dict[object, list[tuple[dict[str, Any], Shape]]] = {}
    for number, one in enumerate(item["annotations"]):
        if one["type"] in NOT_USED:
            continue
        try:
            shape = _read_shape(one, line_width)
            names[one["label_id"]]
        except WRONG as error:
            faults.append(f"{path}: item {item['id']}, annotation {one.get('id')}: {describe(error)}")
            continue
        if shape is not None:
            key = (one["group"], one["label_id"]) if one.get("group") else number
            grouped.setdefault(key, []).append((one, shape))
    objects = []
    for found in grouped.values():
        first = found[0][0]
        outlines = [shape for _, shape in found if not shape.is_box]
        # Boxes without an outline are objects of their own, in whatever group.
        parts = [tuple(outlines)] if outlines else [(shape,) for _, shape in found]
        crowd = bool((first.get("attributes") or {}).get("is_crowd"))
        for shapes in parts:
            z_order = int(first.get("z_order") or 0)
            objects.append(Drawn(names[first["label_id"]], shapes, f"annotation {first.get('id')}", (), crowd, z_order))
    name = str(image.get("path") or item["id"])
    split = parse_split(path.stem)
    return Page(f"{path.stem}/{name}", path, tuple(objects), size_hw, split, aliases=(name, str(item["id"])))


def _read_shape(one: dict[str, Any], line_width: int) -> Shape | None:
    """None for lines that are left out. Raises one of WRONG."""
    kind = one["type"]
    if kind == "mask":
        return Raster(Outline(one["rle"]))
    if kind == "polygon":
        return polygon(one["points"])
    if kind == "bbox":
        x, y, width, height = one["bbox"]
        return turned_box(float(x), float(y), float(width), float(height), 0.0)
    if kind == "polyline":
        return line(one["points"], line_width) if line_width else None
    raise ValueError(f"{kind!r} is no shape that is known")


FORMAT = Format(
    name="Datumaro's",
    layout="Datumaro's annotations/*.json with images/",
    recognize=recognize,
    read_objects=read_objects,
    cannot_hold="nothing that Imago knows",
)
