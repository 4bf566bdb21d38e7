"""Distance maps: what they hold, and how they travel beside label maps through augmentation."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from cells import write_cells
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_run import silent, tiny

from imago.core.errors import ImagoError
from imago.core.instances import CroppedMask, Instances, masks_to_boxes
from imago.core.labels import IGNORE
from imago.data.augment.pipeline import augment
from imago.data.augment.settings import Augmentation
from imago.data.borders import BORDER, DEEPEST, border_map, distance_map, pack_distance, unpack_distance
from imago.training.config import DataSource
from imago.training.dataset import Key
from imago.training.train import build

few = settings(max_examples=25, deadline=None)
FRAME_HW = (60, 80)


def instances(masks: list[np.ndarray], crowd: list[bool] | None = None) -> Instances:
    cropped = [CroppedMask.from_mask(mask) for mask in masks]
    return Instances.make(masks[0].shape, masks_to_boxes(cropped), [1] * len(masks), None, cropped, crowd)


def ellipse(
    y: int, x: int, radii: tuple[int, int], angle: float = 0, size_hw: tuple[int, int] = FRAME_HW
) -> np.ndarray:
    return cv2.ellipse(np.zeros(size_hw, np.uint8), (x, y), radii, angle, 0, 360, 1, -1).astype(bool)


ellipses = st.lists(
    st.builds(
        ellipse,
        st.integers(0, FRAME_HW[0] - 1),
        st.integers(0, FRAME_HW[1] - 1),
        st.tuples(st.integers(1, 16), st.integers(1, 16)),
        st.floats(0, 180),
    ),
    min_size=1,
    max_size=5,
)


def by_brute_force(mask: np.ndarray) -> np.ndarray:
    """Distance of each pixel of an object to the nearest one outside it, in pixels; 0 outside."""
    outside = np.argwhere(~mask)
    away = np.zeros(mask.shape)
    for y, x in np.argwhere(mask):
        away[y, x] = np.sqrt(((outside - (y, x)) ** 2).sum(axis=1).min())
    return away


@given(ellipses)
@few
def test_what_it_holds(masks: list[np.ndarray]) -> None:
    found = distance_map(instances(masks))
    count = np.sum(masks, axis=0)
    assert found.dtype == np.uint8
    assert (found[count == 0] == 0).all()
    assert (found[count == 1] >= 1).all()
    assert (found[count > 1] == 1).all()  # both end where they lie over one another
    for mask in masks:
        if (count[mask] == 1).all():
            assert found[mask].max() == DEEPEST


@given(st.builds(ellipse, st.integers(0, 59), st.integers(0, 79), st.tuples(st.integers(1, 9), st.integers(1, 9))))
@few
def test_it_is_the_distance_to_what_lies_outside(mask: np.ndarray) -> None:
    """OpenCV's distances are within 2 % of Euclid's. Past the image's edge nothing lies outside."""
    away = by_brute_force(mask)
    expected = DEEPEST * away / max(1.0, away.max())
    assert np.abs(distance_map(instances([mask])) - expected).max() <= 0.05 * DEEPEST


@given(st.tuples(st.integers(3, 12), st.integers(3, 12)), st.integers(0, 3))
@few
def test_an_edge_of_the_image_is_no_outline(radii: tuple[int, int], quarters: int) -> None:
    """What the edge cuts in the middle is one half of the whole, in both maps (but for what OpenCV's distances are to
    the left another than to the right)."""
    half = ellipse(30, 0, radii)
    whole = np.hstack([half[:, :0:-1], half])
    for draw, off in ((distance_map, 0.1 * DEEPEST), (border_map, 0)):
        found, expected = (
            np.rot90(draw(instances([np.rot90(mask, quarters)])), -quarters)[:, -half.shape[1] :].astype(int)
            for mask in (half, whole)
        )
        assert (np.abs(found - expected) > off).sum() <= 2


def test_an_object_may_be_as_large_as_the_image() -> None:
    whole = instances([np.ones(FRAME_HW, bool)])
    assert (distance_map(whole) == DEEPEST).all()
    assert not (border_map(whole) == BORDER).any()


