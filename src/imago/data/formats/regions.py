"""Label maps as objects: photos of one subject each, whose masks say which class a pixel is, not which object.

``whole``: all pixels of a class are one object (a garment on a bed). ``parts``: each connected part is one (cats apart
from each other); parts smaller than ``LEAST_PART`` of the largest of their class, a paw behind a leaf, are crowd
regions: neither object nor background. Objects that touch cannot be told apart so; leave such photos out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from imago.core.instances import CroppedMask, Instances, masks_to_boxes
from imago.core.labels import IGNORE, Labels
from imago.data.dataset import Dataset, Sample
from imago.data.detection import DetectionDataset, DetectionSample
from imago.data.detection_grouping import BACKGROUND, DROPPED, unannotated
from imago.data.grouping import Grouping

How = Literal["whole", "parts"]
LEAST_PART = 0.1  # of the largest part's pixels


@dataclass(frozen=True)
class RegionReader:
    """Reads one photo's label map as objects. ``table``: value of the label map -> class, 0 for none."""

    sample: Sample
    table: tuple[int, ...]
    how: How
    crowd: tuple[int, ...]  # classes that an ignored part is a crowd of, as in group_things

    def __call__(self) -> Instances:
        label = self.sample.label()
        masks: list[CroppedMask] = []
        classes: list[int] = []
        crowd: list[bool] = []
        for value, kind in enumerate(self.table):
            if kind == DROPPED:
                continue
            for mask, is_small in regions(label == value, self.how):
                masks.append(mask)
                classes.append(kind)
                crowd.append(is_small)
        for mask, _ in regions(label == IGNORE, "parts"):
            masks += [mask] * len(self.crowd)
            classes += self.crowd
            crowd += [True] * len(self.crowd)
        return Instances.make(label.shape, masks_to_boxes(masks), classes, cropped=masks, crowd=crowd)


def regions(mask: np.ndarray, how: How) -> list[tuple[CroppedMask, bool]]:
    """bool (H, W) -> its objects, and whether each is too small to count as one."""
    if not mask.any():
        return []
    if how == "whole":
        return [(CroppedMask.from_mask(mask), False)]
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    found = []
    for number, area in enumerate(areas, 1):
        left, top, width, height = (int(v) for v in stats[number, :4])
        crop = numbers[top : top + height, left : left + width] == number
        found.append((CroppedMask.from_mask(crop, left, top), bool(area < LEAST_PART * areas.max())))
    return found


def read_regions(dataset: Dataset, grouping: Grouping, labels: Labels, how: How) -> DetectionDataset:
    """``dataset`` was opened with ``grouping``; its groups but ``background`` are classes of ``labels``."""
    table = tuple(DROPPED if name == BACKGROUND else labels.names.index(name) for name in dataset.labels.names)
    missing = unannotated(grouping, labels)
    every = tuple(range(1, len(labels)))

    def to_instances(split: str, sample: Sample) -> DetectionSample:
        reader = RegionReader(sample, table, how, every[:1] if split == "train" else every)
        return DetectionSample(sample.name, sample.image_path, reader, sample.channels, missing)

    splits = {split: tuple(to_instances(split, s) for s in samples) for split, samples in dataset.splits.items()}
    what = "each class of a photo" if how == "whole" else "each connected part"
    return DetectionDataset(dataset.root, labels, splits, True, (*dataset.notes, f"{what} is an object"))
