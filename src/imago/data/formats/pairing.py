"""Which photo and which mask belong together: by the folders that they lie in, and by their names.

    images/a.jpg          masks/a.png             any of PHOTO_FOLDERS and of MASK_FOLDERS, also in train/, val/, test/
    train/a.jpg           train_masks/a_mask.gif  a folder of photos and its twin: TWINS
    a.jpg, a_mask.png                             masks beside their photos, in any folder
    a.jpg, a.png                                  the same, where photos are JPEGs and masks are not

Names are the same, or are once upper and lower case, and words that say what a file is (``a_mask``, ``a_seg``,
``gt_a``, ``a_L``; of photos ``img_a``, ``a_sat``, ``a_0000``) do not count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imago.core.errors import DataError
from imago.data.splits import NAMES, parse_split_folder
from imago.files.arrays import ARRAY_SUFFIXES
from imago.files.clutter import glob_files, is_clutter, iter_folders
from imago.files.images import SUFFIXES

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".webp", *ARRAY_SUFFIXES)
JPEG_SUFFIXES = (".jpg", ".jpeg")  # of masks too, where there are no others: what was lost is said by classes.py
TEXT_SUFFIXES = (".txt", ".xml", ".json", ".csv", ".geojson")
# The first that is there counts.
PHOTO_FOLDERS = (
    "images", "image", "imgs", "img", "img_dir", "imagesTr", "photos", "rgb", "inputs", "input", "original_images",
    "original", "JPEGImages", "raw", "natural",
)  # fmt: skip
MASK_FOLDERS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "ann_dir", "labelsTr", "gt", "ground_truth",
    "groundtruth", "segmentations", "segmentation", "seg", "segmented", "label_images", "label_images_semantic",
    "targets", "target", "SegmentationClass", "SegmentationClassPNG", "SegmentationClassNpy", "masks_machine",
    "mattes", "trimaps",
)  # fmt: skip
TWINS = (  # of a split's folder: its photos, its masks
    ("{}", "{}annot"), ("{}", "{}_masks"), ("{}", "{}_mask"), ("{}", "{}_labels"), ("{}", "{}_label"),
    ("{}_images", "{}_masks"), ("{}_images", "{}_labels"), ("{}_imgs", "{}_masks"),
)  # fmt: skip
_MASK_WORDS = (
    "cp_masks|masks?|labels?|segmentations?|segmented|segs?|gt|ground_?truth|annotations?|anno|annot|manual1?|matte|"
    "trimap|labelids|labeltrainids|instanceids|target|l"
)
_PHOTO_WORDS = "images?|imgs?|im|photo|rgb|sat|original|orig|training|input|raw|p|0000"


@dataclass(frozen=True)
class Place:
    """A folder of photos and the folder of their masks; the same one where they lie side by side."""

    photos: Path
    masks: Path
    prefix: str = ""  # of the photos' names: "train/"

    @property
    def is_one(self) -> bool:
        return self.photos == self.masks


@dataclass(frozen=True)
class Pairs:
    """Photos and masks of the same names; what has no partner stands in ``lone_photos`` and ``lone_masks``."""

    photos: dict[str, Path]
    masks: dict[str, Path]
    lone_photos: tuple[Path, ...] = ()
    lone_masks: tuple[Path, ...] = ()
    by_words: int = 0  # pairs whose names differ by case or such a word
    faults: tuple[str, ...] = field(default=())


def find_places(root: Path) -> tuple[Place, ...]:
    """Where photos and masks lie below ``root``; none where it is another format."""
    if not root.is_dir():
        return ()
    if (found := _find_pair(root)) is not None:
        return (found,)
    parts = (_find_pair(path, f"{path.name}/") for path in iter_folders(root) if parse_split_folder(path.name))
    if places := tuple(place for place in parts if place is not None):
        return places
    if places := tuple(_find_twins(root)):
        return places
    return (Place(root, root),) if _has_masks_beside(root) else ()


def _find_pair(root: Path, prefix: str = "") -> Place | None:
    folders = {path.name.lower(): path for path in iter_folders(root)}
    for images in PHOTO_FOLDERS:
        for masks in MASK_FOLDERS:
            photos, labels = folders.get(images.lower()), folders.get(masks.lower())
            if photos is not None and labels is not None and _may_be_masks(labels):
                return Place(photos, labels, prefix)
    return None


def _find_twins(root: Path) -> Iterator[Place]:
    for split in NAMES:
        for photos, masks in TWINS:
            place = Place(root / photos.format(split), root / masks.format(split), f"{split}/")
            if place.photos.is_dir() and place.masks.is_dir() and _may_be_masks(place.masks):
                yield place
                break


def _may_be_masks(folder: Path) -> bool:
    """Whether it holds masks, or nothing that would be something else: text files alone are other formats'."""
    texts = False
    for suffix in _walk_suffixes(folder):
        if suffix in MASK_SUFFIXES:
            return True
        texts = texts or suffix in TEXT_SUFFIXES
    return not texts


def _walk_suffixes(folder: Path) -> Iterator[str]:
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_clutter(name)]
        yield from (os.path.splitext(name)[1].lower() for name in files if not is_clutter(name))


