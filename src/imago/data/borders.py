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
DEEPEST = 255  # value of a distance map at the middle of an object


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
        depth = distance_to_outline(crop, where, instances.size_hw)
        rim = min(width_px, (1 - least_inside) * float(depth.max()))
        part, count = found[where], covered[where]
        inside = crop & (depth > rim)
        part[crop] = BORDER
        part[inside & (count == 0)] = INSIDE - 1 + int(instances.classes[index])
        count[crop] = 1
    return found


def distance_to_outline(crop: np.ndarray, where: tuple[slice, slice], size_hw: tuple[int, int]) -> np.ndarray:
    """float32 (h, w), pixels: of an object, bool (h, w), that lies at ``where`` in an image of ``size_hw``; 0 outside.

    An image's edge is no outline: training looks at windows of photos and at their mirrored borders, where objects go
    on. One that fills the whole image is as deep everywhere as the image is large.
    """
    sides = [(int(span.start > 0), int(span.stop < side)) for span, side in zip(where, size_hw, strict=True)]
    framed = np.pad(crop, sides).astype(np.uint8)  # of nothing, but where the image ends
    (top, _), (left, _) = sides
    away = cv2.distanceTransform(framed, cv2.DIST_L2, 5)[top : top + crop.shape[0], left : left + crop.shape[1]]
    return np.minimum(away, np.float32(max(size_hw)))


def distance_map(instances: Instances) -> np.ndarray:
    """uint8 (H, W): how far from its outline a pixel of an object lies, as a share of the object's largest distance, 1
    to ``DEEPEST``; 0 outside.

    The share tells two that touch apart whatever their size: it is 1 in the middle of each and nearly 0 between them,
    also where no border can be seen. It is the object probability of StarDist (Schmidt et al. 2018, arXiv:1806.03535).
    Where objects lie over one another it is 1 / ``DEEPEST``: both end there. Crowd regions have none.
    """
    found = np.zeros(instances.size_hw, np.uint8)
    for index in range(len(instances)):
        where, crop = instances.region(index)
        if not crop.size or (instances.crowd is not None and instances.crowd[index]):
            continue
        away = distance_to_outline(crop, where, instances.size_hw)
        share = np.maximum(1, np.round(DEEPEST * away / max(1.0, float(away.max())))).astype(np.uint8)
        part = found[where]
        part[crop] = np.where(part[crop] > 0, 1, share[crop])
    return found


def pack_distance(label: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Two maps uint8 (H, W) as one, uint16: the distance in the upper byte. So both are moved as one by augmentation,
    which takes no mean of labels; 0 stays background and ``IGNORE`` itself."""
    return label | (distance.astype(np.uint16) << 8)


def unpack_distance(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint16 (H, W) -> the two maps of ``pack_distance``, uint8 (H, W)."""
    return (packed & 255).astype(np.uint8), (packed >> 8).astype(np.uint8)


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
