"""Parts of an image, each warped to one size: what R-CNN is shown of a proposal (arXiv:1311.2524, appendix A).

NumPy and OpenCV, for training and for use with and without torch.
"""

from __future__ import annotations

import cv2
import numpy as np

from imago.core.input_spec import InputSpec


def add_padding(boxes: np.ndarray, crop: int, padding: int) -> np.ndarray:
    """float (K, 4): boxes so enlarged that, warped to ``crop`` pixels, each has ``padding`` pixels around it."""
    if not 0 <= 2 * padding < crop:
        raise ValueError(f"padding must leave room in a crop of {crop} pixels; got {padding} at each side")
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * (crop / (crop - 2 * padding))
    return np.concatenate([center - half, center + half], axis=1)


def warp_crop(image: np.ndarray, region: np.ndarray, crop: int, spec: InputSpec) -> np.ndarray:
    """The region x1 y1 x2 y2 of a uint8 (H, W, 3) image, stretched to uint8 (crop, crop, 3), bilinear; what lies
    outside of the image is the mean colour."""
    x1, y1, x2, y2 = (float(value) for value in region)
    step_x, step_y = (x2 - x1) / crop, (y2 - y1) / crop
    # Pixel i has its centre at i + 0.5, of the crop as of the image; OpenCV counts from centre to centre.
    matrix = np.array([[step_x, 0, x1 + 0.5 * step_x - 0.5], [0, step_y, y1 + 0.5 * step_y - 0.5]], np.float64)
    mean = tuple(round(255 * value) for value in spec.mean)
    return cv2.warpAffine(
        image, matrix, (crop, crop), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT,
        borderValue=mean,
    )  # fmt: skip


def crop_boxes(image: np.ndarray, boxes: np.ndarray, spec: InputSpec, padding: int) -> np.ndarray:
    """float32 (K, 3, S, S), normalised: what the net is shown for each box. S is the spec's size."""
    crop = spec.size_hw[0]
    regions = add_padding(boxes, crop, padding)
    made = [spec.normalize(warp_crop(image, region, crop, spec)) for region in regions]
    return np.stack(made) if made else np.zeros((0, 3, crop, crop), np.float32)
