"""Photos that EXIF turns, and annotations that were made before they were turned: told, and turned with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from imago.core.errors import ImageError
from imago.core.instances import CroppedMask, Instances, masks_to_boxes
from imago.data.dataset import Dataset, Sample
from imago.files.images import image_size, read_orientation, turn_upright

SIDEWAYS = 5  # EXIF's orientations from here on exchange height and width


def needs_turn(sample: Sample, found_hw: tuple[int, ...]) -> bool:
    """Whether an annotation of ``found_hw`` has the size of the photo as it lies in the file, and EXIF turns it. (What
    is turned by half, and a square, cannot be told by its size.)"""
    try:
        size_hw = image_size(sample.image_path)
        return found_hw[0] != found_hw[1] and size_hw == (found_hw[1], found_hw[0]) and _way(sample) >= SIDEWAYS
    except ImageError:
        return False


def _way(sample: Sample) -> int:
    return read_orientation(sample.image_path)


@dataclass(frozen=True)
class TurnedMap:
    """Reads a label map, turned as EXIF turns its photo where it was not."""

    sample: Sample

    def __call__(self) -> np.ndarray:
        label = self.sample.label_map()
        return turn_upright(label, _way(self.sample)) if needs_turn(self.sample, label.shape) else label


@dataclass(frozen=True)
class TurnedInstances:
    """Reads objects, turned as EXIF turns their photo where they were not."""

    sample: Sample

    def __call__(self) -> Instances:
        found = self.sample.instances()
        if not needs_turn(self.sample, found.size_hw):
            return found
        way, size_hw = _way(self.sample), (found.size_hw[1], found.size_hw[0])
        if found.cropped is None:
            return replace(found, size_hw=size_hw, boxes=turn_boxes(found.boxes, found.size_hw, way))
        masks = [CroppedMask.from_mask(turn_upright(mask.to_full(found.size_hw), way)) for mask in found.cropped]
        return replace(found, size_hw=size_hw, boxes=masks_to_boxes(masks), cropped=tuple(masks))


def turn_boxes(boxes: np.ndarray, size_hw: tuple[int, int], orientation: int) -> np.ndarray:
    """float32 (K, 4) x1 y1 x2 y2 in an image of ``size_hw`` as it lies in the file -> in the upright one."""
    x1, y1, x2, y2 = boxes.T
    height, width = size_hw
    if orientation >= SIDEWAYS:
        x1, y1, x2, y2 = y1, x1, y2, x2
        height, width = width, height
    if orientation in (3, 4, 7, 8):
        y1, y2 = height - y2, height - y1
    if orientation in (2, 3, 6, 7):
        x1, x2 = width - x2, width - x1
    return np.stack([x1, y1, x2, y2], axis=1).astype(np.float32)


def turn_annotations(dataset: Dataset) -> Dataset:
    """The same with every annotation turned that EXIF did not turn."""

    def turn(split: str, sample: Sample) -> Sample:
        changes: dict[str, Callable[[], object]] = {}
        if sample.has_label_map:
            changes["read_label_map"] = TurnedMap(sample)
        if sample.has_instances:
            changes["read_instances"] = TurnedInstances(sample)
        return replace(sample, **changes)  # type: ignore[arg-type]

    return replace(dataset, splits=dataset.map_samples(turn))
