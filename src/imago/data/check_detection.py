"""Looks at every photo and every object of a data set before anything is trained on it; all faults at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from imago.core.errors import fault_line
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.data.check import check_photo
from imago.data.detection import DetectionSample


@dataclass(frozen=True)
class CheckReport:
    """What is in the photos."""

    photos: int
    empty: int  # photos without an object
    crowds: int  # regions that are marked as crowd or difficult; counted nowhere else
    objects: np.ndarray  # int64 (classes,): objects a class; the background's 0 first
    faults: tuple[str, ...] = field(default=())


def check_detection(
    samples: Sequence[DetectionSample], labels: Labels, progress: Callable[[int, int], None] | None = None
) -> CheckReport:
    """Reads all: photos that are damaged, photos of another size than their annotation, outlines and masks that
    cannot be read or are empty, classes out of range."""
    objects = np.zeros(len(labels), np.int64)
    faults: list[str] = []
    empty = crowds = 0
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, (found, instances) in enumerate(pool.map(lambda s: _check_one(s, labels), samples), 1):
            faults += found
            if instances is not None:
                crowd = np.zeros(len(instances), bool) if instances.crowd is None else instances.crowd
                known = instances.classes[~crowd & (instances.classes > 0) & (instances.classes < len(labels))]
                objects += np.bincount(known, minlength=len(labels))
                crowds += int(crowd.sum())
                empty += not len(instances)
            if progress:
                progress(done, len(samples))
    return CheckReport(len(samples), empty, crowds, objects, tuple(dict.fromkeys(faults)))


def _check_one(sample: DetectionSample, labels: Labels) -> tuple[list[str], Instances | None]:
    faults: list[str] = []
    size_hw = None
    try:
        size_hw = check_photo(sample)
    except Exception as error:  # whatever it is, it is this photo's
        faults.append(fault_line(error, sample.image_path))
    try:
        instances = sample.instances()
    except Exception as error:
        line = fault_line(error, sample.image_path)
        return [*faults, *([] if line in faults else [line])], None
    if size_hw and instances.size_hw != tuple(size_hw):
        faults.append(
            f"{sample.image_path}: is {size_hw[0]} x {size_hw[1]} (height x width), but its objects were annotated on "
            f"{instances.size_hw[0]} x {instances.size_hw[1]}"
        )
    wrong = (instances.classes < 1) | (instances.classes >= len(labels))
    if wrong.any():
        faults.append(
            f"{sample.image_path}: class {instances.classes[wrong][0]} is out of range 1 to {len(labels) - 1}"
        )
    for index in np.flatnonzero(instances.areas <= 0):
        box = " ".join(f"{v:g}" for v in instances.boxes[index])
        faults.append(f"{sample.image_path}: object {index + 1} (box {box}) has no pixel; take it away or outline it")
    return faults, instances
