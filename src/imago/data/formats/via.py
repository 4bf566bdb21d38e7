"""VGG Image Annotator (Dutta and Zisserman 2019, arXiv:1904.10699), versions 1, 2 and 3: projects, JSON, CSV.

    {"a.jpg5071": {"filename": "a.jpg", "size": 5071, "file_attributes": {}, "regions": [
        {"shape_attributes": {"name": "polygon", "all_points_x": [...], "all_points_y": [...]},
         "region_attributes": {"class": "cat"}}]}}

Regions are a list in version 2 and a table in version 1; a project holds the same under ``_via_img_metadata``.
Version 3 has files, views of them, and metadata whose ``xy`` begins with the number of the shape. CSV has a region a
row.

Any attribute can be the class. ``--class-attribute`` names it; else it is the one with a usual name (``CLASS_WORDS``),
else the one that most regions have, with most values, and a note says which. Regions that have the same ``object`` and
class are parts of one object, and ``iscrowd`` marks crowd regions: so Imago writes them.

Written is a project of version 2. What is drawn there with the mouse are whole pixels; quarters are read as well.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imago.core.errors import DataError
from imago.core.labels import Labels
from imago.core.polygons import join_rings
from imago.core.text import to_json, to_utf8
from imago.data.formats.checks import read_annotations
from imago.data.formats.drawn import UNNAMED, WRONG, Drawn, Page, build_dataset, describe
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
from imago.data.formats.shapes import Shape, ellipse, line, point, polygon, to_points
from imago.data.formats.shapes import box as make_box
from imago.files.text import read_text
from imago.files.writing import atomic_write

CLASS_WORDS = (
    "class",
    "class_name",
    "classname",
    "label",
    "labels",
    "category",
    "object_name",
    "name",
    "type",
    "species",
)
PART_OF, CROWD = "object", "iscrowd"
TRUE = ("1", "true", "yes")
_LONGEST = 60  # characters of a class; longer texts are remarks
_SHAPES_3 = {
    2: "rect",
    3: "circle",
    4: "ellipse",
    5: "polyline",
    6: "polyline",
    7: "polygon",
    8: "extreme",
    9: "extreme",
}


@dataclass(frozen=True)
class Region:
    """One shape and what is said of it."""

    where: str
    shape: dict[str, Any] = field(repr=False)  # as version 2 has it
    attributes: dict[str, Any]


@dataclass
class Listed:
    """One photo of the file."""

    file_name: str
    source: Path
    regions: list[Region] = field(default_factory=list)


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if next(_files(root), None) else ()


def _files(root: Path) -> Iterator[Path]:
    return iter_annotations(root, "VIA", (".json", ".csv"))


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The data set without what is damaged, and the faults, a line each."""
    faults: list[str] = []
    listed: list[Listed] = []
    declared: dict[str, list[str]] = {}  # attribute -> its options
    for path in _files(root):
        try:
            listed += _read_csv(path, declared) if path.suffix.lower() == ".csv" else _read_json(path, declared)
        except WRONG as error:
            raise DataError(f"{path}: not what VIA writes ({describe(error)}); export it again") from error
    listed = _drop_copies(listed)
    regions = [region for one in listed for region in one.regions]
    attribute, notes = _find_attribute(regions, options.reading.class_attribute, root)
    without = sum(not one.regions for one in listed)
    if without:
        notes.append(f"{without} of {len(listed)} photos have no region; they count as photos without an object")
    pages = [_to_page(one, attribute, options.reading.line_width, faults) for one in listed]
    return build_dataset(root, pages, options, faults, notes, declared.get(attribute, ()))


def _drop_copies(listed: Iterable[Listed]) -> list[Listed]:
    """Without the second of a project and its export side by side: the same photo with the same regions."""
    kept: dict[tuple[Path, str], Listed] = {}
    others = []
    for one in listed:
        first = kept.setdefault((one.source.parent, one.file_name), one)
        if first is not one and (
            first.source == one.source or [r.shape for r in first.regions] != [r.shape for r in one.regions]
        ):
            others.append(one)  # which is a fault
    return [*kept.values(), *others]


