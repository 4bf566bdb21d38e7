"""Augmentation that moves image and mask together. NumPy and OpenCV; the same seed gives the same picture.

The order: turn the photo (top to bottom, quarters) -> choose a window of it (scale, place, aspect, flip) -> bring it
to the network's frame -> rotate -> deform -> another background, or an empty scene -> a photo within a photo -> further
subjects -> light and colour -> blur -> low light -> grain -> JPEG. What a share of 0 turns off draws no random number:
older recipes see the pictures that they saw.
"""

from __future__ import annotations

import cv2
import numpy as np

from imago.data.augmentation import Augmentation, Pair
from imago.data.backdrop import find_empty_scene, replace_background
from imago.data.collage import make_collage
from imago.data.copy_paste import paste_second, paste_several
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
    scene = None
    if others and how.empty and rng.random() < how.empty:
        scene = find_empty_scene(frame_hw, image.shape[2], others, rng)
    if scene is not None:
        image, label = scene, np.zeros_like(label)
    elif others:
        image, label = _combine(image, label, how, rng, others)
    image = photograph(image, how, rng)
    weights = border_weights(label, how.border_px, how.border_weight)
    if how.touching:
        weights *= touching_weights(label, how.touching)
    return np.ascontiguousarray(image), label, weights


def _combine(
    image: np.ndarray, label: np.ndarray, how: Augmentation, rng: np.random.Generator, others: list[Pair]
) -> Pair:
    """The picture with what other photos lend it."""
    if rng.random() < how.background:
        image, label = replace_background(image, label, others, rng, how.shadow)
    if how.collage and rng.random() < how.collage:
        image, label = make_collage(image, label, others, rng)
    if rng.random() < how.second:
        paste = paste_second if how.pasted_max == 1 else paste_several
        image, label = paste(image, label, others, how, rng)
    return image, label


def border_weights(label: np.ndarray, width_px: float, weight: float) -> np.ndarray:
    """float32 (h, w): ``weight`` within ``width_px`` of an outline, 1 elsewhere."""
    weights = np.ones(label.shape, np.float32)
    if width_px > 0 and weight != 1:
        side = 2 * max(1, round(width_px)) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        weights[cv2.dilate(label, kernel) != cv2.erode(label, kernel)] = weight
    return weights