def _has_masks_beside(root: Path) -> bool:
    for _, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_clutter(name))
        if any(True for _ in _masks_among([name for name in files if not is_clutter(name)])):
            return True
    return False


def _masks_among(files: list[str]) -> Iterator[str]:
    """The names of the masks among the files of a folder: each has its photo there."""
    stems: dict[str, set[str]] = {}
    for name in files:
        stem, suffix = os.path.splitext(name)
        for form in {stem.lower(), strip_words(stem, _PHOTO_WORDS).lower()}:
            stems.setdefault(form, set()).add(suffix.lower())
    for name in files:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in (*MASK_SUFFIXES, *JPEG_SUFFIXES):
            continue
        bare = strip_words(stem, _MASK_WORDS).lower()
        is_named = bare != stem.lower() and stems.get(bare, set()) & SUFFIXES
        is_twin = suffix.lower() in MASK_SUFFIXES and stems[stem.lower()] & set(JPEG_SUFFIXES)
        if is_named or is_twin:
            yield name


def strip_words(stem: str, words: str) -> str:
    """``a_mask`` -> ``a``; ``mask 1`` -> ``1``; ``a.jpg`` (of ``a.jpg.png``) -> ``a``."""
    found = re.sub(r"\.(jpe?g|png|tiff?|bmp|webp)$", "", stem, flags=re.IGNORECASE)
    found = re.sub(rf"[_\-. ]+(?:{words})$", "", found, flags=re.IGNORECASE)
    found = re.sub(rf"^(?:{words})(?:[_\-. ]+|(?=\d))", "", found, flags=re.IGNORECASE)
    return found or stem


def _key(name: str, words: str) -> str:
    folder, slash, stem = name.rpartition("/")
    return (folder + slash + (strip_words(stem, words) if words else stem)).lower()


_PASSES: tuple[tuple[Callable[[str], str], Callable[[str], str]], ...] = (  # keys of photos, of masks
    (str, str),
    (str.lower, str.lower),
    (str.lower, lambda name: _key(name, _MASK_WORDS)),
    (lambda name: _key(name, _PHOTO_WORDS), lambda name: _key(name, _MASK_WORDS)),
)


def match_names(photos: dict[str, Path], masks: dict[str, Path]) -> Pairs:
    """Names as they are, then with less and less of them; where two masks fit a photo that is a fault."""
    found: dict[str, Path] = {}
    faults: list[str] = []
    left, lone = dict(photos), dict(masks)
    by_words = 0
    for number, (of_photo, of_mask) in enumerate(_PASSES):
        keyed: dict[str, list[str]] = {}
        for name in lone:
            keyed.setdefault(of_mask(name), []).append(name)
        for name in list(left):
            fitting = keyed.pop(of_photo(name), [])
            if not fitting:
                continue
            if len(fitting) > 1:
                several = " and ".join(masks[one].name for one in fitting[:3])
                faults.append(f"{photos[name]}: {several} could both be its mask; take one away")
            else:
                found[name] = lone[fitting[0]]
                by_words += number > 0
            del left[name]
            for one in fitting:
                del lone[one]
    return Pairs(
        {name: photos[name] for name in photos if name in found},
        found,
        tuple(left.values()),
        tuple(lone.values()),
        by_words,
        tuple(faults),
    )


def pair_files(place: Place) -> Pairs:
    """Raises DataError where there is nothing of one kind."""
    if place.is_one:
        return _pair_beside(place)
    photos, photo_faults = pick_files(place.photos, SUFFIXES, "photos")
    masks, mask_faults = index_by_stem(place.masks, MASK_SUFFIXES)
    if not masks:
        masks, mask_faults = pick_files(place.masks, (*MASK_SUFFIXES, *JPEG_SUFFIXES), "masks")
    pairs = match_names(photos, masks)
    return Pairs(
        pairs.photos, pairs.masks, pairs.lone_photos, pairs.lone_masks, pairs.by_words,
        (*photo_faults, *mask_faults, *pairs.faults),
    )  # fmt: skip


def _pair_beside(place: Place) -> Pairs:
    by_folder: dict[Path, list[str]] = {}
    for path in glob_files(place.photos, "**/*"):
        if path.is_file():
            by_folder.setdefault(path.parent, []).append(path.name)
    photos: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    faults: list[str] = []
    for folder, files in by_folder.items():
        chosen = set(_masks_among(files))
        for name in files:
            path = folder / name
            suffix = path.suffix.lower()
            kind = masks if name in chosen else photos if suffix in SUFFIXES else None
            if kind is None:
                continue
            key = path.relative_to(place.photos).with_suffix("").as_posix()
            if key in kind:
                faults.append(f"{path}: same name as {kind[key].name}; one photo, one mask")
            else:
                kind[key] = path
    pairs = match_names(photos, masks)
    return Pairs(
        pairs.photos, pairs.masks, pairs.lone_photos, pairs.lone_masks, pairs.by_words, (*faults, *pairs.faults)
    )


def pick_files(folder: Path, suffixes: Iterable[str], what: str) -> tuple[dict[str, Path], list[str]]:
    """``index_by_stem``. Raises DataError for a folder that is missing or holds none."""
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
