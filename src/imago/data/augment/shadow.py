"""Drawn shadows: what a subject throws onto the place that it is put into. They change pixels, never labels."""

from __future__ import annotations

import cv2
import numpy as np

REDUCED = 4  # a soft shadow is drawn at a quarter of the size, which takes a tenth of the time


def cast_shadow(backdrop: np.ndarray, subject: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (h, w, C): ``backdrop`` with the soft shadow of ``subject`` (bool (h, w), where it will stand).

    A subject whose foot is to be seen throws it on the ground, or on a wall behind, and has a contact shadow along its
    lower edge; one that the frame cuts off below, on a wall alone.
    """
    rows = np.flatnonzero(subject.any(axis=1))
    if not len(rows):
        return backdrop
    height, width = subject.shape
    side = max(height, width) / REDUCED
    small_wh = (max(1, width // REDUCED), max(1, height // REDUCED))
    mask = cv2.resize(subject.astype(np.float32), small_wh, interpolation=cv2.INTER_AREA)
    top, foot = rows[0] / REDUCED, (rows[-1] + 1) / REDUCED
    stands = rows[-1] < height - 2
    if stands and rng.random() < 0.65:
        lean, squash = rng.uniform(-1.2, 1.2), rng.uniform(0.15, 0.6)
        squash = -squash if rng.random() < 0.3 else squash  # the light behind the subject: it falls towards us
        move = np.array([[1, -lean, lean * foot], [0, squash, foot * (1 - squash)]])
    else:
        move = np.array([[1, 0, rng.choice((-1, 1)) * rng.uniform(0.01, 0.08) * side], [0, 1, 0]])
        move[1, 2] = rng.uniform(-0.01, 0.05) * side
    shadow = cv2.warpAffine(mask, move, small_wh, flags=cv2.INTER_LINEAR)
    shadow = cv2.GaussianBlur(shadow, (0, 0), max(0.3, side * rng.uniform(0.006, 0.04))) * rng.uniform(0.1, 0.5)
    if stands:
        edge = mask.copy()
        edge[: int(foot - 0.06 * (foot - top))] = 0
        down = np.array([[1, 0, 0], [0, 1, 0.01 * side + 0.25]])
        edge = cv2.warpAffine(edge, down, small_wh, flags=cv2.INTER_LINEAR)
        shadow = np.maximum(shadow, cv2.GaussianBlur(edge, (0, 0), 0.01 * side + 0.2) * rng.uniform(0.2, 0.5))
    return darken(backdrop, shadow)


def darken(image: np.ndarray, shadow: np.ndarray) -> np.ndarray:
    """uint8 (h, w, C): darker by ``shadow``, a share 0..1 a pixel, float32 of any smaller size."""
    shadow = cv2.resize(shadow, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    image = np.ascontiguousarray(image)
    return cv2.blendLinear(image, np.zeros_like(image), 1 - shadow, shadow).reshape(image.shape)
