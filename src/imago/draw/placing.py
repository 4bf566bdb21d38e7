"""Names beside dots, none over another. Lengths in pixels, x to the right and y down; a box is x1 y1 x2 y2.

Each name takes the first free of the eight places around its dot; where all are taken the nearest free place in the
chart, to which a line leads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HIGH = 13.0  # of a line of text
DOT = 4.5  # radius
GAP = 2.5  # between dot and name
MARGIN = (5.0, 0.0)  # between names, across and down
STEP_X, STEP_Y = 6.0, 4.0  # between the places that are tried further away


@dataclass(frozen=True)
class PlacedName:
    """Where a name stands."""

    box: tuple[float, float, float, float]
    line: tuple[float, float, float, float] | None  # from its dot to it, where it does not stand beside it


def place_names(
    dots: Sequence[tuple[float, float]],
    widths: Sequence[float],
    room: tuple[float, float, float, float],
    drawn: Sequence[tuple[float, float, float, float]] = (),
) -> list[PlacedName] | None:
    """A place in the box ``room`` for a name of each width; the first ones have the choice. None where they do not fit.

    Names cover no other name; no dot and none of the lines to names either, where that can be. Of the places beside a
    dot the first one is taken that is not crossed by the lines ``drawn`` in the chart, x1 y1 x2 y2, if there is one.
    """
    chart_lines = np.array(drawn, float).reshape(-1, 4)
    centers = np.array(dots, float).reshape(-1, 2)
    dot_boxes = np.concatenate([centers - DOT, centers + DOT], axis=1)
    taken, lines = np.zeros((0, 4)), np.zeros((0, 4))
    placed = []
    for (x, y), width in zip(centers, widths, strict=True):
        spread = taken + np.array([*np.negative(MARGIN), *MARGIN])
        near = _inside(_beside(x, y, width), room)
        near = near[_apart(near, spread) & _apart(near, dot_boxes) & ~_meet(lines, near).any(axis=0)]
        line = None
        if len(near):
            box = near[int(_meet(chart_lines, near).any(axis=0).argmin())]
        else:
            far = _inside(_everywhere(width, room), room)
            far = far[_apart(far, spread)]
            if not len(far):
                return None
            ways = np.concatenate([np.tile([x, y], (len(far), 1)), _nearest(x, y, far)], axis=1)
            others = dot_boxes[np.hypot(*(centers - (x, y)).T) > 2 * DOT]  # a line cannot but leave by those near it
            faults = _meet(ways, taken).sum(axis=1) + _meet(ways, others).sum(axis=1) + _meet(lines, far).sum(axis=0)
            length = np.hypot(ways[:, 2] - x, ways[:, 3] - y)
            best = int(np.lexsort([length, faults + ~_apart(far, dot_boxes)])[0])
            box, line = far[best], ways[best]
            lines = np.vstack([lines, line])
        taken = np.vstack([taken, box])
        placed.append(PlacedName(_plain(box), None if line is None else _plain(line)))
    return placed


def _beside(x: float, y: float, width: float) -> np.ndarray:
    """float (8, 4): to the upper right first."""
    off, middle = DOT + GAP, y - HIGH / 2
    right, left, above, below = x + off, x - off - width, y - off - HIGH + 4, y + off - 4
    corners = [
        (right, above), (left, above), (right, middle), (left, middle), (right, below), (left, below),
        (x - width / 2, y - off - HIGH), (x - width / 2, y + off),
    ]  # fmt: skip
    return _boxes(np.array(corners), width)


def _everywhere(width: float, room: tuple[float, float, float, float]) -> np.ndarray:
    xs, ys = np.arange(room[0], room[2] - width + 0.01, STEP_X), np.arange(room[1], room[3] - HIGH + 0.01, STEP_Y)
    return _boxes(np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2), width)


def _boxes(corners: np.ndarray, width: float) -> np.ndarray:
    corners = corners.round(1)
    return np.concatenate([corners, corners + np.array([width, HIGH])], axis=1)


def _inside(boxes: np.ndarray, room: tuple[float, float, float, float]) -> np.ndarray:
    return boxes[(boxes[:, :2] >= room[:2]).all(axis=1) & (boxes[:, 2:] <= room[2:]).all(axis=1)]


def _apart(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """bool (M,): which of (M, 4) meet none of (K, 4)."""
    one, two = boxes[:, None], others[None]
    meet = np.all((one[..., :2] < two[..., 2:]) & (two[..., :2] < one[..., 2:]), axis=2)
    return np.asarray(~np.any(meet, axis=1))


def _nearest(x: float, y: float, boxes: np.ndarray) -> np.ndarray:
    """float (M, 2): the point of each box that is nearest."""
    return np.clip((x, y), boxes[:, :2], boxes[:, 2:])


def _meet(lines: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """bool (M, K): which lines go through which boxes. A part of the line lies between the box's sides both along x and
    along y (Liang and Barsky 1984)."""
    start, way = lines[:, None, :2], lines[:, None, 2:] - lines[:, None, :2]
    way = np.where(np.abs(way) < 1e-9, 1e-9, way)
    one, two = (boxes[None, :, :2] - start) / way, (boxes[None, :, 2:] - start) / way
    enters, leaves = np.minimum(one, two).max(axis=2), np.maximum(one, two).min(axis=2)
    return np.maximum(enters, 0) < np.minimum(leaves, 1)


def _plain(values: np.ndarray) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (round(float(value), 1) for value in values)
    return x1, y1, x2, y2
