"""Panoptic quality (Kirillov et al. 2019, arXiv:1801.00868, section 4), with void and crowds as its authors count them
(panopticapi's ``evaluation.py``).

Two segments of one class match where their IoU is above 0.5; at most one pair does. Void pixels of the truth are in no
union. A found segment that matches nothing is no mistake where more than half of it is void, or is crowd of its class.
Crowds are never matched, and are not missed. Differs from panopticapi in one place: of several crowds of a class in one
image all count, there the last one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imago.core.panoptic import VOID, Panoptic

IOU, TP, FP, FN = range(4)  # columns of the counts


@dataclass(frozen=True)
class Quality:
    """Scores of each class, float64 (..., K); nan for a class that is neither in the truth nor found."""

    pq: np.ndarray  # panoptic quality: sq * rq
    sq: np.ndarray  # segmentation quality: mean IoU of the matches, 0 where there is none
    rq: np.ndarray  # recognition quality: F1 of the segments


def count_panoptic(found: Panoptic, truth: Panoptic, classes: int) -> np.ndarray:
    """float64 (classes, 4): of each class of one image the sum of its matches' IoU, matches, false positives, false
    negatives. Raises ValueError for maps of two sizes."""
    if found.size_hw != truth.size_hw:
        raise ValueError(f"the segments found are of {found.size_hw} pixels, those of the truth of {truth.size_hw}")
    shared = _overlaps(found, truth)  # [truth, found], 0 is void
    areas = np.array([0, *(segment.area for segment in found.segments)], np.float64)
    counts = np.zeros((classes, 4))
    matched: set[int] = set()
    for row, wanted in enumerate(truth.segments, 1):
        match = None
        for column in [] if wanted.crowd else (np.flatnonzero(shared[row, 1:]) + 1).tolist():
            if found.segments[column - 1].value != wanted.value:
                continue
            union = wanted.area + areas[column] - shared[row, column] - shared[VOID, column]
            if shared[row, column] / union > 0.5:
                match = column
                counts[wanted.value, IOU] += shared[row, column] / union
        if match is not None:
            matched.add(match)
            counts[wanted.value, TP] += 1
        elif not wanted.crowd:
            counts[wanted.value, FN] += 1
    for column, extra in enumerate(found.segments, 1):
        if column in matched:
            continue
        crowds = [row for row, each in enumerate(truth.segments, 1) if each.crowd and each.value == extra.value]
        if shared[[VOID, *crowds], column].sum() / extra.area <= 0.5:
            counts[extra.value, FP] += 1
    return counts


def _overlaps(found: Panoptic, truth: Panoptic) -> np.ndarray:
    """float64 (1 + T, 1 + F): pixels that each segment of the truth shares with each one found; row and column 0 are
    void."""
    rows, columns = len(truth.segments) + 1, len(found.segments) + 1
    pairs = truth.look_up(range(1, rows)) * columns + found.look_up(range(1, columns))
    return np.bincount(pairs.ravel(), minlength=rows * columns).reshape(rows, columns).astype(np.float64)


def quality(counts: np.ndarray) -> Quality:
    """Of sums over images, float64 (..., K, 4)."""
    iou, tp, fp, fn = (counts[..., column] for column in (IOU, TP, FP, FN))
    segments = tp + fp / 2 + fn / 2
    known = segments > 0

    def ratio(above: np.ndarray, below: np.ndarray, missing: float) -> np.ndarray:
        return np.divide(above, below, out=np.full(below.shape, missing), where=below > 0)

    rq = ratio(tp, segments, np.nan)
    sq = np.where(known, ratio(iou, tp, 0.0), np.nan)
    return Quality(ratio(iou, segments, np.nan), sq, rq)
