"""A data set on disk: photos, masks, classes, splits. Opening one reads names; pixels are read when asked for.

Layout "folder": ``images/NAME.jpg``, ``masks/NAME.png``; beside them, where they are, ``classes.txt`` (line n is the
class of value n - 1; ``name R G B`` for masks of RGB colour codes) and ``train.txt``, ``val.txt`` (a name a line).
Without ``classes.txt`` the classes are found by looking; without split files every tenth photo by the hash of its
name becomes validation, the same ones each time. A folder with ``annotations/instances_*.json`` is COCO's layout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imago.core.errors import DataError
from imago.core.labels import IGNORE, Labels
from imago.data.grouping import Grouping
from imago.data.masks import Codes, colours_in, palette_in, read_mask
from imago.files.images import SUFFIXES, read_image

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".webp")


@dataclass(frozen=True)
class Sample:
    """One photo and its label map."""

    name: str
    image_path: Path
    read_label: Callable[[], np.ndarray] = field(repr=False)  # uint8 (H, W), grouped; 255 is "ignore"
    label_path: Path | None = None
    channels: int = 3

    def image(self) -> np.ndarray:
        """uint8 (H, W, C), upright."""
        return read_image(self.image_path, channels=self.channels).pixels

    def label(self) -> np.ndarray:
        """uint8 (H, W) of classes; 255 counts for nothing."""
        return self.read_label()


@dataclass(frozen=True)
class Dataset:
    """Samples by split, and what their values mean."""

    root: Path
    labels: Labels
    splits: dict[str, tuple[Sample, ...]]
    notes: tuple[str, ...] = ()  # what was found by looking rather than read

    def split(self, name: str) -> tuple[Sample, ...]:
        if name == "all":
            return tuple(sample for samples in self.splits.values() for sample in samples)
        if name not in self.splits:
            raise DataError(f"{self.root}: there is no split {name!r}; it has {', '.join(self.splits)}")
        return self.splits[name]


@dataclass(frozen=True)
class LabelReader:
    """Reads one mask file: stored values -> class values (and groups)."""

    path: Path
    table: tuple[int, ...]  # 256 entries, stored value -> class value
    codes: Codes | None = None

    def __call__(self) -> np.ndarray:
        return np.array(self.table, np.uint8)[self.stored()]

    def stored(self) -> np.ndarray:
        """uint8 (H, W) as in the file, before any grouping."""
        return read_mask(self.path, self.codes)


def open_dataset(root: Path | str, grouping: Grouping | None = None, channels: int = 3) -> Dataset:
    """Opens the data set in ``root``. Raises DataError that says what was expected and lists faults of naming."""
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of data; expected images/ and masks/ in it")
    if (root / "annotations").is_dir() and not (root / "masks").is_dir():
        from imago.data.coco import open_coco

        return open_coco(root)
    images, masks = root / "images", root / "masks"
    if not images.is_dir() or not masks.is_dir():
        raise DataError(f"{root}: expected the folders images/ and masks/ (or annotations/ with COCO's JSON)")
    photos = _by_stem(images, SUFFIXES)
    label_files = _by_stem(masks, MASK_SUFFIXES)
    if not photos:
        raise DataError(f"{images}: holds no photos (looked for {', '.join(sorted(SUFFIXES))})")
    faults = [f"{images / name}.*: no mask masks/{name}.png" for name in sorted(photos.keys() - label_files.keys())]
    faults += [f"{label_files[name]}: no photo images/{name}.*" for name in sorted(label_files.keys() - photos.keys())]

    labels, table, codes, notes = _classes(root, [label_files[n] for n in sorted(label_files)])
    if grouping is not None:
        group_table = grouping.table(labels)
        table = tuple(int(group_table[value]) if value != IGNORE else IGNORE for value in table)
        labels = grouping.labels()
    names = sorted(photos.keys() & label_files.keys())
    split_names, split_notes, split_faults = _splits(root, names, photos.keys() | label_files.keys())
    faults += split_faults
    if faults:
        raise DataError(f"{root}: {len(faults)} faults in the data set", tuple(faults))
    samples = {
        name: Sample(name, photos[name], LabelReader(label_files[name], table, codes), label_files[name], channels)
        for name in names
    }
    splits = {split: tuple(samples[name] for name in members) for split, members in split_names.items()}
    return Dataset(root, labels, splits, (*notes, *split_notes))


def _by_stem(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Name without suffix (sub-folders kept, with /) -> path. Two files of one name are a fault."""
    found: dict[str, Path] = {}
    twice = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file():
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                twice.append(f"{path}: same name as {found[name].name}")
            found[name] = path
    if twice:
        raise DataError(f"{folder}: {len(twice)} files share their name with another", tuple(twice))
    return found


