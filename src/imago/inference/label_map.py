"""From class scores at the network's size to one class a pixel of the photo, a strip of rows at a time."""

from __future__ import annotations

import cv2
import numpy as np

STRIP_PIXELS = 1 << 18  # a strip's three planes (1 MB each) stay in the processor's cache


def enlarge_labels(scores: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """float32 (K, h, w) -> uint8 (H, W), uint16 from 255 classes on: the class with the highest score after bilinear
    enlarging, the first of equals. The same as ``scores`` enlarged by ``cv2.resize`` and then ``argmax``, without the
    K * H * W floats that this would take.
    """
    classes, height, width = scores.shape[0], *size_hw
    labels = np.empty(size_hw, np.uint8 if classes < 255 else np.uint16)
    upper, lower, share = _rows(scores.shape[1], height)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = slice(top, min(height, top + rows))
        weight = share[strip, None]
        out = labels[strip]
        out[:] = 0
        best: np.ndarray | None = None
        for value in range(classes):
            plane = scores[value]
            blended = plane[upper[strip]] * (1 - weight) + plane[lower[strip]] * weight  # (rows, w)
            wide = cv2.resize(blended, (width, blended.shape[0]), interpolation=cv2.INTER_LINEAR)  # (rows, W)
            if best is None:
                best = wide
                continue
            np.copyto(out, labels.dtype.type(value), where=wide > best)
            cv2.max(best, wide, dst=best)
    return labels


def _rows(given: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each output row: the source rows above and below its centre, and the lower one's share (float32)."""
    center = np.clip((np.arange(wanted) + 0.5) * (given / wanted) - 0.5, 0, given - 1)
    upper = np.floor(center).astype(np.intp)
    return upper, np.minimum(upper + 1, given - 1), (center - upper).astype(np.float32)
