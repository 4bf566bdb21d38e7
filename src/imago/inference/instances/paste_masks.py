"""From the small mask in a box to the pixels of the image, one object's rectangle at a time.

The rules are torchvision's (``paste_masks_in_image`` at 0.29): a rim of zeros round the mask, the box grown with it and
its corners cut to whole pixels, the last one counted in; bilinear between the centres of the mask's cells. K masks at
full size, which torchvision makes, are never made: 1,000 of 12 megapixels would take 12 GB.
"""

from __future__ import annotations

import cv2
import numpy as np

from imago.core.instances import CroppedMask

INSIDE = 0.5  # from this value on a pixel is the object's


def paste(mask: np.ndarray, box: np.ndarray, image_hw: tuple[int, int]) -> CroppedMask:
    """float32 (m, m), 0..1, stretched over ``box`` (4,) x1 y1 x2 y2 in pixels of an image of ``image_hw``.

    What reaches out of the image is cut off.
    """
    side = mask.shape[0]
    framed = np.zeros((side + 2, side + 2), np.float32)
    framed[1:-1, 1:-1] = mask
    grow = np.float32((side + 2) / side)
    box = np.asarray(box, np.float32)
    center = (box[2:] + box[:2]) * np.float32(0.5)
    half = (box[2:] - box[:2]) * np.float32(0.5) * grow
    left, top = (int(v) for v in center - half)
    right, bottom = (int(v) + 1 for v in center + half)
    width, height = max(right - left, 1), max(bottom - top, 1)
    first_x, first_y = max(left, 0), max(top, 0)
    last_x, last_y = min(left + width, image_hw[1]), min(top + height, image_hw[0])
    if last_x <= first_x or last_y <= first_y:
        return CroppedMask(min(first_x, image_hw[1]), min(first_y, image_hw[0]), (0, 0), b"")
    large = cv2.resize(framed, (width, height), interpolation=cv2.INTER_LINEAR)
    seen = large[first_y - top : last_y - top, first_x - left : last_x - left]
    return CroppedMask.from_mask(seen >= INSIDE, first_x, first_y)
