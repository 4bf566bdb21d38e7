"""Which photos are learnt from and which are kept back. One place for every task and layout.

In this order: lists of names (``train.txt``, ``val.txt``, ``test.txt``, a name a line; or a lone ``trainval.txt`` or
``default.txt``) in a folder that the format knows (VOC: ``ImageSets/Segmentation``), lists in the root, sub-folders of
photos (``images/train/``, ``images/val/``), then the hash of the name: every tenth photo or so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imago.core.text import plural, to_utf8
from imago.files.text import read_text

NAMES = ("train", "val", "test")
POOLS = ("trainval", "default")  # lists of what is used, not parted yet: VOC's, CVAT's
_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Splits:
    """Names of photos by split, and what is to be said of it."""

    members: dict[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    def with_val_split(self, why: str) -> Splits:
        """The same; where nothing is kept for validation, some photos of "train" are, by the hash of their names."""
        if "val" in self.members or not self.members.get("train"):
            return self
        train, val = split_names(self.members["train"])
        note = f"{why}: {plural(len(val), 'photo')} kept for validation, by the hash of the name"
        members = {"train": train, "val": val, **{k: v for k, v in self.members.items() if k not in ("train", "val")}}
        return replace(self, members=members, notes=(*self.notes, note))


def is_validation(name: str) -> bool:
    """Every tenth name or so, by its hash: the same ones on every machine and after photos are added."""
    return int(hashlib.sha256(to_utf8(name)).hexdigest()[:8], 16) % 10 == 0


def split_names(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """To train on, and for validation. Neither is empty where there is a photo: a single one stands in both."""
    val = tuple(name for name in names if is_validation(name)) or tuple(names[-1:])
    return tuple(name for name in names if name not in set(val)) or tuple(names), val


def parse_split(word: str) -> str | None:
    """The split that a folder or file is named after: ``train2017`` -> train, ``valid`` -> val, ``instances_val`` ->
    val; None for others."""
    return next((_WORDS[token] for token in re.findall(r"[a-z]+", word.lower()) if token in _WORDS), None)


def parse_split_folder(name: str) -> str | None:
    """The split that a folder is, by its whole name: ``train``, ``val2017``, ``valid``; None for ``train_003``."""
    return parse_split(name) if re.fullmatch(r"[a-z]+(20\d\d)?", name.lower()) else None


def find_splits(root: Path, names: Sequence[str], known: set[str] | None = None, lists: Sequence[str] = ()) -> Splits:
    """``names`` can be used; ``known`` have a photo or a mask at least (what is missing is a fault of the reader's).

    ``lists``: sub-folders in which lists may stand, the best first; the root itself comes last.
    """
    known = set(names) if known is None else known
    if found := _find_lists(root, lists):
        return _read_pool(found[0], names, known) if found[0].stem in POOLS else _read_lists(found, names, known)
    stray = tuple(
        f"{path}: stands there without a train.txt; add one, or take it away"
        for path in sorted(root.glob("*.txt"))
        if path.stem in NAMES
    )
    if (by_folder := split_by_folder(names)) is not None:
        return replace(by_folder.with_val_split("no folder val"), faults=stray)
    train, val = split_names(names)
    counts = f"{plural(len(train), 'photo')} to train on and {len(val)} for validation"
    note = f"no train.txt: {counts}, by the hash of the name"
    return Splits({"train": train, "val": val}, (note,), stray)


def listed_names(root: Path, lists: Sequence[str] = ()) -> set[str] | None:
    """What stands in the lists that ``find_splits`` goes by; None where there is no list."""
    found = _find_lists(root, lists)
    lines = [line.strip() for path in found for line in read_text(path, "replace").splitlines()]
    return {form for line in lines for form in (line, line.rpartition("images/")[2].rpartition(".")[0])} or None


def _find_lists(root: Path, lists: Sequence[str]) -> list[Path]:
    """The files that name photos, of the best folder: one a split, or one pool."""
    for folder, enough in (*((root / name, ("train", "val")) for name in lists), (root, ("train",))):
        there = [folder / f"{split}.txt" for split in sorted(NAMES) if (folder / f"{split}.txt").is_file()]
        if any(path.stem in enough for path in there):
            return there
        pools = [folder / f"{pool}.txt" for pool in POOLS if folder != root and (folder / f"{pool}.txt").is_file()]
        if pools:
            return pools[:1]
    return []


def split_by_folder(names: Sequence[str]) -> Splits | None:
    """``train/a``, ``val/b`` -> the folders are the splits; None where fewer than two splits have a folder, unless all
    photos lie in one. Photos beside those folders are not used, which is noted."""
    members: dict[str, list[str]] = {}
    beside = []
    for name in names:
        folder, slash, _ = name.partition("/")
        split = parse_split(folder) if slash and re.match(r"(train|val|test)", folder.lower()) else None
        if split is None:
            beside.append(name)
        else:
            members.setdefault(split, []).append(name)
    if not members or (beside and len(members) < 2):
        return None
    notes = (f"{plural(len(beside), 'photo', 'lie')} in no folder of a split; not used",) if beside else ()
    return Splits({split: tuple(members[split]) for split in NAMES if split in members}, notes)


def _read_lists(lists: Sequence[Path], names: Sequence[str], known: set[str]) -> Splits:
    faults: list[str] = []
    members: dict[str, tuple[str, ...]] = {}
    home: dict[str, str] = {}
    for path in lists:
        listed = _read_names(path, known, faults)
        for name in listed:
            if name in home:
                faults.append(f"{path}: {name!r} stands in {home[name]}.txt too")
            home[name] = path.stem
        members[path.stem] = tuple(dict.fromkeys(listed))
    there = set(names)
    members = {split: tuple(name for name in found if name in there) for split, found in members.items()}
    notes = []
    left_out = [name for name in names if name not in home]
    if left_out:
        notes.append(
            f"{plural(len(left_out), 'photo', 'stand')} in no split file; not used ({', '.join(left_out[:3])} ...)"
        )
    return Splits(members, tuple(notes), tuple(faults)).with_val_split("no val.txt")


def _read_pool(path: Path, names: Sequence[str], known: set[str]) -> Splits:
    faults: list[str] = []
    listed = set(_read_names(path, known, faults))
    used = Splits({"train": tuple(name for name in names if name in listed)}, faults=tuple(faults))
    return used.with_val_split(f"no train.txt beside {path.parent.name}/{path.name}")


def _read_names(path: Path, known: set[str], faults: list[str]) -> list[str]:
    """The names in a list; faults are added. ``./images/train/a.jpg`` stands for the photo ``train/a``."""
    try:
        lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        faults.append(f"{path}: not a text file in UTF-8")
        return []
    if not lines:
        faults.append(f"{path}: names no photo")
    found = []
    for line in lines:
        name = line if line in known else line.replace("\\", "/").rpartition("images/")[2].rpartition(".")[0]
        if line not in known and ("/" not in line or name not in known):
            bare = line.rpartition(".")[0]
            advice = "; write names without their suffix" if bare in known else ""
            faults.append(f"{path}: names {line!r}, of which there is no photo{advice}")
            name = line
        found.append(name)
    return found
