"""A data set on disk, whatever its format and task: photos with label maps, objects, segments, in splits.

Opening one (open_dataset.py) reads names and annotation texts; pixels are read when asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from imago.core.bands import Ranges
from imago.core.errors import DataError
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.core.panoptic import Panoptic
from imago.core.text import plural
from imago.files.images import read_image


@dataclass(frozen=True)
class Sample:
    """One photo and its truth: a label map, objects, segments, whichever it has."""

    name: str
    image_path: Path
    channels: int = 3
    read_label_map: Callable[[], np.ndarray] | None = field(default=None, repr=False, kw_only=True)
    read_instances: Callable[[], Instances] | None = field(default=None, repr=False, kw_only=True)
    read_panoptic: Callable[[], Panoptic] | None = field(default=None, repr=False, kw_only=True)
    label_path: Path | None = field(default=None, kw_only=True)  # the mask's file, where there is one
    ranges: Ranges = field(default=(), kw_only=True)  # what deep values are scaled by; see files.images.read_image
    unannotated: tuple[int, ...] = field(default=(), kw_only=True)  # classes that nobody marked here, though they may
    # be in the photo

    @property
    def has_label_map(self) -> bool:
        return self.read_label_map is not None

    @property
    def has_instances(self) -> bool:
        return self.read_instances is not None

    def image(self) -> np.ndarray:
        """uint8 (H, W, C), upright."""
        return read_image(self.image_path, channels=self.channels, ranges=self.ranges).pixels

    def label_map(self) -> np.ndarray:
        """uint8 (H, W) of classes; 255 counts for nothing. Raises DataError where there are objects alone."""
        if self.read_label_map is None:
            raise DataError(f"{self.image_path}: has objects, no label map; open the folder with task='semantic'")
        return self.read_label_map()

    def instances(self) -> Instances:
        """The annotated objects, in pixels of the photo; crowd regions are marked. Raises DataError where there is a
        label map alone."""
        if self.read_instances is None:
            raise DataError(f"{self.image_path}: has a label map, no objects; open the folder with task='detection'")
        return self.read_instances()

    def panoptic(self) -> Panoptic:
        """The annotated segments, in pixels of the photo. Raises DataError where there are none."""
        if self.read_panoptic is None:
            raise DataError(f"{self.image_path}: has no segments; open the folder with task='panoptic'")
        return self.read_panoptic()


@dataclass(frozen=True)
class Dataset:
    """Samples by split, and what their values mean. Of objects ``labels.names[0]`` is "background"."""

    root: Path
    labels: Labels
    splits: dict[str, tuple[Sample, ...]]
    notes: tuple[str, ...] = ()  # what was found by looking rather than read
    has_masks: bool = True  # False: boxes alone
    has_own_list: bool = False  # the classes are those of a published set or a tool, so some may be in no photo
    things: tuple[int, ...] = ()  # of segments: the classes whose objects are told apart
    format: str = ""  # what the folder was taken for, in words

    def split(self, name: str) -> tuple[Sample, ...]:
        if name == "all":
            return tuple(sample for samples in self.splits.values() for sample in samples)
        if name not in self.splits:
            raise DataError(f"{self.root}: there is no split {name!r}; it has {', '.join(self.splits)}")
        return self.splits[name]

    def map_samples(self, change: Callable[[str, Sample], Sample]) -> dict[str, tuple[Sample, ...]]:
        """The splits with ``change(split, sample)`` in place of each sample."""
        return {split: tuple(change(split, sample) for sample in samples) for split, samples in self.splits.items()}

    def with_val(self, val: Sequence[str]) -> tuple[Dataset, tuple[str, ...]]:
        """The same with just these photos kept for validation, and the faults: names that there are not.

        Photos of a test split stay there.
        """
        rest = [sample for split, samples in self.splits.items() if split != "test" for sample in samples]
        known = {sample.name for sample in rest}
        faults = tuple(
            f"{self.root}: val names {name!r}, of which there is no photo" for name in val if name not in known
        )
        train = tuple(sample for sample in rest if sample.name not in val)
        kept = tuple(sample for name in dict.fromkeys(val) for sample in rest if sample.name == name)
        note = f"{plural(len(kept), 'photo')} kept for validation by name, {len(train)} to train on"
        notes = (*(n for n in self.notes if "by the hash of the name" not in n), note)  # that split is given up
        return replace(self, splits={**self.splits, "train": train, "val": kept}, notes=notes), faults

    def select(self, pattern: str) -> Dataset:
        """The photos whose names fit ``pattern``, as of files (``[A-Z]*``; capitals count). Raises DataError."""
        splits = {
            split: tuple(sample for sample in samples if fnmatchcase(sample.name, pattern))
            for split, samples in self.splits.items()
        }
        count = sum(map(len, splits.values()))
        if not count:
            raise DataError(f"{self.root}: no photo is named like {pattern!r}; leave out only, or mend it")
        return replace(
            self, splits=splits, notes=(*self.notes, f"{plural(count, 'photo', 'are')} named like {pattern!r}")
        )

    def align_classes(self, labels: Labels) -> Dataset:
        """The same objects with classes that are values of ``labels``, found by their names. Raises DataError for a
        name that is not among them."""
        unknown = [name for name in self.labels.names[1:] if name not in labels.names[1:]]
        if unknown:
            raise DataError(f"{self.root}: {', '.join(map(repr, unknown))} is not among {', '.join(labels.names[1:])}")
        values = np.array([0, *(labels.names.index(name) for name in self.labels.names[1:])], np.int64)

        def renumber(split: str, sample: Sample) -> Sample:
            def instances() -> Instances:
                found = sample.instances()
                return replace(found, classes=values[found.classes])

            return replace(sample, read_instances=instances)

        return replace(self, labels=labels, splits=self.map_samples(renumber))