def _read_json(path: Path, declared: dict[str, list[str]]) -> list[Listed]:
    content = read_annotations(path)
    if "vid_list" in content.get("project", {}):
        return _read_version_3(path, content, declared)
    for name, attribute in _table(content.get("_via_attributes", {}).get("region", {})).items():
        declared[name] = list(_table(attribute.get("options", {})))
    found = []
    for key, entry in content.get("_via_img_metadata", content).items():
        one = Listed(str(entry.get("filename") or key), path)
        regions = entry.get("regions") or []
        for number, region in regions.items() if isinstance(regions, dict) else enumerate(regions):
            shape, said = region["shape_attributes"], region.get("region_attributes") or {}
            one.regions.append(Region(f"region {number}", _table(shape), _table(said)))
        found.append(one)
    return found


def _read_version_3(path: Path, content: dict[str, Any], declared: dict[str, list[str]]) -> list[Listed]:
    attributes = {
        number: (one["aname"], _table(one.get("options", {}))) for number, one in content["attribute"].items()
    }
    declared |= {name: [str(value) for value in values.values()] for name, values in attributes.values()}
    found = {}
    for view in map(str, content["project"]["vid_list"]):
        files = content["view"][view]["fid_list"]
        if len(files) == 1 and (entry := content["file"][str(files[0])]):
            found[view] = Listed(str(entry.get("fname") or entry["src"]), path)
    for number, entry in content["metadata"].items():
        if (one := found.get(str(entry["vid"]))) and entry.get("xy"):
            said = _name_attributes(entry.get("av") or {}, attributes)
            one.regions.append(Region(f"region {number}", _shape_3(entry["xy"]), said))
    return list(found.values())


