"""labelme's JSON, one a photo, and that of its kin (X-AnyLabeling, ISAT's export).

    {"imagePath": "a.jpg", "imageHeight": 480, "imageWidth": 640, "shapes": [
        {"label": "cat", "shape_type": "polygon", "points": [[x, y], ...], "group_id": null}]}

Shapes of one label and one ``group_id`` are parts of one object. A **hole** is a shape whose flag ``hole`` is set, or
whose label is ``NAME_hole`` or ``hole_NAME`` where there is a NAME, or ``hole`` in a group with others, or labelme's
own ``_background_``: it is cut out of the objects of its group, or where it has none, of all that it lies in. (``hole``
without a group is a class like others.) ``__ignore__`` counts for nothing. ``mask`` shapes
hold a PNG in base64, drawn into their rectangle. Points in a group with outlines are keypoints, which are not used. The
flag ``iscrowd`` marks crowd regions.

Photos without a file are not used; one whose file has no shape shows no object. Where a photo is missing and the file
holds it (``imageData``), the fault says so: labelme's own export writes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imago.core.errors import DataError
from imago.core.instances import CroppedMask
from imago.core.labels import Labels
from imago.core.polygons import join_rings
from imago.core.text import plural, to_json
from imago.data.formats.checks import read_annotations
from imago.data.formats.drawn import EVERY, WRONG, Drawn, Page, build_dataset, describe
from imago.data.formats.find_files import PhotoFinder, iter_annotations
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
    write_text,
)
from imago.data.formats.packed_png import pack_png, unpack_png
from imago.data.formats.shapes import Raster, Shape, ellipse, line, point, polygon, to_points
from imago.data.formats.shapes import box as make_box
from imago.files.text import read_text

IGNORED, BACKGROUND = "__ignore__", "_background_"
HOLE, CROWD = "hole", "iscrowd"  # flags
_HOLE_OF = re.compile(r"hole[ _-](.+)|(.+)[ _-]hole", re.IGNORECASE)
LISTS = ("labels.txt", "class_names.txt")  # labelme's own, with IGNORED and BACKGROUND in it


@dataclass(frozen=True)
class Entry:
    """One shape as the file has it."""

    where: str
    label: str
    group: Any
    kind: str
    shape: Shape = field(repr=False)
    hole: bool
    crowd: bool


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if next(_files(root), None) else ()


def _files(root: Path) -> Iterator[Path]:
    return iter_annotations(root, "labelme")


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The data set without what is damaged, and the faults, a line each."""
    faults: list[str] = []
    pages = []
    finder = PhotoFinder(root)
    keypoints = 0
    for path in _files(root):
        try:
            page, unused = _read_page(path, finder, options.reading.line_width, faults)
        except (DataError, *WRONG) as error:
            faults.append(str(error) if isinstance(error, DataError) else f"{path}: {describe(error)}")
            continue
        pages.append(page)
        keypoints += unused
    notes = [f"{plural(keypoints, 'keypoint', 'are')} not used"] if keypoints else []
    annotated = {page.image_path for page in pages}
    without = sum(path not in annotated for path in finder.photos) if pages else 0
    if without:
        notes.append(f"{plural(len(pages), 'labelme file')}, {plural(without, 'photo')} without one, not used")
    return build_dataset(root, pages, options, faults, notes, _declared(root))


def _declared(root: Path) -> list[str]:
    path = next((root / name for name in LISTS if (root / name).is_file()), None)
    lines = read_text(path, "replace").splitlines() if path else []
    return [one for one in map(str.strip, lines) if one not in ("", IGNORED, BACKGROUND)]


