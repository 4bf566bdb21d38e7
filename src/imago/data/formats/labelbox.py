"""Labelbox's export, a task a line (``.ndjson``): boxes, polygons, lines and points.

Masks lie at Labelbox's own addresses, which ask for a key; they are faults that say so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imago.core.errors import DataError
from imago.core.plain_values import parse_json
from imago.data.formats.drawn import WRONG, Drawn, Page, build_dataset, describe
from imago.data.formats.find_files import iter_annotations
from imago.data.formats.format import Format, Found, ReadOptions, Truth
from imago.data.formats.shapes import Shape, line, point, polygon
from imago.data.formats.shapes import box as make_box
from imago.files.text import read_text


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if next(_files(root), None) else ()


def _files(root: Path) -> Iterator[Path]:
    return iter_annotations(root, "Labelbox", (".ndjson", ".json"))


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The data set without what is damaged, and the faults, a line each."""
    faults: list[str] = []
    pages = []
    for path in _files(root):
        for number, row in _read_rows(path):
            try:
                pages.append(_read_row(row, path, options.reading.line_width, faults))
            except WRONG as error:
                faults.append(f"{path}: task {number}: {describe(error)}")
    return build_dataset(root, pages, options, faults)


def _read_rows(path: Path) -> list[tuple[int, Any]]:
    """A task a line, or a list of them."""
    try:
        text = read_text(path)
        if text.lstrip().startswith("["):
            return list(enumerate(parse_json(text), 1))
        return [(number, parse_json(row)) for number, row in enumerate(text.splitlines(), 1) if row.strip()]
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); export it again") from error


def _read_row(row: dict[str, Any], path: Path, line_width: int, faults: list[str]) -> Page:
    data = row["data_row"]
    names = [str(data[key]) for key in ("external_id", "global_key", "row_data") if data.get(key)]
    media = row.get("media_attributes") or {}
    size_hw = (int(media["height"]), int(media["width"])) if media.get("height") and media.get("width") else None
    labels = [label for project in row["projects"].values() for label in project.get("labels", ())]
    objects = []
    for number, said in enumerate(labels[-1]["annotations"].get("objects", ()) if labels else (), 1):
        try:
            shape = _read_shape(said, line_width)
            if shape is not None:
                objects.append(Drawn(str(said["name"]), (shape,), f"object {number}"))
        except WRONG as error:
            faults.append(f"{path}: photo {names[0]}, object {number}: {describe(error)}")
    return Page(names[0], path, tuple(objects), size_hw, aliases=tuple(names[1:]))


def _read_shape(said: dict[str, Any], line_width: int) -> Shape | None:
    """None for lines and points that are left out. Raises one of WRONG."""
    if "bounding_box" in said:
        box = said["bounding_box"]
        left, top = float(box["left"]), float(box["top"])
        return make_box(left, top, left + float(box["width"]), top + float(box["height"]))
    if "polygon" in said:
        return polygon([(place["x"], place["y"]) for place in said["polygon"]])
    if "line" in said:
        return line([(place["x"], place["y"]) for place in said["line"]], line_width) if line_width else None
    if "point" in said:
        return point((said["point"]["x"], said["point"]["y"]), line_width) if line_width else None
    if "mask" in said:
        raise ValueError("its mask lies at an address of Labelbox's; export polygons, or COCO")
    raise ValueError(f"{said.get('annotation_kind')!r} is no shape that is known")


FORMAT = Format(
    name="Labelbox's",
    layout="Labelbox's export (.ndjson) with its photos",
    recognize=recognize,
    read_objects=read_objects,
    cannot_hold="masks (they lie at its own addresses), crowd regions",
)
