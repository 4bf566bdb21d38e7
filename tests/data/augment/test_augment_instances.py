"""Objects stay where the image shows them, whatever is done to both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.core.input_spec import resize_image
from imago.core.instances import CroppedMask, Instances, masks_to_boxes
from imago.data.augment.instances import LEAST_VISIBLE, augment_instances, warp_boxes, warp_image, warp_instances
from imago.data.augment.settings import NO_AUGMENTATION, Augmentation

PHOTO_HW = (120, 160)
GROUND = 40
FILL = (10, 10, 10)
# All geometry, no change of light: the colours in the frame are those of the photo.
MOVES = replace(
    NO_AUGMENTATION, flip=0.5, flip_vertical=0.5, rot90=0.75, zoom_min=0.5, zoom_max=1.6, focus=0.5,
    aspect_jitter=0.3, rotate_deg=30.0,
)  # fmt: skip


def scene(seed: int, masks: bool = True) -> tuple[np.ndarray, Instances]:
    """Up to four rectangles that do not touch, each of a grey of its own (100, 130, ...), at least 12 pixels a side."""
    random = np.random.default_rng(seed)
    image = np.full((*PHOTO_HW, 3), GROUND, np.uint8)
    cropped = []
    for number in range(int(random.integers(1, 5))):
        left = 4 + 39 * number
        top, height, width = int(random.integers(4, 60)), int(random.integers(12, 56)), int(random.integers(12, 34))
        image[top : top + height, left : left + width] = 100 + 30 * number
        cropped.append(CroppedMask.from_mask(np.ones((height, width), bool), left, top))
    boxes, classes = masks_to_boxes(cropped), np.arange(1, len(cropped) + 1)
    return image, Instances.make(PHOTO_HW, boxes, classes, None, cropped if masks else None)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), frame=st.sampled_from([(96, 96), (64, 128), (160, 96)]), own=st.booleans())
def test_objects_lie_under_their_masks(seed: int, frame: tuple[int, int], own: bool) -> None:
    image, instances = scene(seed)
    picture, shown, _ = augment_instances(image, instances, frame, MOVES, np.random.default_rng(seed), FILL, own)
    assert picture.shape == (*frame, 3)
    assert picture.dtype == np.uint8
    assert shown.size_hw == frame
    gray = picture[..., 0].astype(int)
    for index, mask in enumerate(shown.cropped or ()):
        colored = (np.abs(gray - (70 + 30 * int(shown.classes[index]))) <= 2).astype(np.uint8)
        covered = mask.to_full(frame).astype(np.uint8)
        # Away from the blurred rim the mask is all of the object's colour, and outside there is nothing of that colour
        # but where other rims pass through it.
        inner = cv2.erode(covered, np.ones((7, 7), np.uint8), borderValue=0) > 0
        assert colored[inner].all()
        solid = cv2.erode(colored, np.ones((5, 5), np.uint8), borderValue=0) > 0
        assert not (solid & (cv2.dilate(covered, np.ones((7, 7), np.uint8)) == 0)).any()
        assert tuple(shown.boxes[index]) == mask.box


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_boxes_alone_go_the_same_way(seed: int) -> None:
    """Without small turns a box says as much as a mask that fills it."""
    image, instances = scene(seed)
    _, alone = scene(seed, masks=False)
    how = replace(MOVES, rotate_deg=0.0)
    one, other = (
        augment_instances(image, each, (96, 128), how, np.random.default_rng(seed), FILL) for each in (instances, alone)
    )
    assert np.array_equal(one[0], other[0])
    for index, kind in enumerate(other[1].classes):
        same = np.flatnonzero(one[1].classes == kind)
        if not same.size:  # less than half a pixel of it was seen
            assert min(other[1].boxes[index, 2:] - other[1].boxes[index, :2]) < 2.5
            continue
        assert np.abs(one[1].boxes[same[0]] - other[1].boxes[index]).max() <= 1


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), masks=st.booleans(), own=st.booleans())
def test_proposals_go_the_way_of_the_objects(seed: int, masks: bool, own: bool) -> None:
    """A proposal on an object is on it in the frame too; what is beside the frame goes, in the order that they had."""
    image, instances = scene(seed, masks)
    picture = augment_instances(image, instances, (96, 128), MOVES, np.random.default_rng(seed), FILL, own)
    alone = warp_instances(replace(instances, cropped=None), picture.matrix, (96, 128))
    assert alone.crowd is not None
    wanted = alone.boxes[~alone.crowd]  # crowds are those that are hardly seen
    np.testing.assert_array_equal(warp_boxes(instances.boxes, picture.matrix, (96, 128)), wanted)
    if not masks:
        np.testing.assert_array_equal(wanted, picture.instances.boxes[~picture.instances.crowd])


def test_proposals_by_hand() -> None:
    """The frame shows x from 10 to 30 at twice the size, mirrored."""
    matrix = np.array([[-2.0, 0, 60], [0, 2, 0], [0, 0, 1]])
    boxes = np.array([[12, 1, 20, 5], [28, 0, 34, 9], [29.5, 0, 34, 9], [40, 0, 50, 9], [10, 0, 10.4, 9]], np.float32)
    assert LEAST_VISIBLE == 0.25
    np.testing.assert_allclose(warp_boxes(boxes, matrix, (20, 40)), [[20, 2, 36, 10], [0, 0, 4, 18]])


def test_nothing_asked_for_nothing_done() -> None:
    image, instances = scene(3)
    picture, shown, _ = augment_instances(image, instances, PHOTO_HW, NO_AUGMENTATION, np.random.default_rng(0), FILL)
    assert np.array_equal(picture, image)
    assert shown.cropped == instances.cropped
    assert np.array_equal(shown.boxes, instances.boxes)
    assert shown.crowd is not None
    assert not shown.crowd.any()
    half = (PHOTO_HW[0] // 2, PHOTO_HW[1] // 2)
    picture, shown, _ = augment_instances(image, instances, half, NO_AUGMENTATION, np.random.default_rng(0), FILL)
    assert np.array_equal(picture, resize_image(image, half))  # averaged, not picked
    assert np.abs(shown.boxes - instances.boxes / 2).max() <= 0.5


def test_the_same_seed_gives_the_same_picture() -> None:
    image, instances = scene(5)
    how = Augmentation(rotate_deg=20, flip_vertical=0.5, rot90=0.5)
    one, other, third = (
        augment_instances(image, instances, (64, 64), how, np.random.default_rng(seed), FILL) for seed in (7, 7, 8)
    )
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1].boxes, other[1].boxes)
    assert not np.array_equal(one[0], third[0])


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize(
    ("moved", "crowd"),
    [
        (0, False),
        (14, False),  # 6 of 20 columns are seen
        (16, True),  # 4 of 20: less than a quarter
        (20, None),  # nothing is left
        (30, None),
    ],
)
def test_what_is_hardly_seen_is_crowd(masks: bool, moved: int, crowd: bool | None) -> None:
    mask = CroppedMask.from_mask(np.ones((20, 20), bool), 0, 30)
    instances = Instances.make(PHOTO_HW, [mask.box], [1], None, [mask] if masks else None)
    matrix = np.array([[1, 0, -moved], [0, 1, 0], [0, 0, 1]], float)
    shown = warp_instances(instances, matrix, PHOTO_HW)
    assert shown.crowd is not None
    assert shown.crowd.tolist() == ([] if crowd is None else [crowd])


def test_crowds_and_difficult_ones_stay_what_they_are() -> None:
    mask = CroppedMask.from_mask(np.ones((20, 20), bool), 10, 30)
    instances = Instances.make(PHOTO_HW, [mask.box] * 2, [1, 1], None, [mask] * 2, [True, False], [False, True])
    _, shown, _ = augment_instances(
        np.zeros((*PHOTO_HW, 3), np.uint8), instances, PHOTO_HW, NO_AUGMENTATION, np.random.default_rng(0), FILL
    )
    assert shown.crowd is not None
    assert shown.crowd.tolist() == [True, False]
    assert shown.difficult is not None
    assert shown.difficult.tolist() == [False, True]


def test_outside_is_the_mean_color_and_no_mirror_image() -> None:
    image, instances = scene(1)
    shift = np.array([[1, 0, 200], [0, 1, 0], [0, 0, 1]], float)
    out = warp_image(np.concatenate([image, image], axis=2), shift, PHOTO_HW, tuple(range(10, 16)))
    assert np.array_equal(out[0, 0], range(10, 16))  # six channels, too
    assert (out == out[0, 0]).all()
    assert not len(warp_instances(instances, shift, PHOTO_HW))


def test_a_photo_without_objects() -> None:
    none = Instances.make(PHOTO_HW)
    image = np.zeros((*PHOTO_HW, 3), np.uint8)
    _, shown, _ = augment_instances(image, none, (64, 64), MOVES, np.random.default_rng(0), FILL)
    assert len(shown) == 0


def test_fine_stripes_do_not_alias() -> None:
    """A photo four times smaller is averaged: black and white stripes become grey."""
    image = np.zeros((128, 128, 3), np.uint8)
    image[:, ::2] = 255
    out = warp_image(image, np.diag([0.25, 0.25, 1.0]), (32, 32), FILL)
    assert np.abs(out.astype(int) - 127).max() <= 2


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({"flip": 1.0}, [lambda image: image[:, ::-1]]),
        ({"flip_vertical": 1.0}, [lambda image: image[::-1]]),
        ({"rot90": 1.0}, [lambda image, k=k: np.rot90(image, k) for k in (1, 2, 3)]),
    ],
)
def test_each_move_is_made(how: dict[str, float], wanted: list[Callable[[np.ndarray], np.ndarray]]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    moves = replace(NO_AUGMENTATION, **how)
    seen = set()
    for seed in range(12):
        picture, _, _ = augment_instances(
            image, Instances.make((32, 32)), (32, 32), moves, np.random.default_rng(seed), FILL
        )
        seen |= {index for index, make in enumerate(wanted) if np.array_equal(picture, make(image))}
        assert any(np.array_equal(picture, make(image)) for make in wanted)
    assert len(seen) == len(wanted)
