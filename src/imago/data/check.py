"""Looks at a whole data set before anything is trained on it, and tells all faults at once, with file names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from imago.core.errors import ImagoError
from imago.core.labels import IGNORE, Labels
from imago.data.dataset import Sample
from imago.files.images import image_size


def check_samples(
    samples: Sequence[Sample], labels: Labels, progress: Callable[[int, int], None] | None = None
) -> tuple[str, ...]:
    """Every fault, one line each: unreadable, other size, unknown value; and classes that no pixel has."""
    faults: list[str] = []
    seen = np.zeros(256, bool)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, (found, values) in enumerate(pool.map(lambda s: _check_one(s, labels), samples), 1):
            faults += found
            seen[values] = True
            if progress:
                progress(done, len(samples))
    empty = [name for value, name in enumerate(labels.names) if not seen[value]]
    if empty and not faults:
        faults.append(f"no pixel of any mask belongs to: {', '.join(empty)}; leave these classes out or group them")
    return tuple(faults)


def _check_one(sample: Sample, labels: Labels) -> tuple[list[str], np.ndarray]:
    """Faults of one photo and the values in its mask."""
    where = sample.label_path or sample.image_path
    try:
        size_hw = image_size(sample.image_path)
        label = sample.label()
    except ImagoError as error:
        return [str(error)], np.empty(0, np.int64)
    faults = []
    if label.shape != tuple(size_hw):
        faults.append(
            f"{where}: mask is {label.shape[0]} x {label.shape[1]} but {sample.image_path.name} is "
            f"{size_hw[0]} x {size_hw[1]} (height x width)"
        )
    values = np.nonzero(np.bincount(label.ravel(), minlength=256))[0]
    unknown = [int(v) for v in values if v >= len(labels) and v != IGNORE]
    if unknown:
        faults.append(
            f"{where}: holds the values {', '.join(map(str, unknown))}; known are 0 to {len(labels) - 1} and {IGNORE}"
        )
    return faults, values[values < len(labels)]
