"""Objects split by their shape: what has a neck, what has none, and what becomes of each pixel."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.core.separation import Separation
from imago.data.borders import INSIDE
from imago.inference.instances.separation import separate
from imago.inference.instances.split import solidity, split_by_shape


def drawn(*discs: tuple[int, int, int], size_hw: tuple[int, int] = (60, 100)) -> np.ndarray:
    """bool (H, W): discs (y, x, radius) and all between them."""
    image = np.zeros(size_hw, np.uint8)
    for y, x, radius in discs:
        cv2.circle(image, (x, y), radius, 1, -1)
    return image > 0


@pytest.mark.parametrize(
    ("crop", "neck", "areas"),
    [
        (drawn((30, 30, 15), (30, 54, 15)), 0.8, 2),  # the neck is 9 deep, the discs 15: 0.6
        (drawn((30, 30, 15), (30, 54, 15)), 0.5, 1),  # too deep for a neck
        (drawn((30, 30, 15), (30, 40, 15)), 0.8, 1),
        (drawn((30, 30, 18), (30, 53, 8)), 0.8, 2),  # of a shallow part the share is its own
        (drawn((30, 20, 10), (30, 37, 10), (30, 54, 10), (30, 71, 10)), 0.8, 4),
        (drawn((30, 30, 15)), 0.95, 1),
        (drawn((15, 15, 4), (15, 22, 4), size_hw=(30, 40)), 0.8, 2),  # small ones alike
        (np.ones((20, 60), bool), 0.95, 1),  # a bar is of one depth all along
        (np.ones((1, 1), bool), 0.9, 1),
    ],
)
def test_necks_by_hand(crop: np.ndarray, neck: float, areas: int) -> None:
    found = split_by_shape(crop, neck, 12)
    assert len(found) == areas
    if areas == 1:
        assert (found[0][1] == crop).all()


def test_the_cut_is_at_the_neck() -> None:
    crop = drawn((30, 30, 15), (30, 54, 15))
    (_, left), (_, right) = (where for where, _ in split_by_shape(crop, 0.8, 12))
    assert left.stop == pytest.approx(42, abs=3)
    assert right.start == pytest.approx(42, abs=3)  # the flood shares out corners


def test_crumbs_stay_where_they_hang() -> None:
    crop = drawn((30, 30, 18), (30, 53, 6))
    assert len(split_by_shape(crop, 0.8, 12)) == 2
    (only,) = split_by_shape(crop, 0.8, 150)
    assert (only[1] == crop).all()


@settings(max_examples=30, deadline=None)
@given(
    discs=st.lists(st.tuples(st.integers(8, 51), st.integers(8, 91), st.integers(2, 12)), min_size=1, max_size=5),
    neck=st.floats(0.3, 0.95),
    turns=st.integers(0, 3),
)
def test_no_pixel_is_lost_and_none_is_twice(discs: list, neck: float, turns: int) -> None:
    crop = np.rot90(drawn(*discs), turns)
    count = np.zeros(crop.shape, int)
    for (rows, columns), part in split_by_shape(crop, neck, 10):
        count[rows, columns] += part
    np.testing.assert_array_equal(count, crop.astype(int))


def test_two_that_were_taken_for_one() -> None:
    """No border was seen between them: as one object of two, or split; classes and scores are each one's own."""
    shape = drawn((30, 30, 15), (30, 54, 15))
    scores = np.zeros((4, *shape.shape), np.float32)
    scores[0] = np.where(shape, 0.02, 0.98)
    scores[INSIDE][shape] = 0.98
    scores[INSIDE, :, 38:], scores[INSIDE + 1, :, 38:] = 0, np.where(shape, 0.9, 0)[:, 38:]
    assert len(separate(scores)) == 1
    found = separate(scores, Separation(neck=0.8))
    assert found.classes.tolist() == [1, 2]
    shares = [solidity(mask.crop) for mask in found.cropped or ()]
    assert found.scores == pytest.approx(np.multiply([0.98 * 0.98, 0.9 * 0.98], shares), abs=1e-3)
    assert found.areas.sum() == shape.sum()


@pytest.mark.parametrize(
    ("crop", "expected", "near"),
    [
        (np.ones((1, 1), bool), 1, 0),
        (np.ones((1, 9), bool), 1, 0),
        (np.ones((7, 30), bool), 1, 0),
        (drawn((30, 30, 15)), 1, 0.04),  # of pixels
        (np.tri(40, dtype=bool), 1, 0.03),
        (np.tri(40, dtype=bool) | np.eye(40, dtype=bool)[::-1], 820 / 1600, 0.03),  # a flag with a thin diagonal
        (np.ones((40, 40), bool) & ~np.pad(np.ones((20, 20), bool), ((0, 20), (20, 0))), 1200 / 1400, 0.02),  # an L
    ],
)
def test_the_share_of_its_hull(crop: np.ndarray, expected: float, near: float) -> None:
    for turn in range(4):
        assert solidity(np.rot90(crop, turn)) == pytest.approx(expected, abs=near)


def test_what_is_not_round_is_less_sure_where_shape_counts() -> None:
    shape = np.zeros((60, 90), bool)
    shape[10:50, 10:50] = True
    shape[10:30, 30:50] = False  # an L
    scores = np.stack([np.where(shape, 0.02, 0.98), np.zeros(shape.shape), np.where(shape, 0.98, 0)]).astype(np.float32)
    by_shape = Separation(neck=0.3)
    (plain,), (judged,) = separate(scores).scores, separate(scores, by_shape).scores
    assert plain == pytest.approx(0.98 * 0.98, abs=1e-3)
    assert judged == pytest.approx(plain * 1200 / 1400, abs=0.02)