def _classes(root: Path, masks: list[Path]) -> tuple[Labels, tuple[int, ...], Codes | None, tuple[str, ...]]:
    """Labels, stored value -> class value (256 entries), colour codes, notes."""
    identity = tuple(range(256))
    path = root / "classes.txt"
    if path.is_file():
        lines = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
        parts = [line.split() for line in lines]
        if lines and all(len(p) >= 4 and all(v.isdigit() for v in p[-3:]) for p in parts):
            colours = tuple((int(p[-3]), int(p[-2]), int(p[-1])) for p in parts)
            labels = _labels(path, tuple(" ".join(p[:-3]) for p in parts), colours)
            return labels, identity, {colour: value for value, colour in enumerate(colours)}, ()
        colours = palette_in(masks[0], len(lines)) if masks else ()
        labels = _labels(path, tuple(lines), colours if len(set(colours)) == len(lines) else ())
        values = set() if len(lines) != 2 or not masks else _values_in(masks[:20])
        if values and values <= {0, 255} and 255 in values:  # two classes drawn as black and white
            return labels, tuple(1 if v == 255 else v for v in range(256)), None, ()
        return labels, identity, None, ()
    return _classes_by_looking(root, masks)


def _labels(path: Path, names: tuple[str, ...], colours: tuple[tuple[int, int, int], ...]) -> Labels:
    try:
        return Labels(names, colours)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _classes_by_looking(
    root: Path, masks: list[Path]
) -> tuple[Labels, tuple[int, ...], Codes | None, tuple[str, ...]]:
    found = colours_in(masks[0]) if masks else None
    if found is not None:
        for mask in masks[1:]:
            found |= colours_in(mask) or set()
        if len(found) > 254:
            raise DataError(f"{root}: RGB masks with {len(found)} colours; list the classes in classes.txt: name R G B")
        ordered = tuple(sorted(found))
        names = tuple(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in ordered)
        codes = {colour: value for value, colour in enumerate(ordered)}
        note = f"no classes.txt: {len(ordered)} colours found in the masks"
        return Labels(names, ordered), tuple(range(256)), codes, (note,)
    values = _values_in(masks)
    if values <= {0, 255}:
        table = tuple(1 if v == 255 else v for v in range(256))
        return Labels(("background", "foreground")), table, None, ("no classes.txt: masks of 0 and 255, two classes",)
    kept = sorted(values - {IGNORE})
    new = {value: index for index, value in enumerate(kept)}
    table = tuple(new.get(v, IGNORE if v == IGNORE else 254) for v in range(256))
    note = f"no classes.txt: {len(kept)} values found in the masks: {', '.join(map(str, kept[:20]))}"
    return Labels(tuple(f"class {value}" for value in kept)), table, None, (note,)


def _values_in(masks: list[Path]) -> set[int]:
    values: set[int] = set()
    for mask in masks:
        values |= {int(v) for v in np.unique(read_mask(mask))}
    return values


def is_validation(name: str) -> bool:
    """Every tenth name or so, by its hash: the same ones on every machine and after photos are added."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 10 == 0


def _splits(
    root: Path, names: list[str], known: set[str]
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...], list[str]]:
    files = {path.stem: path for path in sorted(root.glob("*.txt")) if path.stem in ("train", "val", "test")}
    if "train" not in files:
        train = tuple(name for name in names if not is_validation(name))
        val = tuple(name for name in names if is_validation(name)) or train[-1:]
        train = tuple(name for name in train if name not in val) or train
        note = f"no train.txt: {len(train)} photos to train on and {len(val)} for validation, by the hash of the name"
        return {"train": train, "val": val}, (note,), []
    faults: list[str] = []
    splits: dict[str, tuple[str, ...]] = {}
    seen: dict[str, str] = {}
    for split, path in files.items():
        members = tuple(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip())
        for name in members:
            if name not in known:
                faults.append(f"{path}: names {name!r}, of which there is no photo")
            elif name in seen:
                faults.append(f"{path}: {name!r} stands in {seen[name]}.txt too")
            seen[name] = split
        splits[split] = members
    notes = ()
    if "val" not in splits:
        train = splits["train"]
        val = tuple(name for name in train if is_validation(name)) or train[-1:]
        splits["train"], splits["val"] = tuple(name for name in train if name not in val), val
        notes = (f"no val.txt: {len(val)} of the photos in train.txt kept for validation, by the hash of the name",)
    return splits, notes, faults
