"""Which photos are learnt from and which are kept back: from split files, or by the hash of the name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imago.core.text import to_utf8

NAMES = ("train", "val", "test")


@dataclass(frozen=True)
class Splits:
    """Names of photos by split, and what is to be said of it."""

    members: dict[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    def with_val(self, val: Sequence[str], root: Path) -> Splits:
        """The same photos with just ``val`` kept for validation; those of a test split stay there."""
        rest = tuple(dict.fromkeys(n for split, names in self.members.items() if split != "test" for n in names))
        faults = tuple(f"{root}: val names {n!r}, of which there is no photo" for n in val if n not in rest)
        members = {"train": tuple(n for n in rest if n not in val), "val": tuple(n for n in val if n in rest)}
        note = f"{len(members['val'])} photos kept for validation by name, {len(members['train'])} to train on"
        return Splits({**self.members, **members}, (note,), (*self.faults, *faults))


def is_validation(name: str) -> bool:
    """Every tenth name or so, by its hash: the same ones on every machine and after photos are added."""
    return int(hashlib.sha256(to_utf8(name)).hexdigest()[:8], 16) % 10 == 0


def split_names(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """To train on, and for validation. Neither is empty where there is a photo: a single one stands in both."""
    val = tuple(name for name in names if is_validation(name)) or tuple(names[-1:])
    return tuple(name for name in names if name not in set(val)) or tuple(names), val


def find_splits(root: Path, names: Sequence[str], known: set[str]) -> Splits:
    """``names`` have photo and mask; ``known`` have at least one of them (what is missing is told elsewhere)."""
    files = {path.stem: path for path in sorted(root.glob("*.txt")) if path.stem in NAMES}
    if "train" not in files:
        train, val = split_names(names)
        note = f"no train.txt: {len(train)} photos to train on and {len(val)} for validation, by the hash of the name"
        stray = tuple(f"{path}: stands there without a train.txt; add one, or take it away" for path in files.values())
        return Splits({"train": train, "val": val}, (note,), stray)
    faults: list[str] = []
    members: dict[str, tuple[str, ...]] = {}
    home: dict[str, str] = {}
    for split, path in files.items():
        try:
            lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
        except UnicodeDecodeError:
            faults.append(f"{path}: not a text file in UTF-8")
            lines = []
        for name in lines:
            if name in home:
                faults.append(f"{path}: {name!r} stands in {home[name]}.txt too")
            elif name not in known:
                bare = name.rpartition(".")[0]
                advice = "; write names without their suffix" if bare in known else ""
                faults.append(f"{path}: names {name!r}, of which there is no photo{advice}")
            home[name] = split
        if not lines:
            faults.append(f"{path}: names no photo")
        members[split] = tuple(dict.fromkeys(lines))
    notes = []
    left_out = [name for name in names if name not in home]
    if left_out:
        notes.append(f"{len(left_out)} photos stand in no split file and are not used ({', '.join(left_out[:3])} ...)")
    if "val" not in members:
        members["train"], members["val"] = split_names(members["train"])
        count = len(members["val"])
        notes.append(f"no val.txt: {count} of the photos in train.txt kept for validation, by the hash of the name")
    there = set(names)
    members = {split: tuple(name for name in found if name in there) for split, found in members.items()}
    return Splits(members, tuple(notes), tuple(faults))
