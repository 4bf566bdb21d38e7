"""YOLO's text files: ``images/train/NAME.jpg`` and ``labels/train/NAME.txt``, a line an object.

``class cx cy width height``: a box, its centre and size as shares of the photo; ``class x y x y x y ...``: a polygon.
Classes count from 0 there and from 1 here. A set has boxes or polygons, not both. A photo without a label file, or with
an empty one, has no object.

Where photos, labels and names of classes lie is told by yolo_layout.py.
https://docs.ultralytics.com/datasets/segment (the format), https://github.com/pjreddie/darknet (its first user).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imago.core import boxes
from imago.core.errors import DataError
from imago.core.instances import Instances
from imago.core.polygons import fill_polygons
from imago.data.detection import DetectionDataset, DetectionSample
from imago.data.formats.checks import find_box_fault, instance_labels
from imago.data.formats.yolo_layout import find_yolo
from imago.files.images import image_size


@dataclass(frozen=True)
class YoloReader:
    """Reads one photo's objects."""

    image_path: Path
    values: tuple[int, ...]  # classes, 1 and more
    shapes: tuple[np.ndarray, ...] = field(repr=False)  # float64: cx cy width height, or x y x y ...; shares
    has_masks: bool

    def __call__(self) -> Instances:
        size_hw = image_size(self.image_path)
        scale = np.array([size_hw[1], size_hw[0]], np.float64)
        masks, found = [], []
        for shape in self.shapes:
            if shape.size == 4:
                found.append(boxes.from_centers(shape[None], size_hw)[0])
                continue
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
        )


def survey_yolo(root: Path, channels: int = 3, masks: bool | None = None) -> tuple[DetectionDataset, tuple[str, ...]]:
    """The data set without what is damaged, and the faults. ``masks``: False takes the rectangles of polygons."""
    found = find_yolo(root)
    names, pairs, divided, faults = found.names, found.pairs, found.splits, list(found.faults)
    read: dict[str, tuple[list[int], list[np.ndarray]]] = {}
    for name, (_, label) in pairs.items():
        read[name] = _read_lines(label, len(names), faults) if label.is_file() else ([], [])
    without = sum(not label.is_file() for _, label in pairs.values())
    if without == len(pairs):
        photo, label = next(iter(pairs.values()), (root, root))
        raise DataError(f"{root}: {without} photos and no label file; expected {label} for {photo}")
    polygons = sum(shape.size > 4 for _, shapes in read.values() for shape in shapes)
    total = sum(len(shapes) for _, shapes in read.values())
    if masks and not polygons:
        raise DataError(f"{root}: no line is a polygon; there are boxes alone (masks=False)")
    has_masks = masks is not False and polygons > 0
    if has_masks and polygons < total:
        for name, (values, shapes) in read.items():
            keep = [shape.size > 4 for shape in shapes]
            if not all(keep):
                faults.append(
                    f"{pairs[name][1]}: {len(keep) - sum(keep)} of {len(keep)} objects are boxes, while the set has "
                    "polygons; outline them, or take boxes alone (masks=False)"
                )
                read[name] = (
                    [value for value, good in zip(values, keep, strict=True) if good],
                    [shape for shape, good in zip(shapes, keep, strict=True) if good],
                )
    samples = {}
    for name, (photo, _) in pairs.items():
        values, shapes = read[name]
        reader = YoloReader(photo, tuple(values), tuple(shapes), has_masks)
        samples[name] = DetectionSample(name, photo, reader, channels)
    splits = {split: tuple(samples[name] for name in members) for split, members in divided.members.items()}
    notes = divided.notes
    if without:
        notes += (f"{without} photos have no label file: they count as photos without an object",)
    return DetectionDataset(root, instance_labels(names, root), splits, has_masks, notes), (*faults, *divided.faults)


def _read_lines(path: Path, classes: int, faults: list[str]) -> tuple[list[int], list[np.ndarray]]:
    values: list[int] = []
    shapes: list[np.ndarray] = []
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{path}: cannot be read as text ({error})")
        return values, shapes
    for number, line in enumerate(lines, 1):
        words = line.split()
        if words:
            try:
                value, shape = _parse(words, classes)
            except ValueError as error:
                faults.append(f"{path}, line {number}: {error}")
            else:
                values.append(value)
                shapes.append(shape)
    return values, shapes


def _parse(words: list[str], classes: int) -> tuple[int, np.ndarray]:
    """One line -> class, 1 and more, and its four or more numbers. Raises ValueError."""
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
    if fault := find_box_fault(corners.tolist(), (1.0, 1.0), slack_px=0):
        raise ValueError(f"{fault}; in shares of the photo, which lie between 0 and 1")
    return int(number) + 1, shape
