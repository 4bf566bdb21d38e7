"""KITTI's semantic and instance segmentation (Alhaija et al. 2018): ``training/image_2/NAME.png`` with
``training/semantic/NAME.png`` (Cityscapes' ids) or ``training/instance/NAME.png`` (id * 256 + number of the thing).

The test photos have no truth and are passed over. Classes: cityscapes_labels.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imago.core.errors import DataError
from imago.data.formats.cityscapes_labels import CLASSES, NOTE, meaning_of
from imago.data.formats.format import Format, Found, ReadOptions, Truth
from imago.data.formats.pairing import index_by_stem
from imago.data.formats.segments import Entry, Segments, make_maps, make_objects, read_numbers
from imago.data.splits import Splits
from imago.files.images import SUFFIXES


@dataclass(frozen=True)
class ReadKitti:
    """Reads one photo's segments."""

    path: Path
    step: int  # 256: ids and numbers; 1: ids alone

    def __call__(self) -> Segments:
        numbers = read_numbers(self.path)
        found = (int(number) for number in np.unique(numbers))
        meanings = {n: meaning_of(n // self.step, n % self.step > 0) for n in found}
        return Segments(numbers, meanings)


def recognize(root: Path) -> tuple[Truth, ...]:
    if not (root / "training" / "image_2").is_dir():
        return ()
    if (root / "training" / "instance").is_dir():
        return ("label maps", "objects")
    return ("label maps",) if (root / "training" / "semantic").is_dir() else ()


def read_maps(root: Path, options: ReadOptions) -> Found:
    """The 19 classes that are scored."""
    folder = "semantic" if (root / "training" / "semantic").is_dir() else "instance"
    entries, faults, splits = _list_files(root, folder)
    return make_maps(root, entries, CLASSES, faults, options, splits, notes=(NOTE,))


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The things of the eight classes that are counted; those without a number are crowds."""
    entries, faults, splits = _list_files(root, "instance")
    return make_objects(root, entries, CLASSES, faults, options, splits, notes=(NOTE,))


def _list_files(root: Path, folder: str) -> tuple[dict[str, Entry], list[str], Splits]:
    photos, photo_faults = index_by_stem(root / "training" / "image_2", SUFFIXES)
    masks, mask_faults = index_by_stem(root / "training" / folder, (".png",))
    if not photos or not masks:
        raise DataError(f"{root / 'training'}: image_2/ or {folder}/ is empty; expected {FORMAT.layout}")
    faults = [*photo_faults, *mask_faults]
    faults += [f"{photos[n]}: no mask {folder}/{n}.png" for n in sorted(photos.keys() - masks.keys())]
    faults += [f"{masks[n]}: no photo image_2/{n}.png" for n in sorted(masks.keys() - photos.keys())]
    names = sorted(photos.keys() & masks.keys())
    step = 256 if folder == "instance" else 1
    entries = {name: Entry(photos[name], masks[name], ReadKitti(masks[name], step)) for name in names}
    return entries, faults, Splits({"train": tuple(names)}).with_val_split("KITTI has no photos for validation")


FORMAT = Format(
    name="KITTI semantic segmentation",
    layout="KITTI's training/image_2/ with training/semantic/ or training/instance/",
    recognize=recognize,
    read_maps=read_maps,
    read_objects=read_objects,
    parts_everything=True,
    cannot_hold="classes but Cityscapes', objects that overlap, more than 255 of a class",
)
