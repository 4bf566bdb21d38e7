"""What lies between two objects weighs more: against the paper's formula, pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cells import write_cells
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_run import silent, tiny

from imago.core.errors import ImagoError
from imago.core.labels import IGNORE
from imago.data.augment.pipeline import augment
from imago.data.augment.settings import NO_AUGMENTATION, Augmentation
from imago.data.augment.weights import SIGMA_PX, touching_weights
from imago.data.borders import BORDER, INSIDE
from imago.training.config import DataSource
from imago.training.train import build


def squares(*corners: tuple[int, int], side: int = 8, size_hw: tuple[int, int] = (40, 60)) -> np.ndarray:
    """Insides of ``side`` pixels with a rim of one around them; (top, left) of the insides."""
    label = np.zeros(size_hw, np.uint8)
    for y, x in corners:
        label[max(0, y - 1) : y + side + 1, max(0, x - 1) : x + side + 1] = BORDER
    for y, x in corners:
        label[y : y + side, x : x + side] = INSIDE
    return label


def by_the_formula(label: np.ndarray, insides: list[np.ndarray], most: float) -> np.ndarray:
    """Every pixel's distance to every pixel of each inside."""
    ys, xs = np.indices(label.shape)
    away = []
    for inside in insides:
        points = np.argwhere(inside)
        distances = np.hypot(ys[..., None] - points[:, 0], xs[..., None] - points[:, 1])
        away.append(distances.min(axis=2))
    first, second = np.sort(away, axis=0)[:2]
    return 1 + most * np.where(label >= INSIDE, 0, np.exp(-((first + second) ** 2) / (2 * SIGMA_PX**2)))


@settings(max_examples=15, deadline=None)
@given(
    places=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=2, max_size=5, unique=True),
    gap=st.integers(2, 6),
)
def test_as_in_the_paper(places: list[tuple[int, int]], gap: int) -> None:
    corners = [(1 + y * (6 + gap), 1 + x * (6 + gap)) for y, x in places]
    label = squares(*corners, side=6, size_hw=(42, 54))
    insides = [squares(corner, side=6, size_hw=(42, 54)) == INSIDE for corner in corners]
    found = touching_weights(label, 10)
    assert found.dtype == np.float32
    expected = by_the_formula(label, insides, 10)
    np.testing.assert_allclose(found, expected, atol=0.25)  # OpenCV's distances are near, and end at three sigma


def test_only_between_two() -> None:
    alone = touching_weights(squares((10, 10)), 10)
    assert (alone == 1).all()
    pair = touching_weights(squares((10, 10), (10, 20)), 10)
    assert pair[14, 18:20].min() > 5
    assert pair[14, 2] == pytest.approx(1, abs=0.2)  # the outer rim
    assert (pair[12:16, 11:17] == 1).all()
    ignored = squares((10, 10))
    ignored[10:18, 20:28] = IGNORE  # nobody knows what it is: nothing to be parted from
    assert (touching_weights(ignored, 10) == 1).all()
    assert (touching_weights(np.zeros((9, 9), np.uint8), 10) == 1).all()


def test_pictures_come_with_it() -> None:
    label = squares((10, 10), (10, 20))
    image, rng = np.zeros((*label.shape, 3), np.uint8), np.random.default_rng(0)
    how = Augmentation(**{**vars(NO_AUGMENTATION), "touching": 10.0})
    _, shown, weights = augment(image, label, label.shape, how, rng, own_scale=True)
    np.testing.assert_array_equal(weights, touching_weights(shown, 10))
    assert weights.max() > 5


@pytest.mark.parametrize(
    "changes", [{"augment": Augmentation(touching=5)}, {"data": (DataSource("cells", augment={"touching": 5}),)}]
)
def test_it_goes_with_objects(tmp_path: Path, changes: dict) -> None:
    write_cells(tmp_path / "cells", 2)
    with pytest.raises(
        ImagoError,
        match=r"--touching does not go with .*: it weighs what lies between two objects .*; it goes with --objects",
    ):
        build(tiny(tmp_path / "run", **changes), tmp_path, False, silent)
