"""Divides a data set into splits or folds: every class in the same share, groups of photos in one part. The lists lie
in a folder of their own; the data stays as it is.

    NAME.split/train.txt, val.txt, test.txt     or     NAME.split/fold1.txt ... fold5.txt, test.txt

A line is a photo, seen from the data set's folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from imago.core.errors import DataError, ImagoError
from imago.core.labels import IGNORE
from imago.core.text import plural, to_utf8
from imago.data.dataset import Dataset, Sample
from imago.data.duplicates import Groups
from imago.data.read_ahead import read_ahead
from imago.data.splits import NAMES
from imago.files.text import read_text
from imago.files.writing import atomic_folder

THREADS = 4
PREFIX = r"^(.*?)[-_. ]*\d*$"  # a name without the number at its end


def read_classes(
    samples: Sequence[Sample], count: int, progress: Callable[[], None] = lambda: None
) -> tuple[np.ndarray, list[str]]:
    """bool (photos, count): which of the classes each photo shows; and the faults of those that cannot be read."""

    def read(sample: Sample) -> np.ndarray | str:
        shown = np.zeros(count, bool)
        try:
            if sample.has_label_map:
                values = np.unique(sample.label_map())
                values = values[(values < count) & (values != IGNORE)]
            else:
                values = sample.instances().classes
        except (ImagoError, ValueError) as error:
            return str(error)
        shown[values] = True
        return shown

    every, faults = [], []
    for found in read_ahead(samples, read, THREADS):
        progress()
        faults += [found] if isinstance(found, str) else []
        every.append(np.zeros(count, bool) if isinstance(found, str) else found)
    return np.array(every, bool).reshape(len(samples), count), faults


def group_samples(samples: Sequence[Sample], pattern: str, alike: Sequence[Sequence[int]]) -> list[list[int]]:
    """Indices of photos that stay together: whose names give the same for ``pattern`` (its first bracket, or all that
    fits; names that do not fit stand alone), and those of ``alike``. Raises DataError for no pattern."""
    try:
        wanted = re.compile(PREFIX if pattern == "prefix" else pattern) if pattern else None
    except re.error as error:
        raise DataError(f"--group-by {pattern!r}: is no regular expression ({error})") from error
    groups = Groups(len(samples))
    first: dict[str, int] = {}
    for index, sample in enumerate(samples):
        found = wanted.search(sample.name.rpartition("/")[2]) if wanted is not None else None
        word = (found.group(1) if found.re.groups else found.group(0)) if found is not None else None
        if word:
            groups.join(first.setdefault(word, index), index)
    for members in alike:
        for index in members[1:]:
            groups.join(members[0], index)
    return groups.members()


def divide(
    groups: Sequence[Sequence[int]], shown: np.ndarray, shares: Mapping[str, float], seed: int
) -> dict[str, list[int]]:
    """Every part with the indices of its photos. ``shown``: bool (photos, classes); ``shares``: of each part, which add
    up to 1.

    As iterative stratification (Sechidis et al. 2011): groups with the rarest class go first, each to the part that
    lacks most of what it shows.
    """
    random = np.random.default_rng(seed)
    # The last column is the photo itself, so that parts have their sizes too.
    weights = np.concatenate([shown, np.ones((len(shown), 1), bool)], axis=1).astype(np.float64)
    total = np.maximum(weights.sum(axis=0), 1)
    held = np.array([weights[list(group)].sum(axis=0) for group in groups]).reshape(len(groups), len(total))
    rarest = np.where(held > 0, total, np.inf).min(axis=1)
    order = np.lexsort((random.random(len(groups)), -held[:, -1], rarest))
    names = list(shares)
    lacking = np.array([shares[name] for name in names])[:, None] * total
    parts: dict[str, list[int]] = {name: [] for name in names}
    for index in order:
        need = (lacking / total) @ (held[index] / total)
        need += 1e-9 * random.random(len(names))
        chosen = int(np.argmax(need))
        lacking[chosen] -= held[index]
        parts[names[chosen]] += groups[index]
    return {name: sorted(found) for name, found in parts.items()}


def photo_key(sample: Sample, root: Path) -> str:
    """How a list names the photo."""
    return Path(os.path.relpath(sample.image_path, root)).as_posix()


def write_lists(folder: Path, lists: Mapping[str, Sequence[str]]) -> None:
    """``folder/NAME.txt`` for each list. Raises ImagoError where the folder is there already."""
    with atomic_folder(folder) as part:
        for name, lines in lists.items():
            (part / f"{name}.txt").write_bytes(to_utf8("".join(f"{line}\n" for line in lines)))


def default_folder(root: Path) -> Path:
    """Where the lists of a data set lie unless somebody says otherwise: NAME.split in the current folder."""
    return Path(f"{root.resolve().name}.split")


def apply_lists(dataset: Dataset, folder: Path, fold: int) -> Dataset:
    """``dataset`` as the lists in ``folder`` divide it; ``fold``: which one is kept for validation, 0 where there are
    none. Raises DataError."""
    lists = _read_lists(folder)
    folds = sorted((name for name in lists if re.fullmatch(r"fold\d+", name)), key=lambda name: int(name[4:]))
    if fold:
        if f"fold{fold}" not in folds:
            there = f"has {', '.join(folds)}" if folds else "has no folds; write them with: imago data split --folds 5"
            raise DataError(f"{folder}: there is no fold{fold}; it {there}")
        train = [line for name in folds if name != f"fold{fold}" for line in lists[name]]
        chosen = {"train": train, "val": lists[f"fold{fold}"], **({"test": lists["test"]} if "test" in lists else {})}
    else:
        chosen = {name: lists[name] for name in NAMES if name in lists}
        if "train" not in chosen:
            raise DataError(f"{folder}: holds folds; say which with --fold 1 to {len(folds)}")
    known = {photo_key(sample, dataset.root): sample for sample in dataset.split("all")}
    splits = {name: tuple(known[line] for line in lines if line in known) for name, lines in chosen.items()}
    used = sum(map(len, splits.values()))
    listed = sum(map(len, chosen.values()))
    if not splits["train"]:
        raise DataError(f"{folder}: names no photo of {dataset.root}; are they lists of another data set?")
    notes = [note for note in dataset.notes if "by the hash of the name" not in note]
    notes.append(f"split by {folder}" + (f", fold {fold}" if fold else ""))
    if used < len(known):
        notes.append(f"{plural(len(known) - used, 'photo', 'stand')} in no list; not used")
    if used < listed:
        notes.append(f"{plural(listed - used, 'photo')} of the lists are not among those that are used")
    return replace(dataset, splits=splits, notes=tuple(notes))


def _read_lists(folder: Path) -> dict[str, list[str]]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of lists; write them with: imago data split")
    try:
        lists = {path.stem: read_text(path).splitlines() for path in sorted(folder.glob("*.txt"))}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{folder}: its lists cannot be read ({error})") from error
    if not any(name == "train" or name.startswith("fold") for name in lists):
        raise DataError(f"{folder}: holds neither train.txt nor fold1.txt; write them with: imago data split")
    return lists
