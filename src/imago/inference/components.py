"""Leaves small separate parts out of a soft mask: crumbs of background that a cut-out model took for the subject."""

from __future__ import annotations

import cv2
import numpy as np

HALO = np.ones((5, 5), np.uint8)  # the soft edge around a speck, in pixels of the network's answer


def drop_small_components(mask: np.ndarray, share: float) -> np.ndarray:
    """float32 (h, w) 0..1 without the parts (at 0.5) that are smaller than ``share`` of the largest one."""
    if share <= 0:
        return mask
    count, parts, stats, _ = cv2.connectedComponentsWithStats((mask >= 0.5).astype(np.uint8), connectivity=8)
    if count <= 2:  # the background and at most one part
        return mask
    areas = stats[1:, cv2.CC_STAT_AREA]
    small = np.concatenate([[False], areas < share * areas.max()])
    min_component_fraction = small[parts]
    if not min_component_fraction.any():
        return mask
    kept = (parts > 0) & ~min_component_fraction
    around = cv2.dilate(min_component_fraction.astype(np.uint8), HALO).astype(bool) & ~kept
    return np.where(around, np.float32(0), mask)
