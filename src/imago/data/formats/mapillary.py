"""Mapillary Vistas (Neuhold et al. 2017): ``config*.json`` names the classes; ``training/images/NAME.jpg`` with
``training/v2.0/labels/NAME.png`` (a class a pixel) and ``instances/NAME.png`` (class * 256 + number), or without the
version.

Where both versions lie there the newer one is read. Classes called ``void--...`` count for nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imago.core.errors import DataError
from imago.data.formats.format import Format, Found, ReadOptions, Truth
from imago.data.formats.pairing import index_by_stem
from imago.data.formats.segments import (
    VOID,
    ClassTable,
    Entry,
    Segment,
    Segments,
    make_maps,
    make_objects,
    read_numbers,
)  # fmt: skip
from imago.data.splits import Splits, parse_split_folder
from imago.files.clutter import glob_files, iter_folders
from imago.files.images import SUFFIXES
from imago.files.text import read_json

_VERSION = re.compile(r"v\d+\.\d+")


@dataclass(frozen=True)
class ReadVistas:
    """Reads one photo's segments."""

    path: Path
    step: int  # 256: classes and numbers; 1: classes alone
    classes: tuple[int, ...]  # class in the file -> class of the set, VOID
    things: tuple[bool, ...]  # by class in the file

    def __call__(self) -> Segments:
        numbers = read_numbers(self.path) + 1  # 0 is a thing of the first class
        meanings = {}
        for number in (int(n) for n in np.unique(numbers)):
            kind = (number - 1) // self.step
            if not 0 <= kind < len(self.classes):
                raise DataError(f"{self.path}: holds class {kind}; the config names {len(self.classes)}, from 0")
            meanings[number] = Segment(self.classes[kind], self.things[kind])
        return Segments(numbers, meanings)


def recognize(root: Path) -> tuple[Truth, ...]:
    parts = _find_parts(root)
    if not parts or not any(glob_files(root, "config*.json")):
        return ()
    return (
        ("label maps", "objects") if all((part / "instances").is_dir() for part in parts.values()) else ("label maps",)
    )


def _find_parts(root: Path) -> dict[str, Path]:
    """Folder of the split -> where its labels/ and instances/ lie."""
    found = {}
    for folder in iter_folders(root):
        if not parse_split_folder(folder.name) or not (folder / "images").is_dir():
            continue
        versions = sorted((path for path in iter_folders(folder) if _VERSION.fullmatch(path.name)), reverse=True)
        for place in (*versions, folder):
            if (place / "labels").is_dir() or (place / "instances").is_dir():
                found[folder.name] = place
                break
    return found


def read_maps(root: Path, options: ReadOptions) -> Found:
    """All classes but the void ones."""
    kinds = "labels" if all((part / "labels").is_dir() for part in _find_parts(root).values()) else "instances"
    entries, classes, faults, splits = _list_files(root, kinds)
    return make_maps(root, entries, classes, faults, options, splits)


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The things of the classes that the config calls so."""
    entries, classes, faults, splits = _list_files(root, "instances")
    return make_objects(root, entries, classes, faults, options, splits)


def _list_files(root: Path, kind: str) -> tuple[dict[str, Entry], ClassTable, list[str], Splits]:
    parts = _find_parts(root)
    versions = {place.name for place in parts.values() if _VERSION.fullmatch(place.name)}
    classes, table, things = _read_config(root, max(versions, default=""))
    entries: dict[str, Entry] = {}
    members: dict[str, tuple[str, ...]] = {}
    faults: list[str] = []
    for folder, place in parts.items():
        photos, photo_faults = index_by_stem(root / folder / "images", SUFFIXES)
        masks, mask_faults = index_by_stem(place / kind, (".png",))
        faults += [*photo_faults, *mask_faults]
        faults += [f"{photos[n]}: no mask {place / kind}/{n}.png" for n in sorted(photos.keys() - masks.keys())]
        faults += [f"{masks[n]}: no photo {folder}/images/{n}.*" for n in sorted(masks.keys() - photos.keys())]
        names = sorted(photos.keys() & masks.keys())
        for name in names:
            read = ReadVistas(masks[name], 256 if kind == "instances" else 1, table, things)
            entries[f"{folder}/{name}"] = Entry(photos[name], masks[name], read)
        split = parse_split_folder(folder) or "train"
        members[split] = (*members.get(split, ()), *(f"{folder}/{name}" for name in names))
    return entries, classes, faults, Splits(members).with_val_split("no folder validation")


def _read_config(root: Path, version: str) -> tuple[ClassTable, tuple[int, ...], tuple[bool, ...]]:
    """The classes; class in the files -> class of the set; and which are things, by class in the files."""
    found = list(glob_files(root, "config*.json"))
    path = next((path for path in found if version and path.stem.endswith(version)), found[0])
    try:
        entries = read_json(path)["labels"]
        names = [str(entry["name"]) for entry in entries]
        things = tuple(bool(entry.get("instances")) for entry in entries)
        red_green_blue = [tuple(int(part) for part in entry["color"][:3]) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read as Mapillary's config ({error!r})") from error
    kept = [number for number, name in enumerate(names) if not name.startswith("void--")]
    table = tuple(kept.index(number) if number in kept else VOID for number in range(len(names)))
    colors = tuple((rgb[0], rgb[1], rgb[2]) for rgb in (red_green_blue[number] for number in kept))
    classes = ClassTable(tuple(names[n] for n in kept), tuple(things[n] for n in kept), colors)
    return classes, table, things


FORMAT = Format(
    name="Mapillary Vistas",
    layout="Mapillary's config*.json with training/images/ and training/[v2.0/]labels/ and instances/",
    recognize=recognize,
    read_maps=read_maps,
    read_objects=read_objects,
    parts_everything=True,
    cannot_hold="objects that overlap, more than 256 of a class, crowd regions",
)
