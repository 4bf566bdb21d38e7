"""Rand and information scores of parts: by hand, against counted pairs, against scikit-learn."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import homogeneity_completeness_v_measure

from imago.metrics.rand import (
    MERGE,
    SPLIT,
    THRESHOLDS,
    F,
    best_threshold,
    part_scores,
    pixel_error,
    score_curves,
    segments,
)

seeds = st.integers(0, 2**32)
few = settings(max_examples=30, deadline=None)


def random_parts(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth, int (h, w), of a few parts and border each; a pixel of the truth counts at least."""
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 9, 2))
    truth = random.integers(0, random.integers(2, 6), shape)
    truth.flat[0] = 1
    return random.integers(0, random.integers(1, 6), shape), truth


def halves(*widths: int) -> np.ndarray:
    """int (4, sum of widths): parts 1, 2, ... side by side."""
    return np.repeat(np.arange(1, len(widths) + 1), widths)[None].repeat(4, axis=0)


@pytest.mark.parametrize(
    ("predicted", "truth", "rand", "info"),
    [
        (halves(2, 2), halves(2, 2), (1, 1, 1), (1, 1, 1)),
        (halves(4), halves(2, 2), (1 / 2, 1, 2 / 3), (0, 1, 0)),  # two cells became one: p_ij 1/2, 1/2; s 1
        (halves(2, 2), halves(4), (1, 1 / 2, 2 / 3), (1, 0, 0)),  # one cell was cut
        (halves(4), halves(1, 3), (10 / 16, 1, 20 / 26), (0, 1, 0)),  # 1/16 + 9/16 over 1
        # Parts that lie across: p_ij four times 1/4.
        (halves(2, 2), np.array([[1] * 4] * 2 + [[2] * 4] * 2), (1 / 2, 1 / 2, 1 / 2), (0, 0, 0)),
        # Quarters for halves: p_ij and s 1/4 four times, t 1/2 twice; mutual ln 2, entropies ln 4 and ln 2.
        (halves(1, 1, 1, 1), halves(2, 2), (1, 1 / 2, 2 / 3), (1, 1 / 2, 2 / 3)),
        # Border for one of two pixels: 1/4 + 1/4 of s_1, and the border's own 1/4.
        (np.array([[1, 0]]), np.array([[1, 1]]), (1, 1 / 2, 2 / 3), (1, 0, 0)),
        (np.array([[1, 1, 1, 9]]), np.array([[1, 1, 0, 0]]), (1, 1, 1), (1, 1, 1)),  # the truth's border counts nothing
    ],
)
def test_by_hand(predicted: np.ndarray, truth: np.ndarray, rand: tuple[float, ...], info: tuple[float, ...]) -> None:
    found = part_scores(predicted, truth)
    assert found.rand.tolist() == pytest.approx(rand)
    assert found.info.tolist() == pytest.approx(info, abs=1e-12)


@given(seeds)
@few
def test_rand_counts_pairs(seed: int) -> None:
    """Every ordered pair of foreground pixels, a pixel with itself too; border pixels are parts of their own."""
    predicted, truth = random_parts(seed)
    mine, its = predicted[truth > 0], truth[truth > 0]
    together = {"both": 0, "mine": 0, "its": 0}
    for a in range(len(its)):
        for b in range(len(its)):
            same = a == b or (mine[a] == mine[b] and mine[a] > 0)
            together["mine"] += same
            together["its"] += its[a] == its[b]
            together["both"] += same and its[a] == its[b]
    merge, split = together["both"] / together["mine"], together["both"] / together["its"]
    expected = (merge, split, 2 * merge * split / (merge + split))
    assert part_scores(predicted, truth).rand.tolist() == pytest.approx(expected)


@given(seeds)
@few
def test_information_as_scikit_learn_has_it(seed: int) -> None:
    predicted, truth = random_parts(seed)
    mine, its = predicted[truth > 0], truth[truth > 0]
    mine = np.where(mine > 0, mine, 100 + np.arange(len(mine)))  # border: parts of their own
    assert part_scores(predicted, truth).info.tolist() == pytest.approx(
        homogeneity_completeness_v_measure(its, mine), abs=1e-9
    )


@given(seeds)
@few
def test_names_of_parts_do_not_matter_and_roles_change_places(seed: int) -> None:
    predicted, truth = random_parts(seed)
    predicted = predicted + 1  # no border: then prediction and truth are alike
    truth = truth + 1
    renamed = np.array([0, 50, 3, 7, 2, 90, 1])[predicted]
    scores, there = part_scores(predicted, truth), part_scores(truth, predicted)
    for kind in ("rand", "info"):
        one = getattr(scores, kind)
        assert getattr(part_scores(renamed, truth), kind) == pytest.approx(one)
        assert getattr(there, kind) == pytest.approx(one[[SPLIT, MERGE, F]])
        assert (one >= -1e-9).all()
        assert (one <= 1 + 1e-9).all()


