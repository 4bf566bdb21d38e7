"""A data set on disk: photos, masks, classes, splits. Opening one reads names; pixels are read when asked for.

Where the files lie is told by layouts.py: ``images/NAME.jpg`` and ``masks/NAME.png``, and others. Beside them, where
they are, ``classes.txt`` (line n is the class of value n - 1; ``name R G B`` for masks of RGB colour codes) and
``train.txt``, ``val.txt`` (a name a line). Without ``classes.txt`` the classes are found by looking; without split
files every tenth photo by the hash of its name becomes validation, the same ones each time. A folder with
``annotations/instances_*.json`` is COCO's layout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imago.core.errors import DataError
from imago.core.labels import Labels
from imago.data.classes import find_classes
from imago.data.formats.label_maps import Codes, read_mask
from imago.data.formats.layouts import find_layout
from imago.data.grouping import Grouping
from imago.data.splits import find_splits
from imago.files.images import read_image


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
        return self.to_classes(self.read_raw())

    def read_raw(self) -> np.ndarray:
        """uint8 (H, W) as in the file, before any grouping."""
        return read_mask(self.path, self.codes)

    def to_classes(self, stored: np.ndarray) -> np.ndarray:
        """What ``stored`` gave -> uint8 (H, W) of classes."""
        return np.array(self.table, np.uint8)[stored]


def open_dataset(
    root: Path | str, grouping: Grouping | None = None, channels: int = 3, val: Sequence[str] = ()
) -> Dataset:
    """Opens the data set in ``root``. Raises DataError that says what was expected and lists faults of naming.

    ``val``: names of the photos that are kept for validation, in place of the folder's own split.
    """
    dataset, faults = survey(Path(root), grouping, channels, val)
    if faults:
        raise DataError(f"{root}: {len(faults)} fault{'s' if len(faults) > 1 else ''} in the data set", faults)
    return dataset


def survey(
    root: Path, grouping: Grouping | None = None, channels: int = 3, val: Sequence[str] = ()
) -> tuple[Dataset, tuple[str, ...]]:
    """What can be opened in ``root``, and the faults of naming: missing pairs, two files of one name, wrong splits.

    So that the pixels of the good pairs can be looked at as well, and all faults be told at once. Raises DataError
    where nothing can be opened at all.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of data; expected images/ and masks/ in it")
    if any((root / "annotations").glob("*.json")) and not (root / "masks").is_dir():
        from imago.data.formats.coco_subjects import open_coco

        if grouping is not None:
            raise DataError(f"{root}: COCO's objects are the subject or not; there are no labels to group")
        if val:
            raise DataError(f"{root}: COCO's annotations have splits of their own; leave out val")
        return open_coco(root, channels=channels), ()
    found = find_layout(root)
    photos, label_files = found.photos, found.masks
    classes = found.classes or find_classes(root, [label_files[name] for name in sorted(label_files)])
    if grouping is not None:
        classes = classes.apply_grouping(grouping)
    names = sorted(photos.keys() & label_files.keys())
    divided = found.splits or find_splits(root, names, photos.keys() | label_files.keys())
    if val:
        divided = divided.with_val(val, root)
    samples = {
        name: Sample(
            name,
            photos[name],
            LabelReader(label_files[name], classes.table, classes.codes),
            label_files[name],
            channels,
        )
        for name in names
    }
    splits = {split: tuple(samples[name] for name in members) for split, members in divided.members.items()}
    notes = ((classes.note,) if classes.note else ()) + divided.notes
    return Dataset(root, classes.labels, splits, notes), (*found.faults, *divided.faults)
