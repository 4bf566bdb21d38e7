"""ADE20K, the full set (Zhou et al. 2017): ``NAME.jpg`` with ``NAME_seg.png`` beside it, in folders of splits, scenes.

In the mask R / 10 * 256 + G is the class and B the number of the object, which ``NAME_atr.txt`` (2016, 2017) or
``NAME.json`` (2021) names. Everything is an object, walls and sky too; label maps are painted from them, and what has
no class is background. Parts (``NAME_parts_1.png``) are not read. The set of 150 classes (SceneParsing: ``images/`` and
``annotations/``, objectInfo150.txt) is of photos and label maps: label_maps.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imago.core.errors import DataError
from imago.data.formats.format import Format, Found, ReadOptions, Truth
from imago.data.formats.segments import ClassTable, Entry, Segment, Segments, make_objects, read_numbers
from imago.data.splits import Splits, parse_split
from imago.files.clutter import glob_files
from imago.files.images import SUFFIXES
from imago.files.text import read_json, read_text

_TAIL = "_seg.png"


@dataclass(frozen=True)
class ReadAde:
    """Reads one photo's objects. ``values``: number of the object -> class."""

    path: Path
    values: Mapping[int, int]

    def __call__(self) -> Segments:
        packed = read_numbers(self.path, colored=True)
        kinds = (packed >> 16) // 10 * 256 + (packed >> 8 & 255)
        objects = packed & 255
        numbers = np.where(kinds > 0, kinds * 256 + objects, 0)
        meanings = {}
        for number in (int(n) for n in np.unique(numbers) if n):
            if number & 255 not in self.values:
                raise DataError(
                    f"{self.path}: object {number & 255} (class {number >> 8}) has no name in {_names_file(self.path)}"
                )
            meanings[number] = Segment(self.values[number & 255], is_thing=True)
        return Segments(numbers, meanings)


def _names_file(mask: Path) -> Path:
    bare = mask.name.removesuffix(_TAIL)
    atr = mask.with_name(f"{bare}_atr.txt")
    return atr if atr.is_file() else mask.with_name(f"{bare}.json")


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if root.is_dir() and next(_find_masks(root), None) else ()


def _find_masks(root: Path) -> Iterator[Path]:
    return (path for path in glob_files(root, f"**/*{_TAIL}") if _names_file(path).is_file())


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The objects of all photos, the class of each by its name."""
    photos = {
        path.with_suffix("").relative_to(root).as_posix(): path
        for path in glob_files(root, "**/*")
        if path.suffix.lower() in SUFFIXES and path.suffix.lower() != ".png"
    }
    named: dict[str, dict[int, str]] = {}
    masks: dict[str, Path] = {}
    faults: list[str] = []
    for path in glob_files(root, f"**/*{_TAIL}"):
        name = path.relative_to(root).as_posix().removesuffix(_TAIL)
        if name not in photos:
            faults.append(f"{path}: no photo {name}.jpg")
            continue
        try:
            named[name] = _read_names(_names_file(path))
        except DataError as error:
            faults.append(str(error))
            continue
        masks[name] = path
    faults += [f"{photos[n]}: no mask {n}{_TAIL}" for n in sorted(photos.keys() - masks.keys()) if n not in named]
    classes = sorted({name for found in named.values() for name in found.values()})
    if not classes:
        raise DataError(f"{root}: no object has a name in NAME_atr.txt or NAME.json; expected {FORMAT.layout}")
    entries: dict[str, Entry] = {}
    members: dict[str, tuple[str, ...]] = {}
    for name, path in sorted(masks.items()):
        values = {number: classes.index(word) for number, word in named[name].items()}
        entries[name] = Entry(photos[name], path, ReadAde(path, values))
        split = next((found for part in name.split("/")[:-1] if (found := parse_split(part))), "train")
        members[split] = (*members.get(split, ()), name)
    table = ClassTable(tuple(classes), (True,) * len(classes))
    splits = Splits(members).with_val_split("no folder validation")
    return make_objects(root, entries, table, faults, options, splits)


def _read_names(path: Path) -> dict[int, str]:
    """Number of the object -> its name; those of parts are left out. Raises DataError."""
    found = {}
    try:
        if path.suffix == ".json":
            for entry in read_json(path)["annotation"]["object"]:
                if int(entry["parts"]["part_level"]) == 0:
                    found[int(entry["id"])] = str(entry["name"]).split(",")[0].strip()
            return found
        for line in read_text(path, "replace").splitlines():
            cells = [cell.strip() for cell in line.split("#")]
            if len(cells) >= 4 and int(cells[1]) == 0:
                found[int(cells[0])] = cells[3].split(",")[0].strip()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read as ADE20K's names of objects ({error!r})") from error
    return found


FORMAT = Format(
    name="ADE20K",
    layout="ADE20K's NAME.jpg, NAME_seg.png and NAME_atr.txt (or NAME.json)",
    recognize=recognize,
    read_objects=read_objects,
    parts_everything=True,
    excludes_maps=True,
    cannot_hold="objects that overlap, more than 255 of them in a photo, crowd regions",
)
