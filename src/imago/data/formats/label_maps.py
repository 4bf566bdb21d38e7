"""Label maps: photos and masks in two folders, every value (or colour) of a mask a class.

    images/NAME.jpg         masks/NAME.png                     and the like: ``PAIRS``, also in train/, val/, test/
    train/NAME.png          trainannot/NAME.png   val/ ...     CamVid as SegNet's authors publish it
    images/NAME.jpg         annotations/trimaps/NAME.png       Oxford-IIIT Pet, with annotations/trainval.txt, test.txt

Beside them, where they are, ``classes.txt`` (line n is the class of value n - 1; ``name R G B`` for masks of RGB colour
codes); without it the classes are found by looking (classes.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from imago.core.errors import DataError
from imago.core.labels import IGNORE, Labels
from imago.core.palette import palette_bytes
from imago.core.text import plural
from imago.data.classes import Classes, apply_reading, find_classes
from imago.data.dataset import Dataset, Sample
from imago.data.formats.format import (
    Annotated,
    Format,
    Found,
    Losses,
    ReadOptions,
    Truth,
    WriteOptions,
    Writer,
    write_png,
    write_text,
)
from imago.data.mask_pixels import UNKNOWN
from imago.data.splits import NAMES, Splits, find_splits, listed_names, parse_split_folder
from imago.files.clutter import glob_files, iter_folders
from imago.files.images import SUFFIXES
from imago.files.text import read_text

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".webp")
MANY = 50  # photos without a mask past which each has no line of its own
JPEG_SUFFIXES = (".jpg", ".jpeg")  # of masks too, where there are no others: what was lost is said by classes.py

# Photos, masks. The first pair that is there counts.
PAIRS = (
    ("images", "masks"), ("image", "mask"), ("images", "labels"), ("image", "label"), ("imgs", "masks"),
)  # fmt: skip

# The order of SegNet's files; 11 is "void". Colours of the set's own key.
CAMVID = Labels(
    (
        "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
    ),
    (
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0), (192, 128, 128),
        (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
)  # fmt: skip
PETS = Labels(("pet", "background", "outline"), ((64, 200, 96), (0, 0, 0), (240, 220, 80)))


LAYOUT = (
    f"two folders ({', '.join(f'{images}/ and {masks}/' for images, masks in PAIRS)}), CamVid's train/ and "
    "trainannot/, or the Pet set's images/ and annotations/trimaps/"
)


@dataclass(frozen=True)
class Layout:
    """What was found. ``classes`` and ``splits`` are None where other files, or a look at the masks, must tell."""

    photos: dict[str, Path]
    masks: dict[str, Path]
    faults: tuple[str, ...]
    classes: Classes | None = None
    splits: Splits | None = None
    notes: tuple[str, ...] = ()


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("label maps",) if _reader_of(root) is not None else ()


def read_maps(root: Path, options: ReadOptions) -> Found:
    """The photos that have a mask, and the faults: missing pairs, two files of one name, wrong splits."""
    layout = _find_layout(root)
    if layout.classes is not None:
        files = [layout.masks[name] for name in sorted(layout.masks)]
        layout = replace(layout, classes=apply_reading(layout.classes, root, files, options.reading))
    return read_layout(root, layout, options)


def read_layout(root: Path, found: Layout, options: ReadOptions) -> Found:
    """The photos and masks of ``found`` as a data set."""
    photos, masks = found.photos, found.masks
    files = [masks[name] for name in sorted(masks)]
    classes = find_classes(root, files, options.reading) if found.classes is None else found.classes
    names = sorted(photos.keys() & masks.keys())
    divided = found.splits or find_splits(root, names, photos.keys() | masks.keys())
    samples = {
        name: Sample(
            name,
            photos[name],
            options.channels,
            read_label_map=classes.reader(masks[name]),
            label_path=masks[name],
        )
        for name in names
    }
    splits = {split: tuple(samples[name] for name in members) for split, members in divided.members.items()}
    notes = (*((classes.note,) if classes.note else ()), *found.notes, *divided.notes)
    return Dataset(root, classes.labels, splits, notes), (*found.faults, *divided.faults)


def _reader_of(root: Path) -> Callable[[], Layout] | None:
    if (root / "train").is_dir() and (root / "trainannot").is_dir():
        return partial(_camvid, root)
    if (root / "images").is_dir() and (root / "annotations" / "trimaps").is_dir():
        return partial(_pets, root)
    found = find_pair(root)
    if found is None and (parts := _split_pairs(root)):
        return partial(_join, root, parts)
    return None if found is None else partial(pair, root, *found)


def _find_layout(root: Path) -> Layout:
    """Raises DataError for a layout without photos or masks."""
    reader = _reader_of(root)
    if reader is None:
        raise DataError(f"{root}: no photos and masks found; expected {LAYOUT}")
    return reader()


def find_pair(root: Path) -> tuple[str, str] | None:
    """The folders of photos and masks; None where there are none. Text files in ``labels/`` are YOLO's."""
    for images, masks in PAIRS:
        if (root / images).is_dir() and (root / masks).is_dir():
            texts = masks.startswith("label") and any(glob_files(root / masks, "**/*.txt"))
            if not texts or any(path.suffix.lower() in MASK_SUFFIXES for path in glob_files(root / masks, "**/*")):
                return images, masks
    return None


