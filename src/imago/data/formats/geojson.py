"""GeoJSON with a file a photo, in pixels of it, as QuPath exports its annotations: ``a.geojson`` of ``a.tif``.

    {"type": "FeatureCollection", "features": [{"geometry": {"type": "Polygon", "coordinates": [[[x, y], ...], hole]},
        "properties": {"objectType": "annotation", "classification": {"name": "Tumor", "color": [200, 0, 0]}}}]}

The file may be a list of features, or one; the suffix ``.json`` too. The class is QuPath's ``classification``, else the
property ``class``, ``label``, ``name``, ``category`` or ``type``. An empty file shows no object. Longitudes and
latitudes are refused: they need the photo's georeference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from imago.core.errors import DataError
from imago.core.labels import Labels
from imago.core.polygons import join_rings
from imago.core.text import plural, to_json
from imago.data.formats.checks import read_annotations
from imago.data.formats.drawn import UNNAMED, WRONG, Drawn, Page, build_dataset, describe
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
from imago.data.formats.shapes import Shape, line, point, polygon, to_points

_NAMED = ("classification", "class", "label", "name", "category", "type")
CROWD = "iscrowd"


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if next(_files(root), None) else ()


def _files(root: Path) -> Iterator[Path]:
    return iter_annotations(root, "GeoJSON", (".geojson", ".json"))


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The data set without what is damaged, and the faults, a line each."""
    faults: list[str] = []
    pages = []
    finder = PhotoFinder(root)
    for path in _files(root):
        try:
            pages.append(_read_page(path, finder, options.reading.line_width, faults))
        except (DataError, *WRONG) as error:
            faults.append(str(error) if isinstance(error, DataError) else f"{path}: {describe(error)}")
    annotated = {page.image_path for page in pages}
    without = sum(path not in annotated for path in finder.photos) if pages else 0
    notes = (
        [f"{plural(len(pages), 'GeoJSON file')}, {plural(without, 'photo')} without one, not used"] if without else []
    )
    return build_dataset(root, pages, options, faults, notes)


def _read_page(path: Path, finder: PhotoFinder, line_width: int, faults: list[str]) -> Page:
    content = read_annotations(path) if path.stat().st_size else []
    if isinstance(content, dict):
        content = content.get("features", [content])
    if not isinstance(content, list):
        raise DataError(f"{path}: holds no list of features; expected GeoJSON, as QuPath exports it")
    objects = []
    for number, feature in enumerate(content, 1):
        where = f"feature {number}"
        try:
            shapes = tuple(_read_geometry(feature["geometry"], line_width))
            properties = feature.get("properties") or {}
            if shapes:
                objects.append(Drawn(_read_name(properties), shapes, where, crowd=bool(properties.get(CROWD))))
        except WRONG as error:
            faults.append(f"{path}: {where}: {describe(error)}")
    _refuse_degrees(path, objects)
    return Page(path.stem, path, tuple(objects), image_path=finder.find(path.stem, path.parent))


def _read_name(properties: dict[str, Any]) -> str:
    for key in _NAMED:
        found = properties.get(key)
        found = found.get("name") if isinstance(found, dict) else found
        if found is not None and str(found).strip():
            return str(found).strip()
    return UNNAMED


def _read_geometry(geometry: Any, line_width: int) -> Iterator[Shape]:
    """The parts of one feature. Raises one of WRONG."""
    kind, places = geometry["type"], geometry.get("coordinates")
    if kind == "GeometryCollection":
        for part in geometry["geometries"]:
            yield from _read_geometry(part, line_width)
    elif kind in ("Polygon", "MultiPolygon"):
        for rings in [places] if kind == "Polygon" else places:
            if not rings:
                raise ValueError("a polygon has no ring")
            yield polygon(*(_open_ring(ring) for ring in rings))
    elif kind in ("LineString", "MultiLineString"):
        for points in [places] if kind == "LineString" else places:
            if line_width:
                yield line(to_points([place[:2] for place in points]), line_width)
    elif kind in ("Point", "MultiPoint"):
        for place in [places] if kind == "Point" else places:
            if line_width:
                yield point(place[:2], line_width)
    else:
        raise ValueError(f"{kind!r} is no geometry of GeoJSON")


def _open_ring(ring: Any) -> np.ndarray:
    """Without heights, and without the last corner, which is the first one again."""
    points = to_points([place[:2] for place in ring])
    return points[:-1] if len(points) > 3 and (points[0] == points[-1]).all() else points


def _refuse_degrees(path: Path, objects: list[Drawn]) -> None:
    every = [bounds for one in objects if (bounds := one.bounds()) is not None]
    if not every:
        return
    low, high = np.min(every, axis=0)[:2], np.max(every, axis=0)[2:]
    if low.min() < 0 and (np.abs((low, high)) <= (180, 90)).all() and (high - low).max() < 10:
        raise DataError(
            f"{path}: its coordinates ({low[0]:g} {low[1]:g} to {high[0]:g} {high[1]:g}) look like longitudes and "
            "latitudes; expected pixels of the photo. Turn them into pixels, or into masks, in a GIS"
        )


def write(folder: Path, labels: Labels, photos: Iterable[Annotated], options: WriteOptions) -> Losses:
    """``SPLIT/NAME.geojson`` beside the photo, as QuPath imports it; holes and parts are kept."""
    losses = Losses()
    for photo in photos:
        features = []
        for one in outline_instances(photo.instances):
            if not one.parts or one.mask is None:
                losses.count("empty")
                continue
            losses.measure(one.mask, [join_rings(rings) for rings in one.parts], photo.size_hw)
            features.append(_write_feature(one, labels))
        content = {"type": "FeatureCollection", "features": features}
        write_text((folder / photo.photo).with_suffix(".geojson"), to_json(content) + "\n")
    return losses


def _write_feature(one: Outlined, labels: Labels) -> dict[str, Any]:
    rings = [[[*ring.tolist(), ring[0].tolist()] for ring in part] for part in one.parts]
    shape = {"type": "Polygon", "coordinates": rings[0]} if len(rings) == 1 else {
        "type": "MultiPolygon", "coordinates": rings,
    }  # fmt: skip
    classification = {"name": labels.names[one.value], "color": list(labels.colors[one.value])}
    properties: dict[str, Any] = {"objectType": "annotation", "classification": classification}
    if one.crowd:
        properties[CROWD] = True
    return {"type": "Feature", "geometry": shape, "properties": properties}


FORMAT = Format(
    name="GeoJSON, QuPath's",
    layout="a GeoJSON file a photo (a.geojson of a.tif), in pixels, as QuPath exports it",
    recognize=recognize,
    read_objects=read_objects,
    cannot_hold="boxes without an outline",
    writer=Writer("objects", "{split}/{name}", write, needs_masks=True),
)
