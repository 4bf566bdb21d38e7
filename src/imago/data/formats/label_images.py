"""Label images: ``images/NAME.*`` and ``masks/NAME.png`` or ``.tif``, in which every value is an object and 0 is none.

uint8, uint16 or 32-bit integers, PNG or TIFF; palette files count by their indices. There is one class, "object". An
object may lie in several parts; two objects cannot overlap. Photos and label images are paired by pairing.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from imago.core.errors import DataError, ImageError
from imago.core.instances import CroppedMask, Instances, masks_to_boxes
from imago.core.labels import Labels
from imago.data.class_lists import find_class_list
from imago.data.dataset import Dataset, Sample
from imago.data.formats.checks import instance_labels
from imago.data.formats.format import (
    Annotated,
    Format,
    Found,
    Losses,
    ReadOptions,
    Truth,
    WriteOptions,
    Writer,
    drop_crowds,
    flatten_masks,
    write_png,
)
from imago.data.formats.label_maps import find_published, pair_places
from imago.data.formats.pairing import find_places
from imago.data.mask_pixels import UNREADABLE
from imago.data.splits import find_splits
from imago.files.arrays import ARRAY_SUFFIXES, read_array

LOOKED_AT = 8  # label images that are looked at when the folder is opened
CLASS = "object"


@dataclass(frozen=True)
class LabelImageReader:
    """Reads one photo's objects."""

    path: Path

    def __call__(self) -> Instances:
        label = read_label_image(self.path)
        masks = [mask for _, mask in split_label_image(label)]
        return Instances.make(label.shape, masks_to_boxes(masks), [1] * len(masks), cropped=masks)


def read_label_image(path: Path) -> np.ndarray:
    """Whole numbers (H, W), 0 and more, as stored. Raises ImageError."""
    if path.suffix.lower() in ARRAY_SUFFIXES:
        stored = read_array(path)
        if stored.ndim != 2:
            raise ImageError(f"{path}: holds colours; a label image has one channel of whole numbers")
        return stored
    try:
        with Image.open(path) as image:
            image.load()
            mode = image.mode
            stored = np.array(image)
    except FileNotFoundError as error:
        raise ImageError(f"{path}: label image is missing") from error
    except UNREADABLE as error:
        raise ImageError(f"{path}: label image cannot be read ({error})") from error
    if mode == "1":
        return stored.astype(np.uint8)
    if stored.ndim != 2 or mode not in ("L", "P", "I", "I;16", "I;16B", "I;16L"):
        raise ImageError(f"{path}: is {mode}; a label image has one channel of whole numbers, 8, 16 or 32 bits")
    if stored.min() < 0:
        raise ImageError(f"{path}: holds {stored.min()}; a label image counts its objects from 1, and 0 is none")
    return stored


def split_label_image(label: np.ndarray) -> Iterator[tuple[int, CroppedMask]]:
    """Whole numbers (H, W) -> each value but 0, rising, and its mask. Every pixel is looked at once, however many."""
    where = np.flatnonzero(label)
    values, which = np.unique(label.ravel()[where], return_inverse=True)
    rows, columns = np.divmod(where, label.shape[1])
    low, high = (np.full((len(values), 2), start, np.int64) for start in (max(label.shape), -1))
    for axis, place in enumerate((rows, columns)):
        np.minimum.at(low[:, axis], which, place)
        np.maximum.at(high[:, axis], which, place)
    for value, (top, left), (bottom, right) in zip(values, low, high, strict=True):
        crop = label[top : bottom + 1, left : right + 1] == value
        yield int(value), CroppedMask.from_mask(crop, int(left), int(top))


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if find_published(root) is None and find_places(root) else ()


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The data set without what is damaged, and the faults."""
    places = find_places(root)
    if not places:
        raise DataError(f"{root}: expected images/ and masks/")
    if (listed := find_class_list(root)) is not None:
        raise DataError(
            f"{root}: {listed.path.name} says that the values in {places[0].masks.name}/ are classes, not single "
            f"objects; use it to label every pixel, or take {listed.path.name} away if each value is an object"
        )
    layout = pair_places(root, places)
    names = sorted(layout.photos.keys() & layout.masks.keys())
    if all(_is_one_mask(layout.masks[name]) for name in names[:LOOKED_AT]) and names:
        raise DataError(
            f"{places[0].masks}: holds 0 and 255 alone, which is one mask of everything; label images give each object "
            "a value of its own (1, 2, 3 ...)"
        )
    divided = find_splits(root, names, {*layout.photos, *layout.masks, *layout.lone})
    samples = {
        name: Sample(name, layout.photos[name], options.channels, read_instances=LabelImageReader(layout.masks[name]))
        for name in names
    }
    splits = {split: tuple(samples[name] for name in members) for split, members in divided.members.items()}
    notes = (f"each value in {places[0].masks.name}/ is an object", *layout.notes, *divided.notes)
    return Dataset(root, instance_labels([CLASS], root), splits, notes), (*layout.faults, *divided.faults)


def _is_one_mask(path: Path) -> bool:
    try:
        values = np.unique(read_label_image(path))
    except ImageError:  # the check of the data names it, with all the others
        return False
    return values[-1] == 255 and len(values) <= 2


def write(folder: Path, labels: Labels, photos: Iterable[Annotated], options: WriteOptions) -> Losses:
    """``masks/SPLIT/NAME.png`` of 16 bits; where objects overlap the smaller is on top."""
    losses = Losses()
    for photo in photos:
        instances = drop_crowds(photo.instances, losses)
        losses.count("classes", len(instances) if labels.names[1:] != (CLASS,) else 0)
        numbers = flatten_masks(instances, losses, 65_535)
        write_png(folder / "masks" / photo.split / f"{photo.name}.png", numbers)
    return losses


FORMAT = Format(
    name="photos and label images, every value an object",
    layout="images/ and masks/ in which every value is an object",
    recognize=recognize,
    read_objects=read_objects,
    cannot_hold="classes (there is one), objects that overlap, crowd regions",
    writer=Writer("objects", "images/{split}/{name}", write, needs_masks=True),
)
