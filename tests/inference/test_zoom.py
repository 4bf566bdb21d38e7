"""The second look at what was found: where it looks, and how its answer is joined with the first."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.core.errors import ImagoError
from imago.core.input_spec import InputSpec
from imago.core.tta import TTA
from imago.inference.tta import predict_tta
from imago.inference.zoom import MARGIN, MOST_FINER, MOST_OF_PHOTO, find_region, join, zoom_in

SPEC = InputSpec(rule="area", size_hw=(64, 64), multiple=8, channels=1, mean=(0,), std=(1,))


def disc(height: int, width: int, center: tuple[float, float], radius: float) -> np.ndarray:
    """uint8 (H, W, 1): a white disc on black."""
    y, x = np.mgrid[:height, :width]
    return (((y - center[0]) ** 2 + (x - center[1]) ** 2 < radius**2) * np.uint8(255))[:, :, None]


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(20, 400), width=st.integers(20, 400), y=st.floats(0, 1), x=st.floats(0, 1),
    share=st.floats(0.02, 0.6),
)  # fmt: skip
def test_the_region_holds_what_was_found(height: int, width: int, y: float, x: float, share: float) -> None:
    image = disc(height, width, (y * (height - 1), x * (width - 1)), max(3.0, share * min(height, width)))
    found = cv2.resize(image, (64, 48), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    region = find_region(found, (height, width))
    rows, columns = (np.flatnonzero((found > 0.5).any(axis=axis)) for axis in (1, 0))
    if region is None:
        spread = (np.ptp(rows) + 1) * (np.ptp(columns) + 1) if len(rows) else 0
        assert spread == 0 or spread * (1 + 2 * MARGIN) ** 2 > 0.5 * MOST_OF_PHOTO * found.size
        return
    assert 0 <= region[0].start < region[0].stop <= height
    assert 0 <= region[1].start < region[1].stop <= width
    assert region[0].start <= rows[0] * height / 48
    assert region[0].stop >= (rows[-1] + 1) * height / 48
    assert region[1].start <= columns[0] * width / 64
    assert region[1].stop >= (columns[-1] + 1) * width / 64


def test_crumbs_are_not_reached_for() -> None:
    found = np.zeros((60, 60), np.float32)
    found[10:20, 10:20] = 1
    found[55, 55] = 1  # 1 % of the large one
    assert find_region(found, (60, 60)) == (slice(7, 23), slice(7, 23))
    found[50:56, 50:56] = 1
    assert find_region(found, (60, 60)) == (slice(0, 60), slice(0, 60)) or find_region(found, (60, 60)) is None


@settings(max_examples=60, deadline=None)
@given(data=st.data(), height=st.integers(2, 200), width=st.integers(2, 200), classes=st.integers(1, 3))
def test_two_looks_that_agree_say_it_together(data: st.DataObject, height: int, width: int, classes: int) -> None:
    """Whatever the region: one value everywhere stays it, and the answer is never finer than the photo."""
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    region = slice(top, data.draw(st.integers(top + 1, height))), slice(left, data.draw(st.integers(left + 1, width)))
    low = min(height, 31), min(width, 47)
    values = np.linspace(0.2, 0.7, classes, dtype=np.float32)[:, None, None]
    joined = join(np.broadcast_to(values, (classes, *low)).copy(), np.broadcast_to(values, (classes, 40, 40)).copy(),
                  region, (height, width))  # fmt: skip
    assert joined.shape[1] <= height
    assert joined.shape[2] <= width
    assert max(joined.shape[1] - MOST_FINER * low[0], joined.shape[2] - MOST_FINER * low[1]) <= 0.5
    np.testing.assert_allclose(joined, np.broadcast_to(values, joined.shape), atol=1e-5)


@pytest.mark.parametrize("center", [(60, 90), (8, 12), (290, 390)])
def test_a_small_subject_is_seen_finer(center: tuple[int, int]) -> None:
    """A net that answers with what it sees, at its frame's size: the second look brings the outline nearer."""
    image = disc(300, 400, center, 25)
    truth = image[:, :, 0] > 127

    def iou(zoom: bool) -> float:
        scores = predict_tta(lambda batch: batch, SPEC, image, TTA(zoom=zoom))[0]
        mask = cv2.resize(scores, (400, 300)) >= 0.5
        return float((mask & truth).sum() / (mask | truth).sum())

    assert iou(True) > iou(False)
    assert iou(True) > 0.95


def test_a_rival_beside_the_subject_stays_where_it_was_seen() -> None:
    """Outside the region the first look counts, inside mostly the second."""
    scores = np.zeros((1, 50, 50), np.float32)
    scores[0, 20:30, 20:30] = 0.9
    scores[0, 48, 2] = 0.9  # a crumb outside
    joined = zoom_in(scores, np.zeros((50, 50, 1), np.uint8), lambda part: np.ones((1, *part.shape[:2]), np.float32))
    assert joined[0, 48, 2] == pytest.approx(0.9)
    assert joined[0, 25, 25] == pytest.approx(0.9 + 0.8 * 0.1)
    assert joined[0, 0, 25] == 0


def test_of_several_classes_the_first_is_the_background() -> None:
    scores = np.zeros((3, 40, 40), np.float32)
    scores[0] = 1
    scores[:, 5:15, 20:30] = np.array([0, 0.5, 0.5])[:, None, None]
    seen: list[tuple[int, ...]] = []

    def look(part: np.ndarray) -> np.ndarray:
        seen.append(part.shape)
        return np.zeros((3, 8, 8), np.float32)

    zoom_in(scores, np.zeros((80, 80, 3), np.uint8), look)
    assert seen == [(30, 30, 3)]  # 20 x 20 pixels, and a quarter of it on each side


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_nothing_found_and_everything_found_need_no_second_look(value: float) -> None:
    scores = np.full((1, 30, 30), value, np.float32)

    def look(_part: np.ndarray) -> np.ndarray:
        raise AssertionError("looked again")

    assert zoom_in(scores, np.zeros((90, 90, 3), np.uint8), look) is scores


def test_what_cannot_be_enlarged() -> None:
    pad = InputSpec(rule="pad", size_hw=(64, 64), multiple=8, mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(ImagoError, match=r"m sees every photo at its own size already; leave --tta-zoom out"):
        predict_tta(lambda batch: batch, pad, np.zeros((20, 20, 3), np.uint8), TTA(zoom=True), "m")
    with pytest.raises(ValueError, match="do not go together"):
        TTA(zoom=True, slide=True)