def _name_attributes(values: dict[str, Any], attributes: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Number of the attribute -> value, as name -> value; of options their text."""
    named = {}
    for number, value in values.items():
        name, choices = attributes.get(str(number), (str(number), {}))
        named[name] = choices.get(str(value), value)
    return named


def _shape_3(xy: list[Any]) -> dict[str, Any]:
    """``[7, x, y, x, y, ...]`` as version 2 says it."""
    kind, *values = xy
    if kind == 1:
        return {"name": "point", "cx": values[0], "cy": values[1]}
    name = _SHAPES_3[kind]
    keys = {
        "rect": ("x", "y", "width", "height"), "circle": ("cx", "cy", "r"), "ellipse": ("cx", "cy", "rx", "ry")
    }.get(name)  # fmt: skip
    if keys:
        return {"name": name, **dict(zip(keys, values, strict=True))}
    return {"name": name, "all_points_x": values[::2], "all_points_y": values[1::2]}


def _read_csv(path: Path, declared: dict[str, list[str]]) -> list[Listed]:
    text = read_text(path)
    if "spatial_coordinates" in text[:4000]:
        return _read_csv_3(path, text, declared)
    found: dict[str, Listed] = {}
    for number, row in enumerate(csv.DictReader(io.StringIO(text.lstrip("#"))), 2):
        one = found.setdefault(row["filename"], Listed(row["filename"], path))
        shape = _table(json.loads(row["region_shape_attributes"] or "{}"))
        if shape:
            one.regions.append(Region(f"line {number}", shape, _table(json.loads(row["region_attributes"] or "{}"))))
    return list(found.values())


def _read_csv_3(path: Path, text: str, declared: dict[str, list[str]]) -> list[Listed]:
    attributes: dict[str, tuple[str, dict[str, Any]]] = {}
    rows = []
    found: dict[str, Listed] = {}
    for number, written in enumerate(text.splitlines(), 1):
        if written.startswith("# ATTRIBUTE"):
            said = json.loads(written.partition("=")[2])
            attributes = {key: (one["aname"], _table(one.get("options", {}))) for key, one in said.items()}
        elif written.strip() and not written.startswith("#"):
            rows.append((number, next(csv.reader([written]))))
    declared |= {name: [str(value) for value in values.values()] for name, values in attributes.values()}
    for number, (_, files, _, _, xy, said) in rows:
        name = json.loads(files)[0]
        one = found.setdefault(name, Listed(name, path))
        if points := json.loads(xy):
            one.regions.append(
                Region(f"line {number}", _shape_3(points), _name_attributes(json.loads(said), attributes))
            )
    return list(found.values())


def _table(value: Any) -> dict[str, Any]:
    """``value``, which must be a table. Raises TypeError."""
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.40} is no table")
    return value


def _value(said: Any) -> str:
    """What an attribute says, where it can be a class: a short text, or the one box that is ticked; else ""."""
    if isinstance(said, dict):
        ticked = [str(name) for name, on in said.items() if on is True or str(on).lower() in TRUE]
        said = ticked[0] if len(ticked) == 1 else ""
    text = str(said).strip() if isinstance(said, str | int | float) and not isinstance(said, bool) else ""
    return text if len(text) <= _LONGEST else ""


def _find_attribute(regions: list[Region], asked: str, root: Path) -> tuple[str, list[str]]:
    """The attribute that says the class, "" for none, and notes."""
    said: dict[str, Counter[str]] = {}
    for region in regions:
        for name, value in region.attributes.items():
            if name not in (PART_OF, CROWD) and (text := _value(value)):
                said.setdefault(name, Counter())[text] += 1
    if asked:
        if asked not in said:
            there = f"there are {', '.join(sorted(said))}" if said else "no region has one with a value"
            raise DataError(f"{root}: no region has the attribute {asked!r} (--class-attribute); {there}")
        return asked, []
    if not said:
        return "", [f"no region says its class: all are {UNNAMED!r}"] if regions else []

    def rank(name: str) -> tuple[int, int, int]:
        word = name.strip().lower().replace(" ", "_")
        usual = -CLASS_WORDS.index(word) if word in CLASS_WORDS else -len(CLASS_WORDS)
        return usual, said[name].total(), len(said[name])

    best = max(said, key=rank)
    others = sorted(set(said) - {best})
    more = f"; --class-attribute takes another one ({', '.join(others)})" if others else ""
    return best, [f"the attribute {best!r} is the class{more}"]


def _to_page(one: Listed, attribute: str, line_width: int, faults: list[str]) -> Page:
    objects: dict[object, Drawn] = {}
    for region in one.regions:
        where = f"{one.source}: photo {one.file_name}, {region.where}"
        name = _value(region.attributes.get(attribute)) if attribute else UNNAMED
        if not name:
            faults.append(f"{where}: has no class in its attribute {attribute!r}; fill it in, or --faulty skip")
            continue
        try:
            shape = to_shape(region.shape, line_width)
        except WRONG as error:
            faults.append(f"{where}: {describe(error)}")
            continue
        if shape is None:
            continue
        crowd = _value(region.attributes.get(CROWD, "")).lower() in TRUE
        part_of = _value(region.attributes.get(PART_OF, "")) if attribute != PART_OF else ""
        key = (part_of, name, crowd) if part_of else region.where
        shapes = (*objects[key].shapes, shape) if key in objects else (shape,)
        objects[key] = Drawn(name, shapes, region.where, crowd=crowd)
    return Page(one.file_name, one.source, tuple(objects.values()))


def to_shape(said: dict[str, Any], line_width: int) -> Shape | None:
    """``shape_attributes`` as a shape; None for lines and points that are left out. Raises one of WRONG."""
    name = said["name"]
    if name == "rect":
        x, y = float(said["x"]), float(said["y"])
        return make_box(x, y, x + float(said["width"]), y + float(said["height"]))
    if name == "circle":
        return ellipse(said["cx"], said["cy"], said["r"], said["r"])
    if name == "ellipse":
        turned = math.degrees(float(said.get("theta") or 0.0))  # radians, since 2.0.8
        return ellipse(said["cx"], said["cy"], said["rx"], said["ry"], turned)
    if name == "point":
        return point((said["cx"], said["cy"]), line_width) if line_width else None
    xs, ys = said["all_points_x"], said["all_points_y"]
    if len(xs) != len(ys):
        raise ValueError(f"has {len(xs)} x, but {len(ys)} y")
    points = to_points(list(zip(xs, ys, strict=True)))
    if name == "extreme":
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        return make_box(left, top, right, bottom)
    if name == "polygon":
        return polygon(points)
    if name == "polyline":
        return line(points, line_width) if line_width else None
    raise ValueError(f"{name!r} is no shape of VIA's")


# Writing

_SETTINGS = {  # a new project's, as VIA 2 writes them
    "ui": {
        "annotation_editor_height": 25, "annotation_editor_fontsize": 0.8, "leftsidebar_width": 18,
        "image_grid": {
            "img_height": 80, "rshape_fill": "none", "rshape_fill_opacity": 0.3, "rshape_stroke": "yellow",
            "rshape_stroke_width": 2, "show_region_shape": True, "show_image_policy": "all",
        },
        "image": {
            "region_label": "class", "region_color": "class", "region_label_font": "10px Sans",
            "on_image_annotation_editor_placement": "NEAR_REGION",
        },
    },
    "core": {"buffer_size": 18, "filepath": {}, "default_filepath": ""},
    "project": {"name": "imago"},
}  # fmt: skip


def write(folder: Path, labels: Labels, photos: Iterable[Annotated], options: WriteOptions) -> Losses:
    """``via_project.json``, a project of version 2 whose photos are named from the folder on."""
    losses = Losses()
    names: list[str] = []
    with atomic_write(folder / "via_project.json") as stream:
        attributes = {"region": _write_attributes(labels), "file": {}}
        stream.write(to_utf8(f'{{"_via_settings": {to_json(_SETTINGS)},\n"_via_img_metadata": {{'))
        for photo in photos:
            size = (folder / photo.photo).stat().st_size
            regions = [
                region
                for number, one in enumerate(outline_instances(photo.instances), 1)
                for region in _write_regions(one, number, labels.names[one.value], losses, photo.size_hw)
            ]
            entry = {"filename": photo.photo, "size": size, "regions": regions, "file_attributes": {}}
            key = f"{photo.photo}{size}"
            stream.write(to_utf8(f"{',' if names else ''}\n{to_json(key)}: {to_json(entry)}"))
            names.append(key)
        stream.write(
            to_utf8(f'}},\n"_via_attributes": {to_json(attributes)},\n"_via_data_format_version": "2.0.10",\n')
        )
        stream.write(to_utf8(f'"_via_image_id_list": {to_json(names)}}}\n'))
    return losses


def _write_attributes(labels: Labels) -> dict[str, Any]:
    choices = {name: "" for name in labels.names[1:]}
    said = {"type": "dropdown", "description": "", "options": choices, "default_options": {}}
    texts = {
        PART_OF: "the same number: parts of one object",
        CROWD: "1: a region of many objects",
    }
    return {
        "class": said,
        **{name: {"type": "text", "description": text, "default_value": ""} for name, text in texts.items()},
    }


def _write_regions(
    one: Outlined, number: int, name: str, losses: Losses, size_hw: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    said = {"class": name, **({CROWD: "1"} if one.crowd else {})}
    if one.mask is None:
        x1, y1, x2, y2 = one.box
        shape = {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
        yield {"shape_attributes": shape, "region_attributes": said}
        return
    rings = [join_rings(part) for part in one.parts]
    losses.measure(one.mask, rings, size_hw)
    losses.count("joined", int(one.has_holes))
    for ring in rings:
        xs, ys = ring.T.tolist()
        shape = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
        parted = {PART_OF: str(number)} if len(rings) > 1 else {}
        yield {"shape_attributes": shape, "region_attributes": {**said, **parted}}


FORMAT = Format(
    name="VIA's",
    layout="VIA's project, JSON or CSV beside its photos",
    recognize=recognize,
    read_objects=read_objects,
    cannot_hold="holes other than by a bridge",
    writer=Writer("objects", "images/{split}/{name}", write),
)