@pytest.mark.parametrize("factor", [2, 3])
def test_it_is_a_share_whatever_the_size(factor: int) -> None:
    small = ellipse(30, 40, (20, 14), 30)
    large = cv2.resize(small.astype(np.uint8), None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST) > 0
    shares = distance_map(instances([large]))
    seen = cv2.resize(shares, small.shape[::-1], interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(seen - distance_map(instances([small])))[small].max() < 0.12 * DEEPEST


def test_crowds_have_none() -> None:
    both = instances([ellipse(20, 20, (9, 9)), ellipse(20, 50, (9, 9))], [False, True])
    found, labels = distance_map(both), border_map(both)
    assert found[:, :35].max() == DEEPEST
    assert not found[:, 35:].any()
    assert (labels[:, 35:] == IGNORE).any()


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40))
@few
def test_packed_and_unpacked(seed: int, height: int, width: int) -> None:
    label, distance = np.random.default_rng(seed).integers(0, 256, (2, height, width), np.uint8)
    packed = pack_distance(label, distance)
    assert (packed.dtype, packed.shape) == (np.uint16, label.shape)
    for found, given_ in zip(unpack_distance(packed), (label, distance), strict=True):
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, given_)
    assert pack_distance(np.full((1, 1), IGNORE, np.uint8), np.zeros((1, 1), np.uint8)) == IGNORE


STRONG = Augmentation(
    flip=0.5, flip_vertical=0.5, rot90=0.75, zoom_min=0.4, zoom_max=1.6, focus=0.5, rotate_deg=40, elastic=0.7,
    border_px=2, border_weight=0.5, touching=5, copy_paste=0.4, pasted_max=3, collage=0.3, background=0.4, empty=0.1,
)  # fmt: skip


@given(ellipses, st.integers(0, 2**32), st.booleans())
@few
def test_both_are_moved_alike(masks: list[np.ndarray], seed: int, lent: bool) -> None:
    """The label map and its weights are those without a distance map, whatever is done to the picture."""
    objects = instances(masks)
    label, distance = border_map(objects), distance_map(objects)
    image = np.random.default_rng(seed).integers(0, 256, (*FRAME_HW, 3), np.uint8)
    packed = pack_distance(label, distance)
    shown = [
        augment(image, one, (48, 64), STRONG, np.random.default_rng(seed), [(image, one)] * 5 if lent else None, True)
        for one in (label, packed)
    ]
    moved, moved_distance = unpack_distance(shown[1][1])
    np.testing.assert_array_equal(shown[0][0], shown[1][0])
    np.testing.assert_array_equal(shown[0][1], moved)
    np.testing.assert_array_equal(shown[0][2], shown[1][2])
    np.testing.assert_array_equal(moved_distance > 0, moved > 0)


def test_pictures_come_with_it(tmp_path: Path) -> None:
    write_cells(tmp_path / "cells", 4)
    settings_ = {"data": (DataSource("cells"),), "model": "unet", "option": ("width=4",), "rule": "pad", "size": 64}
    run = build(tiny(tmp_path / "run", objects=True, distance=True, **settings_), tmp_path, False, silent)
    _, labels, _, distance = run.task.build_dataset(0.1)[Key(0, 0, 7, (64, 64))]
    assert (distance.shape, float(distance.min()), float(distance.max())) == ((64, 64), 0.0, 1.0)
    assert ((distance > 0) == (labels > 0)).all()


@pytest.mark.parametrize(("changes", "task"), [({}, "unet"), ({"model": "yolov3_tiny", "option": ()}, "yolov3_tiny")])
def test_it_goes_with_objects(tmp_path: Path, changes: dict, task: str) -> None:
    write_cells(tmp_path / "cells", 2)
    settings_ = {"data": (DataSource("cells"),), "model": "unet", "option": ("width=4",), "distance": True, **changes}
    with pytest.raises(ImagoError, match=rf"--distance does not go with --model {task}: .* it goes with --objects"):
        build(tiny(tmp_path / "run", **settings_), tmp_path, False, silent)