def test_scikit_image_agrees() -> None:
    """It leaves out the pairs of a pixel with itself, which hardly count among 3,600."""
    metrics = pytest.importorskip("skimage.metrics")
    random = np.random.default_rng(0)
    for _ in range(5):
        predicted, truth = (cv2.resize(random.integers(1, 5, (4, 4)).astype(np.uint8), (60, 60), interpolation=0)
                            for _ in range(2))  # fmt: skip
        error = metrics.adapted_rand_error(truth, predicted)[0]
        assert 1 - part_scores(predicted, truth).rand[F] == pytest.approx(error, abs=2e-3)


def test_parts_touch_along_sides_alone() -> None:
    assert segments(np.array([[1, 0, 1], [1, 0, 0], [0, 1, 1]], bool)).tolist() == [[1, 0, 2], [1, 0, 0], [0, 3, 3]]


def test_thinning_leaves_one_pixel_between_and_none_elsewhere() -> None:
    foreground = np.zeros((20, 31), bool)
    foreground[2:18, 2:10] = foreground[2:18, 21:29] = True  # 11 pixels between, 2 around
    thin = segments(foreground, thin=True)
    assert (thin[:, :15] == 1).all()
    assert (thin[:, 15] == 0).all()
    assert (thin[:, 16:] == 2).all()
    assert segments(foreground).max() == 2
    assert np.array_equal(segments(foreground) > 0, foreground)


@pytest.mark.parametrize(("foreground", "expected"), [(False, 0), (True, 1)])
def test_thinning_where_there_is_nothing_to_thin(foreground: bool, expected: int) -> None:
    assert (segments(np.full((5, 7), foreground), thin=True) == expected).all()


def test_thick_borders_cost_nothing_once_they_are_thinned() -> None:
    truth = np.ones((40, 41), np.uint8)
    truth[:, 20] = 0
    thick = np.ones((40, 41))
    thick[:, 14:27] = 0
    curves = [score_curves(thick, truth, thin=thin) for thin in (True, False)]
    assert curves[0].rand[5].tolist() == pytest.approx([1, 1, 1])
    assert curves[1].rand[5, SPLIT] < 0.6


def test_thresholds_and_ignored_pixels() -> None:
    """A hole of probability 0.35 in the wall between two cells: at 0.3 they are one, at 0.4 two; "ignore" is none."""
    truth = np.ones((9, 9), np.uint8)
    truth[:, 4], truth[0] = 0, 255
    probability = np.where(truth == 1, 0.95, 0.05)
    probability[5, 4] = 0.35
    curves = score_curves(probability, truth)
    assert curves.rand.shape == curves.info.shape == (len(THRESHOLDS), 3)
    assert curves.rand[3].tolist() == pytest.approx([1 / 2, 1, 2 / 3])
    assert curves.rand[4].tolist() == pytest.approx([1, 1, 1])
    assert curves.rand[10, MERGE] == 1  # nothing is above 1: all border, 64 parts of their own
    assert curves.rand[10, SPLIT] == pytest.approx(64 / (2 * 32**2))
    threshold, scores = best_threshold(curves.rand[None])
    assert threshold == pytest.approx(0.4)
    assert scores.tolist() == pytest.approx([1, 1, 1])


def test_one_threshold_for_all_images() -> None:
    curves = np.zeros((2, 3, 3))
    curves[:, :, F] = [[0.9, 0.8, 0.1], [0.1, 0.7, 0.9]]
    assert best_threshold(curves, np.array([0.1, 0.2, 0.3]))[0] == 0.2
    assert best_threshold(curves, np.array([0.1, 0.2, 0.3]))[1][F] == pytest.approx(0.75)


def test_pixel_error() -> None:
    truth = np.array([[0, 1, 1, 255]], np.uint8)
    assert pixel_error(np.array([[0, 1, 0, 0]], np.uint8), truth) == pytest.approx(1 / 3)
    assert math.isnan(pixel_error(truth, np.full((1, 4), 255, np.uint8)))


@pytest.mark.parametrize(
    ("function", "predicted", "truth", "words"),
    [
        (part_scores, np.ones((2, 2), int), np.ones((2, 3), int), r"prediction \(2, 2\) and truth \(2, 3\)"),
        (pixel_error, np.ones((2, 2), int), np.ones((2, 3), int), r"prediction \(2, 2\) and truth \(2, 3\)"),
        (part_scores, np.ones((2, 2), int), np.zeros((2, 2), int), "the truth has no foreground"),
        (part_scores, np.full((2, 2), -1), np.ones((2, 2), int), "0 is border; got -1"),
    ],
)
def test_what_cannot_be_scored(function, predicted: np.ndarray, truth: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        function(predicted, truth)
