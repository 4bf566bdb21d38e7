"""Cityscapes: ``leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png`` with ``gtFine/SPLIT/CITY/NAME_gtFine_*`` (or gtCoarse).

``labelIds.png``: a class a pixel, ``labelTrainIds.png`` the 19 that are scored; ``instanceIds.png``: id * 1000 + number
of the thing, the id alone where it is none or a group; ``polygons.json``: what they are drawn from, later ones on top.
Any of them will do; the test split's are empty, and are passed over. Classes: cityscapes_labels.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imago.core.errors import DataError
from imago.core.polygons import fill_polygons
from imago.data.formats.cityscapes_labels import CLASSES, IDS, NAMES, NOTE, meaning_of
from imago.data.formats.format import Format, Found, ReadOptions, Truth
from imago.data.formats.segments import VOID, Entry, Segment, Segments, make_maps, make_objects, read_numbers
from imago.data.splits import Splits, parse_split
from imago.files.clutter import glob_files
from imago.files.images import SUFFIXES
from imago.files.text import read_json

TRUTHS = ("gtFine", "gtCoarse")
PHOTO = "_leftImg8bit"
# What each task is read from, the best first.
_MAPS = ("labelIds.png", "labelTrainIds.png", "instanceIds.png", "instanceTrainIds.png", "polygons.json")
_OBJECTS = ("instanceIds.png", "polygons.json")


@dataclass(frozen=True)
class ReadCity:
    """Reads one photo's segments, whatever of Cityscapes' files they stand in."""

    path: Path

    def __call__(self) -> Segments:
        kind = self.path.stem.rpartition("_")[2]
        if kind == "polygons":
            return _draw(self.path)
        numbers = read_numbers(self.path)
        found = [int(number) for number in np.unique(numbers)]
        if kind == "labelTrainIds":
            shifted = numbers + 1  # 0 is road
            return Segments(shifted, {n + 1: Segment(n if n < len(NAMES) else VOID) for n in found})
        return Segments(numbers, {n: meaning_of(n // 1000 if n >= 1000 else n, n >= 1000) for n in found})


def _draw(path: Path) -> Segments:
    """The polygons of a JSON, each on top of those before it. Raises DataError."""
    try:
        content = read_json(path)
        numbers = np.zeros((int(content["imgHeight"]), int(content["imgWidth"])), np.int64)
        meanings = {}
        for number, entry in enumerate(content["objects"], 1):
            if entry.get("deleted"):
                continue
            label = str(entry["label"])
            name = label.removesuffix("group")
            meanings[number] = meaning_of(IDS[NAMES.index(name)], name == label) if name in NAMES else Segment(VOID)
            # Corners lie on the centres of pixels, which the outline takes in.
            mask = fill_polygons([np.asarray(entry["polygon"], np.float64) + 0.5], numbers.shape)
            numbers[mask.slices][mask.crop] = number
    except (OSError, ValueError, KeyError, TypeError, OverflowError, AttributeError, MemoryError) as error:
        raise DataError(f"{path}: cannot be read as Cityscapes' polygons ({error!r})") from error
    return Segments(numbers, meanings)


def recognize(root: Path) -> tuple[Truth, ...]:
    truth = next((name for name in TRUTHS if (root / name).is_dir()), None)
    return ("label maps", "objects") if truth and (root / "leftImg8bit").is_dir() else ()


def read_maps(root: Path, options: ReadOptions) -> Found:
    """The 19 classes that are scored."""
    entries, faults, splits = _list_files(root, _MAPS)
    return make_maps(root, entries, CLASSES, faults, options, splits, notes=(NOTE,))


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The things of the eight classes that are counted; groups are crowds."""
    entries, faults, splits = _list_files(root, _OBJECTS)
    return make_objects(root, entries, CLASSES, faults, options, splits, notes=(NOTE,))


def _list_files(root: Path, kinds: tuple[str, ...]) -> tuple[dict[str, Entry], list[str], Splits]:
    truth = next(name for name in TRUTHS if (root / name).is_dir())
    photos = {
        path.relative_to(root / "leftImg8bit").with_suffix("").as_posix().removesuffix(PHOTO): path
        for path in glob_files(root / "leftImg8bit", "**/*")
        if path.suffix.lower() in SUFFIXES
    }
    masks: dict[str, Path] = {}
    for kind in reversed(kinds):
        for path in glob_files(root / truth, f"**/*_{kind}"):
            masks[path.relative_to(root / truth).as_posix().removesuffix(f"_{truth}_{kind}")] = path
    if not photos or not masks:
        missing = f"{truth}/ holds none of {', '.join(kinds)}" if photos else "leftImg8bit/ holds no photo"
        raise DataError(f"{root}: {missing}; expected {FORMAT.layout}")
    faults = [f"{photos[n]}: no {truth}/{n}_{truth}_{kinds[0]}" for n in sorted(photos.keys() - masks.keys())]
    faults += [f"{masks[n]}: no photo leftImg8bit/{n}{PHOTO}.png" for n in sorted(masks.keys() - photos.keys())]
    entries = {name: Entry(photos[name], masks[name], ReadCity(masks[name])) for name in photos.keys() & masks.keys()}
    members: dict[str, tuple[str, ...]] = {}
    for name in sorted(entries):
        split = parse_split(name.partition("/")[0]) or "train"
        members[split] = (*members.get(split, ()), name)
    return dict(sorted(entries.items())), faults, Splits(members).with_val_split("no folder val")


FORMAT = Format(
    name="Cityscapes",
    layout="Cityscapes' leftImg8bit/ and gtFine/ (labelIds, labelTrainIds, instanceIds or polygons)",
    recognize=recognize,
    read_maps=read_maps,
    read_objects=read_objects,
    parts_everything=True,
    cannot_hold="classes but its own, objects that overlap",
)
