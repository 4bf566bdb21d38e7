"""Scores by hand on tiny maps, against scikit-learn and torchmetrics, and their properties."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.metrics import boundary, confusion
from imago.metrics.bootstrap import Interval, interval, interval_of
from imago.metrics.boundary import boundary_f, tolerance_px
from imago.metrics.confusion import ConfusionMatrix
from imago.metrics.soft import THRESHOLDS, soft_scores

NAN = math.nan
few = settings(max_examples=25, deadline=None)


def random_maps(seed: int, classes: int, ignore: bool = True, dtype: type = np.uint8) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 24, 2))
    truth = random.integers(0, classes, shape).astype(dtype)
    predicted = np.where(random.random(shape) < 0.6, truth, random.integers(0, classes, shape)).astype(dtype)
    if ignore:
        truth[random.random(shape) < 0.1] = 255
    return predicted, truth


# -- confusion matrix ---------------------------------------------------------------------------------------------

PREDICTED = np.array([[0, 0, 1, 1], [0, 1, 1, 2]], np.uint8)
TRUTH = np.array([[0, 0, 0, 1], [0, 1, 1, 255]], np.uint8)  # class 2 is only where nothing counts


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_matrix_by_hand(dtype: type) -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(PREDICTED.astype(dtype), TRUTH.astype(dtype))
    assert matrix.matrix.dtype == np.int64
    assert matrix.matrix.tolist() == [[3, 1, 0], [0, 3, 0], [0, 0, 0]]
    assert matrix.counts().tolist() == [[3, 3, 0], [4, 3, 0], [3, 4, 0]]
    assert matrix.pixel_accuracy() == pytest.approx(6 / 7)
    assert matrix.class_accuracy() == pytest.approx([3 / 4, 1, NAN], nan_ok=True)
    assert matrix.mean_pixel_accuracy() == pytest.approx(7 / 8)  # over the two classes in the truth
    assert matrix.iou() == pytest.approx([3 / 4, 3 / 4, NAN], nan_ok=True)
    assert matrix.mean_iou() == pytest.approx(3 / 4)
    assert matrix.frequency_weighted_iou() == pytest.approx(3 / 4)
    assert matrix.dice() == pytest.approx([6 / 7, 6 / 7, NAN], nan_ok=True)
    assert matrix.mean_dice() == pytest.approx(6 / 7)
    assert matrix.normalized() == pytest.approx(np.array([[0.75, 0.25, 0], [0, 1, 0], [NAN, NAN, NAN]]), nan_ok=True)


def test_frequency_weights_count_the_truth() -> None:
    matrix = ConfusionMatrix(2).update(np.array([0, 0, 0, 0], np.uint8), np.array([0, 0, 0, 1], np.uint8))
    assert matrix.frequency_weighted_iou() == pytest.approx(3 / 4 * 3 / 4 + 1 / 4 * 0)


def test_a_class_only_predicted_has_iou_zero_and_no_accuracy() -> None:
    matrix = ConfusionMatrix(2).update(np.array([0, 1], np.uint8), np.array([0, 0], np.uint8))
    assert matrix.iou().tolist() == [0.5, 0.0]
    assert matrix.mean_pixel_accuracy() == 0.5


def test_nothing_counted_is_nan_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    matrix = ConfusionMatrix(2).update(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8))
    assert math.isnan(matrix.mean_iou())
    assert math.isnan(matrix.pixel_accuracy())
    assert math.isnan(matrix.frequency_weighted_iou())
    assert not recwarn


@pytest.mark.parametrize(
    ("predicted", "truth", "words"),
    [
        ([0, 1], [0, 2], "truth holds the value 2, but there are 2 classes"),
        ([0, 7], [0, 1], "prediction holds the value 7"),
        ([0, 255], [0, 1], "prediction holds the value 255"),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_unknown_values_are_refused(predicted: list[int], truth: list[int], words: str, dtype: type) -> None:
    with pytest.raises(ValueError, match=words):
        ConfusionMatrix(2).update(np.array(predicted, dtype), np.array(truth, dtype))


def test_shapes_and_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="same shape"):
        ConfusionMatrix(2).update(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))
    with pytest.raises(ValueError, match="also a class"):
        ConfusionMatrix(3, ignore=2)
    with pytest.raises(ValueError, match="both must agree"):
        ConfusionMatrix(3) + ConfusionMatrix(2)


@pytest.mark.filterwarnings("ignore:A single label")  # its advice is about a call without labels=
@few
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_matrix_agrees_with_scikit_learn(seed: int, classes: int) -> None:
    from sklearn.metrics import confusion_matrix

    predicted, truth = random_maps(seed, classes)
    counted = truth != 255
    if not counted.any():
        return
    expected = confusion_matrix(truth[counted], predicted[counted], labels=range(classes))
    assert (ConfusionMatrix(classes).update(predicted, truth).matrix == expected).all()
    wide = ConfusionMatrix(classes).update(predicted.astype(np.uint16), truth.astype(np.uint16))
    assert (wide.matrix == expected).all()


@pytest.mark.parametrize("seed", range(4))
def test_scores_agree_with_torchmetrics(seed: int) -> None:
    import torch
    from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassJaccardIndex

    random = np.random.default_rng(seed)
    truth = random.integers(0, 5, (3, 20, 30)).astype(np.uint8)
    predicted = np.where(random.random(truth.shape) < 0.7, truth, random.integers(0, 5, truth.shape)).astype(np.uint8)
    truth[random.random(truth.shape) < 0.05] = 255
    ours = ConfusionMatrix(5).update(predicted, truth)
    both = torch.from_numpy(predicted).long(), torch.from_numpy(truth).long()
    for metric, answer in [
        (MulticlassJaccardIndex(5, average="none", ignore_index=255), ours.iou()),
        (MulticlassJaccardIndex(5, average="macro", ignore_index=255), ours.mean_iou()),
        (MulticlassJaccardIndex(5, average="weighted", ignore_index=255), ours.frequency_weighted_iou()),
        (MulticlassAccuracy(5, average="micro", ignore_index=255), ours.pixel_accuracy()),
        (MulticlassAccuracy(5, average="none", ignore_index=255), ours.class_accuracy()),
        (MulticlassAccuracy(5, average="macro", ignore_index=255), ours.mean_pixel_accuracy()),
        (MulticlassF1Score(5, average="none", ignore_index=255), ours.dice()),
    ]:
        assert metric(*both).numpy() == pytest.approx(answer, abs=1e-6)


@few
@given(st.integers(0, 10**6), st.integers(2, 8))
def test_scores_keep_their_bounds_and_do_not_care_for_order(seed: int, classes: int) -> None:
    predicted, truth = random_maps(seed, classes)
    matrix = ConfusionMatrix(classes).update(predicted, truth)
    for score in (matrix.iou(), matrix.dice(), matrix.class_accuracy(), matrix.pixel_accuracy(), matrix.mean_iou()):
        known = np.asarray(score)[~np.isnan(score)]
        assert ((known >= 0) & (known <= 1)).all()
    assert np.all(np.nan_to_num(matrix.dice()) >= np.nan_to_num(matrix.iou()))
    # In parts and added is the same as at once.
    cut = truth.shape[0] // 2
    parts = ConfusionMatrix(classes).update(predicted[:cut], truth[:cut]) + ConfusionMatrix(classes).update(
        predicted[cut:], truth[cut:]
    )
    assert (parts.matrix == matrix.matrix).all()
    # Renaming the classes moves the scores along.
    order = np.random.default_rng(seed).permutation(classes)
    table = np.full(256, 255, np.uint8)
    table[:classes] = order
    renamed = ConfusionMatrix(classes).update(table[predicted], table[truth])
    assert renamed.iou()[order] == pytest.approx(matrix.iou(), nan_ok=True)
    assert renamed.mean_dice() == pytest.approx(matrix.mean_dice(), nan_ok=True)


@few
@given(st.integers(0, 10**6), st.integers(1, 8))
def test_a_perfect_prediction_has_one(seed: int, classes: int) -> None:
    _, truth = random_maps(seed, classes, ignore=False)
    matrix = ConfusionMatrix(classes).update(truth, truth)
    for score in (
        matrix.pixel_accuracy(),
        matrix.mean_pixel_accuracy(),
        matrix.mean_iou(),
        matrix.frequency_weighted_iou(),
        matrix.mean_dice(),
    ):
        assert score == 1
    assert np.nanmin(boundary_f(truth, truth, classes)) == 1


# -- outlines -----------------------------------------------------------------------------------------------------


def square(size: int, top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[top : top + side, left : left + side] = 1
    return mask


@pytest.mark.parametrize(
    ("image_hw", "tolerance", "pixels"), [((600, 400), 0.008, 6), ((10, 10), 0.008, 1), ((300, 400), 0.01, 5)]
)
def test_tolerance_in_pixels(image_hw: tuple[int, int], tolerance: float, pixels: int) -> None:
    assert tolerance_px(image_hw, tolerance) == pixels


@pytest.mark.parametrize(
    ("shift", "score"),
    [
        (0, 1.0),
        (1, 1.0),  # within the tolerance of one pixel
        (40, 0.0),
    ],
)
def test_outline_of_a_moved_square(shift: int, score: float) -> None:
    assert boundary_f(square(100, 20, 20, 20), square(100, 20, 20 + shift, 20), 2, tolerance=1e-9)[1] == score


def test_outline_by_hand() -> None:
    # A true bar of 10 rows with its edge at column 5, a prediction one row shorter and 3 columns wider; tolerance 1.
    truth = np.zeros((10, 20), np.uint8)
    truth[:, :6] = 1
    predicted = np.zeros((10, 20), np.uint8)
    predicted[:5, :6] = 1
    predicted[5:, :9] = 1
    # True outline: column 5, 10 pixels. Predicted: (0..4, 5), (5, 6), (5, 7) and (5..9, 8): beside each a 0.
    # Within 1 of the truth: the first five and (5, 6); truth within 1 of the prediction: rows 0..5 (row 5: (4, 5)).
    precision, recall = 6 / 12, 6 / 10
    expected = 2 * precision * recall / (precision + recall)
    assert boundary_f(predicted, truth, 2, tolerance=1e-9)[1] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        (0, 0, [1, NAN]),  # class 1 is in neither; class 0 fills the image in both
        (1, 1, [NAN, 1]),
        (0, 1, [1, 1]),  # no outline anywhere; the confusion matrix tells these apart
    ],
)
def test_flat_maps(predicted: int, truth: int, expected: list[float]) -> None:
    answer = boundary_f(np.full((5, 5), predicted, np.uint8), np.full((5, 5), truth, np.uint8), 2)
    assert answer == pytest.approx(expected, nan_ok=True)


def test_missing_class_has_zero() -> None:
    assert boundary_f(np.zeros((50, 50), np.uint8), square(50, 10, 10, 10), 2)[1] == 0


def test_ignored_pixels_have_no_outline() -> None:
    truth = square(60, 20, 20, 20)
    void = truth.copy()
    void[:, 30:] = 255  # the right half of the square is not known
    predicted = truth.copy()
    predicted[20:40, 40:55] = 1  # wrong, but only where nothing counts
    assert boundary_f(predicted, void, 2)[1] == 1
    assert boundary_f(predicted, truth, 2)[1] < 1
    # Where a mask meets the unknown there is no outline: of the left half three sides remain, less the two corners.
    outline = boundary.find_outline((void == 1).view(np.uint8), (void == 255).view(np.uint8))
    assert outline.sum() == 20 + 10 + 10 - 2
    assert not outline[21:39, 29].any()


@few
@given(st.integers(0, 10**6), st.integers(1, 20))
def test_both_ways_to_grow_an_outline_agree(seed: int, radius: int) -> None:
    outline = (np.random.default_rng(seed).random((40, 60)) < 0.01).astype(np.uint8)
    if not outline.any():
        return
    ys, xs = np.nonzero(outline)
    grid = np.mgrid[:40, :60]
    squared = ((grid[0][..., None] - ys) ** 2 + (grid[1][..., None] - xs) ** 2).min(axis=-1)
    assert (boundary.grow_outline(outline, radius) == (squared <= radius**2)).all()
    assert (cv2.dilate(outline, boundary.make_disc(radius)) == (squared <= radius**2)).all()


@few
@given(st.integers(0, 10**6))
def test_boundary_score_is_symmetric_and_bounded(seed: int) -> None:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 4, (2, 6, 6)).astype(np.uint8)
    one, other = (cv2.resize(plane, (70, 50), interpolation=cv2.INTER_NEAREST) for plane in coarse)
    score = boundary_f(one, other, 4)
    assert score == pytest.approx(boundary_f(other, one, 4), nan_ok=True)
    assert np.nanmin(score) >= 0
    assert np.nanmax(score) <= 1


# -- soft foreground ----------------------------------------------------------------------------------------------


def test_soft_by_hand() -> None:
    alpha = np.array([[1.0, 0.6, 0.4, 0.0, 0.9]], np.float32)
    truth = np.array([[1, 1, 0, 0, 255]], np.uint8)
    scores = soft_scores(alpha, truth)
    assert scores.mae == pytest.approx((0 + 0.4 + 0.4 + 0) / 4)
    at = int(np.searchsorted(THRESHOLDS, 0.5))
    assert (scores.precision[at], scores.recall[at], scores.f_beta[at]) == (1, 1, 1)
    low = int(np.searchsorted(THRESHOLDS, 0.2))
    assert (scores.precision[low], scores.recall[low]) == pytest.approx((2 / 3, 1))
    assert scores.f_beta[low] == pytest.approx(1.3 * (2 / 3) / (0.3 * 2 / 3 + 1))
    assert (scores.precision[-1], scores.recall[-1]) == (1, 0.5)
    assert scores.max_f == 1


@pytest.mark.parametrize(
    ("alpha", "truth", "precision", "recall", "f_beta"),
    [(0.0, 0, 1, 1, 1), (1.0, 0, 0, 1, 0), (0.0, 1, 1, 0, 0), (1.0, 1, 1, 1, 1)],
)
def test_soft_flat_maps(alpha: float, truth: int, precision: float, recall: float, f_beta: float) -> None:
    scores = soft_scores(np.full((3, 3), alpha, np.float32), np.full((3, 3), truth, np.uint8))
    assert (scores.precision[127], scores.recall[127], scores.f_beta[127]) == (precision, recall, f_beta)


@pytest.mark.parametrize("alpha", [-0.1, 1.5, NAN])
def test_soft_range_is_checked(alpha: float) -> None:
    with pytest.raises(ValueError, match="must lie in 0 to 1"):
        soft_scores(np.full((2, 2), alpha, np.float32), np.zeros((2, 2), np.uint8))


def test_soft_rounding_is_forgiven() -> None:
    scores = soft_scores(np.array([[1.00005, -0.00005]], np.float32), np.array([[1, 0]], np.uint8))
    assert (scores.mae, scores.max_f) == (0, 1)


@few
@given(st.integers(0, 10**6))
def test_soft_agrees_with_scikit_learn(seed: int) -> None:
    from sklearn.metrics import fbeta_score, precision_score, recall_score

    random = np.random.default_rng(seed)
    truth = random.integers(0, 2, (12, 15)).astype(np.uint8)
    steps = np.clip(random.integers(0, 256, truth.shape) + 60 * truth, 0, 255)
    scores = soft_scores((steps / 255).astype(np.float32), truth)
    assert (np.diff(scores.recall) <= 0).all()
    for index in (0, 40, 127, 200, 254):
        hard = steps.ravel() >= index + 1
        expected = [
            precision_score(truth.ravel(), hard, zero_division=1),
            recall_score(truth.ravel(), hard, zero_division=1),
            fbeta_score(truth.ravel(), hard, beta=math.sqrt(0.3), zero_division=1),
        ]
        assert [scores.precision[index], scores.recall[index], scores.f_beta[index]] == pytest.approx(expected)


# -- intervals ----------------------------------------------------------------------------------------------------


def test_interval_is_about_the_textbook_one() -> None:
    values = np.random.default_rng(1).normal(0.8, 0.1, 400)
    answer = interval(values)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert answer.mean == pytest.approx(values.mean())
    assert answer.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert answer.high == pytest.approx(values.mean() + half, abs=0.1 * half)
    narrower = interval(values, confidence=0.5)
    assert answer.low < narrower.low < narrower.high < answer.high


def test_interval_agrees_with_scipy() -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(2).random(60) ** 2
    other = bootstrap((values,), np.mean, n_resamples=5000, method="percentile", random_state=3).confidence_interval
    answer = interval(values, resamples=5000)
    assert (answer.low, answer.high) == pytest.approx((other.low, other.high), abs=0.005)


def test_interval_of_a_pooled_score() -> None:
    counts = np.stack([ConfusionMatrix(3).update(*random_maps(seed, 3)).counts() for seed in range(30)])
    answer = interval_of(confusion.mean_iou, counts)
    assert answer.mean == pytest.approx(float(confusion.mean_iou(counts.sum(axis=0))))
    # One resample after another, the slow way, with other draws.
    random = np.random.default_rng(5)
    slow = [float(confusion.mean_iou(counts[random.integers(0, 30, 30)].sum(axis=0))) for _ in range(2000)]
    assert (answer.low, answer.high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), abs=0.01)


def test_interval_in_chunks_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).random(50)
    whole = interval(values)
    monkeypatch.setattr("imago.metrics.bootstrap._CHUNK", 1000)
    assert interval(values) == whole


@pytest.mark.parametrize(
    ("values", "mean", "bounded"),
    [([], NAN, False), ([0.5], 0.5, False), ([0.5, NAN], 0.5, False), ([0.5, 0.5, NAN], 0.5, True)],
)
def test_interval_of_few(values: list[float], mean: float, bounded: bool) -> None:
    answer = interval(np.array(values))
    assert answer.mean == pytest.approx(mean, nan_ok=True)
    assert math.isfinite(answer.low) == bounded
    if not bounded:
        assert answer.to_json()["low"] is None


@few
@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_interval_holds_the_mean(values: list[float]) -> None:
    answer = interval(np.array(values), resamples=500)
    assert min(values) - 1e-9 <= answer.low <= answer.mean + 1e-9
    assert answer.mean - 1e-9 <= answer.high <= max(values) + 1e-9
    assert answer == interval(np.array(values), resamples=500)  # the same seed, the same draws
    assert isinstance(answer, Interval)
