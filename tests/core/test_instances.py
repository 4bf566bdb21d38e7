"""Boxes, run lengths and compact masks: geometry that can be checked by hand, and by brute force."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from imago.core import boxes
from imago.core import rle as runs
from imago.core.input_spec import InputSpec
from imago.core.instances import CroppedMask, Instances, masks_to_boxes

masks = arrays.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20)))
corners = arrays.arrays(np.float32, (6, 4), elements=st.integers(0, 30).map(float))


@given(mask=masks)
def test_run_lengths_there_and_back(mask: np.ndarray) -> None:
    found = runs.encode_rle(mask)
    assert sum(found) == mask.size
    np.testing.assert_array_equal(runs.decode_rle(found, mask.shape), mask)
    assert runs.unpack_rle(runs.pack_rle(found)) == found
    assert runs.unpack_rle(runs.pack_rle(found).encode()) == found


def test_run_lengths_by_hand() -> None:
    """COCO goes down the columns: the left one is 0 1 1, the right one 1 0 0."""
    mask = np.array([[0, 1], [1, 0], [1, 0]], bool)
    assert runs.encode_rle(mask) == [1, 3, 2]
    assert runs.encode_rle(~mask) == [0, 1, 3, 2]


def test_long_runs_pack() -> None:
    counts = [1_000_000, 5, 3, 2_000_000, 7, 1]
    assert runs.unpack_rle(runs.pack_rle(counts)) == counts


@pytest.mark.parametrize(("text", "words"), [("Q", "cut short")])
def test_damaged_text(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        runs.unpack_rle(text)


def test_run_lengths_of_another_size() -> None:
    with pytest.raises(ValueError, match="count 5 pixels; an image of 2 x 3 has 6"):
        runs.decode_rle([2, 3], (2, 3))


@given(mask=masks, left=st.integers(0, 9), top=st.integers(0, 9))
def test_a_cropped_mask_is_the_mask(mask: np.ndarray, left: int, top: int) -> None:
    size_hw = (top + mask.shape[0] + 2, left + mask.shape[1] + 1)
    whole = np.zeros(size_hw, bool)
    whole[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    small = CroppedMask.from_mask(mask, left, top)
    np.testing.assert_array_equal(small.to_full(size_hw), whole)
    assert small.area == mask.sum()
    if mask.any():
        ys, xs = np.nonzero(whole)
        assert small.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    np.testing.assert_array_equal(runs.decode_rle(small.to_rle(size_hw), size_hw), whole)


@given(first=corners, second=corners)
def test_iou_beside_counted_pixels(first: np.ndarray, second: np.ndarray) -> None:
    def pixels(box: np.ndarray) -> np.ndarray:
        grid = np.zeros((31, 31), bool)
        x1, y1, x2, y2 = box.astype(int)
        grid[y1:y2, x1:x2] = True
        return grid

    found = boxes.iou_matrix(first, second)
    for i, a in enumerate(map(pixels, first)):
        for j, b in enumerate(map(pixels, second)):
            either = (a | b).sum()
            expected = (a & b).sum() / either if either else 0
            assert found[i, j] == pytest.approx(expected, abs=1e-6)


@given(box=corners)
def test_other_ways_to_write_a_box(box: np.ndarray) -> None:
    np.testing.assert_allclose(boxes.from_xywh(boxes.to_xywh(box)), box, atol=1e-5)
    np.testing.assert_allclose(boxes.from_centers(boxes.to_centers(box, (40, 60)), (40, 60)), box, atol=1e-4)


def test_nms_by_hand() -> None:
    found = boxes.as_boxes([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 10, 9]])
    scores = np.array([0.8, 0.9, 0.1, 0.7], np.float32)
    assert boxes.nms(found, scores, 0.5).tolist() == [1, 2]  # 0 and 3 overlap 1 by 9/11 and 81/119
    assert boxes.nms(found, scores, 0.75).tolist() == [1, 3, 2]
    classes = np.array([1, 2, 1, 1])
    assert boxes.nms_by_class(found, scores, classes, 0.5).tolist() == [1, 0, 2]
    stay, lowered = boxes.soft_nms(found, scores)
    assert stay.tolist() == [1, 0, 3, 2] or stay.tolist()[0] == 1
    assert lowered[0] == pytest.approx(0.9)
    assert lowered[1:].max() < 0.3


@settings(deadline=None)  # the first example imports torch
@given(box=corners, seed=st.integers(0, 100), iou=st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_nms_is_torchvisions(box: np.ndarray, seed: int, iou: float) -> None:
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("torchvision.ops")
    box = np.concatenate([np.minimum(box[:, :2], box[:, 2:]), np.maximum(box[:, :2], box[:, 2:]) + 1], axis=1)
    scores = np.random.default_rng(seed).permutation(len(box)).astype(np.float32) / 10
    classes = np.random.default_rng(seed).integers(0, 2, len(box))
    theirs = ops.nms(torch.from_numpy(box), torch.from_numpy(scores), iou).tolist()
    assert boxes.nms(box, scores, iou).tolist() == theirs
    batched = ops.batched_nms(torch.from_numpy(box), torch.from_numpy(scores), torch.from_numpy(classes), iou)
    assert boxes.nms_by_class(box, scores, classes, iou).tolist() == batched.tolist()


@given(seed=st.integers(0, 1000), count=st.integers(1, 12))
def test_soft_nms_is_opencvs(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    corner, sides = random.integers(0, 30, (count, 2)), random.integers(1, 30, (count, 2))
    scores = (random.permutation(count).astype(np.float32) + 1) / (count + 1)
    lowered, stay = cv2.dnn.softNMSBoxes(
        np.concatenate([corner, sides], axis=1).tolist(), scores.tolist(), 0.001, 0.5, sigma=0.5
    )
    mine, left = boxes.soft_nms(boxes.as_boxes(np.concatenate([corner, corner + sides], axis=1)), scores)
    assert mine.tolist() == list(np.ravel(stay))
    np.testing.assert_allclose(left, np.ravel(lowered), atol=1e-5)


@settings(deadline=None)
@given(box=corners, seed=st.integers(0, 100), soft=st.booleans())
def test_suppression_among_all_classes_and_within_each(box: np.ndarray, seed: int, soft: bool) -> None:
    random = np.random.default_rng(seed)
    scores = (random.permutation(len(box)).astype(np.float32) + 1) / (len(box) + 1)
    classes = random.integers(1, 4, len(box))

    def alone(where: np.ndarray) -> dict[int, float]:
        stay, left = (
            boxes.soft_nms(box[where], scores[where]) if soft else (boxes.nms(box[where], scores[where], 0.4), 0)
        )
        return dict(zip(where[stay].tolist(), (left if soft else scores[where][stay]), strict=True))

    for agnostic, groups in ((True, [np.arange(len(box))]), (False, [np.flatnonzero(classes == k) for k in (1, 2, 3)])):
        stay, left = boxes.suppress(box, scores, classes, 0.4, soft=soft, agnostic=agnostic)
        expected = {index: score for group in groups for index, score in alone(group).items()}
        assert dict(zip(stay.tolist(), left.tolist(), strict=True)) == pytest.approx(expected)
        assert left.tolist() == sorted(left.tolist(), reverse=True)


def objects() -> Instances:
    first = CroppedMask.from_mask(np.ones((4, 4), bool), 2, 1)
    second = CroppedMask.from_mask(np.eye(6, dtype=bool), 4, 3)
    return Instances.make((12, 14), masks_to_boxes([first, second]), [1, 2], [0.9, 0.4], [first, second])


def test_instances() -> None:
    found = objects()
    assert len(found) == 2
    assert found.areas.tolist() == [16, 6]
    assert found.masks.shape == (2, 12, 14)
    assert found.masks.sum(axis=(1, 2)).tolist() == [16, 6]
    only = found[found.classes == 2]
    assert len(only) == 1
    assert only.scores.tolist() == [pytest.approx(0.4)]
    assert [len(each) for each in found] == [1, 1]
    assert len(found[np.zeros(0, int)]) == 0


def test_painted_the_first_wins() -> None:
    found = objects()
    painted = found.to_label_image()
    assert painted.dtype == np.uint16
    assert np.count_nonzero(painted == 1) == 16
    both = (found.masks[0] & found.masks[1]).sum()
    assert both > 0
    assert np.count_nonzero(painted == 2) == 6 - both
    plain = Instances.make((5, 5), [[1, 1, 3, 4]], [1])
    assert np.count_nonzero(plain.to_label_image()) == 6
    with pytest.raises(ValueError, match="boxes alone"):
        _ = plain.masks


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": [1, 2, 3]}, "reshape"),
        ({"cropped": []}, "boxes need as many masks, here 1; got 0"),
        (
            {"cropped": [CroppedMask.from_mask(np.ones((2, 2), bool), 4, 1)]},
            r"mask 0 lies at \(4, 1, 6, 3\), outside of the 5",
        ),
    ],
)
def test_parts_that_do_not_belong_together(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Instances.make((5, 5), [[1, 1, 3, 4]], **{"classes": [1], **changes})


@pytest.mark.parametrize("rule", ["resize", "letterbox", "area", "pad"])
def test_boxes_go_to_the_frame_and_back(rule: str) -> None:
    fit = InputSpec(rule=rule, size_hw=(64, 96), multiple=32).plan((50, 133))  # type: ignore[arg-type]
    box = boxes.as_boxes([[0, 0, 133, 50], [10, 20, 30, 45]])
    framed = fit.boxes_to_frame(box)
    assert framed[0, 2] - framed[0, 0] == pytest.approx(fit.content_hw[1], abs=1e-3)
    np.testing.assert_allclose(fit.boxes_to_image(framed), box, atol=1e-3)


def test_a_thousand_objects_stay_small() -> None:
    """1,000 objects of 120 x 120 pixels on 12 megapixels: under 2 MB, where full masks would be 12 GB."""
    disc = np.hypot(*np.mgrid[-60:60, -60:60]) < 60
    crops = [CroppedMask.from_mask(disc, 120 * (i % 30), 85 * (i // 30)) for i in range(1000)]
    found = Instances.make((3000, 4000), masks_to_boxes(crops), [1] * 1000, None, crops)
    assert sum(len(mask.bits) for mask in crops) < 2_000_000
    assert np.count_nonzero(found.to_label_image()) > 4_000_000


def test_facts_of_annotated_objects_follow_the_chosen() -> None:
    instances = Instances.make((9, 9), [(0, 0, 2, 2), (1, 1, 5, 5)], [1, 2], None, None, [0, 1], [1, 0], [3.5, 15.25])
    chosen = instances[np.array([1, 0])]
    assert chosen.difficult is not None
    assert chosen.difficult.tolist() == [False, True]
    assert chosen.stated_areas is not None
    assert chosen.stated_areas.tolist() == [15.25, 3.5]
    with pytest.raises(ValueError, match="boxes need as many stated_areas, here 2; got shape"):
        Instances((9, 9), instances.boxes, instances.classes, instances.scores, stated_areas=np.zeros(3))
