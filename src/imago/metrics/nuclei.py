"""Mean precision of masks, the score of the Data Science Bowl 2018 (Caicedo et al. 2019, Nature Methods 16, 1247).

For one image and one IoU threshold: right ones / (right + wrong + missed); the mean over the thresholds 0.5, 0.55, ...
0.95, then over the images. No scores are asked about: choose first what counts as found.

Objects of one class (the contest has only one) are paired one to one, the largest IoU first; as in the contest IoU has
to be above the threshold, not at it.
True masks that do not overlap make the pairing the only one, and so it was there. The contest has no image without an
object; here it counts 1 where nothing was found either, else 0. Crowd regions and difficult objects are passed over,
and so is what lies in them.
"""

from __future__ import annotations

import numpy as np

from imago.metrics.detection_overlap import Compared

THRESHOLDS = np.arange(10, 20) / 20  # 0.5, 0.55, ... 0.95


def mean_precision(compared: Compared) -> float:
    """Of one image, 0..1."""
    overlap_in_class = compared.overlap * (compared.classes[:, None] == compared.true_classes)
    overlap = overlap_in_class[:, ~compared.ignored]
    pairs = pair_up(overlap, float(THRESHOLDS[0]))
    matched = overlap[pairs[:, 0], pairs[:, 1]]
    passed = (overlap_in_class[:, compared.ignored] > THRESHOLDS[0]).any(axis=1)
    passed[pairs[:, 0]] = False
    right = (matched[None] > THRESHOLDS[:, None]).sum(axis=1)
    all_of_them = len(overlap) - passed.sum() + overlap.shape[1] - right  # right + wrong + missed
    return float(np.mean(np.where(all_of_them > 0, right / np.maximum(all_of_them, 1), 1.0)))


def pair_up(overlap: np.ndarray, above: float) -> np.ndarray:
    """int64 (P, 2): rows and columns of ``overlap`` (D, G), each at most once, the largest values first."""
    rows, columns = np.nonzero(overlap > above)
    order = np.argsort(-overlap[rows, columns], kind="stable")
    row_taken, column_taken = np.zeros(len(overlap), bool), np.zeros(overlap.shape[1], bool)
    pairs = []
    for row, column in zip(rows[order], columns[order], strict=True):
        if not (row_taken[row] or column_taken[column]):
            row_taken[row] = column_taken[column] = True
            pairs.append((row, column))
    return np.array(pairs, np.int64).reshape(-1, 2)
