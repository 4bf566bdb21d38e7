"""Who found whom: the greedy matching of COCO's evaluation, and its outcome over all images, class by class.

Rules of pycocotools (Lin et al. 2014, arXiv:1405.0312; cocoeval.py, evaluateImg): within a class the best score chooses
first, takes the object it overlaps most among those still free, and one that does not count (a crowd, a size that is
not asked for) only where no other is left; of equal overlaps the later object. A crowd can be taken by many. What takes
one that does not count is itself not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imago.metrics.detection_overlap import Compared

MOST = 100  # objects an image and class that are looked at, the best scores: COCO's limit


def match_greedily(overlap: np.ndarray, crowd: np.ndarray, uncounted: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The partners of D found objects of one class, the best score first: int64 (A, T, D), -1 for none.

    ``overlap`` (D, G); ``crowd`` bool (G,); ``uncounted`` bool (A, G), for each of A readings of the truth (size
    ranges); ``thresholds`` (T,), rising, the least overlaps.
    """
    partners = np.full((len(uncounted), len(thresholds), len(overlap)), -1, np.int64)
    taken = np.zeros((len(uncounted), len(thresholds), overlap.shape[1]), bool)
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]  # so that a perfect match passes 1.0
    for d, row in enumerate(overlap):
        near = np.flatnonzero(row >= least[0])
        if not near.size:
            continue
        free = (~taken[..., near] | crowd[near]) & (row[near] >= least)  # (A, T, near)
        counted = free & ~uncounted[:, None, near]
        choice = np.where(counted.any(axis=-1, keepdims=True), counted, free)
        value = np.where(choice, row[near], -1.0)
        best = near[len(near) - 1 - value[..., ::-1].argmax(axis=-1)]  # (A, T), of equals the last
        a, t = np.nonzero(choice.any(axis=-1))
        partners[a, t, d] = best[a, t]
        taken[a, t, best[a, t]] = True
    return partners


def match_by_class(compared: Compared, uncounted: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """``match_greedily`` within each class: int64 (A, T, D), indices of true objects or -1."""
    partners = np.full((len(uncounted), len(thresholds), len(compared.scores)), -1, np.int64)
    for value in np.unique(compared.classes):
        mine, theirs = np.flatnonzero(compared.classes == value), np.flatnonzero(compared.true_classes == value)
        if theirs.size:
            overlap = compared.overlap[np.ix_(mine, theirs)]
            found = match_greedily(overlap, compared.crowd[theirs], uncounted[:, theirs], thresholds)
            partners[..., mine] = np.where(found >= 0, theirs[found], -1)
    return partners


def ranks(classes: np.ndarray) -> np.ndarray:
    """int64 (D,): how many of the same class stand before each."""
    place = np.zeros(len(classes), np.int64)
    for value in np.unique(classes):
        mine = classes == value
        place[mine] = np.arange(mine.sum())
    return place


def first_of_each_class(compared: Compared, most: int = MOST) -> np.ndarray:
    """bool (D,): the ``most`` best scores of each class."""
    return ranks(compared.classes) < most


@dataclass(frozen=True)
class Matches:
    """One image, all classes: D found objects by falling score, judged in A readings (size ranges) and at T
    thresholds."""

    scores: np.ndarray  # float64 (D,)
    classes: np.ndarray  # int64 (D,)
    hits: np.ndarray  # bool (A, T, D): right
    counted: np.ndarray  # bool (A, T, D): right or wrong; False is neither
    wanted: np.ndarray  # int64 (A, K): true objects of each class, to be found


@dataclass(frozen=True)
class Ranked:
    """One class over N images: all that was found, by falling score."""

    scores: np.ndarray  # float64 (D,)
    images: np.ndarray  # int64 (D,), 0..N-1
    ranks: np.ndarray  # int64 (D,): place in its image, 0 the best
    hits: np.ndarray  # bool (A, T, D)
    counted: np.ndarray  # bool (A, T, D)
    wanted: np.ndarray  # int64 (A, N)

    def wins(self, often: np.ndarray, area: int, threshold: int) -> tuple[np.ndarray, np.ndarray]:
        """``often`` float (R, D), how many times each of these is there -> going down the scores, at each right one of
        reading ``area`` and ``threshold``: how many were right so far, and how many counted; both (R, hits)."""
        hits = self.hits[area, threshold]
        counted = np.cumsum(often * self.counted[area, threshold], axis=1)[:, hits]
        return np.cumsum(often[:, hits], axis=1), counted


def rank_matches(images: Sequence[Matches], classes: int) -> tuple[Ranked, ...]:
    """The classes 1 .. ``classes`` - 1 in their order; ``images`` must not be empty."""
    scores = np.concatenate([image.scores for image in images])
    values = np.concatenate([image.classes for image in images])
    places = np.concatenate([ranks(image.classes) for image in images])
    owners = np.repeat(np.arange(len(images)), [len(image.scores) for image in images])
    hits = np.concatenate([image.hits for image in images], axis=2)
    counted = np.concatenate([image.counted for image in images], axis=2)
    wanted = np.stack([image.wanted for image in images], axis=2)  # (A, K, N)
    answer = []
    for value in range(1, classes):
        # Of equal scores the earlier image, then the earlier place: as pycocotools sorts.
        mine = np.flatnonzero(values == value)
        mine = mine[np.argsort(-scores[mine], kind="stable")]
        answer.append(
            Ranked(scores[mine], owners[mine], places[mine], hits[..., mine], counted[..., mine], wanted[:, value])
        )
    return tuple(answer)
