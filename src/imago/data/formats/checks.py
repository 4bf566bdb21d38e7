"""What the readers of annotated objects share: the labels of their classes, and boxes that are none."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imago.core.errors import DataError
from imago.core.labels import IGNORE, Labels
from imago.files.paths import explain_missing, path_kind
from imago.files.text import read_json, read_text

LARGEST_SIDE = 1_000_000  # pixels: more is no photo
SLACK = 0.01  # of the photo's side: as far may a box stick out. Annotators round, and half-seen objects are guessed at
SLACK_PX = 1.0  # or as many pixels, in small photos
# What can be done about boxes among outlines.
WITHOUT_OUTLINE = "take boxes alone (--boxes-only), or --faulty skip, and its box counts for nothing"
NO_OUTLINES = "there are boxes alone, which only nets that find boxes learn from (fasterrcnn, yolov3 and others)"


class Outside(str):
    """A fault of a box or outline that sticks out of its photo, and that cutting mends."""


class UnknownValues(str):
    """A fault of a mask that holds values or colours that are no class."""


def require_folder(root: Path, held: str) -> None:
    """Raises DataError unless ``root`` is a folder; ``held``: what is expected in it."""
    kind = path_kind(root)
    if kind != "folder":
        what = explain_missing(root, "folder of data") if kind == "missing" else f"{root}: is a file, no folder of data"
        raise DataError(f"{what}; expected a folder of {held}")


def strip_suffix(file_name: str) -> str:
    """A photo's name as a file has it, without its suffix; what is no name ("", ".", "..") stays as it is."""
    return Path(file_name).with_suffix("").as_posix() if Path(file_name).name else file_name


def instance_labels(names: Sequence[str], where: Path) -> Labels:
    """``names`` of the classes 1, 2, ... -> labels with the background before them. Raises DataError."""
    ignore = IGNORE if len(names) < IGNORE else 65_535
    try:
        return Labels(("background", *names), ignore=ignore)
    except ValueError as error:
        raise DataError(f"{where}: the classes cannot be used ({error}); 'background' is added by itself") from error


def read_class_list(path: Path) -> list[str]:
    """The lines of ``classes.txt`` or the like: line n is class n. Raises DataError."""
    try:
        lines = [line.strip() for line in read_text(path).rstrip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text in UTF-8 ({error})") from error
    if not lines or "" in lines:
        where = f"line {lines.index('') + 1} is empty" if lines else "is empty"
        raise DataError(f"{path}: {where}; expected a class a line")
    return lines


def find_box_fault(box: Sequence[float], size_hw: tuple[float, float], slack_px: float = SLACK_PX) -> str:
    """In words, why x1 y1 x2 y2 is no box in an image of ``size_hw``; empty where it is one.

    A box may stick out by SLACK or ``slack_px``; the reader cuts it. ``Outside`` where it sticks out further.
    """
    x1, y1, x2, y2 = box
    words = f"box {x1:g} {y1:g} {x2:g} {y2:g} (x1 y1 x2 y2)"
    if not all(map(math.isfinite, box)):
        return f"{words} holds what is no number"
    if x2 < x1 or y2 < y1:
        return f"{words} has a negative side; the first corner is the upper left one"
    if x2 == x1 or y2 == y1:
        return f"{words} is empty"
    height, width = size_hw
    across, down = (max(SLACK * side, slack_px) for side in (width, height))
    sticks_out = x1 < -across or y1 < -down or x2 > width + across or y2 > height + down
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
        return f"{words} lies outside of the photo of {height:g} x {width:g} (height x width)"
    if sticks_out:
        return Outside(f"{words} reaches outside of the photo of {height:g} x {width:g} (height x width)")
    return ""


def read_annotations(path: Path) -> Any:
    """The JSON of an annotation file. Raises DataError for what is none."""
    try:
        return read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); copy it again") from error


def read_annotation_xml(path: Path) -> ElementTree.Element:
    """The root of an XML file. Raises DataError for what is none, and for entities, which can blow up a small file."""
    try:
        data = path.read_bytes()
        if b"<!ENTITY" in data:
            raise DataError(f"{path}: declares entities, which no annotation tool does; it is not read")
        return ElementTree.fromstring(data)
    except (OSError, ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as XML ({error})") from error