def pair(root: Path, images: str, masks: str) -> Layout:
    """Photos and masks of the same names in two folders; the faults of those without the other."""
    photos, photo_faults = _pick_files(root / images, SUFFIXES, "photos")
    labels, label_faults = _pick_masks(root / masks)
    faults = [*photo_faults, *label_faults]
    # VOC 2012 has 17,125 photos and 2,913 masks: where lists say what is used, the rest is no fault.
    listed = listed_names(root)
    lone = sorted(photos.keys() - labels.keys())
    unused = [name for name in lone if listed is not None and name not in listed]
    faults += _tell_unmasked(root / images, masks, [photos[n] for n in lone if n not in set(unused)], len(photos))
    faults += [f"{labels[n]}: no photo {images}/{n}.*" for n in sorted(labels.keys() - photos.keys())]
    told = plural(len(unused), "photo", "stand")
    notes = (f"{told} in no list and without a mask in {masks}/; not used",) if unused else ()
    return Layout(photos, labels, tuple(faults), notes=notes)


def _tell_unmasked(folder: Path, masks: str, lone: list[Path], count: int) -> list[str]:
    """A line each; one line for very many, which is a fault of the folder and not of its photos."""
    if len(lone) <= MANY:
        return [f"{path}: no mask {masks}/{path.relative_to(folder).with_suffix('').as_posix()}.png" for path in lone]
    names = ", ".join(path.name for path in lone[:3])
    return [f"{folder}: {len(lone)} of {count} photos have no mask in {masks}/ ({names} ...)"]


def _split_pairs(root: Path) -> dict[str, tuple[str, str]]:
    """The pairs of folders in ``train/``, ``val/`` and ``test/``, by that folder."""
    folders = iter_folders(root) if root.is_dir() else ()
    found = {path.name: find_pair(path) for path in folders if path.is_dir() and parse_split_folder(path.name)}
    return {name: names for name, names in found.items() if names is not None}


def _join(root: Path, parts: dict[str, tuple[str, str]]) -> Layout:
    """Photos are called ``train/NAME``, from which find_splits tells where they belong."""
    layouts = {name: pair(root / name, *names) for name, names in parts.items()}
    photos = {f"{name}/{key}": path for name, one in layouts.items() for key, path in one.photos.items()}
    masks = {f"{name}/{key}": path for name, one in layouts.items() for key, path in one.masks.items()}
    return Layout(photos, masks, tuple(fault for one in layouts.values() for fault in one.faults))


def _camvid(root: Path) -> Layout:
    photos: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    members: dict[str, tuple[str, ...]] = {}
    faults: list[str] = []
    for split in NAMES:
        if not (root / split).is_dir():
            continue
        found, found_faults = _pick_files(root / split, SUFFIXES, "photos")
        labels, label_faults = _pick_files(root / f"{split}annot", MASK_SUFFIXES, "masks")
        faults += [*found_faults, *label_faults]
        faults += [f"{found[n]}: no mask {split}annot/{n}.png" for n in sorted(found.keys() - labels.keys())]
        faults += [f"{labels[n]}: no photo {split}/{n}.*" for n in sorted(labels.keys() - found.keys())]
        faults += [f"{found[n]}: stands in another split too" for n in sorted(found.keys() & photos.keys())]
        members[split] = tuple(name for name in sorted(found.keys() & labels.keys()) if name not in photos)
        photos |= found
        masks |= labels
    classes = None
    if not (root / "classes.txt").is_file():
        count = len(CAMVID)
        table = tuple(v if v < count else IGNORE if v in (count, IGNORE) else UNKNOWN for v in range(256))
        classes = Classes(CAMVID, table, note="CamVid's layout: its 11 classes, 11 is void")
    return Layout(photos, masks, tuple(faults), classes, Splits(members).with_val_split("no val/"))


