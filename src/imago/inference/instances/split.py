"""Objects that hang together by a neck, split by their shape alone: for round objects, as cells, seeds or berries.

The depth of a pixel is its distance to the outline. A deep place is a part by itself where the way to a deeper one goes
through a neck, whose depth is less than a share of its own; the parts then flood the depths, the deepest first (the
watershed of the distance map: Beucher and Lantuéjoul 1979, Vincent and Soille 1991). A share is the same for small
and large objects, where a depth in pixels would not be. What still hangs together without a neck has a bay, which its
``solidity`` shows.
"""

from __future__ import annotations

import cv2
import numpy as np

from imago.inference.flood import SQUARE, grow, parts

LEVELS = 24  # of depth, from the deepest to 0
SMOOTH_PX = 1.0  # an outline of pixels has a maximum of depth at every other step of it

Part = tuple[tuple[slice, slice], np.ndarray]  # where it lies in the crop, and bool (h, w) of its pixels there


def split_by_shape(crop: np.ndarray, neck: float, least_px: int) -> list[Part]:
    """Parts of one object, bool (H, W) without holes; one part, all of it, where no neck is narrow enough.

    ``neck``: 0..1, how deep a neck may at most be, as a share of the depth of the shallower part; 0: no splitting.
    Parts of less than ``least_px`` pixels join what they hang on.
    """
    whole = [((slice(0, crop.shape[0]), slice(0, crop.shape[1])), crop)]
    if not neck or np.count_nonzero(crop) < 2 * least_px:
        return whole
    depth = cv2.distanceTransform(np.pad(crop, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    depth = cv2.GaussianBlur(depth, (0, 0), SMOOTH_PX) * crop
    highest = (depth > 0) & (depth == cv2.dilate(depth, SQUARE))
    if (
        cv2.connectedComponents(highest.astype(np.uint8))[0] <= 2
    ):  # one deepest place, as most have; the other is outside
        return whole
    seeds = find_deep_points(depth, neck)
    while True:
        found = parts(grow(seeds, depth / depth.max(), crop))
        areas = [np.count_nonzero(part) for _, part in found]
        if len(found) < 2:
            return whole
        if min(areas) >= least_px:
            return found
        (rows, columns), part = found[int(np.argmin(areas))]
        seeds[rows, columns][part] = 0


def find_deep_points(depth: np.ndarray, neck: float) -> np.ndarray:
    """int32 (H, W): the deep places of float32 (H, W) that necks part, numbered from 1; 0 elsewhere."""
    places = np.zeros(depth.shape, np.int32)
    deepest = [0.0]  # of each place
    for level in np.linspace(float(depth.max()), 0, LEVELS + 1)[1:-1]:
        count, islands = cv2.connectedComponents((depth >= level).astype(np.uint8), connectivity=8)
        for island in range(1, count):
            here = islands == island
            known = np.unique(places[here])
            known = known[known > 0]
            if not known.size:  # it has just come up
                deepest.append(float(depth[here].max()))
                known = np.array([len(deepest) - 1])
            first, *others = sorted(known, key=lambda place: -deepest[place])
            joined = [place for place in others if level > neck * deepest[place]]  # no neck lies between them
            places[np.isin(places, joined)] = first
            if len(joined) == len(others):
                places[here] = first
    return places


def solidity(crop: np.ndarray) -> float:
    """Share (0..1] that an object, bool (H, W) with a pixel or more, fills of its convex hull: 1 for what is round."""
    outlines, _ = cv2.findContours(crop.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.convexHull(np.concatenate(outlines))
    return np.count_nonzero(crop) / np.count_nonzero(cv2.fillConvexPoly(np.zeros(crop.shape, np.uint8), hull, 1))
