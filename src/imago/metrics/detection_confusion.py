"""The confusion matrix of objects: what each true one was taken for, and what was found where nothing is.

Row 0 is the background: found, but nothing (or nothing else) is there. Column 0: there, but not found. Objects are
paired one to one at an IoU of 0.5 or more, pairs of the right class first, then the largest IoU: a person on a chair
fills almost the chair's box, and neither was taken for the other. Crowd regions and difficult objects are passed over,
and so is what lies in one of its own class.
"""

from __future__ import annotations

import numpy as np

from imago.metrics.detection_overlap import Compared
from imago.metrics.nuclei import pair_up

LEAST = 0.5  # IoU


def confusion(compared: Compared, classes: int) -> np.ndarray:
    """int64 (K, K) [truth, found], of one image; ``classes`` counts the background."""
    asked = ~compared.ignored
    overlap = compared.overlap[:, asked]
    same = compared.classes[:, None] == compared.true_classes[None]
    # IoU is at most 1: with 1 added, each pair of the right class comes before all others.
    order = np.where(overlap >= LEAST, overlap + same[:, asked], 0.0)
    pairs = pair_up(order, 0.0)
    passed = ((compared.overlap >= LEAST) & same)[:, compared.ignored].any(axis=1)
    found, truth = compared.classes, compared.true_classes[asked]
    alone, missed = ~passed, np.ones(len(truth), bool)
    alone[pairs[:, 0]] = False
    missed[pairs[:, 1]] = False
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (truth[pairs[:, 1]], found[pairs[:, 0]]), 1)
    matrix[0] += np.bincount(found[alone], minlength=classes)
    matrix[:, 0] += np.bincount(truth[missed], minlength=classes)
    return matrix
