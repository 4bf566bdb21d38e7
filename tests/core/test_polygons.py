"""Outlines: what can be counted by hand, every mask there and back, and COCO's own rasteriser."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from imago.core.instances import CroppedMask
from imago.core.polygons import fill_polygons, join_rings, outline

masks = arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))
SIZE_HW = (20, 20)


@pytest.mark.parametrize(
    ("polygon", "rows"),
    [
        ([1, 1, 4, 1, 4, 3, 1, 3], ["00000", "01110", "01110", "00000"]),  # corners at whole numbers: 3 x 2 pixels
        ([0.4, 0.4, 1.6, 0.4, 1.6, 1.6, 0.4, 1.6], ["11000", "11000", "00000", "00000"]),  # four centres
        ([0.6, 0.6, 1.4, 0.6, 1.4, 1.4, 0.6, 1.4], ["00000", "00000", "00000", "00000"]),  # between all centres
        ([-9, -9, 2, -9, 2, 99, -9, 99], ["11000", "11000", "11000", "11000"]),  # cut to the image
        ([0, 0, 4, 0, 0, 4], ["11100", "11000", "10000", "00000"]),  # the slope x + y = 4 is right of the inside
        ([0, 0, 4, 4, 4, 0, 0, 4], ["00010", "10110", "10110", "00010"]),  # a bow tie; centres on a left edge are in
        ([7, 7, 9, 7, 9, 9], ["00000", "00000", "00000", "00000"]),  # beside the image
    ],
)
def test_pixels_by_hand(polygon: list[float], rows: list[str]) -> None:
    expected = np.array([[c == "1" for c in row] for row in rows])
    np.testing.assert_array_equal(fill_polygons([polygon], (4, 5)).to_full((4, 5)), expected)


def test_several_polygons_are_added_up() -> None:
    """COCO's parts of one object: a pixel that lies in both counts, where even-odd over both would leave it out."""
    mask = fill_polygons([[0, 0, 2, 0, 2, 2, 0, 2], [1, 1, 3, 1, 3, 3, 1, 3]], (4, 4))
    assert mask.area == 7


@pytest.mark.parametrize(
    ("polygon", "words"),
    [
        ([1, 2, 3, 4], "got 4 numbers"),
        ([1, 2, 3, 4, 5, 6, 7], "got 7 numbers"),
        ([0, 0, 1, 0, 1, float("nan")], "no number"),
    ],
)
def test_what_is_no_polygon(polygon: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fill_polygons([polygon], (9, 9))


@settings(deadline=None)
@given(mask=masks, left=st.integers(0, 5), top=st.integers(0, 5))
def test_every_mask_there_and_back(mask: np.ndarray, left: int, top: int) -> None:
    """Parts, holes, parts in holes, pixels that touch at a corner; as one polygon too, and rounded as YOLO's."""
    cropped = CroppedMask.from_mask(mask, left, top)
    rings = outline(cropped)
    if not mask.any():
        assert rings == []
        return
    expected = cropped.to_full(SIZE_HW)
    np.testing.assert_array_equal(fill_polygons(rings, SIZE_HW).to_full(SIZE_HW), expected)
    one = join_rings(rings)
    np.testing.assert_array_equal(fill_polygons([one], SIZE_HW).to_full(SIZE_HW), expected)
    rounded = np.round(one / 20, 6) * 20
    np.testing.assert_array_equal(fill_polygons([rounded], SIZE_HW).to_full(SIZE_HW), expected)


@settings(deadline=None, max_examples=50)
@given(points=arrays.arrays(np.float64, (5, 2), elements=st.floats(-3, 23, width=32)))
def test_the_rule_beside_counted_crossings(points: np.ndarray) -> None:
    """Pixel by pixel: a ray to the left crosses an odd number of edges."""
    found = fill_polygons([points], SIZE_HW).to_full(SIZE_HW)
    exact = points.astype(np.float64)
    for row, column in [(0, 0), (3, 7), (10, 10), (19, 19), (15, 4)]:
        y, x = row + 0.5, column + 0.5
        crossed = near = False
        for (x1, y1), (x2, y2) in zip(exact, np.roll(exact, -1, axis=0), strict=True):
            if (y1 <= y) != (y2 <= y):
                at = x1 + (y - y1) * (x2 - x1) / (y2 - y1)
                near |= abs(at - x) < 1e-6
                crossed ^= at <= x
        if not near:
            assert found[row, column] == crossed


@pytest.mark.data
def test_cocos_own_rasteriser_differs_at_the_rim_alone(data_root: Path) -> None:
    """All polygons of coco128: areas within 0.1 % in all, and no pixel further than one from pycocotools' rim."""
    import cv2

    coco = pytest.importorskip("pycocotools.mask")
    content = json.loads((data_root / "coco128/annotations/instances_train2017.json").read_text())
    size_of = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    ours = theirs = 0
    for instance in content["annotations"][::3]:
        if isinstance(instance["segmentation"], list):
            height, width = size_of[instance["image_id"]]
            parts = coco.frPyObjects(instance["segmentation"], height, width)
            expected = coco.decode(coco.merge(parts))
            found = fill_polygons(instance["segmentation"], (height, width)).to_full((height, width)).astype(np.uint8)
            ours += int(found.sum())
            theirs += int(expected.sum())
            grown, shrunk = (
                how(expected, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
                for how in (cv2.dilate, cv2.erode)
            )
            # One pixel: where an outline crosses itself in a sliver (4 of the 929 objects).
            assert (found > grown).sum() + (found < shrunk).sum() <= 1
    assert ours == pytest.approx(theirs, rel=0.001)
