"""Sets in which every pixel belongs to a segment: a class, and of things which one. Cityscapes, KITTI, Mapillary,
ADE20K and COCO panoptic differ in how a file says so; what is made of it is the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from imago.core.errors import DataError, ImageError
from imago.core.instances import Instances, masks_to_boxes
from imago.core.labels import IGNORE, Labels
from imago.data.dataset import Dataset, Sample
from imago.data.formats.checks import instance_labels
from imago.data.formats.format import Found, ReadOptions
from imago.data.formats.label_images import split_label_image
from imago.data.mask_pixels import UNKNOWN, UNREADABLE, LabelReader, pack_colors
from imago.data.splits import Splits, find_splits

VOID = -1  # the class of a segment that counts for nothing


class Segment(NamedTuple):
    """What one number in a file means."""

    value: int  # class, from 0; VOID
    is_thing: bool = False
    crowd: bool = False


@dataclass(frozen=True)
class Segments:
    """One photo: the number of the segment at each pixel, 0 for none, and what the numbers mean."""

    numbers: np.ndarray  # int64 (H, W)
    meanings: Mapping[int, Segment]


ReadSegments = Callable[[], Segments]


class Entry(NamedTuple):
    """One photo of such a set."""

    photo: Path
    path: Path  # of the segments, for messages
    read: ReadSegments


@dataclass(frozen=True)
class ClassTable:
    """The classes of a set, in order, and which of them are things."""

    names: tuple[str, ...]
    things: tuple[bool, ...]
    colors: tuple[tuple[int, int, int], ...] = ()


def read_numbers(path: Path, colored: bool = False) -> np.ndarray:
    """int64 (H, W): the whole numbers of a grey or palette file; or, ``colored``, R * 65536 + G * 256 + B.

    Raises ImageError.
    """
    try:
        with Image.open(path) as image:
            image.load()
            if colored:
                return pack_colors(np.array(image.convert("RGB"))).astype(np.int64)
            stored, mode = np.array(image), image.mode
    except FileNotFoundError as error:
        raise ImageError(f"{path}: mask is missing") from error
    except UNREADABLE as error:
        raise ImageError(f"{path}: mask cannot be read ({error})") from error
    if stored.ndim != 2 or mode == "F":
        raise ImageError(f"{path}: is {mode}; expected whole numbers in one channel")
    return stored.astype(np.int64)


@dataclass(frozen=True)
class LoadMap:
    """Reads the label map of one photo; what is void, or in no segment, is IGNORE."""

    read: ReadSegments

    def __call__(self, path: Path) -> np.ndarray:
        segments = self.read()
        found, which = np.unique(segments.numbers, return_inverse=True)
        meanings = [segments.meanings.get(int(number), Segment(VOID)).value for number in found]
        values = np.array([IGNORE if value == VOID else value for value in meanings], np.uint8)
        return values[which.reshape(segments.numbers.shape)]


@dataclass(frozen=True)
class ReadThings:
    """Reads the things of one photo as objects. ``table``: class -> class of objects, 0 for none."""

    read: ReadSegments
    table: tuple[int, ...]

    def __call__(self) -> Instances:
        segments = self.read()
        masks, classes, crowd = [], [], []
        for number, mask in split_label_image(segments.numbers):
            meaning = segments.meanings.get(number, Segment(VOID))
            if meaning.is_thing and meaning.value != VOID:
                masks.append(mask)
                classes.append(self.table[meaning.value])
                crowd.append(meaning.crowd)
        return Instances.make(segments.numbers.shape, masks_to_boxes(masks), classes, cropped=masks, crowd=crowd)


def make_maps(
    root: Path, entries: Mapping[str, Entry], classes: ClassTable, faults: Sequence[str], options: ReadOptions,
    splits: Splits | None = None, *, notes: Sequence[str] = (),
) -> Found:  # fmt: skip
    """The label maps. Raises DataError for more classes than a label map holds."""
    if not 2 <= len(classes.names) <= UNKNOWN:
        raise DataError(f"{root}: a label map holds 2 to {UNKNOWN} classes; there are {len(classes.names)}")
    table = tuple(value if value < len(classes.names) or value == IGNORE else UNKNOWN for value in range(256))
    divided = splits or find_splits(root, sorted(entries))
    samples = {
        name: Sample(
            name,
            entry.photo,
            options.channels,
            read_label_map=LabelReader(entry.path, table, load=LoadMap(entry.read)),
            label_path=entry.path,
        )
        for name, entry in entries.items()
    }
    try:
        labels = Labels(classes.names, classes.colors)
    except ValueError as error:
        raise DataError(f"{root}: the classes cannot be used ({error})") from error
    return _finish(root, labels, samples, divided, faults, notes)


def make_objects(
    root: Path, entries: Mapping[str, Entry], classes: ClassTable, faults: Sequence[str], options: ReadOptions,
    splits: Splits | None = None, *, notes: Sequence[str] = (),
) -> Found:  # fmt: skip
    """The things as objects. Raises DataError where no class is of things."""
    names = [name for name, thing in zip(classes.names, classes.things, strict=True) if thing]
    if not names:
        raise DataError(f"{root}: no class is of things that can be counted; label every pixel instead")
    labels = instance_labels(names, root)
    values = iter(range(1, len(names) + 1))
    table = tuple(next(values) if thing else 0 for thing in classes.things)
    divided = splits or find_splits(root, sorted(entries))
    samples = {
        name: Sample(name, entry.photo, options.channels, read_instances=ReadThings(entry.read, table))
        for name, entry in entries.items()
    }
    return _finish(root, labels, samples, divided, faults, notes)


def _finish(
    root: Path, labels: Labels, samples: Mapping[str, Sample], divided: Splits, faults: Sequence[str],
    notes: Sequence[str],
) -> Found:  # fmt: skip
    splits = {split: tuple(samples[name] for name in members) for split, members in divided.members.items()}
    dataset = Dataset(root, labels, splits, (*notes, *divided.notes), has_own_list=True)
    return dataset, (*faults, *divided.faults)
