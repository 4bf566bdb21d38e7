"""Seeds that grow until they meet, the flood of a watershed (Beucher and Lantuéjoul 1979).

OpenCV's own is not used: it goes by the difference of neighbours and not by their height, and background takes part in
it.
"""

from __future__ import annotations

import cv2
import numpy as np

LEVELS = 16  # of the flood
CROSS, SQUARE = (cv2.getStructuringElement(kind, (3, 3)) for kind in (cv2.MORPH_CROSS, cv2.MORPH_RECT))


def grow(seeds: np.ndarray, inside: np.ndarray, region: np.ndarray) -> np.ndarray:
    """int32 (H, W): each seed (1 and more) grown over ``region``, the most likely inside first; 0 elsewhere.

    A flood by falling levels, each until nothing moves: where two meet at one level they share by distance.
    """
    grown = seeds.astype(np.float32)  # OpenCV dilates no int32; whole numbers are exact up to 2^24
    for level in np.linspace(1, 0, LEVELS + 1)[1:]:
        free = region & (grown == 0) & (inside >= level)
        for step in range(max(region.shape)):  # at most; a flood that finds no free pixel ends before
            around = cv2.dilate(grown, CROSS if step % 2 else SQUARE)  # in turns: nearly round
            taken = free & (around > 0)
            if not taken.any():
                break
            grown[taken] = around[taken]
            free &= ~taken
    return grown.astype(np.int32)


def parts(numbered: np.ndarray) -> list[tuple[tuple[slice, slice], np.ndarray]]:
    """Of int32 (H, W): where each number from 1 up lies, and bool (h, w) of its pixels there."""
    if not numbered.any():
        return []
    ys, xs = np.nonzero(numbered)
    values = numbered[ys, xs]
    order = np.argsort(values, kind="stable")
    ys, xs, values = ys[order], xs[order], values[order]
    begins = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    tops, bottoms = np.minimum.reduceat(ys, begins), np.maximum.reduceat(ys, begins) + 1
    lefts, rights = np.minimum.reduceat(xs, begins), np.maximum.reduceat(xs, begins) + 1
    found = []
    for value, top, bottom, left, right in zip(values[begins], tops, bottoms, lefts, rights, strict=True):
        where = slice(int(top), int(bottom)), slice(int(left), int(right))
        found.append((where, numbered[where] == value))
    return found
