"""Augmentation that moves image and mask together. NumPy and OpenCV; the same seed gives the same picture.

The order: turn the photo (top to bottom, quarters) -> choose a window of it (scale, place, aspect, flip) -> bring it
to the network's frame -> rotate -> deform -> another background -> a second subject -> light and colour -> blur ->
grain -> JPEG.
"""

from __future__ import annotations

import cv2
import numpy as np

from imago.data.augmentation import Augmentation, Pair
from imago.data.backdrop import paste_second, replace_background
from imago.data.elastic import deform, draw_shifts
from imago.data.light import photograph
from imago.data.touching import touching_weights
from imago.data.window import choose_window, rotate, turn


def augment(
    image: np.ndarray,
    label: np.ndarray,
    frame_hw: tuple[int, int],
    how: Augmentation,
    rng: np.random.Generator,
    others: list[Pair] | None = None,
    own_scale: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One training picture: image uint8 (h, w, C), label uint8 (h, w), weight float32 (h, w).

    ``others`` are further photos (image, label), for backgrounds and second subjects. ``own_scale``: windows show the
    photo's own pixels, for nets that are used at a photo's own size (rule "pad"); else they are shares of the photo.
    """
    image, label = turn(image, label, how, rng)
    image, label = choose_window(image, label, frame_hw, how, rng, own_scale)
    if how.rotate_deg:
        image, label = rotate(image, label, rng.uniform(-how.rotate_deg, how.rotate_deg))
    if how.elastic and rng.random() < how.elastic:
        image, label = deform(image, label, draw_shifts(frame_hw, how.elastic_px, how.elastic_grid, rng))
    if others and rng.random() < how.background:
        image, label = replace_background(image, label, others, rng)
    if others and rng.random() < how.second:
        image, label = paste_second(image, label, others, how, rng)
    image = photograph(image, how, rng)
    weights = border_weights(label, how.border_px, how.border_weight)
    if how.touching:
        weights *= touching_weights(label, how.touching)
    return np.ascontiguousarray(image), label, weights


def border_weights(label: np.ndarray, width_px: float, weight: float) -> np.ndarray:
    """float32 (h, w): ``weight`` within ``width_px`` of an outline, 1 elsewhere."""
    weights = np.ones(label.shape, np.float32)
    if width_px > 0 and weight != 1:
        side = 2 * max(1, round(width_px)) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        weights[cv2.dilate(label, kernel) != cv2.erode(label, kernel)] = weight
    return weights
