"""PASCAL VOC's mean average precision of objects (Everingham et al. 2010, IJCV 88, section 4.2).

Going down the scores of a class over all images, each found object looks for the true one that it overlaps most, free
or not: IoU of 0.5 or more and free is right, taken is wrong (a duplicate); one marked "difficult" counts neither way.
VOC 2007 means the best precision at recalls 0, 0.1, ... 1 (``points=11``); VOC 2010 and later takes the whole area
under the same curve.

As the devkit's MATLAB code (VOCevaldet.m), but for three things: boxes here have corners between pixels, so no "+ 1" is
added to sides (a VOC box of 1 .. 10 is read as 0 .. 10, which comes to the same); a recall of 3 in 10 reaches 0.3,
which floating-point steps of 0.1 overshoot; and crowd regions (COCO) are passed over as difficult ones are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imago.metrics.coco import envelope
from imago.metrics.confusion import nan_mean
from imago.metrics.detection_matching import Matches, Ranked
from imago.metrics.detection_overlap import Compared

LEAST = 0.5  # IoU


def match(compared: Compared, classes: int) -> Matches:
    """One image; ``classes`` counts the background. One reading (A = 1), one threshold (T = 1)."""
    count = len(compared.scores)
    hits, counted = np.zeros(count, bool), np.ones(count, bool)
    taken = np.zeros(len(compared.true_classes), bool)
    for d in range(count):  # the best score first
        overlap = np.where(compared.true_classes == compared.classes[d], compared.overlap[d], -1.0)
        if not overlap.size or overlap.max() < LEAST:
            continue
        best = int(overlap.argmax())
        counted[d] = not compared.ignored[best]
        hits[d] = counted[d] and not taken[best]
        taken[best] = True
    wanted = np.bincount(compared.true_classes[~compared.ignored], minlength=classes)
    return Matches(compared.scores, compared.classes, hits[None, None], counted[None, None], wanted[None])


def mean_average_precision(classes: Sequence[Ranked], weights: np.ndarray, points: int | None = None) -> np.ndarray:
    """``weights`` float64 (R, N), how often each image counts -> float64 (R,)."""
    return nan_mean(average_precisions(classes, weights, points))


def average_precisions(classes: Sequence[Ranked], weights: np.ndarray, points: int | None = None) -> np.ndarray:
    """float64 (R, K-1), each class; nan where there is no such object. ``points`` is 11, or None for the whole area."""
    if points not in (None, 11):
        raise ValueError(f"VOC's average precision has 11 points or takes all (None); got {points}")
    values = np.full((len(weights), len(classes)), np.nan)
    for k, one in enumerate(classes):
        hits, counted = one.wins(weights[:, one.images], 0, 0)
        wanted = weights @ one.wanted[0]
        known = wanted > 0
        best = envelope(hits, counted)
        recall = hits / np.where(known, wanted, 1)[:, None]
        if points is None:
            area = (best * np.diff(recall, axis=1, prepend=0)).sum(axis=1)
        else:
            reached = np.floor(recall * 10)  # the last of 0, 0.1, ... 1 that lies behind, times ten
            area = (best * np.diff(reached, axis=1, prepend=-1)).sum(axis=1) / points
        values[known, k] = area[known]
    return values
