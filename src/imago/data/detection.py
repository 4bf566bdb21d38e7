"""A data set of objects: photos with boxes, classes and masks. What every reader of such a format gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from imago.core.errors import DataError
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.data.splits import Splits
from imago.files.images import read_image


@dataclass(frozen=True)
class DetectionSample:
    """One photo and its objects."""

    name: str
    image_path: Path
    read_instances: Callable[[], Instances] = field(repr=False)
    channels: int = 3
    unannotated: tuple[int, ...] = ()  # classes that nobody marked here, though they may be in the photo

    def image(self) -> np.ndarray:
        """uint8 (H, W, C), upright."""
        return read_image(self.image_path, channels=self.channels).pixels

    def instances(self) -> Instances:
        """The annotated objects, in pixels of the photo; crowd regions are marked."""
        return self.read_instances()


@dataclass(frozen=True)
class DetectionDataset:
    """Samples by split, and what their classes mean: ``labels.names[0]`` is "background", objects are 1 and more."""

    root: Path
    labels: Labels
    splits: dict[str, tuple[DetectionSample, ...]]
    has_masks: bool
    notes: tuple[str, ...] = ()  # what was found by looking rather than read

    def split(self, name: str) -> tuple[DetectionSample, ...]:
        if name == "all":
            return tuple(sample for samples in self.splits.values() for sample in samples)
        if name not in self.splits:
            raise DataError(f"{self.root}: there is no split {name!r}; it has {', '.join(self.splits)}")
        return self.splits[name]

    def keeping(self, val: Sequence[str]) -> tuple[DetectionDataset, tuple[str, ...]]:
        """The same with just these photos kept for validation, and the faults: names that there are not."""
        samples = {sample.name: sample for sample in self.split("all")}
        members = {split: tuple(sample.name for sample in found) for split, found in self.splits.items()}
        divided = Splits(members).with_val(val, self.root)
        splits = {split: tuple(samples[name] for name in names) for split, names in divided.members.items()}
        return replace(self, splits=splits, notes=(*self.notes, *divided.notes)), divided.faults

    def named(self, pattern: str) -> DetectionDataset:
        """The photos whose names fit ``pattern``, as of files (``[A-Z]*``; capitals count). Raises DataError."""
        splits = {
            split: tuple(sample for sample in samples if fnmatchcase(sample.name, pattern))
            for split, samples in self.splits.items()
        }
        count = sum(map(len, splits.values()))
        if not count:
            raise DataError(f"{self.root}: no photo is named like {pattern!r}; leave out only, or mend it")
        return replace(self, splits=splits, notes=(*self.notes, f"{count} photos are named like {pattern!r}"))

    def align_classes(self, labels: Labels) -> DetectionDataset:
        """The same with classes that are values of ``labels``, found by their names. Raises DataError for a name that
        is not among them."""
        unknown = [name for name in self.labels.names[1:] if name not in labels.names[1:]]
        if unknown:
            raise DataError(f"{self.root}: {', '.join(map(repr, unknown))} is not among {', '.join(labels.names[1:])}")
        values = np.array([0, *(labels.names.index(name) for name in self.labels.names[1:])], np.int64)

        def renumbered(sample: DetectionSample) -> DetectionSample:
            def instances() -> Instances:
                found = sample.instances()
                return replace(found, classes=values[found.classes])

            return replace(sample, read_instances=instances)

        splits = {name: tuple(map(renumbered, samples)) for name, samples in self.splits.items()}
        return replace(self, labels=labels, splits=splits)
