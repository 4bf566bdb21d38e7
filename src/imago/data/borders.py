"""Objects as a label map that keeps them apart: background, border, and the inside of each class.

A semantic net learns the three (or more) kinds of pixels; ``inference.instances.separation`` makes objects of its
answer. The best entries of the Data Science Bowl 2018 went this way (Caicedo et al. 2019, Nature Methods 16, section on
methods): where cells touch, a net that is asked for borders sees them better than one that is asked for cells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from imago.core.instances import Instances
from imago.core.labels import IGNORE, Labels
from imago.data.dataset import Dataset, Sample

BACKGROUND, BORDER, INSIDE = 0, 1, 2  # values of the label map; classes after the first go on from INSIDE


def border_labels(labels: Labels) -> Labels:
    """What the net learns where objects of ``labels`` are to be told apart."""
    return Labels(
        (labels.names[0], "border", *labels.names[1:]), (labels.colors[0], (255, 255, 255), *labels.colors[1:])
    )


def border_map(instances: Instances, width_px: float = 2.0, least_inside: float = 0.35) -> np.ndarray:
    """uint8 (H, W): 0 background, 1 the rim of an object, 2 and more its inside (class 1 is 2).

    The rim is ``width_px`` wide, inside the object; of a small one narrower, so that ``least_inside`` of its half
    width stays inside. Where objects lie over one another, both are rim. Crowd regions are "ignore".
    """
    found = np.zeros(instances.size_hw, np.uint8)
    covered = np.zeros(instances.size_hw, np.uint8)
    for index in range(len(instances)):
        where, crop = instances.region(index)
        if not crop.size:
            continue
        if instances.crowd is not None and instances.crowd[index]:
            found[where][crop & (found[where] == 0)] = IGNORE
            continue
        # A frame of nothing around: the image's edge cuts an object as a border does.
        depth = cv2.distanceTransform(np.pad(crop, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        rim = min(width_px, (1 - least_inside) * float(depth.max()))
        part, count = found[where], covered[where]
        inside = crop & (depth > rim)
        part[crop] = BORDER
        part[inside & (count == 0)] = INSIDE - 1 + int(instances.classes[index])
        count[crop] = 1
    return found


@dataclass(frozen=True)
class BorderReader:
    """Reads one photo's objects as a border map."""

    sample: Sample

    def __call__(self) -> np.ndarray:
        return border_map(self.sample.instances())


def border_dataset(dataset: Dataset) -> Dataset:
    """The same photos with border maps beside their objects: what a semantic net can learn from."""
    splits = dataset.map_samples(lambda split, sample: replace(sample, read_label_map=BorderReader(sample)))
    return replace(dataset, labels=border_labels(dataset.labels), splits=splits)
