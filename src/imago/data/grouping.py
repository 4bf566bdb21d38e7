"""Groups of labels: fifty-nine garments become "person", or a dozen of them.

A grouping is written in a small TOML file or in one line on the command line:

    [groups]                                  --group "background=null; person=rest"
    background = ["null"]
    top = ["shirt", "blouse", "t-shirt"]
    person = ["rest"]         # every label not named elsewhere
    ignore = ["watch"]        # the reserved name: these pixels count for nothing

The order of the groups is the order of the new values; ``ignore`` gets none.

For objects one group is enough, and ``background`` is reserved too: objects of it are dropped, those of ``ignore``
become crowd regions, neither object nor background. So do classes that no group takes. Several folders may each
annotate some of the common classes only (nobody marked the person beside the elephant). A class that a folder's
grouping does not name counts as not annotated there: it may be in the photos all the same, and its samples say so
(``Sample.unannotated``). A class that is named without members (``bag =``) is annotated, and the folder has none.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imago.core.errors import DataError
from imago.core.instances import Instances
from imago.core.labels import IGNORE, Labels
from imago.core.panoptic import Panoptic, Segment
from imago.data.dataset import Dataset, Sample
from imago.data.formats.checks import instance_labels
from imago.files.text import read_toml

REST = "rest"
IGNORED = "ignore"
BACKGROUND = "background"
DROPPED, CROWD = 0, -1  # new values of objects that are of no class


@dataclass(frozen=True)
class Grouping:
    """Group names, each with the labels it takes."""

    groups: tuple[tuple[str, tuple[str, ...]], ...]

    def labels(self) -> Labels:
        return Labels(names=tuple(name for name, _ in self.groups if name != IGNORED))

    def check(self, known: Collection[str], where: str = "") -> None:
        """Raises DataError, which begins with ``where``, for classes that are not among the ``known`` ones."""
        unknown = [m for _, members in self.groups for m in members if m != REST and m not in known]
        if unknown:
            raise DataError(
                f"{where}the grouping names classes that the data does not have: {', '.join(unknown)}. It has: "
                f"{', '.join(known)}"
            )

    def table(self, labels: Labels) -> np.ndarray:
        """uint8 (256,), or more past 256 labels: old value -> new value. Raises DataError for labels that ``labels``
        does not have."""
        known = {name: value for value, name in enumerate(labels.names)}
        self.check(known)
        table = np.full(max(256, len(labels)), IGNORE, np.uint8)
        values = [name for name, _ in self.groups if name != IGNORED]
        new_value = {name: values.index(name) if name != IGNORED else IGNORE for name, _ in self.groups}
        for name, members in self.groups:  # "rest" first, so that what is named wins
            if REST in members:
                table[: len(labels)] = new_value[name]
        for name, members in self.groups:
            for member in members:
                if member != REST:
                    table[known[member]] = new_value[name]
        return table


def parse_grouping(text: str, least: int = 2) -> Grouping:
    """``text`` is the path of a TOML file, or groups in one line: ``background=null; person=rest``. ``least``: groups
    that there must be; one is enough for objects."""
    if text.endswith(".toml"):
        return _read_grouping(Path(text), least)
    groups = []
    for part in filter(None, (p.strip() for p in text.split(";"))):
        name, equals, members = part.partition("=")
        if not equals:
            raise DataError(f"grouping {part!r} has no '='; write it like: background=null; person=hair,skin,rest")
        groups.append((name.strip(), tuple(m.strip() for m in members.split(",") if m.strip())))
    return _check(groups, f"grouping {text!r}", least)


def _read_grouping(path: Path, least: int) -> Grouping:
    groups = read_toml(path, "grouping").get("groups")
    if not isinstance(groups, dict) or not all(isinstance(m, list) for m in groups.values()):
        raise DataError(f'{path}: expected a table [groups] with lines such as person = ["hair", "skin"]')
    return _check([(name, tuple(str(m) for m in members)) for name, members in groups.items()], str(path), least)


def _check(groups: list[tuple[str, tuple[str, ...]]], source: str, least: int) -> Grouping:
    kept = [name for name, _ in groups if name != IGNORED]
    if len(kept) < least or len(set(kept)) != len(kept):
        count = "two or more groups" if least == 2 else "groups"
        raise DataError(f"{source}: needs {count} of different names; got {', '.join(kept) or 'none'}")
    members = [m for _, ms in groups for m in ms]
    twice = sorted({m for m in members if members.count(m) > 1})
    if twice:
        raise DataError(f"{source}: these labels stand in two groups: {', '.join(twice)}")
    return Grouping(tuple(groups))


def common_labels(grouping: Grouping, classes: tuple[str, ...], where: object) -> Labels:
    """The labels of ``classes``, or where there are none of the groups in their order. Raises DataError for a group
    that is not among ``classes``."""
    named = named_classes(grouping)
    strange = [name for name in named if classes and name not in classes]
    if strange:
        raise DataError(
            f"{where}: the grouping makes {', '.join(map(repr, strange))}, which classes does not list; it lists "
            f"{', '.join(classes)}"
        )
    return instance_labels(classes or named, where)  # type: ignore[arg-type]


def named_classes(grouping: Grouping) -> tuple[str, ...]:
    return tuple(name for name, _ in grouping.groups if name not in (BACKGROUND, IGNORED))


def unannotated(grouping: Grouping, labels: Labels) -> tuple[int, ...]:
    """The classes of ``labels`` that the grouping does not name."""
    named = named_classes(grouping)
    return tuple(value for value, name in enumerate(labels.names) if value and name not in named)


def class_table(grouping: Grouping, old: Labels, labels: Labels, where: object) -> np.ndarray:
    """int64 (old classes,): old class -> new one, DROPPED or CROWD. Raises DataError for classes that there are not."""
    known = {name: value for value, name in enumerate(old.names) if value}
    grouping.check(known, f"{where}: ")
    new = {BACKGROUND: DROPPED, IGNORED: CROWD} | {name: value for value, name in enumerate(labels.names) if value}
    table = np.full(len(old), CROWD, np.int64)
    for name, members in grouping.groups:  # "rest" first, so that what is named wins
        if REST in members:
            table[:] = new[name]
    for name, members in grouping.groups:
        table[[known[member] for member in members if member != REST]] = new[name]
    table[0] = DROPPED
    return table


@dataclass(frozen=True)
class GroupedReader:
    """Reads one photo's objects in their new classes. ``crowd``: the classes that an ignored object is a crowd of; for
    scores all, since they count crowds class by class, for training one is enough."""

    sample: Sample
    table: tuple[int, ...]
    crowd: tuple[int, ...]

    def __call__(self) -> Instances:
        instances = self.sample.instances()
        return regroup(instances, np.array(self.table)[instances.classes], self.crowd)


def regroup(instances: Instances, values: np.ndarray, crowd: tuple[int, ...]) -> Instances:
    """``instances`` with the classes int64 (K,) ``values``, DROPPED and CROWD among them."""
    ignored = np.flatnonzero(values == CROWD)
    index = np.concatenate([np.flatnonzero(values > 0), np.repeat(ignored, len(crowd))])
    classes = np.concatenate([values[values > 0], np.tile(np.array(crowd, np.int64), len(ignored))])
    chosen = instances[index]
    was = np.zeros(len(index), bool) if chosen.crowd is None else chosen.crowd
    now = np.arange(len(index)) >= int((values > 0).sum())
    return replace(chosen, classes=classes, crowd=was | now)


def group_instances(dataset: Dataset, grouping: Grouping, labels: Labels) -> Dataset:
    """The same photos with classes of ``labels``. Raises DataError."""
    table = tuple(int(v) for v in class_table(grouping, dataset.labels, labels, dataset.root))
    missing = unannotated(grouping, labels)
    every = tuple(range(1, len(labels)))

    def group(split: str, sample: Sample) -> Sample:
        crowd = every[:1] if split == "train" else every
        return replace(sample, read_instances=GroupedReader(sample, table, crowd), unannotated=missing)

    notes = dataset.notes
    if missing:
        names = ", ".join(labels.names[value] for value in missing)
        notes += (f"not annotated there, and not taught as background: {names}",)
    return replace(dataset, labels=labels, splits=dataset.map_samples(group), notes=notes)


@dataclass(frozen=True)
class GroupedSegments:
    """Reads one photo's segments in their new classes; stuff of one class becomes one segment, what has no class is
    void."""

    sample: Sample
    table: tuple[int, ...]

    def __call__(self) -> Panoptic:
        found = self.sample.panoptic()
        kept: dict[tuple[int, int], Segment] = {}
        ids = []
        for segment in found.segments:
            value = self.table[segment.value]
            alone = segment.id if segment.is_thing or segment.crowd else 0
            first = kept.setdefault((value, alone), replace(segment, value=value))
            ids.append(first.id if value > 0 else 0)
        return Panoptic.of(found.look_up(ids), [each for each in kept.values() if each.value > 0])


def group_segments(dataset: Dataset, grouping: Grouping) -> Dataset:
    """The same photos with the groups as classes; ``background``, ``ignore`` and what no group takes is void. Raises
    DataError, also for a group of things and stuff."""
    labels = common_labels(grouping, (), dataset.root)
    table = tuple(int(v) for v in class_table(grouping, dataset.labels, labels, dataset.root))
    things = {table[value] for value in dataset.things} - {DROPPED, CROWD}
    for value, new in enumerate(table):
        if new in things and value not in dataset.things:
            raise DataError(
                f"{dataset.root}: group {labels.names[new]!r} takes the stuff {dataset.labels.names[value]!r} and "
                "things too; a class is one or the other"
            )

    def group(split: str, sample: Sample) -> Sample:
        return replace(sample, read_panoptic=GroupedSegments(sample, table))

    return replace(dataset, labels=labels, things=tuple(sorted(things)), splits=dataset.map_samples(group))
