"""One file an object: ``ID/images/ID.png`` and ``ID/masks/*.png``, as the Data Science Bowl of 2018 gives its nuclei;
or ``images/NAME.jpg`` with ``masks/NAME/*.png``, or with ``masks/NAME_1.png, NAME_2.png ...``.

The folders lie in the root, or in ``train/``, ``val/`` and ``test/`` there. In a mask every pixel but 0 belongs to the
object; objects may overlap. There is one class, "object"; ``classes.txt`` of one line gives it another name. A photo
whose ``masks/`` is empty has no object.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imago.core.errors import DataError
from imago.core.instances import CroppedMask, Instances, masks_to_boxes
from imago.core.labels import Labels
from imago.core.text import plural
from imago.data.dataset import Dataset, Sample
from imago.data.formats.checks import instance_labels, read_class_list
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
    write_png,
    write_text,
)
from imago.data.formats.label_images import CLASS
from imago.data.formats.pairing import MASK_SUFFIXES, Place, find_places, index_by_stem
from imago.data.mask_pixels import read_mask
from imago.data.splits import NAMES, find_splits, parse_split_folder
from imago.files.clutter import glob_files, iter_folders
from imago.files.images import SUFFIXES, image_size


@dataclass(frozen=True)
class MaskFilesReader:
    """Reads one photo's objects."""

    image_path: Path
    paths: tuple[Path, ...]

    def __call__(self) -> Instances:
        size_hw = image_size(self.image_path)
        masks = []
        for path in self.paths:
            mask = read_mask(path) > 0
            if mask.shape != size_hw:
                raise DataError(
                    f"{path}: mask is {mask.shape[0]} x {mask.shape[1]} but {self.image_path.name} is "
                    f"{size_hw[0]} x {size_hw[1]} (height x width)"
                )
            if not mask.any():
                raise DataError(f"{path}: mask is empty; take it away")
            masks.append(CroppedMask.from_mask(mask))
        return Instances.make(size_hw, masks_to_boxes(masks), [1] * len(masks), cropped=masks)


def photo_folders(root: Path) -> dict[str, Path]:
    """Name -> folder that holds images/ and masks/; of those in train/ and the like ``train/NAME``."""
    parents = {"": root, **{f"{name}/": root / name for name in NAMES if (root / name).is_dir()}}
    return {
        f"{prefix}{folder.name}": folder
        for prefix, parent in parents.items()
        for folder in iter_folders(parent)
        if (folder / "masks").is_dir() and (folder / "images").is_dir() and not parse_split_folder(folder.name)
    }


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if root.is_dir() and (photo_folders(root) or _find_groups(root)) else ()


def _find_groups(root: Path) -> tuple[Place, ...]:
    """Folders of photos and of masks in which the masks of a photo are several files, or a folder."""
    found = [place for place in find_places(root) if not place.is_one]
    return tuple(found) if found and any(map(_is_grouped, found)) and all(map(_may_be_grouped, found)) else ()


def _may_be_grouped(place: Place) -> bool:
    return not _photo_stems(place) & {path.stem for path in glob_files(place.masks, "*") if path.is_file()}


def _is_grouped(place: Place) -> bool:
    photos = _photo_stems(place)
    folders = [path.name for path in iter_folders(place.masks)]
    if folders:
        return all(name in photos for name in folders)
    numbered = Counter(_owner(path.stem) for path in glob_files(place.masks, "*"))
    return bool(numbered) and set(numbered) <= photos and max(numbered.values()) > 1


def _photo_stems(place: Place) -> set[str]:
    return {path.stem for path in glob_files(place.photos, "*") if path.suffix.lower() in SUFFIXES}


def _owner(stem: str) -> str:
    """``a_12``, ``a_mask_3``, ``a_object2`` -> ``a``."""
    return re.sub(r"[_\-. ]+(?:(?:mask|object|obj|instance|inst)[_\-. ]*)?\d+$", "", stem, flags=re.IGNORECASE)


