"""Augmentation that moves image and mask together. NumPy and OpenCV; the same seed gives the same picture.

The order: turn the photo (top to bottom, quarters) -> choose a window of it (scale, place, aspect, flip) -> bring it
to the network's frame -> rotate -> deform -> another background, or an empty scene -> a photo within a photo -> further
subjects -> light and colour -> blur -> low light -> grain -> JPEG. What a share of 0 turns off draws no random number:
older recipes see the pictures that they saw.
"""

from __future__ import annotations

import cv2
import numpy as np

from imago.data.augment.background import find_empty_scene, replace_background
from imago.data.augment.collage import make_collage
from imago.data.augment.copy_paste import copy_paste, paste_several
from imago.data.augment.crop import flip_and_rot90, random_crop, rotate
from imago.data.augment.elastic import deform, draw_shifts
from imago.data.augment.photometric import photometric_distort
from imago.data.augment.settings import Augmentation, Pair
from imago.data.augment.weights import touching_weights
from imago.data.borders import unpack_distance


def augment(
    image: np.ndarray,
    label: np.ndarray,
    frame_hw: tuple[int, int],
    settings: Augmentation,
    rng: np.random.Generator,
    others: list[Pair] | None = None,
    own_scale: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One training picture: image uint8 (h, w, C), label as it was given (h, w), weight float32 (h, w).

    ``label``: uint8 (h, w), or uint16 where ``data.borders.pack_distance`` put a distance map beside it.
    ``others`` are further photos (image, label), for backgrounds and second subjects. ``own_scale``: windows show the
    photo's own pixels, for nets that are used at a photo's own size (rule "pad"); else they are shares of the photo.
    """
    image, label = flip_and_rot90(image, label, settings, rng)
    image, label = random_crop(image, label, frame_hw, settings, rng, own_scale)
    if settings.rotate_deg:
        image, label = rotate(image, label, rng.uniform(-settings.rotate_deg, settings.rotate_deg))
    if settings.elastic and rng.random() < settings.elastic:
        image, label = deform(image, label, draw_shifts(frame_hw, settings.elastic_px, settings.elastic_grid, rng))
    scene = None
    if others and settings.empty and rng.random() < settings.empty:
        scene = find_empty_scene(frame_hw, image.shape[2], others, rng)
    if scene is not None:
        image, label = scene, np.zeros_like(label)
    elif others:
        image, label = _combine(image, label, settings, rng, others)
    image = photometric_distort(image, settings, rng)
    labels = unpack_distance(label)[0] if label.dtype == np.uint16 else label
    weights = border_weights(labels, settings.border_px, settings.border_weight)
    if settings.touching:
        weights *= touching_weights(labels, settings.touching)
    return np.ascontiguousarray(image), label, weights


def _combine(
    image: np.ndarray, label: np.ndarray, how: Augmentation, rng: np.random.Generator, others: list[Pair]
) -> Pair:
    """The picture with what other photos lend it."""
    if rng.random() < how.background:
        image, label = replace_background(image, label, others, rng, how.shadow)
    if how.collage and rng.random() < how.collage:
        image, label = make_collage(image, label, others, rng)
    if rng.random() < how.copy_paste:
        paste = copy_paste if how.pasted_max == 1 else paste_several
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
