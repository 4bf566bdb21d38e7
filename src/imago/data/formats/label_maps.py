"""Label maps: photos and masks, every value (or colour) of a mask a class.

    images/NAME.jpg         masks/NAME.png                     and the like: pairing.py, also in train/, val/, test/
    train/NAME.png          trainannot/NAME.png   val/ ...     CamVid as SegNet's authors publish it
    images/NAME.jpg         annotations/trimaps/NAME.png       Oxford-IIIT Pet, with annotations/trainval.txt, test.txt

Beside them, where they are, ``classes.txt`` and the like (class_lists.py); without it the classes are found by looking
(classes.py). Where masks are photos on black (the photo itself, cut out), what is not black is the foreground.
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
from imago.data.class_lists import find_class_list
from imago.data.classes import Classes, apply_reading, find_classes
from imago.data.cutout_masks import find_cutouts
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
from imago.data.formats.pairing import (
    MASK_FOLDERS,
    MASK_SUFFIXES,
    PHOTO_FOLDERS,
    Place,
    find_places,
    pair_files,
    pick_files,
)  # fmt: skip
from imago.data.mask_pixels import UNKNOWN
from imago.data.splits import NAMES, Splits, find_splits, listed_names
from imago.files.images import SUFFIXES
from imago.files.text import read_text

MANY = 50  # photos without a mask past which each has no line of its own

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
    f"a folder of photos ({', '.join(PHOTO_FOLDERS[:6])} ...) and one of masks ({', '.join(MASK_FOLDERS[:6])} ...); "
    "masks beside photos (NAME_mask.png, NAME_seg.png ...); CamVid's train/ and trainannot/, or the Pet set's "
    "images/ and annotations/trimaps/"
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
    lone: frozenset[str] = frozenset()  # names that have a photo or a mask alone, which lists may name


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
    names = sorted(photos.keys() & masks.keys())
    classes = found.classes or _find_classes(root, [(photos[name], masks[name]) for name in names], options)
    divided = found.splits or find_splits(root, names, {*photos, *masks, *found.lone})
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
    listed = find_class_list(root)
    own = found.classes is not None or (listed is not None and listed.path.name != "classes.txt")
    return Dataset(root, classes.labels, splits, notes, has_own_list=own), (*found.faults, *divided.faults)


def _find_classes(root: Path, pairs: list[tuple[Path, Path]], options: ReadOptions) -> Classes:
    if not options.reading.of_masks and find_class_list(root) is None and (found := find_cutouts(pairs)):
        return found
    return find_classes(root, [mask for _, mask in pairs], options.reading)


def find_published(root: Path) -> Callable[[], Layout] | None:
    """What reads the layouts of known sets, whose values are classes."""
    if (root / "train").is_dir() and (root / "trainannot").is_dir():
        return partial(_camvid, root)
    if (root / "images").is_dir() and (root / "annotations" / "trimaps").is_dir():
        return partial(_pets, root)
    return None


def _reader_of(root: Path) -> Callable[[], Layout] | None:
    if (published := find_published(root)) is not None:
        return published
    places = find_places(root)
    return partial(pair_places, root, places) if places else None


def _find_layout(root: Path) -> Layout:
    """Raises DataError for a layout without photos or masks."""
    reader = _reader_of(root)
    if reader is None:
        raise DataError(f"{root}: no photos and masks found; expected {LAYOUT}")
    return reader()


def pair_places(root: Path, places: tuple[Place, ...]) -> Layout:
    """Photos and their masks, and the faults of those without the other. Photos of several places are called
    ``train/NAME``, from which find_splits tells where they belong."""
    photos: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    faults: list[str] = []
    notes: list[str] = []
    alone: set[str] = set()
    # VOC 2012 has 17,125 photos and 2,913 masks: where lists say what is used, the rest is no fault.
    listed = listed_names(root)
    for place in places:
        pairs = pair_files(place)
        photos |= {f"{place.prefix}{name}": path for name, path in pairs.photos.items()}
        masks |= {f"{place.prefix}{name}": path for name, path in pairs.masks.items()}
        lone = {path: path.relative_to(place.photos).with_suffix("").as_posix() for path in pairs.lone_photos}
        unused = [path for path, name in lone.items() if listed is not None and name not in listed]
        count = len(pairs.photos) + len(pairs.lone_photos)
        faults += pairs.faults
        faults += _tell_unmasked(place, [path for path in lone if path not in set(unused)], count)
        faults += [f"{path}: no photo {place.photos.name}/{_bare(place, path)}.*" for path in pairs.lone_masks]
        alone |= {f"{place.prefix}{name}" for name in (*lone.values(), *(_bare(place, p) for p in pairs.lone_masks))}
        if unused:
            told = plural(len(unused), "photo", "stand")
            notes.append(f"{told} in no list and without a mask in {place.masks.name}/; not used")
        if pairs.by_words:
            name = next(name for name in pairs.masks if pairs.masks[name].stem != pairs.photos[name].stem)
            example = f"{pairs.photos[name].name} and {pairs.masks[name].name}"
            notes.append(f"{plural(pairs.by_words, 'mask')} found by the gist of the name: {example}")
    return Layout(photos, masks, tuple(faults), notes=tuple(notes), lone=frozenset(alone))


def _bare(place: Place, path: Path) -> str:
    return path.relative_to(place.masks).with_suffix("").as_posix()


def _tell_unmasked(place: Place, lone: list[Path], count: int) -> list[str]:
    """A line each; one line for very many, which is a fault of the folder and not of its photos."""
    masks, tail = ("", "_mask") if place.is_one else (f"{place.masks.name}/", "")
    if len(lone) <= MANY:
        return [
            f"{path}: no mask {masks}{path.relative_to(place.photos).with_suffix('').as_posix()}{tail}.png"
            for path in lone
        ]
    names = ", ".join(path.name for path in lone[:3])
    return [f"{place.photos}: {len(lone)} of {count} photos have no mask in {masks or 'it'} ({names} ...)"]


def _camvid(root: Path) -> Layout:
    photos: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    members: dict[str, tuple[str, ...]] = {}
    faults: list[str] = []
    for split in NAMES:
        if not (root / split).is_dir():
            continue
        found, found_faults = pick_files(root / split, SUFFIXES, "photos")
        labels, label_faults = pick_files(root / f"{split}annot", MASK_SUFFIXES, "masks")
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
    photos, photo_faults = pick_files(root / "images", SUFFIXES, "photos")
    masks, label_faults = pick_files(root / "annotations" / "trimaps", MASK_SUFFIXES, "trimaps")
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
