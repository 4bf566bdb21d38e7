"""YOLO's text files: ``images/train/NAME.jpg`` and ``labels/train/NAME.txt``, a line an object.

``class cx cy width height``: a box, its centre and size as shares of the photo; ``class x y x y x y ...``: a polygon.
Classes count from 0 there and from 1 here. A set has boxes or polygons, not both. A photo without a label file, or with
an empty one, has no object.

Where photos, labels and names of classes lie is told by yolo_layout.py.
https://docs.ultralytics.com/datasets/segment (the format), https://github.com/pjreddie/darknet (its first user).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imago.core import boxes
from imago.core.errors import DataError
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.core.polygons import fill_polygons, join_rings, outline, trace_parts
from imago.core.text import plural
from imago.data.dataset import Dataset, Sample
from imago.data.formats.checks import NO_OUTLINES, WITHOUT_OUTLINE, Outside, find_box_fault, instance_labels
from imago.data.formats.format import (
    Annotated,
    Format,
    Found,
    Losses,
    ReadOptions,
    Truth,
    WriteOptions,
    Writer,
    drop_crowds,
    write_text,
)
from imago.data.formats.yolo_layout import Pairs, find_yolo, is_yolo
from imago.files.images import image_size
from imago.files.text import read_text

Line = tuple[int, np.ndarray]  # class, 1 and more; float64 numbers after it


@dataclass(frozen=True)
class YoloReader:
    """Reads one photo's objects."""

    image_path: Path
    values: tuple[int, ...]  # classes, 1 and more
    shapes: tuple[np.ndarray, ...] = field(repr=False)  # float64: cx cy width height, or x y x y ...; shares
    has_masks: bool

    def polygons(self) -> list[tuple[int, np.ndarray]]:
        """The number of the object, from 0, and float64 (2 n,), x y x y ..., of each polygon as the file has it."""
        return [(index, shape) for index, shape in enumerate(self.shapes) if shape.size > 4]

    def __call__(self) -> Instances:
        size_hw = image_size(self.image_path)
        scale = np.array([size_hw[1], size_hw[0]], np.float64)
        masks, found = [], []
        for shape in self.shapes:
            if shape.size == 4:
                found.append(boxes.from_centers(shape[None], size_hw)[0])
                if not self.has_masks:
                    continue
                x1, y1, x2, y2 = found.pop()
                shape = np.array([x1, y1, x2, y1, x2, y2, x1, y2]) / np.tile(scale, 4)
            points = shape.reshape(-1, 2) * scale
            rectangle = (*points.min(axis=0), *points.max(axis=0))
            if self.has_masks:
                masks.append(fill_polygons([points], size_hw))
                rectangle = masks[-1].box if masks[-1].area else rectangle  # a sliver between the pixels' centres
            found.append(rectangle)
        return Instances.make(
            size_hw,
            boxes.clip(boxes.as_boxes(found), size_hw),
            self.values,
            cropped=masks if self.has_masks else None,
            # Boxes among outlines: neither object nor background.
            crowd=[shape.size == 4 for shape in self.shapes] if self.has_masks else None,
        )


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if is_yolo(root) else ()


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The data set without what is damaged, and the faults. Without masks it takes the rectangles of polygons."""
    found = find_yolo(root)
    names, pairs, divided, faults = found.names, found.pairs, found.splits, list(found.faults)
    read = {
        name: _read_lines(label, len(names), faults, options.clip) if label.is_file() else []
        for name, (_, label) in pairs.items()
    }
    without = sum(not label.is_file() for _, label in pairs.values())
    if without == len(pairs):
        photo, label = next(iter(pairs.values()), (root, root))
        raise DataError(f"{root}: {plural(without, 'photo')} and no label file; expected {label} for {photo}")
    has_masks = _has_masks(root, pairs, read, options.masks, faults)
    samples = {}
    for name, (photo, _) in pairs.items():
        lines = read.get(name, [])
        values, shapes = tuple(value for value, _ in lines), tuple(shape for _, shape in lines)
        reader = YoloReader(photo, values, shapes, has_masks)
        samples[name] = Sample(name, photo, options.channels, read_instances=reader)
    splits = {split: tuple(samples[name] for name in members) for split, members in divided.members.items()}
    notes = divided.notes
    if without:
        notes += (f"{plural(without, 'photo', 'have')} no label file: no object is counted there",)
    return Dataset(root, instance_labels(names, root), splits, notes, has_masks), (*faults, *divided.faults)


def _has_masks(root: Path, pairs: Pairs, read: dict[str, list[Line]], masks: bool | None, faults: list[str]) -> bool:
    """Whether polygons are read; boxes among them are then faults, and count for nothing."""
    polygons = sum(shape.size > 4 for lines in read.values() for _, shape in lines)
    if masks and not polygons:
        raise DataError(f"{root}: no line is a polygon; {NO_OUTLINES}")
    if masks is False or not polygons:
        return False
    for name, lines in read.items():
        count = sum(shape.size == 4 for _, shape in lines)
        if count:
            faults.append(
                f"{pairs[name][1]}: {count} of {len(lines)} objects are boxes, while the set has polygons; outline "
                f"them, or {WITHOUT_OUTLINE}"
            )
    return True


def _read_lines(path: Path, classes: int, faults: list[str], clip: bool) -> list[Line]:
    """Class, 1 and more, and shape of each line; faults are added."""
    found: list[Line] = []
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{path}: cannot be read as text ({error})")
        return found
    for number, text in enumerate(lines, 1):
        if words := text.split():
            try:
                line, fault = _parse(words, classes)
            except ValueError as error:
                faults.append(f"{path}, line {number}: {error}")
                continue
            if not fault or clip:
                found.append(line)
            if fault:
                faults.append(Outside(f"{path}, line {number}: {fault}"))
    return found


def _parse(words: list[str], classes: int) -> tuple[Line, str]:
    """One line -> class, 1 and more, and its four or more numbers; and a fault that cutting mends. Raises
    ValueError."""
    try:
        number, shape = float(words[0]), np.array([float(word) for word in words[1:]])
    except ValueError as error:
        raise ValueError(f"expected numbers; got {' '.join(words[:6])}") from error
    if not math.isfinite(number) or number != int(number) or not 0 <= number < classes:
        raise ValueError(f"class {words[0]} is out of range; there are 0 to {classes - 1}")
    if shape.size != 4 and (shape.size < 6 or shape.size % 2):
        raise ValueError(f"{shape.size} numbers after the class; a box has 4, a polygon an even number from 6 on")
    if shape.size == 4:
        corners = np.concatenate([shape[:2] - shape[2:] / 2, shape[:2] + shape[2:] / 2])
    else:
        points = shape.reshape(-1, 2)
        corners = np.concatenate([points.min(axis=0), points.max(axis=0)])
    fault = find_box_fault(corners.tolist(), (1.0, 1.0), slack_px=0)
    words_of = f"{fault}; in shares of the photo, which lie between 0 and 1" if fault else ""
    if fault and not isinstance(fault, Outside):
        raise ValueError(words_of)
    return (int(number) + 1, shape), words_of


# Writing


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


def write(folder: Path, labels: Labels, photos: Iterable[Annotated], options: WriteOptions) -> Losses:
    """``labels/SPLIT/NAME.txt``, and ``data.yaml`` with the names of the classes."""
    losses = Losses()
    splits: dict[str, None] = {}
    for photo in photos:
        splits[photo.split] = None
        instances = drop_crowds(photo.instances, losses)
        polygons = instances.cropped is not None
        text = to_yolo(instances, polygons)
        if polygons:
            _count_losses(losses, instances, text)
        write_text(folder / "labels" / photo.split / f"{photo.name}.txt", text)
    write_text(folder / "data.yaml", to_yolo_yaml(labels, splits))
    return losses


def _count_losses(losses: Losses, instances: Instances, text: str) -> None:
    assert instances.cropped is not None
    scale = np.array([instances.size_hw[1], instances.size_hw[0]], np.float64)
    for mask, line in zip(instances.cropped, text.splitlines(), strict=True):
        shares = np.array(line.split()[1:], np.float64).reshape(-1, 2)
        losses.measure(mask, [shares * scale], instances.size_hw)
        parts = trace_parts(mask)
        losses.count("joined", int(len(parts) > 1 or len(parts[0]) > 1))


def to_yolo_yaml(labels: Labels, splits: Iterable[str] = ("train", "val")) -> str:
    """``data.yaml``: names of the classes, and ``images/SPLIT`` for each split."""
    lines = [f"{split}: images/{split}\n" for split in splits]
    lines += ["names:\n"]
    lines += [f"  {value}: '{name.replace(chr(39), chr(39) * 2)}'\n" for value, name in enumerate(labels.names[1:])]
    return "".join(lines)


FORMAT = Format(
    name="YOLO's text files",
    layout="YOLO's images/ and labels/ with data.yaml",
    recognize=recognize,
    read_objects=read_objects,
    cannot_hold="crowd regions, holes other than by a bridge, boxes and polygons in one set",
    writer=Writer("objects", "images/{split}/{name}", write),
)