def _read_groups(places: tuple[Place, ...], options: ReadOptions, faults: list[str]) -> dict[str, Sample]:
    """Every photo, and the masks that are called after it; a photo without any has no object."""
    samples = {}
    for place in places:
        photos, photo_faults = index_by_stem(place.photos, SUFFIXES)
        masks, mask_faults = index_by_stem(place.masks, MASK_SUFFIXES)
        faults += [*photo_faults, *mask_faults]
        of_photo: dict[str, list[Path]] = {name: [] for name in photos}
        for name, path in masks.items():
            owner = name.rpartition("/")[0] or _owner(name)
            if owner in of_photo:
                of_photo[owner].append(path)
            else:
                faults.append(f"{path}: no photo {place.photos.name}/{owner}.*")
        for name, paths in of_photo.items():
            reader = MaskFilesReader(photos[name], tuple(paths))
            whole = f"{place.prefix}{name}"
            samples[whole] = Sample(whole, photos[name], options.channels, read_instances=reader)
    return samples


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The data set without what is damaged, and the faults."""
    faults: list[str] = []
    samples = {} if photo_folders(root) else _read_groups(_find_groups(root), options, faults)
    for name, folder in photo_folders(root).items():
        photos, photo_faults = index_by_stem(folder / "images", SUFFIXES)
        masks, mask_faults = index_by_stem(folder / "masks", MASK_SUFFIXES)
        faults += photo_faults + mask_faults
        if len(photos) != 1:
            faults.append(
                f"{folder / 'images'}: holds {plural(len(photos), 'photo')}; expected one, whose objects lie in masks/"
            )
            continue
        (image_path,) = photos.values()
        reader = MaskFilesReader(image_path, tuple(masks.values()))
        samples[name] = Sample(name, image_path, options.channels, read_instances=reader)
    faults += [
        f"{folder}: has images/ but no masks/; an empty one says that there is no object"
        for folder in iter_folders(root)
        if (folder / "images").is_dir() and not (folder / "masks").is_dir() and not parse_split_folder(folder.name)
    ]
    divided = find_splits(root, list(samples))
    listed = root / "classes.txt"
    names = read_class_list(listed) if listed.is_file() else [CLASS]
    if len(names) != 1:
        raise DataError(
            f"{listed}: names {plural(len(names), 'class')}; masks of one object each have no class but one"
        )
    splits = {split: tuple(samples[name] for name in members) for split, members in divided.members.items()}
    return Dataset(root, instance_labels(names, root), splits, divided.notes), (*faults, *divided.faults)


def write(folder: Path, labels: Labels, photos: Iterable[Annotated], options: WriteOptions) -> Losses:
    """``SPLIT/NAME/masks/NUMBER.png``, 0 and 255; the class in ``classes.txt``."""
    losses = Losses()
    for photo in photos:
        instances = drop_crowds(photo.instances, losses)
        losses.count("classes", len(instances) if len(labels) > 2 else 0)
        masks = folder / photo.split / photo.name / "masks"
        masks.mkdir(parents=True, exist_ok=True)
        for number, mask in enumerate(instances.cropped or (), 1):
            write_png(masks / f"{number:05d}.png", mask.to_full(photo.size_hw).astype(np.uint8) * 255)
    write_text(folder / "classes.txt", f"{labels.names[1] if len(labels) == 2 else CLASS}\n")
    return losses


FORMAT = Format(
    name="masks of one object each",
    layout="NAME/images/ and NAME/masks/ (or masks/NAME/, or masks/NAME_1.png ...) with a file an object",
    recognize=recognize,
    read_objects=read_objects,
    excludes_maps=True,
    cannot_hold="classes (there is one), crowd regions",
    writer=Writer("objects", "{split}/{stem}/images/{name}", write, flat=True, needs_masks=True),
)
