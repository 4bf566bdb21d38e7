"""How much more the pixels between two objects count in training: the weight map of the U-Net paper.

Ronneberger, Fischer and Brox 2015 (arXiv:1505.04597), equation 2: w0 * exp(-(d1 + d2)² / (2 sigma²)), with the
distances to the nearest and the second nearest cell. Differs from it:
- it is added to 1, for class weights are a setting by themselves;
- distances are to the insides of a border map (``data.borders``), so the two rims are between the objects as well;
- it is drawn for the picture as it is shown, moved and enlarged, not for the photo.
"""

from __future__ import annotations

import cv2
import numpy as np

from imago.core.labels import IGNORE
from imago.data.borders import INSIDE

SIGMA_PX = 5.0  # the paper's
REACH_PX = round(3 * SIGMA_PX)  # further apart a weight is below a ninetieth of w0


def touching_weights(label: np.ndarray, most: float) -> np.ndarray:
    """float32 (H, W), 1 to 1 + ``most`` (w0), of a border map uint8 (H, W). Insides count 1."""
    inside = (label >= INSIDE) & (label != IGNORE)
    count, numbered, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=4)
    nearest = np.full(label.shape, np.inf, np.float32)
    second = np.full(label.shape, np.inf, np.float32)
    for number in range(1, count):
        left, top, width, height = (int(value) for value in stats[number, :4])
        around = (
            slice(max(0, top - REACH_PX), top + height + REACH_PX),
            slice(max(0, left - REACH_PX), left + width + REACH_PX),
        )
        other = (numbered[around] != number).astype(np.uint8)
        away = cv2.distanceTransform(other, cv2.DIST_L2, 5)
        second[around] = np.minimum(second[around], np.maximum(nearest[around], away))
        nearest[around] = np.minimum(nearest[around], away)
    between = np.exp(-((nearest + second) ** 2) / (2 * SIGMA_PX**2))
    return (1 + most * np.where(inside, 0, between)).astype(np.float32)
