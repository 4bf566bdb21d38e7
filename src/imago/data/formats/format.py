"""What a format is: how a folder of it is recognised, read and written, and what it cannot hold. The table is in
catalog.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from imago.core.errors import DataError
from imago.core.instances import CroppedMask, Instances
from imago.core.labels import Labels
from imago.core.polygons import fill_polygons, trace_parts
from imago.core.read_settings import ReadSettings
from imago.core.text import to_utf8
from imago.data.dataset import Dataset
from imago.files.writing import atomic_write

USUAL = ReadSettings()

Task = Literal["semantic", "detection", "panoptic"]
Truth = Literal["label maps", "objects", "segments"]


@dataclass(frozen=True)
class ReadOptions:
    """How a folder is read, whatever its format. Formats pass over what is not theirs."""

    channels: int = 3
    licenses: tuple[int, ...] = ()  # COCO: only photos whose licence id is one of these
    masks: bool | None = None  # of objects: True demands them, False takes boxes alone, None takes what there is
    reading: ReadSettings = USUAL

    @property
    def clip(self) -> bool:
        """Whether boxes that stick out of the photo are cut, however far they do."""
        return self.reading.faulty == "clip"


# What a format may be unable to hold -> what became of it, in words, for messages.
LOSSES = {
    "attributes": "attributes of objects left out",
    "boxes": "objects with a box alone, left out",
    "classes": "objects whose class is not kept",
    "crowds": "crowd regions left out",
    "empty": "objects without a pixel, left out",
    "hidden": "objects that lie wholly under others, left out",
    "holes": "objects whose holes are filled",
    "ignored": "pixels that count for nothing, kept as background",
    "joined": "objects whose parts or holes are joined by a line",
    "masks": "masks of which the box is kept",
    "merged": "objects that touch another of their class, no longer told apart",
    "overlaps": "pixels that several objects share, kept for one of them",
    "painted crowds": "crowd regions become pixels that count for nothing",
    "rounded": "boxes rounded to whole pixels",
    "uncounted": "objects past the most that a photo can have, left out",
}


@dataclass
class Losses:
    """What a written format could not hold, in numbers."""

    counts: Counter[str] = field(default_factory=Counter)  # keys of LOSSES
    outlined: int = 0  # masks that became polygons
    iou_sum: float = 0.0  # of those polygons with their masks
    iou_least: float = 1.0

    def count(self, what: str, number: int = 1) -> None:
        """Adds to what was lost; ``what`` is a key of LOSSES."""
        if what not in LOSSES:
            raise KeyError(f"{what!r} is no loss; there are {', '.join(LOSSES)}")
        if number:
            self.counts[what] += number

    def measure(self, mask: CroppedMask, polygons: Sequence[object], size_hw: tuple[int, int]) -> None:
        """Takes in the IoU of a mask with the polygons that were written for it, in pixels."""
        iou = mask.iou(fill_polygons(polygons, size_hw))
        self.outlined, self.iou_sum, self.iou_least = (
            self.outlined + 1, self.iou_sum + iou, min(self.iou_least, iou)
        )  # fmt: skip

    def lines(self) -> list[str]:
        """A line a loss, and one for the polygons."""
        lines = [f"{self.counts[what]} {words}" for what, words in LOSSES.items() if self.counts[what]]
        if self.outlined:
            mean = self.iou_sum / self.outlined
            lines.append(
                f"{self.outlined} masks became polygons: IoU with them {mean:.4f} on average, "
                f"{self.iou_least:.4f} at worst"
            )
        return lines


@dataclass(frozen=True)
class Annotated:
    """One photo that is being written, and its truth: that which ``Writer.truth`` names."""

    split: str
    name: str  # without suffix, unique in its split, or in the set where ``Writer.photo`` has no {split}; "/" may be in
    photo: str  # where it was put in the folder: "images/train/a.jpg"
    size_hw: tuple[int, int]
    instances: Instances = field(default_factory=lambda: Instances.make((0, 0)))
    label_map: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.uint8))  # uint8 (H, W), 255: ignored


@dataclass(frozen=True)
class WriteOptions:
    """How a format is written. Formats pass over what is not theirs."""

    outlines: Literal["auto", "polygons", "rle"] = "auto"  # COCO: auto is polygons, and run lengths for holes


@dataclass(frozen=True)
class Writer:
    """How a format is written. ``data.write_dataset`` puts the photos in place and hands them over one by one, split by
    split; the folder is new, and is thrown away where writing fails.

    ``write(folder, labels, photos, options)`` writes the annotations, and at the end lists and names; it keeps nothing
    of a photo but what such lists need.
    """

    truth: Truth
    photo: str  # where photos lie: "images/{split}/{name}"; {name} has the suffix, {stem} has none
    write: Callable[[Path, Labels, Iterable[Annotated], WriteOptions], Losses]
    flat: bool = False  # names have no "/"
    needs_masks: bool = False  # of objects: boxes alone cannot be written


Found = tuple[Dataset, tuple[str, ...]]  # without what is damaged, and the faults, one line each
Read = Callable[[Path, ReadOptions], Found]


@dataclass(frozen=True)
class Format:
    """One format. ``read_maps`` and ``read_objects`` raise DataError where nothing can be opened at all; what one of
    them lacks is made of the other (``data.convert``)."""

    name: str  # in words
    layout: str  # what lies where, for messages
    recognize: Callable[[Path], tuple[Truth, ...]]  # what a folder holds in this format; empty: it is another one
    cannot_hold: str
    read_maps: Read | None = None
    read_objects: Read | None = None
    parts_everything: bool = False  # every pixel has a class: label maps, where nobody says what is wanted
    excludes_maps: bool = False  # its files, looked at alone, would be taken for label maps
    read_segments: Read | None = None
    has_mask_values: bool = False  # its objects are read from masks whose values are classes
    lists_mask_files: bool = False  # its annotations say which object each file in masks/ is: those are no label maps
    writer: Writer | None = None


@dataclass(frozen=True)
class ImageDetections:
    """The objects of one photo, and what a written file is to call it."""

    file_name: str
    instances: Instances


def flatten_masks(instances: Instances, losses: Losses, most: int) -> np.ndarray:
    """uint16 (H, W): 0, or the number (1 .. K) of the object that is there; where several are, the smallest. Counts the
    pixels that are shared, the objects that are wholly hidden, and those past ``most``, which are left out."""
    losses.count("uncounted", max(0, len(instances) - most))
    instances = instances[np.arange(min(len(instances), most))]
    numbers = np.zeros(instances.size_hw, np.uint16)
    times = np.zeros(instances.size_hw, np.uint16)
    for index in np.argsort(-instances.areas, kind="stable"):
        where, crop = instances.region(int(index))
        numbers[where][crop] = index + 1
        times[where] += crop
    losses.count("overlaps", int((times > 1).sum()))
    losses.count("hidden", len(instances) - int((np.bincount(numbers.ravel(), minlength=1)[1:] > 0).sum()))
    return numbers


@dataclass(frozen=True)
class Outlined:
    """One object as a tool that knows polygons takes it: its parts, each rings (n, 2) with the rim first; or its mask
    where ``parts`` is empty; or its box where there is neither."""

    value: int  # class
    crowd: bool
    box: tuple[float, float, float, float]  # x1 y1 x2 y2, with float32's own digits
    parts: tuple[tuple[np.ndarray, ...], ...] = ()
    mask: CroppedMask | None = None

    @property
    def has_holes(self) -> bool:
        return any(len(rings) > 1 for rings in self.parts)


def outline_instances(instances: Instances) -> Iterator[Outlined]:
    """The objects of one photo, outlined."""
    for index in range(len(instances)):
        x1, y1, x2, y2 = (float(str(v)) for v in instances.boxes[index])
        mask = None if instances.cropped is None else instances.cropped[index]
        parts = tuple(tuple(rings) for rings in trace_parts(mask)) if mask else ()
        crowd = bool(instances.crowd is not None and instances.crowd[index])
        yield Outlined(int(instances.classes[index]), crowd, (x1, y1, x2, y2), parts, mask)


def drop_crowds(instances: Instances, losses: Losses) -> Instances:
    """The objects without crowd regions, which are counted as lost."""
    if instances.crowd is None:
        return instances
    losses.count("crowds", int(instances.crowd.sum()))
    return replace(instances[~instances.crowd], crowd=None)


def write_png(path: Path, pixels: np.ndarray, palette: bytes | None = None) -> None:
    """uint8 or uint16 (H, W) as a grey PNG, or as one with 768 bytes of ``palette``."""
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette)
    with atomic_write(path) as stream:
        image.save(stream, "PNG")


def require_photos(found: Found) -> Found:
    """``found``. Raises DataError where it holds no photo and no fault says why."""
    dataset, faults = found
    if not faults and not dataset.split("all"):
        raise DataError(f"{dataset.root}: holds no photo that can be used")
    return found


def write_text(path: Path, text: str, overwrite: bool = False) -> None:
    """``text`` as a file in UTF-8, whole or not at all."""
    with atomic_write(path, overwrite) as stream:
        stream.write(to_utf8(text))
