"""Objects to a map of insides and borders, and back again."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_onnx import PLAIN

from imago.core.boxes import iou_matrix
from imago.core.errors import ModelError
from imago.core.instances import CroppedMask, Instances, masks_to_boxes
from imago.core.labels import IGNORE, Labels
from imago.core.model_card import ModelCard
from imago.core.separation import Separation
from imago.data.borders import BORDER, DEEPEST, INSIDE, border_labels, border_map, distance_map
from imago.inference.crf import DenseCRF
from imago.inference.engines.probabilities import softmax, to_probabilities
from imago.inference.flood import parts
from imago.inference.instances.separation import fill_holes, separate
from imago.inference.options import PredictOptions
from imago.inference.predictor import Predictor


def discs(places: list[tuple[int, int, int]], size_hw: tuple[int, int], classes: list[int] | None = None) -> Instances:
    """Discs (y, x, radius); a later one does not cover an earlier one."""
    taken = np.zeros(size_hw, bool)
    masks = []
    for y, x, radius in places:
        disc = np.zeros(size_hw, np.uint8)
        cv2.circle(disc, (x, y), radius, 1, -1)
        mask = disc.astype(bool) & ~taken
        taken |= mask
        masks.append(CroppedMask.from_mask(mask))
    return Instances.make(size_hw, masks_to_boxes(masks), classes or [1] * len(masks), None, masks)


def certain(labels: np.ndarray, count: int) -> np.ndarray:
    """A net that is quite sure: 0.94 for the right class."""
    scores = np.full((count, *labels.shape), 0.06 / (count - 1), np.float32)
    np.put_along_axis(scores, labels[None].astype(np.int64), 0.94, axis=0)
    return scores


def best_ious(found: Instances, truth: Instances) -> np.ndarray:
    """For each true object, its best IoU with a found one, by masks."""
    mine, its = found.masks.reshape(len(found), -1), truth.masks.reshape(len(truth), -1)
    both = (its[:, None] & mine[None]).sum(-1)
    return (both / (its[:, None] | mine[None]).sum(-1)).max(axis=1)


@settings(max_examples=30, deadline=None)
@given(
    places=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(4, 9)),
        min_size=1,
        max_size=9,
        unique_by=lambda p: p[:2],
    )
)
def test_there_and_back(places: list[tuple[int, int, int]]) -> None:
    """Discs on a grid of 18 pixels: neighbours touch, or nearly."""
    truth = discs([(9 + 18 * y, 9 + 18 * x, radius) for y, x, radius in places], (90, 108))
    found = separate(certain(border_map(truth), 3))
    assert len(found) == len(truth)
    assert best_ious(found, truth).min() > 0.85


def test_touching_discs_are_two() -> None:
    truth = discs([(30, 25, 14), (30, 51, 14)], (60, 80))
    found = separate(certain(border_map(truth), 3))
    assert len(found) == 2
    assert best_ious(found, truth).min() > 0.93
    np.testing.assert_allclose(np.sort(found.boxes, axis=0), np.sort(truth.boxes, axis=0), atol=1.01)
    assert iou_matrix(found.boxes, found.boxes)[0, 1] < 0.1
    assert (found.scores > 0.9).all()


def test_the_map_of_borders_by_hand() -> None:
    """A square of 9 x 9 with a rim of 2: 5 x 5 are inside; one of 3 x 3 keeps its middle."""
    square, small = np.ones((9, 9), bool), np.ones((3, 3), bool)
    instances = Instances.make(
        (12, 20),
        [[1, 1, 10, 10], [12, 1, 15, 4]],
        [1, 2],
        None,
        [CroppedMask.from_mask(square, 1, 1), CroppedMask.from_mask(small, 12, 1)],
    )
    labels = border_map(instances, width_px=2)
    assert (labels == INSIDE).sum() == 25
    assert (labels == INSIDE + 1).sum() == 1
    assert (labels == BORDER).sum() == 81 - 25 + 9 - 1
    crowd = Instances.make((12, 20), [[1, 1, 10, 10]], [1], None, [CroppedMask.from_mask(square, 1, 1)], [True])
    assert set(np.unique(border_map(crowd))) == {0, IGNORE}


def test_classes_are_told_apart() -> None:
    truth = discs([(20, 20, 12), (20, 60, 12)], (40, 90), [1, 2])
    found = separate(certain(border_map(truth), 4))
    assert sorted(found.classes.tolist()) == [1, 2]
    assert found.classes[np.argmin(found.boxes[:, 0])] == 1


def test_nothing_is_nothing() -> None:
    empty = separate(certain(np.zeros((20, 30), np.uint8), 3))
    assert len(empty) == 0
    assert empty.masks.shape == (0, 20, 30)


@pytest.mark.parametrize(("least", "count"), [(12, 2), (60, 1)])
def test_small_ones_are_left_out(least: int, count: int) -> None:
    truth = discs([(20, 20, 12), (20, 60, 4)], (40, 90))
    assert len(separate(certain(border_map(truth), 3), Separation(least_area_px=least))) == count


def test_holes_are_filled() -> None:
    ring = np.zeros((9, 9), bool)
    ring[1:8, 1:8] = True
    ring[3:6, 3:6] = False
    assert fill_holes(ring).sum() == 49
    open_ring = ring.copy()
    open_ring[1:4, 4] = False  # a hole with a way out is none
    assert fill_holes(open_ring).sum() == open_ring.sum()


def test_parts() -> None:
    numbered = np.array([[1, 1, 0], [0, 3, 3], [0, 0, 3]], np.int32)
    found = parts(numbered)
    assert [crop.sum() for _, crop in found] == [2, 3]
    assert found[1][0] == (slice(1, 3), slice(1, 3))


def test_what_the_net_learns() -> None:
    labels = border_labels(Labels(("background", "nucleus", "debris")))
    assert labels.names == ("background", "border", "nucleus", "debris")


def test_a_part_without_a_seed_is_an_object_that_scores_low() -> None:
    """Small objects can be all border; the net was less sure of them."""
    labels = np.zeros((40, 60), np.int64)
    labels[5:15, 5:15] = BORDER
    labels[8:12, 8:12] = INSIDE
    labels[20:26, 30:36] = BORDER  # no inside at all
    labels[30:33, 50:53] = BORDER  # and one too small to count
    found = separate(certain(labels, 3))
    assert found.areas.tolist() == [100, 36]
    assert found.scores[0] == pytest.approx(0.94 * 0.97, abs=1e-3)
    assert found.scores[1] == pytest.approx(0.03 * 0.97, abs=1e-3)


def with_distance(truth: Instances, borders: bool) -> np.ndarray:
    """What a net says that is sure of the foreground and of the distance; without ``borders`` it sees none."""
    labels = border_map(truth)
    shown = certain(labels if borders else np.where(labels > 0, INSIDE, 0), 3)
    return np.concatenate([shown, distance_map(truth)[None].astype(np.float32) / DEEPEST])


@settings(max_examples=30, deadline=None)
@given(
    radii=st.lists(st.integers(5, 14), min_size=2, max_size=5), seen=st.booleans(), least=st.sampled_from([0.4, 0.6])
)
def test_a_distance_map_tells_apart_what_no_border_does(radii: list[int], seen: bool, least: float) -> None:
    """Discs in a row, of any size, each of which touches the next one."""
    centers = np.cumsum([radii[0] + 2] + [one + other for one, other in pairwise(radii)])
    places = [(20, int(x), radius) for x, radius in zip(centers, radii, strict=True)]
    truth = discs(places, (40, int(centers[-1]) + radii[-1] + 3))
    scores = with_distance(truth, seen)
    found = separate(scores, Separation(seed_distance=least), with_distance=True)
    assert len(found) == len(truth)
    assert best_ious(found, truth).min() > 0.8
    by_insides = separate(scores, Separation(), with_distance=True)
    np.testing.assert_array_equal(by_insides.masks, separate(scores[:-1]).masks)  # the last channel is no class
    assert len(by_insides) == (len(truth) if seen else 1)


class DistanceEngine:
    """Says the same of every photo: ``scores`` float32 (K, H, W)."""

    def __init__(self, scores: np.ndarray, distance: bool = True) -> None:
        labels = border_labels(Labels(("background", "cell")))
        self.scores = scores
        how = Separation(seed_distance=0.5) if distance else None
        self.card = ModelCard(
            "cells", "", {}, "semantic", labels, PLAIN, objects=True, distance=distance, separation=how
        )

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self.scores[None]


@pytest.mark.parametrize("refined", [False, True])
def test_a_predictor_hands_the_distance_on(refined: bool) -> None:
    """Two that touch, no border between: a CRF is told of the classes alone."""
    truth = discs([(30, 25, 14), (30, 54, 14)], (60, 80))
    scores = with_distance(truth, borders=False)
    image = np.where(scores[:1] < 0.5, 200, 20).astype(np.uint8).transpose(1, 2, 0).repeat(3, axis=2)
    options = PredictOptions(crf=DenseCRF(iterations=1) if refined else None)
    model = Predictor(DistanceEngine(scores), options)
    assert len(model(image).instances) == 2
    assert model.scores(image).shape == (4, 60, 80)
    alone = Predictor(DistanceEngine(scores[:3], distance=False), options)
    assert len(alone(image).instances) == 1


@pytest.mark.parametrize("output", ["logit", "probability"])
def test_an_exported_distance_map(output: str) -> None:
    card = DistanceEngine(np.zeros((4, 1, 1), np.float32)).card.with_(output=output)
    logits = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)
    found = to_probabilities(logits, card, "cells.onnx")
    if output == "probability":
        assert found is logits
    else:
        np.testing.assert_allclose(found[:, :3], softmax(logits[:, :3]))
        np.testing.assert_allclose(found[:, 3], 1 / (1 + np.exp(-logits[:, 3])), atol=1e-6)
    words = r"cells\.onnx: the first output has shape \(2, 3, 5, 6\); expected \(N, 4, h, w\) .* and a distance map"
    with pytest.raises(ModelError, match=words):
        to_probabilities(logits[:, :3], card, "cells.onnx")
