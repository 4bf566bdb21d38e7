"""One file for many photos: what a photo is called in it, and how a further run adds to it.

A photo is called by its path from the file's folder, with slashes: two photos never share a name, and a photo has the
same one whatever folder the command is called from.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from imago.core.errors import DataError
from imago.core.labels import Labels
from imago.core.text import to_json, unescape
from imago.data.formats.coco import to_coco
from imago.data.formats.counts import COLUMNS, count_instances
from imago.data.formats.format import ImageDetections, write_text
from imago.files.images import page_label
from imago.files.text import read_json

JointKind = Literal["coco", "counts"]
_COCO = ("images", "annotations", "categories")


def name_photo(photo: Path, file: Path, page: int = 0) -> str:
    """What ``photo``, or that page of it, is called in ``file``."""
    try:
        return page_label(Path(os.path.relpath(photo, file.parent)).as_posix(), page)
    except ValueError:  # another drive of Windows
        return page_label(Path(os.path.abspath(photo)).as_posix(), page)


def read_names(kind: JointKind, path: Path, labels: Labels) -> set[str]:
    """The photos that ``path`` holds; none where there is no file. Raises DataError where it is no such file, or holds
    other classes than ``labels``."""
    if not os.path.lexists(path):
        return set()
    if kind == "counts":
        return {unescape(row[0]) for row in _read_counts(path)}
    return {unescape(image["file_name"]) for image in _read_coco(path, labels)["images"]}


def write_joint(
    kind: JointKind,
    path: Path,
    photos: Sequence[ImageDetections],
    labels: Labels,
    *,
    overwrite: bool = False,
    append: bool = False,
) -> None:
    """``photos`` as one file. ``append`` adds those that a file which is there does not hold. Raises DataError where
    that is another file, ImagoError where it is in the way or cannot be written."""
    if append:
        there = read_names(kind, path, labels)
        photos = [photo for photo in photos if photo.file_name not in there]
    if kind == "counts":
        text = io.StringIO()
        earlier = _read_counts(path) if append and os.path.lexists(path) else []
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *earlier, *count_instances(photos, labels)])
        write_text(path, text.getvalue(), overwrite or append)
        return
    content = to_coco(photos, labels)
    if append and os.path.lexists(path):
        content = _join(_read_coco(path, labels), content)
    write_text(path, to_json(content), overwrite or append)


def _read_counts(path: Path) -> list[list[str]]:
    """The rows without the head. Raises DataError."""
    try:
        rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read, so nothing is added to it ({error})") from error
    if rows[:1] != [list(COLUMNS)] or any(len(row) != len(COLUMNS) for row in rows):
        raise DataError(f"{path}: is no table of --save counts, so nothing is added to it; choose another folder (-o)")
    return rows[1:]


def _read_coco(path: Path, labels: Labels) -> dict[str, Any]:
    """Raises DataError."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read, so nothing is added to it ({error})") from error
    whole = isinstance(content, dict) and all(
        isinstance(content.get(part), list) and all(isinstance(entry, dict) for entry in content[part])
        for part in _COCO
    )
    if not whole or not all(
        isinstance(image.get("file_name"), str) and type(image.get("id")) is int for image in content["images"]
    ):
        raise DataError(f"{path}: is not of --save coco, so nothing is added to it; choose another folder (-o)")
    wanted = to_coco((), labels)["categories"]
    if content["categories"] != wanted:
        names = ", ".join(str(category.get("name")) for category in content["categories"][:5])
        raise DataError(f"{path}: holds other classes ({names}) than the model's; choose another folder (-o)")
    return content


def _join(earlier: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Ids go on where they end."""
    images = max((image["id"] for image in earlier["images"]), default=0)
    ids = [entry["id"] for entry in earlier["annotations"] if type(entry.get("id")) is int]
    annotations = max(ids, default=0)
    return {
        **earlier,
        "images": earlier["images"] + [{**image, "id": image["id"] + images} for image in new["images"]],
        "annotations": earlier["annotations"]
        + [
            {**entry, "id": entry["id"] + annotations, "image_id": entry["image_id"] + images}
            for entry in new["annotations"]
        ],
    }
