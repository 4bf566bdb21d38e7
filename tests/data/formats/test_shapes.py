"""Shapes of annotation tools on a photo."""

from __future__ import annotations

import numpy as np
import pytest

from imago.core.instances import CroppedMask, Instances
from imago.data.formats.shapes import place


@pytest.mark.parametrize(
    ("left", "top", "box"),
    [
        (3, 0, (3, 0, 7, 1)),
        (11, 0, (11, 0, 12, 1)),
        (-2, -3, (0, 0, 2, 1)),
        (0, 5, None),
        (30, 0, None),
        (-9, -9, None),
    ],
)
def test_a_mask_is_cut_to_its_photo(left: int, top: int, box: tuple[int, ...] | None) -> None:
    placed = place(CroppedMask.from_mask(np.ones((4, 4), bool), left, top), (1, 12))
    if box is None:
        assert placed.area == 0
    else:
        assert placed.box == box
    Instances.make((1, 12), [[0, 0, 1, 1]], [1], [1.0], cropped=(placed,))  # which refuses what lies outside
