"""A linear support vector machine: dual coordinate descent (Hsieh, Chang, Lin, Keerthi and Sundararajan 2008, ICML).

Minimises |w|^2 / 2 + (b / bias)^2 / 2 + sum over examples of C_i max(0, 1 - y_i (w . x_i + b)), which is what R-CNN's
authors had liblinear solve (-s 3 -B bias): the offset is the weight of a further feature of constant ``bias``, C_i is
``c``, for positives times ``positive_weight``. Algorithm 1 of the paper in random order.

Differs from the paper: in place of shrinking, each pass begins with the gradients of all examples in one product, and
steps only over those that are not at their best. In Python a product over 5,000 examples costs as much as a few steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Svm:
    """score = features @ weights + offset; a positive is above 0."""

    weights: np.ndarray  # float32 (D,)
    offset: float
    passes: int  # over the examples
    solved: bool  # False: ``passes`` ran out before the tolerance was reached

    def scores(self, features: np.ndarray) -> np.ndarray:
        """float (n, D) -> float32 (n,)."""
        return features.astype(np.float32, copy=False) @ self.weights + np.float32(self.offset)


def fit_svm(
    features: np.ndarray, positive: np.ndarray, c: float = 1e-3, positive_weight: float = 2.0, bias: float = 10.0,
    tolerance: float = 1e-3, passes: int = 1000, seed: int = 0,
) -> Svm:  # fmt: skip
    """float (n, D) and bool (n,). ``tolerance``: the largest projected gradient at the end.

    Raises ValueError where one of the two kinds is missing.
    """
    if features.ndim != 2 or positive.shape != (len(features),):
        raise ValueError(f"features must be (n, D), and positive (n,); got {features.shape} and {positive.shape}")
    if not positive.any() or positive.all():
        raise ValueError(f"a support vector machine needs both kinds; {positive.sum()} of {len(positive)} are positive")
    rows = np.concatenate([features, np.full((len(features), 1), bias)], axis=1).astype(np.float32)
    rows[~positive] *= -1  # y_i x_i: all that is needed of both
    largest = np.where(positive, c * positive_weight, c)
    squares = np.einsum("nd,nd->n", rows, rows, dtype=np.float64)  # above 0, for ``bias`` is
    weight = np.zeros(rows.shape[1], np.float64)
    share = np.zeros(len(rows))  # the dual variables, 0 .. largest
    random = np.random.default_rng(seed)
    for done in range(passes):
        slope = rows @ weight.astype(np.float32) - 1.0
        # Of the slopes only that part counts which does not push against a border.
        free = np.where(share <= 0, np.minimum(slope, 0), np.where(share >= largest, np.maximum(slope, 0), slope))
        if np.abs(free).max() < tolerance:
            return Svm(weight[:-1].astype(np.float32), float(weight[-1]) * bias, done, True)
        wrong = np.flatnonzero(np.abs(free) > tolerance / 4)
        for index in random.permutation(wrong):
            row = rows[index]
            new = share[index] - (row @ weight - 1.0) / squares[index]
            new = min(max(new, 0.0), largest[index])
            if new != share[index]:
                weight += (new - share[index]) * row
                share[index] = new
    return Svm(weight[:-1].astype(np.float32), float(weight[-1]) * bias, passes, False)


def fit_sigmoid(margins: np.ndarray, negative: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Slope and shift so that 1 / (1 + exp(-(slope * margin + shift))) is the chance of a positive (Platt 1999, with
    his targets, by Newton's method): float (n,) margins, and how many negatives and positives there are at each.

    1 and 0, the margins as they are, where one of the kinds is missing or larger margins make no positive likelier.
    """
    above, below = float(positive.sum()), float(negative.sum())
    if not above or not below:
        return 1.0, 0.0
    targets, weight = positive * (above + 1) / (above + 2) + negative / (below + 2), positive + negative
    rows = np.stack([margins, np.ones_like(margins)], axis=1)
    found = np.array([1.0, 0.0])
    for _ in range(100):
        chance = 1 / (1 + np.exp(-np.clip(rows @ found, -50, 50)))
        slope = rows.T @ (weight * chance - targets)
        bend = (rows * (weight * chance * (1 - chance))[:, None]).T @ rows + 1e-9 * np.eye(2)
        step = np.linalg.solve(bend, slope)
        found = found - step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-6:
            break
    return (float(found[0]), float(found[1])) if found[0] > 0 else (1.0, 0.0)


def fit_ridge(features: np.ndarray, targets: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Regularised least squares: float (n, D) and (n, T) -> weights float32 (T, D) and offsets float32 (T,), of the
    least sum of squared errors + ``penalty`` |weights|^2 (R-CNN's equation 5). The offsets are not held down.

    Solved over examples where these are fewer than features: pool5 of VGG-16 has 25,088.
    """
    mean, goal = features.mean(axis=0, dtype=np.float64), targets.mean(axis=0, dtype=np.float64)
    rows, wanted = features - mean, targets - goal
    if len(rows) < rows.shape[1]:
        weights = rows.T @ np.linalg.solve(rows @ rows.T + penalty * np.eye(len(rows)), wanted)
    else:
        weights = np.linalg.solve(rows.T @ rows + penalty * np.eye(rows.shape[1]), rows.T @ wanted)
    return weights.T.astype(np.float32), (goal - mean @ weights).astype(np.float32)
