"""R-CNN's solvers beside scikit-learn's: the same problem, the same answer."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC

from imago.training.rcnn.svm import fit_ridge, fit_svm


def drawn(seed: int, count: int = 200, features: int = 12, gap: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    positive = random.random(count) < 0.2
    rows = random.normal(0, 1, (count, features)) + gap * positive[:, None] * random.normal(0, 1, features)
    return rows.astype(np.float32), positive


@pytest.mark.parametrize(
    ("seed", "c", "weight", "bias"),
    [(0, 1e-3, 2.0, 10.0), (1, 0.1, 1.0, 1.0), (2, 1.0, 5.0, 10.0)],  # the first as R-CNN's authors
)
def test_as_liblinear(seed: int, c: float, weight: float, bias: float) -> None:
    rows, positive = drawn(seed)
    mine = fit_svm(rows, positive, c, weight, bias, tolerance=1e-5, passes=20_000)
    assert mine.solved
    theirs = LinearSVC(
        loss="hinge", C=c, class_weight={True: weight, False: 1.0}, intercept_scaling=bias, tol=1e-6, max_iter=200_000
    ).fit(rows, positive)

    def cost(weights: np.ndarray, offset: float) -> float:
        misses = np.maximum(0, 1 - np.where(positive, 1, -1) * (rows @ weights + offset))
        return float(
            (weights**2).sum() / 2 + (offset / bias) ** 2 / 2 + (c * np.where(positive, weight, 1) * misses).sum()
        )

    assert cost(mine.weights, mine.offset) == pytest.approx(cost(theirs.coef_[0], theirs.intercept_[0]), rel=1e-4)
    np.testing.assert_allclose(mine.weights, theirs.coef_[0], atol=2e-3 * np.abs(theirs.coef_).max() + 1e-5)
    np.testing.assert_allclose(mine.scores(rows), theirs.decision_function(rows), atol=5e-3)


def test_far_apart_kinds_are_told_apart() -> None:
    rows, positive = drawn(3, gap=10)
    assert ((fit_svm(rows, positive, c=1.0).scores(rows) > 0) == positive).all()


def test_says_when_it_is_not_done() -> None:
    rows, positive = drawn(4)
    assert not fit_svm(rows, positive, c=10.0, passes=1).solved


@pytest.mark.parametrize("value", [True, False])
def test_one_kind_alone(value: bool) -> None:
    with pytest.raises(ValueError, match=f"needs both kinds; {5 * value} of 5 are positive"):
        fit_svm(np.zeros((5, 2), np.float32), np.full(5, value))


@pytest.mark.parametrize("features", [5, 60])  # fewer and more than examples: two ways to solve
def test_ridge(features: int) -> None:
    random = np.random.default_rng(0)
    rows, targets = random.normal(3, 1, (30, features)).astype(np.float32), random.normal(1, 1, (30, 4))
    weights, offsets = fit_ridge(rows, targets, 7.0)
    theirs = Ridge(alpha=7.0).fit(rows.astype(np.float64), targets)
    np.testing.assert_allclose(weights, theirs.coef_, atol=1e-5)
    np.testing.assert_allclose(offsets, theirs.intercept_, atol=1e-4)
