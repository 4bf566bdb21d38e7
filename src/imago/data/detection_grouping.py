"""Groups of classes for objects: car, truck and bus become "vehicle", and several folders come to the same classes.

A grouping is written as for label maps (grouping.py): ``person = person; vehicle = car, truck; background = rest``.
Two names are reserved: objects of ``background`` are dropped, those of ``ignore`` become crowd regions, neither object
nor background. So do classes that no group takes.

Several folders may each annotate some of the common classes only (nobody marked the person beside the elephant). A
class that a folder's grouping does not name counts as not annotated there: it may be in the photos all the same, and
its samples say so (``DetectionSample.unannotated``). A class that is named without members (``bag =``) is annotated,
and the folder has none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from imago.core.errors import DataError
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.data.detection import DetectionDataset, DetectionSample
from imago.data.formats.checks import instance_labels
from imago.data.grouping import IGNORED, REST, Grouping

BACKGROUND = "background"
DROPPED, CROWD = 0, -1  # new values of objects that are of no class


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
    unknown = [m for _, members in grouping.groups for m in members if m != REST and m not in known]
    if unknown:
        raise DataError(
            f"{where}: the grouping names classes that the data does not have: {', '.join(unknown)}. It has: "
            f"{', '.join(known)}"
        )
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

    sample: DetectionSample
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


def group_instances(dataset: DetectionDataset, grouping: Grouping, labels: Labels) -> DetectionDataset:
    """The same photos with classes of ``labels``. Raises DataError."""
    table = tuple(int(v) for v in class_table(grouping, dataset.labels, labels, dataset.root))
    missing = unannotated(grouping, labels)
    every = tuple(range(1, len(labels)))

    def grouped(split: str, sample: DetectionSample) -> DetectionSample:
        crowd = every[:1] if split == "train" else every
        return replace(sample, read_instances=GroupedReader(sample, table, crowd), unannotated=missing)

    splits = {split: tuple(grouped(split, s) for s in samples) for split, samples in dataset.splits.items()}
    return replace(dataset, labels=labels, splits=splits, notes=(*dataset.notes, *_told(missing, labels)))


def _told(missing: tuple[int, ...], labels: Labels) -> tuple[str, ...]:
    names = ", ".join(labels.names[value] for value in missing)
    return (f"not annotated there, and not taught as background: {names}",) if missing else ()
