"""Anchors for YOLO: the sizes of boxes that a data set is best told apart by.

k-means over widths and heights with the distance 1 - IoU (YOLO v2: Redmon and Farhadi 2016, arXiv:1612.08242, section
2, "Dimension Clusters"); the IoU is that of two boxes with one centre. Says more than the paper: a cluster's centre is
the mean of its sizes; the best of RESTARTS random beginnings is taken, since k-means ends where it began too near; a
cluster that lost all its boxes goes to the worst fitted one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imago.core.errors import DataError
from imago.core.input_spec import InputSpec
from imago.data.dataset import Sample

RESTARTS = 10
ROUNDS = 300  # it mostly stands still after 20 to 60
SEARCHED = 10_000  # boxes that the search looks at; the mean IoU is told of all


def find_anchors(sizes_wh: np.ndarray, count: int, seed: int = 0) -> tuple[np.ndarray, float]:
    """Widths and heights (K, 2), above 0, in any unit -> anchors float32 (count, 2) in the same, the smallest first,
    and the mean over all boxes of the IoU with their best anchor.

    Raises DataError where there are fewer different sizes than ``count``.
    """
    sizes = np.asarray(sizes_wh, np.float64)
    if sizes.ndim != 2 or sizes.shape[1] != 2 or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError(f"sizes must be (K, 2) numbers above 0, width and height; got shape {sizes.shape}")
    if count < 1:
        raise ValueError(f"at least one anchor must be asked for; got {count}")
    random = np.random.default_rng(seed)
    some = sizes if len(sizes) <= SEARCHED else sizes[random.choice(len(sizes), SEARCHED, replace=False)]
    different = np.unique(some, axis=0)
    if len(different) < count:
        raise DataError(f"{count} anchors need as many different sizes of boxes; there are {len(different)}")
    best, best_iou = different[:count], -1.0
    for _ in range(RESTARTS):
        anchors = _k_means(some, different[random.choice(len(different), count, replace=False)])
        iou = float(size_iou(some, anchors).max(axis=1).mean())
        if iou > best_iou:
            best, best_iou = anchors, iou
    best = best[np.argsort(best.prod(axis=1), kind="stable")]
    return best.astype(np.float32), float(size_iou(sizes, best).max(axis=1).mean())


def size_iou(sizes_wh: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """(K, 2) and (M, 2) -> (K, M): IoU of boxes that share their centre."""
    common = np.minimum(sizes_wh[:, None], anchors[None]).prod(axis=2)
    return common / (sizes_wh.prod(axis=1)[:, None] + anchors.prod(axis=1)[None] - common)


def _k_means(sizes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    before = None
    for _ in range(ROUNDS):
        iou = size_iou(sizes, anchors)
        nearest = iou.argmax(axis=1)
        if before is not None and (nearest == before).all():
            break
        before = nearest
        members = np.bincount(nearest, minlength=len(anchors))
        sums = np.stack([np.bincount(nearest, sizes[:, axis], len(anchors)) for axis in (0, 1)], axis=1)
        anchors = sums / np.maximum(members, 1)[:, None]
        lost = np.flatnonzero(members == 0)
        anchors[lost] = sizes[np.argsort(iou.max(axis=1))[: len(lost)]]
    return anchors


def collect_box_sizes(samples: Sequence[Sample], size_hw: tuple[int, int]) -> np.ndarray:
    """float64 (K, 2): widths and heights of all boxes, crowd regions left out, when each photo is fitted into
    ``size_hw`` with its aspect kept."""
    return measure_box_sizes(samples, InputSpec("letterbox", size_hw))


def measure_box_sizes(samples: Sequence[Sample], spec: InputSpec) -> np.ndarray:
    """float64 (K, 2): the same in the frame that a net sees each photo in."""
    found = [np.zeros((0, 2))]
    for sample in samples:
        instances = sample.instances()
        if instances.crowd is not None:
            instances = instances[~instances.crowd]
        moved = spec.plan(instances.size_hw).boxes_to_frame(instances.boxes).astype(np.float64)
        found.append(moved[:, 2:] - moved[:, :2])
    sizes = np.concatenate(found)
    return sizes[(sizes > 0).all(axis=1)]
