"""What kind of mistakes a model makes, and what each kind costs, in the spirit of TIDE (Bolya et al. 2020,
arXiv:2008.08115, section 2).

What was found and is not right (COCO's matching at IoU 0.5) is one of

- duplicate: the right class and place, but a better score was there before;
- class: IoU of 0.5 or more with an object of another class;
- location: the right class, IoU of 0.1 to 0.5;
- background: IoU below 0.1 with everything;
- both: IoU of 0.1 to 0.5 with an object of another class;

and a true object that nothing found, and that no "class" or "location" mistake points at, is missed. The cost of a kind
is how far AP50 (mean over classes) would rise were it mended alone: the class or the place of the best such mistake at
an object not yet found is put right, and the others of them, duplicates, background and both are taken away; missed
objects are no longer asked for. Costs do not add up to what is missing from 1.

Differs from TIDE: its code asks for the place before the class and the duplicate, so a double find that also touches a
neighbour of its class is counted elsewhere there; a class of which all objects were missed has an AP of 1 once they are
no longer asked for (there 0: missing all of a class would cost nothing). Crowds and difficult objects as in COCO's AP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imago.metrics.coco import average_precision
from imago.metrics.detection_matching import first_of_each_class, match_by_class
from imago.metrics.detection_overlap import Compared

NEAR, TOUCH = 0.5, 0.1  # IoU: TIDE's t_f and t_b
ERROR_TYPES = ("class", "location", "both", "duplicate", "background", "missed")
RIGHT, PASSED = -1, -2  # kinds of what is no mistake, and of what does not count


@dataclass(frozen=True)
class ErrorCounts:
    """One image: D found objects by falling score, G true ones."""

    scores: np.ndarray  # float64 (D,)
    classes: np.ndarray  # int64 (D,)
    error_types: np.ndarray  # int64 (D,): RIGHT, PASSED or a place in KINDS
    fixed: np.ndarray  # int64 (D,): the class that it has once its mistake is mended; 0 where it goes
    wanted: np.ndarray  # int64 (K,): true objects
    missed: np.ndarray  # int64 (K,)

    def counts(self) -> np.ndarray:
        """int64 (6,), as KINDS."""
        found = np.bincount(self.error_types[self.error_types >= 0], minlength=len(ERROR_TYPES))
        found[ERROR_TYPES.index("missed")] = self.missed.sum()
        return found


def count_errors(compared: Compared, classes: int) -> ErrorCounts:
    """One image; ``classes`` counts the background."""
    compared = compared.only(first_of_each_class(compared))
    asked = ~compared.ignored
    partners = match_by_class(compared, compared.ignored[None], np.array([NEAR]))[0, 0]
    overlap = np.where(asked, compared.overlap, 0.0)
    same = compared.classes[:, None] == compared.true_classes[None]
    mine, mine_at = _best(overlap, same)
    other, other_at = _best(overlap, ~same)
    kinds = np.select(
        [mine >= NEAR, other >= NEAR, mine >= TOUCH, other >= TOUCH],
        [ERROR_TYPES.index(name) for name in ("duplicate", "class", "location", "both")],
        ERROR_TYPES.index("background"),
    )
    paired = partners >= 0
    kinds[paired] = np.where(asked[partners[paired]], RIGHT, PASSED)

    found = np.zeros(len(asked), bool)
    found[partners[paired]] = True
    covered = found.copy()
    mended = np.zeros(len(kinds), np.int64)
    for name, target in (("class", other_at), ("location", mine_at)):
        those = np.flatnonzero(kinds == ERROR_TYPES.index(name))
        points_at, first = np.unique(target[those], return_index=True)  # the best score of each object
        free = ~found[points_at]
        mended[those[first[free]]] = compared.true_classes[points_at[free]]
        covered[points_at] = True
    return ErrorCounts(
        compared.scores,
        compared.classes,
        kinds,
        mended,
        np.bincount(compared.true_classes[asked], minlength=classes),
        np.bincount(compared.true_classes[asked & ~covered], minlength=classes),
    )


def _best(overlap: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64 (D,) and int64 (D,): the largest allowed overlap, and where; 0 and 0 where there is none."""
    if not overlap.shape[1]:
        return np.zeros(len(overlap)), np.zeros(len(overlap), np.int64)
    values = np.where(allowed, overlap, 0.0)
    at = values.argmax(axis=1)
    return values[np.arange(len(at)), at], at


@dataclass(frozen=True)
class TideErrors:
    """Of a set of images."""

    ap50: float  # as it is
    by_type: dict[str, float]  # KINDS: how far AP50 would rise without that kind
    wrong: float  # ... were all that is wrong taken away
    lacking: float  # ... were nothing asked for that was not found


def measure_tide_errors(images: Sequence[ErrorCounts]) -> TideErrors:
    """``images`` must not be empty. nan where there are no objects."""
    scores = np.concatenate([image.scores for image in images])
    order = np.argsort(-scores, kind="stable")
    classes = np.concatenate([image.classes for image in images])[order]
    kinds = np.concatenate([image.error_types for image in images])[order]
    mended = np.concatenate([image.fixed for image in images])[order]
    wanted = np.sum([image.wanted for image in images], axis=0)
    missed = np.sum([image.missed for image in images], axis=0)
    right, counts = kinds == RIGHT, kinds != PASSED

    def mean_ap(classes: np.ndarray, right: np.ndarray, counts: np.ndarray, still: np.ndarray) -> float:
        values = []
        for value in np.flatnonzero(wanted):
            mine = (classes == value) & counts
            hits = np.cumsum(right[mine])[None, right[mine]].astype(np.float64)
            counted = np.flatnonzero(right[mine])[None] + 1.0
            asked = np.array([float(still[value])])
            values.append(float(average_precision(hits, counted, asked)[0]) if still[value] else 1.0)
        return float(np.mean(values)) if values else float("nan")

    before = mean_ap(classes, right, counts, wanted)
    by_kind = {}
    for index, name in enumerate(ERROR_TYPES[:-1]):
        these = kinds == index
        put_right = these & (mended > 0)
        renamed = np.where(put_right, mended, classes)
        by_kind[name] = mean_ap(renamed, right | put_right, counts & (~these | put_right), wanted) - before
    by_kind["missed"] = mean_ap(classes, right, counts, wanted - missed) - before
    found = np.bincount(classes[right], minlength=len(wanted))
    return TideErrors(
        before,
        by_kind,
        mean_ap(classes, right, right, wanted) - before,
        mean_ap(classes, right, counts, found) - before,
    )