def _read_page(path: Path, finder: PhotoFinder, line_width: int, faults: list[str]) -> tuple[Page, int]:
    """The photo of one file, and how many keypoints it has."""
    content = read_annotations(path)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise DataError(f"{path}: is no file of labelme's, as others here are; take it away")
    name = str(content.get("imagePath") or f"{path.stem}.jpg")
    image_path = finder.find(name, path.parent) or _beside(path, finder)
    if image_path is None and content.get("imageData"):
        raise DataError(f"{path}: photo {name} is missing; the file holds it: labelme_export_json writes it beside")
    entries = []
    for number, said in enumerate(content["shapes"], 1):
        where = f"shape {number}"
        try:
            entries += _read_entry(said, where, line_width)
        except WRONG as error:
            faults.append(f"{path}: {where} ({_label(said)!r}): {describe(error)}")
    outlined = {e.group for e in entries if e.kind != "point" and e.group is not None}
    kept = [e for e in entries if e.kind != "point" or e.group not in outlined]
    sides = content.get("imageHeight"), content.get("imageWidth")
    whole = all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides)
    size_hw = (int(sides[0]), int(sides[1])) if whole else None  # type: ignore[arg-type]
    page = Page(name, path, _join(kept), size_hw, image_path=image_path)
    return page, len(entries) - len(kept)


def _beside(path: Path, finder: PhotoFinder) -> Path | None:
    """The photo of the file's own name, where ``imagePath`` tells another one that there is not."""
    return next((photo for photo in finder.photos if photo.stem == path.stem and photo.parent == path.parent), None)


def _label(said: Any) -> str:
    return str(said.get("label", "")).strip() if isinstance(said, dict) else ""


def _read_entry(said: dict[str, Any], where: str, line_width: int) -> list[Entry]:
    """One shape; nothing for lines and points that are left out. Raises one of WRONG."""
    label = _label(said)
    if not label:
        raise ValueError("has no label")
    kind = said.get("shape_type") or "polygon"
    flags = said.get("flags") or {}
    shape = to_shape(kind, said, line_width)
    if shape is None:
        return []
    hole = bool(flags.get(HOLE)) or label == BACKGROUND
    group = said.get("group_id")
    if isinstance(group, list | dict):
        raise TypeError("group_id is no number")
    return [Entry(where, label, group, kind, shape, hole=hole, crowd=bool(flags.get(CROWD)))]


def to_shape(kind: str, said: dict[str, Any], line_width: int) -> Shape | None:
    """One shape as it is drawn; None for lines and points that are left out. Raises one of WRONG."""
    points = to_points(said["points"])
    if kind == "mask":
        (x1, y1), (x2, y2) = points  # both corners are in it
        return Raster(PackedMask(said["mask"], (int(x1), int(y1)), (int(y2) - int(y1) + 1, int(x2) - int(x1) + 1)))
    if kind == "rectangle" and len(points) == 2:
        return make_box(*points[0], *points[1])
    if kind == "circle":
        (x, y), rim = points
        radius = float(np.hypot(*(rim - (x, y))))
        return ellipse(x, y, radius, radius)
    if kind in ("line", "linestrip"):
        return line(points, line_width) if line_width else None
    if kind in ("point", "points"):
        if kind == "points" and len(points) > 1:
            raise ValueError("holds several points, which are no outline")
        return point(points[0], line_width) if line_width else None
    if kind in ("rectangle", "rotation", "oriented_rectangle", "quadrilateral"):
        return _upright(points) or polygon(points)
    if kind == "polygon":
        return polygon(points)
    raise ValueError(f"{kind!r} is no shape that has an area")


def _upright(points: np.ndarray) -> Shape | None:
    """X-AnyLabeling's rectangles of four corners, where they are upright."""
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    corners = {(x, y) for x in (left, right) for y in (top, bottom)}
    if len(points) == 4 and set(map(tuple, points.tolist())) == corners and points[0][0] != points[2][0]:
        return None if left == right or top == bottom else make_box(left, top, right, bottom)
    return None


@dataclass(frozen=True)
class PackedMask:
    """A PNG in base64 whose pixels are an object; its upper left corner lies at ``corner`` (x, y)."""

    text: str = field(repr=False)
    corner: tuple[int, int]
    size_hw: tuple[int, int] | None = None  # as the file says

    def __call__(self, size_hw: tuple[int, int]) -> CroppedMask:
        mask = unpack_png(self.text)
        if self.size_hw is not None and mask.shape != self.size_hw:
            raise ValueError(f"mask is {mask.shape} (height, width), but its rectangle {self.size_hw}")
        return CroppedMask.from_mask(mask, *self.corner)


