"""Objects to files: COCO JSON, YOLO's text, label images, a table of counts and areas.

They stand beside the readers, in data/: what a format means is then known in one room, and a test reads back what was
written. ``classes`` are those of ``Labels``: 1 and more, 0 is the background.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from imago.core import boxes
from imago.core.errors import DataError
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.core.polygons import join_rings, outline
from imago.core.rle import pack_rle
from imago.core.text import escape, to_json, to_utf8
from imago.files.writing import atomic_write

Outlines = Literal["rle", "polygons"]
COLUMNS = ("photo", "class", "objects", "area_px", "mean_area_px", "least_area_px", "largest_area_px", "area_share")


@dataclass(frozen=True)
class ImageDetections:
    """The objects of one photo, and what the file is to call it."""

    file_name: str
    instances: Instances


def to_coco(photos: Iterable[ImageDetections], labels: Labels, outlines: Outlines = "rle") -> dict[str, Any]:
    """COCO's annotation format; ids count from 1, category ids are the class values, boxes are x y width height.

    Masks become packed run lengths, which are exact, or polygons (see ``core.polygons``). Crowd regions and empty masks
    are run lengths always, as COCO has it. Every annotation carries its ``score``, 1 where people made it.
    """
    if outlines not in ("rle", "polygons"):
        raise ValueError(f"outlines are 'rle' or 'polygons'; got {outlines!r}")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, photo in enumerate(photos, 1):
        height, width = photo.instances.size_hw
        images.append({"id": number, "file_name": photo.file_name, "height": height, "width": width})
        for index in range(len(photo.instances)):
            entry = {"id": len(annotations) + 1, "image_id": number, **_to_coco_entry(photo.instances, index, outlines)}
            annotations.append(entry)
    categories = [{"id": value, "name": name} for value, name in enumerate(labels.names) if value > 0]
    return {"images": images, "annotations": annotations, "categories": categories}


def _to_coco_entry(instances: Instances, index: int, outlines: Outlines) -> dict[str, Any]:
    crowd = bool(instances.crowd is not None and instances.crowd[index])
    segmentation: Any = []
    area = float(boxes.area(instances.boxes[index : index + 1])[0])
    if instances.cropped is not None:
        mask = instances.cropped[index]
        area = float(mask.area)
        if outlines == "polygons" and area and not crowd:
            segmentation = [ring.ravel().tolist() for ring in outline(mask)]
        else:
            segmentation = {"size": list(instances.size_hw), "counts": pack_rle(mask.to_rle(instances.size_hw))}
    x1, y1, x2, y2 = (float(str(v)) for v in instances.boxes[index])  # float32's own digits, not those of its double
    return {
        "category_id": int(instances.classes[index]),
        "iscrowd": int(crowd),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": area,
        "score": float(str(instances.scores[index])),
        "segmentation": segmentation,
    }


def write_coco(
    path: Path, photos: Iterable[ImageDetections], labels: Labels, outlines: Outlines = "rle", overwrite: bool = False
) -> None:
    """``to_coco`` as a file."""
    _write(path, to_json(to_coco(photos, labels, outlines)), overwrite)


def to_yolo(instances: Instances, polygons: bool = False, scores: bool = False) -> str:
    """YOLO's lines: ``class cx cy width height`` or ``class x y x y ...``, shares of the photo with six decimals.

    Classes count from 0 there. ``polygons`` needs masks; several parts and holes are joined to one polygon by edges
    that are walked there and back. ``scores``: one more number at the end of each line, as YOLO's programs write what
    they found; such a file is no annotation. Crowd regions are left out: the format has no word for them. An object
    whose mask is empty has no polygon: raises DataError.
    """
    if polygons and instances.cropped is None:
        raise DataError("polygons were asked for, but these objects have boxes alone")
    centers = boxes.to_centers(instances.boxes, instances.size_hw)
    lines = []
    for index, (value, score) in enumerate(zip(instances.classes, instances.scores, strict=True)):
        if instances.crowd is not None and instances.crowd[index]:
            continue
        shares = centers[index]
        if polygons and instances.cropped is not None:
            rings = outline(instances.cropped[index])
            if not rings:
                raise DataError(f"object {index + 1} has an empty mask, of which there is no polygon")
            shares = (join_rings(rings) / (instances.size_hw[1], instances.size_hw[0])).ravel()
        numbers = [f"{share:.6f}" for share in shares] + ([f"{score:.6f}"] if scores else [])
        lines.append(" ".join([str(int(value) - 1), *numbers]) + "\n")
    return "".join(lines)


def write_yolo(
    path: Path, instances: Instances, polygons: bool = False, scores: bool = False, overwrite: bool = False
) -> None:
    """``to_yolo`` as a file: ``labels/NAME.txt``."""
    _write(path, to_yolo(instances, polygons, scores), overwrite)


def write_yolo_yaml(
    path: Path, labels: Labels, splits: Iterable[str] = ("train", "val"), overwrite: bool = False
) -> None:
    """``data.yaml``: names of the classes, and ``images/SPLIT`` for each split."""
    lines = [f"{split}: images/{split}\n" for split in splits]
    lines += ["names:\n"]
    lines += [f"  {value}: '{name.replace(chr(39), chr(39) * 2)}'\n" for value, name in enumerate(labels.names[1:])]
    _write(path, "".join(lines), overwrite)


def write_label_image(path: Path, instances: Instances, overwrite: bool = False) -> None:
    """PNG of 16 bits, grey: 0, or the number (1 .. K) of the object that is there; where several are, the first wins.

    Objects without masks are their boxes. Raises DataError past 65,535 objects.
    """
    if len(instances) > 65_535:
        raise DataError(
            f"{path}: {len(instances)} objects; a label image of 16 bits holds 65,535. Cut the image in parts"
        )
    with atomic_write(path, overwrite) as stream:
        Image.fromarray(instances.to_label_image()).save(stream, "PNG")


def count_instances(photos: Iterable[ImageDetections], labels: Labels) -> list[tuple[Any, ...]]:
    """Rows of COLUMNS: of each photo one for all its objects (class "all"), then one for each class that it has.

    Areas are pixels of the masks, or of the boxes where there are none; the share is of the photo, and objects that
    overlap count twice in it. Crowd regions are left out.
    """
    rows: list[tuple[Any, ...]] = []
    for photo in photos:
        instances = photo.instances if photo.instances.crowd is None else photo.instances[~photo.instances.crowd]
        areas = instances.areas
        rows.append(_count_row(photo, "all", areas))
        rows += [
            _count_row(photo, labels.names[v], areas[instances.classes == v]) for v in np.unique(instances.classes)
        ]
    return rows


def _count_row(photo: ImageDetections, name: str, areas: np.ndarray) -> tuple[Any, ...]:
    if not areas.size:
        return escape(photo.file_name), name, 0, 0, "", "", "", 0.0
    height, width = photo.instances.size_hw
    mean, least, largest = (f"{v:.1f}".removesuffix(".0") for v in (areas.mean(), areas.min(), areas.max()))
    total = float(areas.sum())
    file_name = escape(photo.file_name)
    return file_name, name, areas.size, round(total), mean, least, largest, round(total / (height * width), 6)


def write_counts(path: Path, photos: Iterable[ImageDetections], labels: Labels, overwrite: bool = False) -> None:
    """``count_instances`` as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(count_instances(photos, labels))
    _write(path, text.getvalue(), overwrite)


def _write(path: Path, text: str, overwrite: bool) -> None:
    with atomic_write(path, overwrite) as stream:
        stream.write(to_utf8(text))
