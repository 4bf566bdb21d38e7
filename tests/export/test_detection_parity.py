"""When finds of a file and of torch are the same, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from imago.export.detection_parity import find_differences
from imago.inference.engines.base import FrameDetections


def some(boxes: list[list[float]], scores: list[float], classes: list[int]) -> FrameDetections:
    return FrameDetections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(classes, np.int64)
    )


FIRST = some([[0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.4], [1, 2])


@pytest.mark.parametrize(
    ("second", "most", "largest"),
    [
        (FIRST, 100, 0.0),
        (some([[20, 20, 30, 30], [0, 0, 10, 10.5]], [0.4, 0.9], [2, 1]), 100, 0.5),  # in any order
        (some([[0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.3], [1, 2]), 100, 0.1),
        (some([[0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.4], [1, 1]), 100, np.inf),  # another class
        (some([[0, 0, 10, 10]], [0.9], [1]), 100, np.inf),  # one is missing
        (some([[0, 0, 10, 10]], [0.9], [1]), 1, 0.0),  # but for a doubt about the last of those that have room
        (some([], [], []), 100, np.inf),
    ],
)
def test_differences(second: FrameDetections, most: int, largest: float) -> None:
    for one, other in ((FIRST, second), (second, FIRST)):
        assert find_differences(one, other, 0.1, most, 0.5).max() == pytest.approx(largest, rel=0.05, abs=1e-6)


@pytest.mark.parametrize(
    ("side", "moved", "precision", "largest"),
    [
        (5, 0.01, "float32", 0.01),  # pixels
        (200, 0.01, "float32", 0.0005),  # tenths of the side
        (200, 1.0, "float32", 0.05),
        (200, 1.0, "float16", 0.01),  # hundreds of pixels
    ],
)
def test_corners_of_large_boxes_are_rounded_in_proportion(
    side: float, moved: float, precision: str, largest: float
) -> None:
    one, other = some([[0, 0, side, side]], [0.9], [1]), some([[0, 0, side, side + moved]], [0.9], [1])
    assert find_differences(one, other, 0.1, 100, 0.5, precision).max() == pytest.approx(largest, rel=0.01)


# A box and one that it overlaps by 0.5 exactly, and a third that only the second overlaps by more.
BEST, HALF, THIRD = [0.0, 0, 30, 10], [10.0, 0, 40, 10], [12.0, 0, 42, 10]


def test_an_overlap_at_the_threshold_is_a_matter_of_chance() -> None:
    """HALF stays in one and goes in the other; where it stays it takes THIRD away."""
    with_half = some([BEST, HALF], [0.9, 0.8], [1, 1])
    without = some([BEST, THIRD], [0.9, 0.7], [1, 1])
    for one, other in ((with_half, without), (without, with_half)):
        assert find_differences(one, other, 0.1, 100, 0.5).tolist() == [0.0, 0.0]  # of BEST alone
        assert find_differences(one, other, 0.1, 100, 0.6).max() > 0.5
    assert len(find_differences(with_half, with_half, 0.1, 100, 0.5)) == 4  # what both have is compared


def test_chance_needs_a_better_find_of_the_class() -> None:
    alone = some([BEST], [0.9], [1])
    assert find_differences(some([BEST, HALF], [0.9, 0.8], [1, 2]), alone, 0.1, 100, 0.5).max() == np.inf
    assert find_differences(some([HALF, BEST], [0.95, 0.9], [1, 1]), alone, 0.1, 100, 0.5).max() > 0.5
