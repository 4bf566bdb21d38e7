"""Label Studio's export, JSON and JSON-MIN.

    [{"data": {"image": "/data/upload/1/8d1c2a3b-a.jpg"}, "annotations": [{"result": [
        {"type": "polygonlabels", "original_width": 640, "original_height": 480,
         "value": {"points": [[x, y], ...], "polygonlabels": ["cat"]}}]}]}]

Numbers are percent of the photo. Read are polygons, rectangles (turned about their upper left corner), ellipses and
brushed masks (brush_rle.py); keypoints, choices and texts are not used. A shape without labels of its own takes those
of the result with its ``id``. JSON-MIN has the values alone, ``{"image": ..., "label": [{...}]}``.

Of several annotations of one task the one that is marked as ground truth counts, else the last that was not cancelled.
What models predicted is not used. The note ``iscrowd`` on a region marks a crowd region: so Imago writes it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from imago.core.errors import DataError
from imago.core.instances import CroppedMask
from imago.core.labels import Labels
from imago.core.polygons import join_rings
from imago.core.text import plural, to_json, to_utf8
from imago.data.formats.brush_rle import decode_brush, encode_brush
from imago.data.formats.checks import read_annotation_xml, read_annotations
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
    write_text,
)
from imago.data.formats.shapes import Raster, Shape, ellipse, number, polygon, to_points, turned_box
from imago.files.clutter import glob_files
from imago.files.images import SUFFIXES
from imago.files.writing import atomic_write

CROWD = "iscrowd"
LABELS = ("rectanglelabels", "polygonlabels", "ellipselabels", "brushlabels", "labels", "hypertextlabels", "choices")
IMAGE_KEYS = ("image", "img", "image_url", "url", "photo", "picture", "ocr", "captioning")


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if next(_files(root), None) else ()


def _files(root: Path) -> Iterator[Path]:
    return iter_annotations(root, "Label Studio")


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The data set without what is damaged, and the faults, a line each."""
    faults: list[str] = []
    pages: list[Page] = []
    counts: Counter[str] = Counter()
    for path in _files(root):
        content = read_annotations(path)
        if not isinstance(content, list):
            raise DataError(f"{path}: not Label Studio's export; expected a list of tasks")
        for index, task in enumerate(content):
            try:
                page = _read_task(task, path, faults, counts)
            except WRONG as error:
                faults.append(f"{path}: task {index + 1} of the list: {describe(error)}")
                continue
            if page is not None:
                pages.append(page)
    notes = [f"{plural(count, what)} not used" for what, count in sorted(counts.items())]
    return build_dataset(root, pages, options, faults, notes, _declared(root))


def _declared(root: Path) -> list[str]:
    """The labels of the project's settings, where they lie beside its export."""
    found: dict[str, None] = {}
    for path in glob_files(root, "label_config*.xml"):
        found |= {one.get("value", ""): None for one in read_annotation_xml(path).iter("Label")}
    return list(found)


def _read_task(task: dict[str, Any], path: Path, faults: list[str], counts: Counter[str]) -> Page | None:
    """One photo; None where nobody annotated it."""
    minimal = "data" not in task or not isinstance(task["data"], dict)
    names = _photo_names(task if minimal else task["data"], task.get("file_upload"))
    results = _minimal_results(task) if minimal else _choose(task, counts)
    if results is None:
        return None
    labels = {one["id"]: _labels_of(one["value"]) for one in results if one.get("id") and _labels_of(one["value"])}
    objects = []
    size_hw = None
    for index, result in enumerate(results, 1):
        value = result["value"]
        if not any(key in value for key in ("points", "width", "radiusX", "rle")) or "keypointlabels" in value:
            if not value.keys() & {"choices", "text", "labels"}:
                counts["result of another kind"] += 1
            continue
        where = f"region {index}"
        try:
            size_hw = int(result["original_height"]), int(result["original_width"])
            if number(result.get("image_rotation") or 0) % 360:
                raise ValueError("its photo was turned in Label Studio; turn the photo itself, and annotate it anew")
            found = _labels_of(value) or labels.get(result.get("id"), [])
            shape = to_shape(value, size_hw)
        except WRONG as error:
            faults.append(f"{path}: photo {names[0]}, {where}: {describe(error)}")
            continue
        said = (result.get("meta") or {}).get("text") or []
        objects.append(Drawn(found[0] if found else UNNAMED, (shape,), where, crowd=CROWD in said))
    numbered = [f"task{task['id']}"] if "id" in task else []  # where its data is no file's name
    return Page(names[0], path, tuple(objects), size_hw, aliases=(*names[1:], *numbered))


def _photo_names(data: dict[str, Any], uploaded: Any) -> list[str]:
    """What the photo may be called: the usual keys first, then whatever looks like a photo. Raises ValueError."""
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    keyed = [texts[key] for key in IMAGE_KEYS if key in texts]
    looking = [value for value in texts.values() if os.path.splitext(value.partition("?")[0])[1].lower() in SUFFIXES]
    looking += [value for value in texts.values() if "?d=" in value]
    names = [*([uploaded] if isinstance(uploaded, str) and uploaded else []), *looking, *keyed]
    if not names:
        raise ValueError(f"names no photo; looked for {', '.join(IMAGE_KEYS[:3])} in its data")
    return list(dict.fromkeys(names))


