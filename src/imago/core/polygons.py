"""Outlines of objects: polygons to masks and back.

Coordinates are COCO's: pixels, corners at whole numbers, so the centre of the first pixel is 0.5, 0.5. A pixel belongs
to a polygon where its centre lies inside by the even-odd rule. (pycocotools samples at a fifth of a pixel and differs
from that at single pixels of the rim; OpenCV's fillPoly would take in every pixel that the outline touches.)
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from imago.core.instances import CroppedMask


def fill_polygons(polygons: Sequence[object], size_hw: tuple[int, int]) -> CroppedMask:
    """The pixels of an image of ``size_hw`` that lie in any of the ``polygons``, each (n, 2) or flat x y x y ...

    Raises ValueError where a polygon has fewer than three corners, half a corner, or a coordinate that is no number.
    """
    rings = [read_corners(polygon) for polygon in polygons]
    if not rings:
        raise ValueError("an outline needs at least one polygon; got none")
    every = np.concatenate(rings)
    height, width = size_hw
    left, top = np.clip(np.floor(every.min(axis=0)), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(every.max(axis=0)), (left, top), (width, height)).astype(int)
    crop = np.zeros((bottom - top, right - left), bool)
    for ring in rings:
        crop |= _inside(ring - (left, top), crop.shape)
    return CroppedMask.from_mask(crop, int(left), int(top))


def read_corners(polygon: object) -> np.ndarray:
    """(n, 2), or flat x y x y ... -> float64 (n, 2). Raises ValueError as ``fill_polygons``."""
    given = np.asarray(polygon, np.float64)
    if given.size < 6 or given.size % 2 or not (given.ndim == 1 or given.shape[1:] == (2,)):
        raise ValueError(f"a polygon is no list of x and y of three corners or more; got {given.size} numbers")
    if not np.isfinite(given).all():
        raise ValueError("a polygon has a coordinate that is no number")
    return given.reshape(-1, 2)


def _inside(ring: np.ndarray, size_hw: tuple[int, ...]) -> np.ndarray:
    """bool (h, w): every row of centres is crossed by some edges; pixels right of an odd number of them are inside."""
    height, width = size_hw
    start = ring - 0.5  # now the first pixel's centre is 0, 0
    end = np.roll(start, -1, axis=0)
    # Upper end first, so that an edge walked there and back (a bridge to a hole) is crossed at the same place twice.
    turned = ((end[:, 1] < start[:, 1]) | ((end[:, 1] == start[:, 1]) & (end[:, 0] < start[:, 0])))[:, None]
    start, end = np.where(turned, end, start), np.where(turned, start, end)
    first = np.clip(np.ceil(start[:, 1]), 0, height).astype(np.int64)
    count = np.clip(np.ceil(end[:, 1]), 0, height).astype(np.int64) - first
    edge = np.repeat(np.arange(len(ring)), count)
    row = np.arange(edge.size) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    (x, y), (x_end, y_end) = start[edge].T, end[edge].T
    column = np.clip(np.ceil(x + (row - y) * (x_end - x) / (y_end - y)), 0, width).astype(np.int64)
    crossings = np.bincount(row * (width + 1) + column, minlength=height * (width + 1)).reshape(height, width + 1)
    return np.cumsum(crossings, axis=1)[:, :width] % 2 == 1


def trace_parts(mask: CroppedMask) -> list[list[np.ndarray]]:
    """The parts of the mask, each as rings float64 (n, 2) in pixels of the image: its rim, then those of its holes.

    They run a quarter of a pixel inside the mask's rim, so that no pixel's centre lies on them.
    """
    # Twice as large, so that the contour, which OpenCV leads through pixels, does not cut their centres.
    twice = mask.crop.repeat(2, axis=0).repeat(2, axis=1).astype(np.uint8)
    if not twice.size:
        return []
    contours, tree = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [(contour[:, 0] + 0.5) / 2 + (mask.left, mask.top) for contour in contours]
    parents = [int(node[3]) for node in tree[0]]
    holes: dict[int, list[np.ndarray]] = {index: [] for index, parent in enumerate(parents) if parent < 0}
    for ring, parent in zip(rings, parents, strict=True):
        if parent >= 0:
            holes[parent].append(ring)
    return [[rings[index], *inner] for index, inner in holes.items()]


def outline(mask: CroppedMask) -> list[np.ndarray]:
    """Polygons float64 (n, 2) in pixels of the image, one a part of the mask, that ``fill_polygons`` turns into the
    same mask. A hole is joined to its part by an edge that is walked there and back: COCO and YOLO know no holes, and
    the even-odd rule leaves the hole out all the same."""
    return [join_rings(rings) for rings in trace_parts(mask)]


MOST_CORNERS = 1500  # past which a ring is not looked at: each side is compared with each


def crosses_itself(ring: object) -> bool:
    """Whether two sides of a polygon, (n, 2) or flat x y x y ..., cross (corners that touch, and edges that are walked
    there and back, do not). Large rings, past MOST_CORNERS, are not looked at."""
    start = read_corners(ring)
    if len(start) > MOST_CORNERS:
        return False
    end = np.roll(start, -1, axis=0)

    def side(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        """On which side of the line from a to b each c lies: (n, n)."""
        along = (b - a)[:, None]
        to = c[None] - a[:, None]
        return np.asarray(np.sign(along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0]))

    apart = side(start, end, start) * side(start, end, end) < 0
    return bool((apart & apart.T).any())


def join_rings(rings: Sequence[np.ndarray]) -> np.ndarray:
    """Several polygons (n, 2) as one, by edges that are walked there and back; the even-odd inside is the same."""
    whole = rings[0]
    for ring in rings[1:]:
        nearest = int(np.argmin(((whole - ring[0]) ** 2).sum(axis=1)))
        whole = np.concatenate([whole[: nearest + 1], ring, ring[:1], whole[nearest:]])
    return whole
