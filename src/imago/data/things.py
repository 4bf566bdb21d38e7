"""A data set of objects: photos with boxes, classes and masks. What every reader of such a format gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from imago.core.errors import DataError
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.files.images import read_image


@dataclass(frozen=True)
class ThingSample:
    """One photo and its objects."""

    name: str
    image_path: Path
    read_things: Callable[[], Instances] = field(repr=False)
    channels: int = 3

    def image(self) -> np.ndarray:
        """uint8 (H, W, C), upright."""
        return read_image(self.image_path, channels=self.channels).pixels

    def things(self) -> Instances:
        """The annotated objects, in pixels of the photo; crowd regions are marked."""
        return self.read_things()


@dataclass(frozen=True)
class ThingDataset:
    """Samples by split, and what their classes mean: ``labels.names[0]`` is "background", objects are 1 and more."""

    root: Path
    labels: Labels
    splits: dict[str, tuple[ThingSample, ...]]
    has_masks: bool
    notes: tuple[str, ...] = ()  # what was found by looking rather than read

    def split(self, name: str) -> tuple[ThingSample, ...]:
        if name == "all":
            return tuple(sample for samples in self.splits.values() for sample in samples)
        if name not in self.splits:
            raise DataError(f"{self.root}: there is no split {name!r}; it has {', '.join(self.splits)}")
        return self.splits[name]

    def with_classes_of(self, labels: Labels) -> ThingDataset:
        """The same with classes that are values of ``labels``, found by their names. Raises DataError for a name that
        is not among them."""
        unknown = [name for name in self.labels.names[1:] if name not in labels.names[1:]]
        if unknown:
            raise DataError(f"{self.root}: {', '.join(map(repr, unknown))} is not among {', '.join(labels.names[1:])}")
        values = np.array([0, *(labels.names.index(name) for name in self.labels.names[1:])], np.int64)

        def renumbered(sample: ThingSample) -> ThingSample:
            def things() -> Instances:
                found = sample.things()
                return replace(found, classes=values[found.classes])

            return replace(sample, read_things=things)

        splits = {name: tuple(map(renumbered, samples)) for name, samples in self.splits.items()}
        return replace(self, labels=labels, splits=splits)
