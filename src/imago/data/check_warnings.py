"""What in a data set does no harm to a training, but to what is learnt: copies in train and validation, outlines that
cross themselves, classes with hardly any example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from imago.core.polygons import crosses_itself
from imago.core.text import plural
from imago.data.check import CheckReport
from imago.data.dataset import Dataset, Sample
from imago.data.duplicates import find_duplicates

LISTED = 10  # of one kind; the rest is counted
RARE = 50  # times fewer objects (pixels) than the median class
FEW = 5  # photos that show a class


@runtime_checkable
class KeepsPolygons(Protocol):
    """A reader that knows the polygons of its file."""

    def polygons(self) -> Sequence[tuple[int, np.ndarray]]:
        """The number of the object, from 0, and the corners of each polygon, (n, 2) or flat."""
        ...


def find_warnings(dataset: Dataset, checked: CheckReport, progress: Callable[[], None] = lambda: None) -> list[str]:
    """A line each."""
    return [
        *_shorten(copies(dataset, progress), "copies of photos"),
        *_shorten(crossings(dataset.split("all")), "outlines that cross themselves"),
        *([checked.tiny] if checked.tiny else []),
        *_shorten(imbalance(dataset, checked), "rare classes"),
    ]


def _shorten(lines: list[str], what: str) -> list[str]:
    more = len(lines) - LISTED
    return lines[:LISTED] + ([f"and {more} more {what}"] if more > 0 else [])


def copies(dataset: Dataset, progress: Callable[[], None] = lambda: None) -> list[str]:
    """Photos that show the same; first those in different splits."""
    homes: dict[Path, list[str]] = {}
    for split, samples in dataset.splits.items():
        for sample in samples:
            homes.setdefault(sample.image_path, []).append(split)
    paths = list(homes)
    twice = [f"{path}: stands in {' and '.join(found)}" for path, found in homes.items() if len(set(found)) > 1]
    across, within = [], []
    for members in find_duplicates(paths, progress):
        splits = {split for index in members for split in homes[paths[index]]}
        named = ", ".join(f"{paths[index].name} ({homes[paths[index]][0]})" for index in members[:4])
        more = f" and {len(members) - 4} more" if len(members) > 4 else ""
        line = f"{paths[members[0]].parent}: {named}{more} show the same"
        if len(splits) > 1:
            across.append(
                f"{line}, in {' and '.join(sorted(splits))}: scores are too good. imago data split parts anew"
            )
        else:
            within.append(line)
    return [*twice, *across, *within]


def crossings(samples: Sequence[Sample]) -> list[str]:
    """Polygons whose sides cross: what lies inside of them is not what was meant."""
    lines: list[str] = []
    for sample in samples:
        if isinstance(sample.read_instances, KeepsPolygons):
            crossed = {index + 1 for index, ring in sample.read_instances.polygons() if crosses_itself(ring)}
            if crossed:
                numbers = ", ".join(map(str, sorted(crossed)[:5])) + (" ..." if len(crossed) > 5 else "")
                lines.append(f"{sample.image_path}: the outline of object {numbers} crosses itself")
    return lines


def imbalance(dataset: Dataset, checked: CheckReport) -> list[str]:
    """Classes with far less to learn from than others."""
    counts = checked.objects if checked.objects.any() else checked.pixels
    what = "objects" if checked.objects.any() else "pixels"
    known = [value for value in range(len(counts)) if counts[value] and value != dataset.labels.background]
    if len(known) < 2:
        return []
    middle = float(np.median(counts[known]))
    lines = []
    for value in known:
        name, photos = dataset.labels.names[value], int(checked.images[value])
        if counts[value] * RARE < middle:
            lines.append(f"class {name!r}: {counts[value]} {what}, the median class has {middle:.0f}")
        elif photos < FEW <= checked.photos // 4:
            lines.append(f"class {name!r}: is in {plural(photos, 'photo')} of {checked.photos}")
    return lines
