"""What people draw in annotation tools (boxes, polygons with holes, ellipses, lines, points, brushed masks), as masks.

Coordinates are those of core.polygons: pixels, corners at whole numbers. A shape is drawn when its photo is asked for;
what can be said without drawing is checked before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np

from imago.core.instances import CroppedMask
from imago.core.polygons import fill_polygons, join_rings

Bounds = tuple[float, float, float, float]  # x1 y1 x2 y2
_FAR = 1e6  # pixels; OpenCV counts in 32 bits with fractions
_FRACTION = 4  # bits of OpenCV's fractions of a pixel


class Shape(Protocol):
    """One outline."""

    @property
    def is_box(self) -> bool:
        """Whether it is an upright rectangle, which says where an object is and not how it runs."""
        ...

    @property
    def bounds(self) -> Bounds | None:
        """Its rectangle; None where that is known only when it is drawn."""
        ...

    def draw(self, size_hw: tuple[int, int]) -> CroppedMask:
        """Its pixels in a photo of ``size_hw``; what lies outside is cut. Raises ValueError for what is damaged."""
        ...


@dataclass(frozen=True)
class Box:
    """An upright rectangle."""

    x1: float
    y1: float
    x2: float
    y2: float

    is_box = True

    @property
    def bounds(self) -> Bounds:
        return self.x1, self.y1, self.x2, self.y2

    def draw(self, size_hw: tuple[int, int]) -> CroppedMask:
        return fill_polygons([[self.x1, self.y1, self.x2, self.y1, self.x2, self.y2, self.x1, self.y2]], size_hw)


@dataclass(frozen=True)
class Polygon:
    """Rings float64 (n, 2): the first is the rim, others are holes (by the even-odd rule)."""

    rings: tuple[np.ndarray, ...] = field(repr=False)

    is_box = False

    @property
    def bounds(self) -> Bounds:
        return _bounds(np.concatenate(self.rings))

    def draw(self, size_hw: tuple[int, int]) -> CroppedMask:
        return fill_polygons([join_rings(self.rings)], size_hw)


@dataclass(frozen=True)
class Ellipse:
    """An ellipse, or a circle; ``angle_deg`` turns it clockwise, as the picture is seen."""

    x: float
    y: float
    across: float  # half the axis that lies level where the angle is 0
    down: float
    angle_deg: float = 0.0

    is_box = False

    @property
    def bounds(self) -> Bounds:
        angle = math.radians(self.angle_deg)
        half_width = math.hypot(self.across * math.cos(angle), self.down * math.sin(angle))
        half_height = math.hypot(self.across * math.sin(angle), self.down * math.cos(angle))
        return self.x - half_width, self.y - half_height, self.x + half_width, self.y + half_height

    def draw(self, size_hw: tuple[int, int]) -> CroppedMask:
        left, top, right, bottom = _crop(self.bounds, size_hw)
        y, x = np.mgrid[top:bottom, left:right] + 0.5 - np.array([self.y, self.x]).reshape(2, 1, 1)
        angle = math.radians(self.angle_deg)
        along = (x * math.cos(angle) + y * math.sin(angle)) / self.across
        beside = (y * math.cos(angle) - x * math.sin(angle)) / self.down
        return CroppedMask.from_mask(along**2 + beside**2 <= 1, left, top)


@dataclass(frozen=True)
class Line:
    """Points float64 (n, 2), joined by lines of ``width_px``."""

    points: np.ndarray = field(repr=False)
    width_px: int

    is_box = False

    @property
    def bounds(self) -> Bounds:
        x1, y1, x2, y2 = _bounds(self.points)  # without the width: what is drawn along a rim does not stick out
        across, down = (0.25 if low == high else 0.0 for low, high in ((x1, x2), (y1, y2)))
        return x1 - across, y1 - down, x2 + across, y2 + down

    def draw(self, size_hw: tuple[int, int]) -> CroppedMask:
        x1, y1, x2, y2 = self.bounds
        half = self.width_px / 2 + 1
        left, top, right, bottom = _crop((x1 - half, y1 - half, x2 + half, y2 + half), size_hw)
        canvas = np.zeros((bottom - top, right - left), np.uint8)
        points = np.clip(self.points - (left + 0.5, top + 0.5), -_FAR, _FAR) * 2**_FRACTION
        if canvas.size:
            cv2.polylines(canvas, [points.round().astype(np.int32)], False, 1, self.width_px, cv2.LINE_8, _FRACTION)
        return CroppedMask.from_mask(canvas > 0, left, top)


@dataclass(frozen=True)
class Raster:
    """A mask that the file holds packed, unpacked when it is drawn. ``unpack`` is given the photo's size."""

    unpack: Callable[[tuple[int, int]], CroppedMask]

    is_box = False
    bounds = None

    def draw(self, size_hw: tuple[int, int]) -> CroppedMask:
        return place(self.unpack(size_hw), size_hw)


