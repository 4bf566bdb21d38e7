"""Elastic deformation: image and label are pulled alike, no label is made up, and the grid is what it says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.data.augment.elastic import deform, displacements, draw_shifts

VALUES = (0, 7, 255)
sides = st.integers(1, 90)
few = settings(max_examples=30, deadline=None)


def blobs(size_hw: tuple[int, int], seed: int) -> np.ndarray:
    """uint8 (h, w): smooth patches of ``VALUES``."""
    noise = np.random.default_rng(seed).standard_normal(size_hw).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 8)
    low, high = np.quantile(noise, [0.4, 0.7])
    return np.array(VALUES, np.uint8)[(noise >= low).astype(int) + (noise >= high)]


@given(st.tuples(sides, sides), st.sampled_from([1, 3, 4, 6]), st.integers(2, 6), st.integers(0, 2**32))
@few
def test_no_strength_changes_nothing(size_hw: tuple[int, int], channels: int, grid: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, label = rng.integers(0, 256, (*size_hw, channels), np.uint8), rng.integers(0, 256, size_hw, np.uint8)
    out, out_label = deform(image, label, draw_shifts(size_hw, 0.0, grid, rng))
    assert np.array_equal(out, image)
    assert np.array_equal(out_label, label)


@given(st.tuples(sides, sides), st.floats(0, 200), st.integers(2, 8), st.integers(0, 2**32))
@few
def test_labels_are_never_mixed(size_hw: tuple[int, int], spread_px: float, grid: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    label = rng.choice(np.array(VALUES, np.uint8), size_hw)
    image = rng.integers(0, 256, (*size_hw, 2), np.uint8)
    out, out_label = deform(image, label, draw_shifts(size_hw, spread_px, grid, rng))
    assert (out.shape, out.dtype, out_label.shape, out_label.dtype) == (image.shape, np.uint8, size_hw, np.uint8)
    assert set(np.unique(out_label)) <= set(np.unique(label))


@given(st.tuples(sides, sides), st.floats(0, 100), st.integers(2, 5), st.integers(0, 2**32))
@few
def test_image_and_label_stay_aligned(size_hw: tuple[int, int], spread_px: float, grid: int, seed: int) -> None:
    """An image that is the label painted, a channel a value: of the four pixels that are mixed the nearest counts a
    quarter or more, so the label's own channel has at least that."""
    label = blobs(size_hw, seed)
    painted = np.stack([label == value for value in VALUES], axis=2).astype(np.uint8) * 240
    shifts = draw_shifts(size_hw, spread_px, grid, np.random.default_rng(seed))
    out, out_label = deform(painted, label, shifts)
    own = np.take_along_axis(out, np.searchsorted(VALUES, out_label)[:, :, None], axis=2)
    assert own.min() >= 60 - 12  # OpenCV counts places in steps of 1/32 pixel


@given(st.integers(0, 2**32))
@few
def test_the_same_seed_is_the_same_picture(seed: int) -> None:
    label = blobs((64, 64), 1)
    one, two, other = (
        deform(label[:, :, None], label, draw_shifts((64, 64), 60, 3, np.random.default_rng(s)))
        for s in (seed, seed, seed + 1)
    )
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    assert not np.array_equal(one[0], other[0])


def test_a_pixel_shows_what_lies_its_shift_away() -> None:
    """Everything 2 down and 3 to the right: the picture moves up and to the left, its border is mirrored."""
    label = np.arange(70, dtype=np.uint8).reshape(7, 10)
    shifts = np.broadcast_to([2.0, 3.0], (3, 3, 2))
    out, out_label = deform(label[:, :, None], label, shifts)
    assert np.array_equal(out_label[:5, :7], label[2:, 3:])
    assert np.array_equal(out_label[5:, :7], label[[5, 4]][:, 3:])  # mirrored, the last row not twice
    assert np.array_equal(out[:, :, 0], out_label)


def test_the_field_goes_through_the_grid_and_is_bicubic() -> None:
    shifts = np.random.default_rng(0).normal(0, 10, (3, 3, 2))
    field = displacements(shifts, (41, 61))
    assert field.shape == (2, 41, 61)
    assert np.allclose(field[:, ::20, ::30].transpose(1, 2, 0), shifts, atol=1e-4)
    # Catmull-Rom half way between the first two of 0, 16, 0, where -16 stands before them: (16 + 9 * 16) / 16.
    line = displacements(np.array([[[0, 0], [16, 0], [0, 0]]] * 3, float), (3, 5))[0, 0]
    assert line.tolist() == pytest.approx([0, 10, 16, 10, 0])


def test_planes_stay_planes() -> None:
    """Cubic interpolation gives back straight lines: a grid that is stretched evenly bends nothing."""
    y, x = np.mgrid[:4, :4]
    field = displacements(np.stack([2.0 * y + x, 3.0 * x], axis=2), (31, 16))
    rows, columns = np.mgrid[:31, :16]
    assert np.allclose(field[0], rows / 5 + columns / 5, atol=1e-5)
    assert np.allclose(field[1], 3 * columns / 5, atol=1e-5)


@pytest.mark.parametrize(("size_hw", "expected"), [((512, 512), 10), ((256, 256), 5), ((128, 512), 5)])
def test_strength_is_meant_for_a_frame_of_512(size_hw: tuple[int, int], expected: float) -> None:
    shifts = draw_shifts(size_hw, 10, 60, np.random.default_rng(0))
    assert shifts.std() == pytest.approx(expected, rel=0.03)
