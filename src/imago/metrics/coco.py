"""COCO's scores of objects: average precision and average recall (Lin et al. 2014, arXiv:1405.0312; pycocotools).

AP is the mean, over recalls 0, 0.01, ... 1, of the best precision at that recall or more; then over the IoU thresholds
0.50, 0.55, ... 0.95 and over the classes that the truth holds. AR is the recall with at most 1, 10 or 100 objects an
image and class. "Small" is below 32 x 32 square pixels, "large" above 96 x 96, by the area that the annotations state;
an object of another size does not count, nor does what finds it, nor what is of another size and finds nothing.

Everything is a function of ``weights``, how often each image counts: ones for the scores themselves, the draws of a
bootstrap for their intervals. An image drawn twice is one whose objects count twice.

Differs from pycocotools: "difficult" objects (VOC) do not count, which pycocotools has no word for; and what cannot be
known is nan where it says -1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from imago.metrics.confusion import nan_mean
from imago.metrics.detection_matching import MOST, Matches, Ranked, first_of_each_class, match_by_class
from imago.metrics.detection_overlap import Compared

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
AT_50, AT_75 = 0, 5  # places in THRESHOLDS

_LIMITS = {"ar1": ("all", 1), "ar10": ("all", 10), "ar100": ("all", MOST)} | {
    f"ar_{name}": (name, MOST) for name in AREAS if name != "all"
}
_CHUNK = 4_000_000  # numbers at a time


def match(compared: Compared, classes: int, most: int = MOST) -> Matches:
    """One image; ``classes`` counts the background. ``most``: the best scores of a class that count, 100 in COCO."""
    cut = compared.only(first_of_each_class(compared, most))
    low, high = np.array(list(AREAS.values())).T[:, :, None]  # (A, 1) each
    uncounted = compared.ignored | (compared.true_areas < low) | (compared.true_areas > high)  # (A, G)
    partners = match_by_class(cut, uncounted, THRESHOLDS)  # (A, T, D)
    paired = partners >= 0
    other_size = (cut.areas < low) | (cut.areas > high)  # (A, D)
    passed_over = np.where(paired, _mark_taken(uncounted, partners), other_size[:, None])
    wanted = np.stack([np.bincount(compared.true_classes[~row], minlength=classes) for row in uncounted])
    return Matches(cut.scores, cut.classes, paired & ~passed_over, ~passed_over, wanted)


def _mark_taken(marks: np.ndarray, partners: np.ndarray) -> np.ndarray:
    """``marks`` (A, G) of the partners (A, T, D); what stands for "none" is to be ignored."""
    if not marks.shape[1]:
        return np.zeros(partners.shape, bool)
    return marks[np.arange(len(marks))[:, None, None], partners]


@dataclass(frozen=True)
class DetectionScores:
    """R rows of scores, one a row of weights; nan where the truth holds no such object."""

    summary: dict[str, np.ndarray] = field(
        repr=False
    )  # float64 (R,): ap, ap50, ap75, ap_small, ..., ar1, ..., ar_large
    ap: np.ndarray = field(repr=False)  # float64 (R, K-1): of each class
    ap50: np.ndarray = field(repr=False)  # float64 (R, K-1)


def scores(classes: Sequence[Ranked], weights: np.ndarray) -> DetectionScores:
    """``weights`` float64 (R, N)."""
    longest = max((len(one.scores) for one in classes), default=0)
    rows = max(1, _CHUNK // max(1, longest, weights.shape[1]))
    parts = [_scores(classes, weights[start : start + rows]) for start in range(0, max(1, len(weights)), rows)]
    return DetectionScores(
        {name: np.concatenate([part.summary[name] for part in parts]) for name in parts[0].summary},
        np.concatenate([part.ap for part in parts]),
        np.concatenate([part.ap50 for part in parts]),
    )


def _scores(classes: Sequence[Ranked], weights: np.ndarray) -> DetectionScores:
    ap = np.full((len(AREAS), len(THRESHOLDS), len(weights), len(classes)), np.nan)
    recall = np.full((len(_LIMITS), len(THRESHOLDS), len(weights), len(classes)), np.nan)
    places = list(AREAS)
    for k, one in enumerate(classes):
        often = weights[:, one.images]
        wanted = [weights @ one.wanted[a] for a in range(len(AREAS))]
        for t in range(len(THRESHOLDS)):
            for a in range(len(AREAS)):
                ap[a, t, :, k] = average_precision(*one.wins(often, a, t), wanted[a])
            for row, (name, most) in enumerate(_LIMITS.values()):
                a = places.index(name)
                hits = often @ (one.hits[a, t] & (one.ranks < most))
                recall[row, t, :, k] = _ratio(hits, wanted[a])
    by_area = nan_mean(ap.mean(axis=1))  # (A, R): every threshold knows the same classes
    by_limit = nan_mean(recall.mean(axis=1))
    summary = {"ap": by_area[0], "ap50": nan_mean(ap[0, AT_50]), "ap75": nan_mean(ap[0, AT_75])}
    summary |= {f"ap_{name}": by_area[a] for a, name in enumerate(AREAS) if a}
    summary |= dict(zip(_LIMITS, by_limit, strict=True))
    return DetectionScores(summary, ap[0].mean(axis=0), ap[0, AT_50])


def average_precision(hits: np.ndarray, counted: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """``hits`` and ``counted`` (R, hits) as ``Ranked.wins`` gives them, ``wanted`` (R,) -> float64 (R,); nan where
    nothing is wanted."""
    if not hits.shape[1]:
        return np.where(wanted > 0, 0.0, np.nan)
    recall = hits / np.maximum(wanted, 1)[:, None]
    reached = np.searchsorted(RECALLS, recall.ravel(), "right").reshape(recall.shape)  # recalls up to here
    gained = np.diff(reached, axis=1, prepend=0)
    area = np.einsum("rh,rh->r", envelope(hits, counted), gained) / len(RECALLS)
    return np.where(wanted > 0, area, np.nan)


def precision_curve(one: Ranked, threshold: int) -> np.ndarray:
    """float64 (101,): the best precision at each of RECALLS or more, all sizes; nan where the truth lacks the class."""
    wanted = one.wanted[0].sum()
    if not wanted:
        return np.full(len(RECALLS), np.nan)
    hits, counted = one.wins(np.ones((1, len(one.scores))), 0, threshold)
    at = np.searchsorted(hits[0] / wanted, RECALLS, "left")
    return np.append(envelope(hits, counted)[0], 0.0)[at]


def best_f(one: Ranked, threshold: int = AT_50) -> tuple[float, float]:
    """The best F1 that a least score can give this class, and that score; nan where the truth lacks the class."""
    wanted = one.wanted[0].sum()
    if not wanted:
        return float("nan"), float("nan")
    hits, counted = one.wins(np.ones((1, len(one.scores))), 0, threshold)
    if not hits.size:
        return 0.0, float("nan")
    values = 2 * hits[0] / (counted[0] + wanted)
    best = int(values.argmax())
    return float(values[best]), float(one.scores[one.hits[0, threshold]][best])


def envelope(hits: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(R, hits): the best precision here or further down."""
    precision = hits / np.maximum(counted, 1)  # where no image of these is drawn: 0 / 0
    return np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
