"""Copy-paste for objects with masks (Ghiasi et al. 2021, arXiv:2012.07177, "Simple Copy-Paste").

Some objects of one training picture, already moved, scaled and turned, are laid over another. What they hide is taken
from the masks below; what is hardly seen any more becomes crowd, as at the edge of a frame.
Differs from the paper: an edge a pixel soft, in place of none.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from imago.core.instances import CroppedMask, Instances, masks_to_boxes

LEAST_VISIBLE = 0.25  # of an object's pixels; with less it is neither object nor background
LEAST_SIDE_PX = 1  # of a box; smaller ones cannot be seen
SOFT_PX = 0.7  # spread of the edge


def paste_instances(
    image: np.ndarray, instances: Instances, other: np.ndarray, others: Instances, rng: np.random.Generator
) -> tuple[np.ndarray, Instances]:
    """``image`` and ``other``: uint8 (h, w, C) of one size, with their objects, which have masks. A picture with one or
    more of ``others``, chosen at random (crowd regions are not), and the objects that are seen in it then."""
    whole = np.ones(len(others), bool) if others.crowd is None else ~others.crowd
    able = np.flatnonzero(whole)
    if not len(able):
        return image, instances
    count = int(rng.integers(1, len(able) + 1))
    pasted = others[np.sort(rng.choice(able, count, replace=False))]
    over = np.asarray(pasted.masks.any(axis=0))  # bool (h, w)
    soft: np.ndarray = cv2.GaussianBlur(over.astype(np.float32), (0, 0), SOFT_PX)
    mixed = cv2.blendLinear(np.ascontiguousarray(other), np.ascontiguousarray(image), soft, 1 - soft)
    return mixed.reshape(image.shape), joined(hidden_by(instances, over), pasted)


def hidden_by(instances: Instances, over: np.ndarray) -> Instances:
    """``instances`` without the pixels where bool (h, w) ``over`` is set; what is gone goes, boxes are those of what
    stays."""
    assert instances.cropped is not None
    masks, crowd = [], np.zeros(len(instances), bool) if instances.crowd is None else instances.crowd.copy()
    for index, mask in enumerate(instances.cropped):
        seen = CroppedMask.from_mask(mask.crop & ~over[mask.slices], mask.left, mask.top)
        crowd[index] |= seen.area < LEAST_VISIBLE * mask.area
        masks.append(seen)
    stays = [index for index, mask in enumerate(masks) if min(mask.size_hw) >= LEAST_SIDE_PX]
    kept = replace(instances, boxes=masks_to_boxes(masks), cropped=tuple(masks), crowd=crowd, stated_areas=None)
    return kept[np.array(stays, np.int64)]


def joined(first: Instances, second: Instances) -> Instances:
    """The objects of both, which have masks and lie in images of one size."""
    crowd = [np.zeros(len(t), bool) if t.crowd is None else t.crowd for t in (first, second)]
    difficult = [np.zeros(len(t), bool) if t.difficult is None else t.difficult for t in (first, second)]
    return Instances.make(
        first.size_hw,
        boxes=np.concatenate([first.boxes, second.boxes]),
        classes=np.concatenate([first.classes, second.classes]),
        scores=np.concatenate([first.scores, second.scores]),
        cropped=[*(first.cropped or ()), *(second.cropped or ())],
        crowd=np.concatenate(crowd),
        difficult=np.concatenate(difficult),
    )