def place(mask: CroppedMask, size_hw: tuple[int, int]) -> CroppedMask:
    """``mask``, cut to a photo of ``size_hw``; one that lies outside is empty."""
    left, top, right, bottom = mask.box
    height, width = size_hw
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        return mask
    rows, columns = (slice(max(0, -start), max(0, end - start)) for start, end in ((top, height), (left, width)))
    return CroppedMask.from_mask(mask.crop[rows, columns], min(max(left, 0), width), min(max(top, 0), height))


def polygon(*rings: object) -> Polygon:
    """Rings, each (n, 2) or flat x y x y ... Raises ValueError where one is no ring of three corners or more."""
    read = []
    for ring in rings:
        corners = to_points(ring)
        if len(corners) < 3:
            raise ValueError(f"a polygon needs three corners or more; got {len(corners)}")
        read.append(corners)
    return Polygon(tuple(read))


def box(x1: object, y1: object, x2: object, y2: object) -> Box:
    """Two opposite corners, in whatever order. Raises ValueError."""
    (left, right), (top, bottom) = sorted((number(x1), number(x2))), sorted((number(y1), number(y2)))
    return Box(left, top, right, bottom)


def turned_box(x: float, y: float, width: float, height: float, angle_deg: float) -> Box | Polygon:
    """A rectangle whose upper left corner is x, y, turned about that corner, clockwise as the picture is seen."""
    if angle_deg % 360 == 0:
        return box(x, y, x + width, y + height)
    angle = math.radians(angle_deg)
    along = np.array([math.cos(angle), math.sin(angle)])
    beside = np.array([-math.sin(angle), math.cos(angle)])
    corner = np.array([x, y])
    far = corner + width * along
    return polygon(np.stack([corner, far, far + height * beside, corner + height * beside]))


def ellipse(x: object, y: object, across: object, down: object, angle_deg: object = 0.0) -> Ellipse:
    """Raises ValueError for radii that are none."""
    values = [number(value) for value in (x, y, across, down, angle_deg)]
    if values[2] <= 0 or values[3] <= 0:
        raise ValueError(f"an ellipse of the radii {values[2]:g} and {values[3]:g} has no pixel")
    return Ellipse(*values)


def line(points: object, width_px: int) -> Line:
    """Points joined by lines, or a single point. Raises ValueError."""
    read = to_points(points)
    if not len(read):
        raise ValueError("a line has no point")
    return Line(read, width_px)


def point(place: Sequence[object], width_px: int) -> Ellipse:
    """A point x, y, as a disc of ``width_px`` across."""
    x, y = place
    return ellipse(x, y, width_px / 2, width_px / 2)


def to_points(values: object) -> np.ndarray:
    """float64 (n, 2) of pairs or of x y x y ... Raises ValueError."""
    try:
        flat = np.asarray(values, np.float64).ravel()
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("the points are no list of numbers") from error
    if flat.size % 2:
        raise ValueError(f"the points have x and y, but there is an odd count of numbers, {flat.size}")
    if not np.isfinite(flat).all():
        raise ValueError("a point has a coordinate that is no number")
    return flat.reshape(-1, 2)


def number(value: object) -> float:
    """A finite number, of a text too. Raises ValueError."""
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{str(value)[:40]!r} is no number") from error
    if not math.isfinite(found) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no number")
    return found


def unite(masks: Sequence[CroppedMask], holes: Sequence[CroppedMask] = ()) -> CroppedMask:
    """All of ``masks`` as one, without what lies in ``holes``."""
    if len(masks) == 1 and not holes:
        return masks[0]
    whole = [mask for mask in masks if mask.size_hw[0]]
    if not whole:
        return masks[0]
    left, top = min(mask.left for mask in whole), min(mask.top for mask in whole)
    right, bottom = max(mask.box[2] for mask in whole), max(mask.box[3] for mask in whole)
    canvas = np.zeros((bottom - top, right - left), bool)
    for mask, value in [*((mask, True) for mask in whole), *((hole, False) for hole in holes)]:
        cut = place(CroppedMask(mask.left - left, mask.top - top, mask.size_hw, mask.bits), canvas.shape[:2])
        canvas[cut.slices][cut.crop] = value
    return CroppedMask.from_mask(canvas, left, top)


def _bounds(points: np.ndarray) -> Bounds:
    x1, y1 = points.min(axis=0)
    x2, y2 = points.max(axis=0)
    return float(x1), float(y1), float(x2), float(y2)


def _crop(bounds: Bounds, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """Whole pixels of ``bounds`` in the photo: left, top, right, bottom."""
    height, width = size_hw
    left, top = (int(np.clip(math.floor(v), 0, side)) for v, side in zip(bounds[:2], (width, height), strict=True))
    right, bottom = (int(np.clip(math.ceil(v), 0, side)) for v, side in zip(bounds[2:], (width, height), strict=True))
    return left, top, max(left, right), max(top, bottom)
