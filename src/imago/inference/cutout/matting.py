"""Hair and other soft edges: a second guided filter, at about the photo's own detail.

The first one (alpha.py) works at the network's size and cannot see a strand. The second takes its answer at
``alpha.small_size`` and asks again, with windows that are wide enough to hold strands and background together.
Chosen before closed-form matting by what it costs and gains: docs/decisions/0003-matting.md.
"""

from __future__ import annotations

import numpy as np

from imago.inference.cutout.alpha import AlphaMap, AlphaRows, small_size

RADIUS = 0.01  # of the windows, as a share of the longer side
EPSILON = 1e-5  # variance, on the 0..1 scale, below which a window counts as flat: hair on dark ground counts
CONTRAST = 1.2  # the edge was steepened once; wisps must stay


def matte(alpha: AlphaRows, pixels: np.ndarray) -> AlphaMap:
    """``alpha`` with its soft edges found again in the photo, uint8 (H, W, C)."""
    size_hw = small_size(alpha.size_hw)
    return AlphaMap(
        low=alpha.reduce(size_hw),
        pixels=pixels,
        radius=max(2, round(RADIUS * max(size_hw))),
        epsilon=EPSILON,
        contrast=CONTRAST,
    )
