"""Elastic deformation: tissue and other soft objects, pulled about a little.

Ronneberger et al. 2015 (arXiv:1505.04597), section 3.1: random displacement vectors on a coarse 3 x 3 grid, drawn from
a Gaussian of 10 pixels standard deviation; the displacements of the pixels by bicubic interpolation. Their tiles are
about 512 pixels wide: here 10 means 10 at that side and less in a smaller frame, which so is bent alike.

The paper does not say where the grid lies. Here its outer points lie on the corners of the frame, so that the border is
moved as well; past them it goes on straight.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from imago.data.augment.settings import Pair

SIDE = 512  # pixels, of the frame that ``spread_px`` is meant for

# Catmull-Rom's spline: a row each for 1, t, t^2, t^3; a column each for the two points before t and the two after it.
_CUBIC = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2


def draw_shifts(size_hw: tuple[int, int], spread_px: float, grid: int, rng: np.random.Generator) -> np.ndarray:
    """float64 (grid, grid, 2): how far each point goes down and to the right, in pixels of a frame of ``size_hw``.

    ``spread_px`` is the standard deviation for a frame of 512 x 512.
    """
    return rng.normal(0.0, spread_px / SIDE * math.sqrt(size_hw[0] * size_hw[1]), (grid, grid, 2))


def deform(image: np.ndarray, label: np.ndarray, shifts: np.ndarray) -> Pair:
    """Image uint8 (h, w, C), bilinear, and label uint8 (h, w), nearest: no value is made up.

    ``shifts`` (G, G, 2) down and right, in pixels, G at least 2. Each pixel shows what lies its shift away; what comes
    from past the border is its mirror image, as in ``window.rotate``.
    """
    height, width = label.shape
    map_y, map_x = displacements(shifts, (height, width))
    map_y += np.arange(height, dtype=np.float32)[:, None]
    map_x += np.arange(width, dtype=np.float32)
    border = cv2.BORDER_REFLECT_101
    moved = cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderMode=border)
    moved_label = cv2.remap(label, map_x, map_y, cv2.INTER_NEAREST, borderMode=border)
    return moved.reshape(image.shape), moved_label


def displacements(shifts: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """float32 (2, h, w): the shift of every pixel, down and right, bicubic between those of the grid, (G, G, 2)."""
    down, across = (_weights(length, len(shifts)).astype(np.float32) for length in size_hw)  # (h, G), (w, G)
    # Products of matrices: 0.2 ms for 512 x 512 pixels; the same as one einsum takes 19 ms.
    return down @ shifts.astype(np.float32).transpose(2, 0, 1) @ across.T


def _weights(length: int, points: int) -> np.ndarray:
    """float64 (length, points): what each point of the grid counts at each pixel of a side. A row sums to 1."""
    place = np.linspace(0, points - 1, length)
    before = np.minimum(place.astype(int), points - 2)  # the point of the grid before each pixel
    four = np.power.outer(place - before, np.arange(4)) @ _CUBIC  # (length, 4)
    # A point past either end, in terms of the two next to it.
    around = np.zeros((points + 2, points))
    around[1:-1] = np.eye(points)
    around[0, [0, 1]] = around[-1, [-1, -2]] = (2, -1)
    return np.einsum("lk,lkp->lp", four, around[before[:, None] + np.arange(4)])