def _choose(task: dict[str, Any], counts: Counter[str]) -> list[dict[str, Any]] | None:
    """The results of the annotation that counts; None where there is none."""
    every = task.get("annotations") or task.get("completions") or []
    valid = [one for one in every if not one.get("was_cancelled")]
    if not valid:
        counts["task without an annotation,"] += 1
        return None
    counts["further annotation of a photo"] += len(valid) - 1
    counts += Counter()  # without zeros
    truth = [one for one in valid if one.get("ground_truth")]
    return list((truth or valid)[-1]["result"])


def _minimal_results(task: dict[str, Any]) -> list[dict[str, Any]]:
    """JSON-MIN's values, as results."""
    lists = [value for value in task.values() if isinstance(value, list)]
    values = [one for found in lists for one in found if isinstance(one, dict)]
    return [{"value": one, **{k: one[k] for k in ("original_width", "original_height") if k in one}} for one in values]


def _labels_of(value: dict[str, Any]) -> list[str]:
    return next(([str(label) for label in value[key]] for key in LABELS if value.get(key)), [])


def to_shape(value: dict[str, Any], size_hw: tuple[int, int]) -> Shape:
    """One value. Raises one of WRONG."""
    height, width = size_hw

    def pixels(key: str, side: int) -> float:
        return number(value[key]) * side / 100

    angle = number(value.get("rotation") or 0)
    if "rle" in value:
        return Raster(Brush(value["rle"]))
    if "radiusX" in value:
        return ellipse(
            pixels("x", width), pixels("y", height), pixels("radiusX", width), pixels("radiusY", height), angle
        )
    if "points" in value:
        return polygon(to_points(value["points"]) * np.array([width, height]) / 100)
    return turned_box(pixels("x", width), pixels("y", height), pixels("width", width), pixels("height", height), angle)


@dataclass(frozen=True)
class Brush:
    """A brushed mask, packed."""

    data: list[int] = field(repr=False)

    def __call__(self, size_hw: tuple[int, int]) -> CroppedMask:
        return CroppedMask.from_mask(decode_brush(self.data, size_hw))


CONFIG = "label_config.xml"
STORAGE = "/data/local-files/?d="  # Label Studio's address of files on the server's own disk
_TOOLS = {"polygonlabels": "PolygonLabels", "brushlabels": "BrushLabels", "rectanglelabels": "RectangleLabels"}


def write(folder: Path, labels: Labels, photos: Iterable[Annotated], options: WriteOptions) -> Losses:
    """``label_studio.json`` to import, whose photos are files of the server's own disk from the folder on, and
    ``label_config.xml``, the project's settings. Objects of one part without holes are polygons, others are brushed."""
    losses = Losses()
    with atomic_write(folder / "label_studio.json") as stream:
        stream.write(b"[")
        for number, photo in enumerate(photos, 1):
            results = [
                _write_result(one, index, labels.names[one.value], photo.size_hw, options, losses)
                for index, one in enumerate(outline_instances(photo.instances), 1)
            ]
            task = {
                "id": number,
                "data": {"image": STORAGE + quote(photo.photo)},
                "annotations": [{"id": number, "was_cancelled": False, "ground_truth": False, "result": results}],
            }
            stream.write(to_utf8(f"{',' if number > 1 else ''}\n{to_json(task)}"))
        stream.write(b"\n]\n")
    lines = ['<View>\n  <Image name="image" value="$image"/>\n']
    for kind, tool in _TOOLS.items():
        choices = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in labels.names[1:])
        lines.append(f'  <{tool} name="{kind}" toName="image">\n{choices}  </{tool}>\n')
    write_text(folder / CONFIG, "".join([*lines, "</View>\n"]))
    return losses


def _write_result(
    one: Outlined, number: int, name: str, size_hw: tuple[int, int], options: WriteOptions, losses: Losses
) -> dict[str, Any]:
    height, width = size_hw
    scale = np.array([width, height]) / 100
    value: dict[str, Any]
    if one.mask is None:
        x1, y1, x2, y2 = one.box
        kind = "rectanglelabels"
        sides = {"x": x1 / scale[0], "y": y1 / scale[1], "width": (x2 - x1) / scale[0], "height": (y2 - y1) / scale[1]}
        value = {**sides, "rotation": 0}
    elif len(one.parts) == 1 and (options.outlines == "polygons" or (options.outlines == "auto" and not one.has_holes)):
        kind = "polygonlabels"
        ring = join_rings(one.parts[0])
        losses.measure(one.mask, [ring], size_hw)
        losses.count("joined", int(one.has_holes))
        value = {"points": (ring / scale).tolist(), "closed": True}
    else:
        kind = "brushlabels"
        value = {"format": "rle", "rle": encode_brush(one.mask.to_full(size_hw))}
    return {
        "id": f"{number:06d}", "type": kind, "from_name": kind, "to_name": "image", "original_width": width,
        "original_height": height, "image_rotation": 0, "value": {**value, kind: [name]},
        **({"meta": {"text": [CROWD]}} if one.crowd else {}),
    }  # fmt: skip


FORMAT = Format(
    name="Label Studio's",
    layout="Label Studio's export, JSON or JSON-MIN, with its photos",
    recognize=recognize,
    read_objects=read_objects,
    cannot_hold="nothing that Imago knows",
    writer=Writer("objects", "images/{split}/{name}", write),
)