def _pets(root: Path) -> Layout:
    photos, photo_faults = _pick_files(root / "images", SUFFIXES, "photos")
    masks, label_faults = _pick_files(root / "annotations" / "trimaps", MASK_SUFFIXES, "trimaps")
    members: dict[str, tuple[str, ...]] = {}
    faults = [*photo_faults, *label_faults]
    for split, file in (("train", "trainval.txt"), ("test", "test.txt")):
        path = root / "annotations" / file
        if not path.is_file():
            continue
        try:
            lines = read_text(path).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read as text ({error})") from error
        listed = [line.split()[0] for line in lines if line.strip()[:1] not in ("", "#")]
        faults += [f"{path}: names {n!r}, of which there is no photo" for n in listed if n not in photos]
        faults += [
            f"{path}: names {n!r}, of which there is no trimap" for n in listed if n in photos and n not in masks
        ]
        members[split] = tuple(dict.fromkeys(n for n in listed if n in photos and n in masks))
    if not members.get("train"):
        raise DataError(f"{root}: the Pet set's annotations/trainval.txt is missing or names no photo")
    table = tuple({1: 0, 2: 1, 3: 2}.get(value, UNKNOWN) for value in range(256))
    return Layout(photos, masks, tuple(faults), Classes(PETS, table), Splits(members).with_val_split("the Pet set"))


def _pick_masks(folder: Path) -> tuple[dict[str, Path], list[str]]:
    found, faults = index_by_stem(folder, MASK_SUFFIXES)
    return (found, faults) if found else _pick_files(folder, (*MASK_SUFFIXES, *JPEG_SUFFIXES), "masks")


def _pick_files(folder: Path, suffixes: Iterable[str], what: str) -> tuple[dict[str, Path], list[str]]:
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; its {what} were expected there")
    found, faults = index_by_stem(folder, suffixes)
    if not found:
        raise DataError(f"{folder}: holds no {what} (looked for {', '.join(sorted(suffixes))})")
    return found, faults


def index_by_stem(folder: Path, suffixes: Iterable[str]) -> tuple[dict[str, Path], list[str]]:
    """Name without suffix (sub-folders kept, with /) -> path; and the fault of two files of one name."""
    found: dict[str, Path] = {}
    faults = []
    for path in glob_files(folder, "**/*"):
        if path.suffix.lower() in suffixes and path.is_file():
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                faults.append(f"{path}: same name as {found[name].name}; one photo, one mask")
            else:
                found[name] = path
    return found, faults


def write(folder: Path, labels: Labels, photos: Iterable[Annotated], options: WriteOptions) -> Losses:
    """``masks/SPLIT/NAME.png`` with a palette, and ``classes.txt``."""
    palette = palette_bytes(labels)
    for photo in photos:
        write_mask(folder, photo, photo.label_map, palette)
    write_classes(folder, labels)
    return Losses()


def write_mask(folder: Path, photo: Annotated, label_map: np.ndarray, palette: bytes) -> None:
    """``label_map``: classes (H, W), up to 255."""
    path = folder / "masks" / photo.split / f"{photo.name}.png"
    write_png(path, label_map.astype(np.uint8, copy=False), palette)


def write_classes(folder: Path, labels: Labels) -> None:
    """``classes.txt``."""
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in labels.names))


FORMAT = Format(
    name="photos and label maps",
    layout=LAYOUT,
    recognize=recognize,
    cannot_hold="single objects: two of one class that touch are one region (regions makes objects of them)",
    read_maps=read_maps,
    writer=Writer("label maps", "images/{split}/{name}", write),
)
