"""Where photos and masks lie in a folder of data: the usual pairs of folders, and sets as they are downloaded.

images/NAME.jpg         masks/NAME.png                     and the like: ``PAIRS``
train/NAME.png          trainannot/NAME.png   val/ ...     CamVid as SegNet's authors publish it
images/NAME.jpg         annotations/trimaps/NAME.png       Oxford-IIIT Pet, with annotations/trainval.txt, test.txt
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from imago.core.errors import DataError
from imago.core.labels import IGNORE, Labels
from imago.data.classes import Classes
from imago.data.formats.label_maps import UNKNOWN
from imago.data.splits import NAMES, Splits, split_names
from imago.files.images import SUFFIXES

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".webp")

# Photos, masks. The first pair that is there counts.
PAIRS = (
    ("images", "masks"), ("image", "mask"), ("images", "labels"), ("image", "label"), ("imgs", "masks"),
    ("JPEGImages", "SegmentationClass"),
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


@dataclass(frozen=True)
class Layout:
    """What was found. ``classes`` and ``splits`` are None where other files, or a look at the masks, must tell."""

    photos: dict[str, Path]
    masks: dict[str, Path]
    faults: tuple[str, ...]
    classes: Classes | None = None
    splits: Splits | None = None


def find_layout(root: Path) -> Layout:
    """Raises DataError where none of the layouts is there, or one without photos or masks."""
    if (root / "train").is_dir() and (root / "trainannot").is_dir():
        return _camvid(root)
    if (root / "images").is_dir() and (root / "annotations" / "trimaps").is_dir():
        return _pets(root)
    for images, masks in PAIRS:
        if (root / images).is_dir() and (root / masks).is_dir():
            return pair(root, images, masks)
    pairs = ", ".join(f"{images}/ and {masks}/" for images, masks in PAIRS)
    raise DataError(
        f"{root}: no photos and masks found; expected two folders ({pairs}), annotations/ with COCO's JSON, CamVid's "
        "train/ and trainannot/, or the Pet set's images/ and annotations/trimaps/"
    )


def pair(root: Path, images: str, masks: str) -> Layout:
    """Photos and masks of the same names in two folders; the faults of those without the other."""
    photos, photo_faults = _pick_files(root / images, SUFFIXES, "photos")
    labels, label_faults = _pick_files(root / masks, MASK_SUFFIXES, "masks")
    faults = [*photo_faults, *label_faults]
    faults += [f"{photos[n]}: no mask {masks}/{n}.png" for n in sorted(photos.keys() - labels.keys())]
    faults += [f"{labels[n]}: no photo {images}/{n}.*" for n in sorted(labels.keys() - photos.keys())]
    return Layout(photos, labels, tuple(faults))


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
    notes: tuple[str, ...] = ()
    if "val" not in members:
        members["train"], members["val"] = split_names(members["train"])
        notes = (f"no val/: {len(members['val'])} photos of train/ kept for validation, by the hash of the name",)
    classes = None
    if not (root / "classes.txt").is_file():
        count = len(CAMVID)
        table = tuple(v if v < count else IGNORE if v in (count, IGNORE) else UNKNOWN for v in range(256))
        classes = Classes(CAMVID, table, note="CamVid's layout: its 11 classes, 11 is void")
    return Layout(photos, masks, tuple(faults), classes, Splits(members, notes))


def _pets(root: Path) -> Layout:
    photos, photo_faults = _pick_files(root / "images", SUFFIXES, "photos")
    masks, label_faults = _pick_files(root / "annotations" / "trimaps", MASK_SUFFIXES, "trimaps")
    masks = {name: path for name, path in masks.items() if not name.startswith("._")}  # left behind by a Mac
    members: dict[str, tuple[str, ...]] = {}
    faults = [*photo_faults, *label_faults]
    for split, file in (("train", "trainval.txt"), ("test", "test.txt")):
        path = root / "annotations" / file
        if not path.is_file():
            continue
        listed = [line.split()[0] for line in path.read_text("utf-8").splitlines() if line.strip()[:1] not in ("", "#")]
        faults += [f"{path}: names {n!r}, of which there is no photo" for n in listed if n not in photos]
        faults += [
            f"{path}: names {n!r}, of which there is no trimap" for n in listed if n in photos and n not in masks
        ]
        members[split] = tuple(dict.fromkeys(n for n in listed if n in photos and n in masks))
    if not members.get("train"):
        raise DataError(f"{root}: the Pet set's annotations/trainval.txt is missing or names no photo")
    members["train"], members["val"] = split_names(members["train"])
    note = f"the Pet set: {len(members['val'])} photos of trainval.txt kept for validation, by the hash of the name"
    table = tuple({1: 0, 2: 1, 3: 2}.get(value, UNKNOWN) for value in range(256))
    return Layout(photos, masks, tuple(faults), Classes(PETS, table), Splits(members, (note,)))


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
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file():
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                faults.append(f"{path}: same name as {found[name].name}; one photo, one mask")
            else:
                found[name] = path
    return found, faults
