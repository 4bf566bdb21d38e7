"""What the classes of a VOC data set are called.

The first of: ``classes.txt``; ``labelmap.txt`` (CVAT: ``name:r,g,b:parts:actions``); ``class_names.txt`` (labelme).
Where there is none: VOC's own twenty, if the XML files name no other; else the names in the XML files, each for the
value that most of its boxes hold; and where there is no XML either, the values that are found in the masks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imago.core.errors import DataError, ImageError
from imago.core.labels import BACKGROUND_NAMES, IGNORE, Color, Labels, voc_labels
from imago.core.read_settings import ReadSettings
from imago.data import class_lists
from imago.data.classes import Classes, apply_reading, find_classes
from imago.data.formats.checks import read_class_list
from imago.data.mask_pixels import UNKNOWN

VOID_COLOR = (224, 224, 192)  # VOC's, round the rims
VOTERS = 200  # photos that are looked at for which value an XML file's name has


@dataclass(frozen=True)
class VocBox:
    """One ``<object>``."""

    name: str
    box: tuple[float, float, float, float]  # x1 y1 x2 y2
    difficult: bool


def read_label_map(path: Path) -> tuple[list[str], list[Color]]:
    """Names and colours of ``labelmap.txt``, the background first. Raises DataError."""
    listed = class_lists.read_label_map(path)
    names, colors = list(listed.names), list(listed.colors)
    first = next((names.index(name) for name in BACKGROUND_NAMES if name in names), None)
    if first is None:
        return ["background", *names], [(0, 0, 0), *colors]
    order = [first, *(index for index in range(len(names)) if index != first)]
    return ["background", *(names[i] for i in order[1:])], [colors[i] for i in order]


def _read_listed(root: Path) -> tuple[str, list[str]] | None:
    """The file of names that there is, and the names of the objects in it."""
    if (root / "classes.txt").is_file():
        names = read_class_list(root / "classes.txt")
        return "classes.txt", [name for name in names if name != "background"]
    if (root / "labelmap.txt").is_file():
        return "labelmap.txt", read_label_map(root / "labelmap.txt")[0][1:]
    if (root / "class_names.txt").is_file():
        names = [name for name in read_class_list(root / "class_names.txt") if name != "__ignore__"]
        return "class_names.txt", [name for name in names if name not in BACKGROUND_NAMES]
    return None


def find_box_classes(root: Path, used: set[str]) -> tuple[str, list[str]]:
    """Where the names are from, and the names of the classes 1, 2, ... ``used`` stand in the XML files."""
    if listed := _read_listed(root):
        return listed
    usual = list(voc_labels().names[1:])
    return "the XML files", usual if used <= set(usual) else sorted(used)


def find_mask_classes(
    root: Path,
    masks: Mapping[str, Path],
    boxes: Mapping[str, Iterable[VocBox]],
    background: bool,
    reading: ReadSettings,
) -> Classes:
    """What the values, or colours, of the class masks mean, as the user says (``reading``) or as files do. Raises
    DataError.

    ``background``: value 0 is the background, whether ``classes.txt`` lists it or not.
    """
    known = _find_stated(root, masks, boxes, background, reading)
    return apply_reading(known, root, list(masks.values()), reading)


def _find_stated(
    root: Path,
    masks: Mapping[str, Path],
    boxes: Mapping[str, Iterable[VocBox]],
    background: bool,
    reading: ReadSettings,
) -> Classes:
    if (root / "labelmap.txt").is_file() and not (root / "classes.txt").is_file():
        names, colors = read_label_map(root / "labelmap.txt")
        codes = {color: value for value, color in enumerate(colors)}
        codes.setdefault(VOID_COLOR, IGNORE)
        return Classes(_labels(root / "labelmap.txt", names, colors), _table(len(names)), codes)
    listed = _read_listed(root)
    if listed and listed[0] == "class_names.txt":
        return Classes(_labels(root / listed[0], ["background", *listed[1]]), _table(len(listed[1]) + 1))
    used = {box.name for found in boxes.values() for box in found}
    if listed or not used:
        found = find_classes(root, list(masks.values()), reading)
        if listed and background and not found.codes and found.labels.names[0] not in BACKGROUND_NAMES:
            return Classes(_labels(root / listed[0], ["background", *listed[1]]), _table(len(listed[1]) + 1))
        return found
    if used <= set(voc_labels().names):
        return Classes(voc_labels(), _table(len(voc_labels())))
    return _vote(root, masks, boxes, reading)


def _labels(path: Path, names: list[str], colors: Iterable[Color] = ()) -> Labels:
    try:
        return Labels(tuple(names), tuple(colors))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _table(count: int) -> tuple[int, ...]:
    return tuple(value if value < count or value == IGNORE else UNKNOWN for value in range(256))


def _vote(
    root: Path, masks: Mapping[str, Path], boxes: Mapping[str, Iterable[VocBox]], reading: ReadSettings
) -> Classes:
    """Each name of the XML files gets the value that most of its boxes hold most of. Raises DataError."""
    by_looking = find_classes(root, list(masks.values()), reading)
    votes: dict[int, Counter[str]] = {}
    for name in [name for name in masks if boxes.get(name)][:VOTERS]:
        try:
            values = by_looking.reader(masks[name])()
        except ImageError:
            continue  # told by the check
        for box in boxes[name]:
            x1, y1, x2, y2 = (max(0, round(side)) for side in box.box)
            inside = values[y1:y2, x1:x2]
            inside = inside[(inside != IGNORE) & (inside != UNKNOWN) & (inside != 0)]
            if inside.size:
                votes.setdefault(int(np.bincount(inside).argmax()), Counter())[box.name] += 1
    names = ["background"]
    for value in range(1, len(by_looking.labels)):
        winner = votes[value].most_common(1)[0][0] if value in votes else by_looking.labels.names[value]
        names.append(winner)
    if len(set(names)) < len(names):
        raise DataError(
            f"{root}: cannot tell which names of the XML files the values of SegmentationClass/ have; list them in "
            "classes.txt, background first"
        )
    return replace(by_looking, labels=_labels(root, names, by_looking.labels.colors))
