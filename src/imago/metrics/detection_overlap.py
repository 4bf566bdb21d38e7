"""The objects that a model found in one image beside the annotated ones: what every score of objects starts from.

Overlap is IoU (intersection over union). In the column of a crowd region (COCO's iscrowd) it is the share of what was
found that lies in the region, as pycocotools computes it: a box on one person in a crowd is not wrong for being small.
Masks are compared where their rectangles meet, crop against crop, so memory does not grow with the image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from imago.core.boxes import area, intersections
from imago.core.instances import Instances, masks_to_boxes


@dataclass(frozen=True)
class Compared:
    """D objects that were found, the best score first, and G true ones, of one image."""

    overlap: np.ndarray  # float64 (D, G), 0..1
    scores: np.ndarray  # float64 (D,)
    classes: np.ndarray  # int64 (D,)
    areas: np.ndarray  # float64 (D,) square pixels, of the boxes or of the masks
    true_classes: np.ndarray  # int64 (G,)
    true_areas: np.ndarray  # float64 (G,) square pixels, as the annotations state them
    crowd: np.ndarray  # bool (G,)
    difficult: np.ndarray  # bool (G,)

    @property
    def ignored(self) -> np.ndarray:
        """bool (G,): who misses these is not blamed, and who finds them is not praised."""
        return self.crowd | self.difficult

    def only(self, stay: np.ndarray) -> Compared:
        """Of what was found that where ``stay`` bool (D,) is True."""
        return replace(
            self,
            overlap=self.overlap[stay],
            scores=self.scores[stay],
            classes=self.classes[stay],
            areas=self.areas[stay],
        )

    def above(self, score: float) -> Compared:
        """Of what was found that with at least this score."""
        return self.only(self.scores >= score)


def compare_boxes(found: Instances, truth: Instances) -> Compared:
    """By their boxes."""
    return _compare(found, truth, box_overlap(found, truth), area(found.boxes.astype(np.float64)))


def compare_masks(found: Instances, truth: Instances) -> Compared:
    """By their masks. Raises ValueError where either has boxes alone."""
    return _compare(found, truth, mask_overlap(found, truth), found.areas)


def _compare(found: Instances, truth: Instances, overlap: np.ndarray, areas: np.ndarray) -> Compared:
    order = np.argsort(-found.scores, kind="stable")  # of equal scores the first stays first, as in pycocotools
    return Compared(
        overlap=overlap[order],
        scores=found.scores[order].astype(np.float64),
        classes=found.classes[order],
        areas=areas[order],
        true_classes=truth.classes,
        true_areas=truth.areas if truth.stated_areas is None else truth.stated_areas,
        crowd=_marks(truth.crowd, len(truth)),
        difficult=_marks(truth.difficult, len(truth)),
    )


def _marks(marks: np.ndarray | None, count: int) -> np.ndarray:
    return np.zeros(count, bool) if marks is None else marks


def box_overlap(found: Instances, truth: Instances) -> np.ndarray:
    """float64 (D, G), in the order of both."""
    first, second = found.boxes.astype(np.float64), truth.boxes.astype(np.float64)
    return _share(intersections(first, second), area(first), area(second), truth.crowd)


def mask_overlap(found: Instances, truth: Instances) -> np.ndarray:
    """float64 (D, G), in the order of both. Raises ValueError where either has boxes alone."""
    for name, instances in (("what was found", found), ("the truth", truth)):
        if len(instances) and instances.cropped is None:
            raise ValueError(f"masks are compared, but {name} has boxes alone; compare boxes instead")
    common = np.zeros((len(found), len(truth)))
    meet = intersections(masks_to_boxes(found.cropped or ()), masks_to_boxes(truth.cropped or ())) > 0
    # True masks hardly overlap, so all of them unpacked are about one image; what was found is unpacked one by one.
    true_crops = {g: truth.cropped[g].crop for g in np.flatnonzero(meet.any(axis=0))} if truth.cropped else {}
    for d in np.flatnonzero(meet.any(axis=1)):
        assert found.cropped is not None
        assert truth.cropped is not None
        mask, crop = found.cropped[d], found.cropped[d].crop
        for g in np.flatnonzero(meet[d]):
            left, top, right, bottom = truth.cropped[g].box
            x1, y1 = max(mask.left, left), max(mask.top, top)
            x2, y2 = min(mask.box[2], right), min(mask.box[3], bottom)
            mine = crop[y1 - mask.top : y2 - mask.top, x1 - mask.left : x2 - mask.left]
            common[d, g] = np.count_nonzero(mine & true_crops[g][y1 - top : y2 - top, x1 - left : x2 - left])
    return _share(common, found.areas, truth.areas, truth.crowd)


def _share(common: np.ndarray, areas: np.ndarray, true_areas: np.ndarray, crowd: np.ndarray | None) -> np.ndarray:
    """Square pixels in common (D, G) -> the overlap as this file's head says; 0 where there is nothing at all."""
    whole = areas[:, None] + true_areas[None] - common
    if crowd is not None:
        whole[:, crowd] = areas[:, None]
    return np.divide(common, whole, out=np.zeros_like(common), where=whole > 0)