def _join(entries: list[Entry]) -> tuple[Drawn, ...]:
    """Objects of shapes: parts by label and group, holes cut out."""
    labels = {entry.label for entry in entries}
    parts: dict[object, list[Entry]] = {}
    holes: list[tuple[str, Entry]] = []  # what it is a hole of, "" for whatever it lies in
    for number, entry in enumerate(entries):
        named = _HOLE_OF.fullmatch(entry.label)
        of = (named[1] or named[2]) if named else ""
        if of in labels or entry.hole or (entry.label.lower() == HOLE and _has_others(entry, entries)):
            holes.append((of if of in labels else "", entry))
        else:
            key = (entry.label, entry.group, entry.crowd) if entry.group is not None else number
            parts.setdefault(key, []).append(entry)
    objects = []
    for found in parts.values():
        first = found[0]
        mine = tuple(hole.shape for of, hole in holes if of in ("", first.label) and _is_hole_in(hole, found))
        name = EVERY if first.label == IGNORED else first.label
        objects.append(Drawn(name, tuple(entry.shape for entry in found), first.where, mine, first.crowd))
    return tuple(objects)


def _has_others(entry: Entry, entries: list[Entry]) -> bool:
    """Whether its group has shapes of another label."""
    return entry.group is not None and any(e.group == entry.group and e.label != entry.label for e in entries)


def _is_hole_in(hole: Entry, found: list[Entry]) -> bool:
    """Whether it is of their group, or the middle of its rectangle lies in one of theirs; packed masks know theirs when
    they are drawn, so all are cut."""
    inner = hole.shape.bounds
    if hole.group is not None or inner is None:
        return hole.group is None or hole.group == found[0].group
    x, y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
    every = [entry.shape.bounds for entry in found]
    return any(b is None or (b[0] <= x <= b[2] and b[1] <= y <= b[3]) for b in every)


def write(folder: Path, labels: Labels, photos: Iterable[Annotated], options: WriteOptions) -> Losses:
    """``SPLIT/NAME.json`` beside the photo, and ``labels.txt``. Objects with holes are shapes of the kind ``mask``."""
    losses = Losses()
    for photo in photos:
        path = (folder / photo.photo).with_suffix(".json")
        shapes = [
            shape
            for number, one in enumerate(outline_instances(photo.instances), 1)
            for shape in _write_shapes(one, number, labels.names[one.value], options, losses, photo.size_hw)
        ]
        content: dict[str, Any] = {
            "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": Path(photo.photo).name, "imageData": None,
            "imageHeight": photo.size_hw[0], "imageWidth": photo.size_hw[1],
        }  # fmt: skip
        write_text(path, to_json(content, indent=2) + "\n")
    write_text(folder / "labels.txt", "".join(f"{name}\n" for name in (IGNORED, BACKGROUND, *labels.names[1:])))
    return losses


def _write_shapes(
    one: Outlined, number: int, name: str, options: WriteOptions, losses: Losses, size_hw: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    """What one object becomes: polygons, a mask where it has holes, or a rectangle."""
    parts = [join_rings(rings) for rings in one.parts]
    said = {
        "label": name, "group_id": number if len(parts) > 1 else None, "description": "",
        "flags": {CROWD: True} if one.crowd else {},
    }  # fmt: skip
    if one.mask is None:
        x1, y1, x2, y2 = one.box
        yield {**said, "points": [[x1, y1], [x2, y2]], "shape_type": "rectangle", "mask": None}
    elif options.outlines == "rle" or (one.has_holes and options.outlines == "auto"):
        left, top, right, bottom = one.mask.box
        corners = [[left, top], [right - 1, bottom - 1]]
        mask = pack_png(one.mask.crop)
        yield {**said, "group_id": None, "points": corners, "shape_type": "mask", "mask": mask}
    else:
        losses.measure(one.mask, parts, size_hw)
        losses.count("joined", int(one.has_holes))
        for ring in parts:
            yield {**said, "points": ring.tolist(), "shape_type": "polygon", "mask": None}


FORMAT = Format(
    name="labelme's",
    layout="labelme's JSON files beside their photos",
    recognize=recognize,
    read_objects=read_objects,
    cannot_hold="nothing that Imago knows",
    writer=Writer("objects", "{split}/{name}", write),
)
