"""What a whole set of masks holds, and whether its values look like classes.

A class fills areas. What lies between two others and fills none is a soft rim; pixels that have no neighbour of their
own value are stray ones, or a JPEG's. Of 255 it must be told whether it is a class or counts for nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from imago.core.errors import ImageError
from imago.core.labels import IGNORE
from imago.data.mask_pixels import is_colored, load_mask, pack_colors, unpack_colors

AREA = 0.1  # of a class's pixels, so many at least have nothing but their own value around them
RARE = 0.01  # of all pixels: what fills more is no rim
FAR = 16  # between two values: classes are numbered more closely, greys lie further apart
NEAR_COLOR = 40.0  # distance in RGB that a JPEG moves a colour by
JUDGED = 10_000  # pixels; less say nothing of what is rare


@dataclass
class Value:
    """What one value, or one colour, is in the whole set."""

    pixels: int = 0
    masks: int = 0  # that hold it
    inner: int = 0  # pixels whose eight neighbours are of it too
    lonely: int = 0  # pixels that have no neighbour of it
    between: int = 0  # pixels that have both a lower and a higher value within two pixels

    @property
    def is_thin(self) -> bool:
        return self.inner < AREA * self.pixels

    @property
    def is_stray(self) -> bool:
        return self.lonely > 0.5 * self.pixels or (self.pixels <= 4 and not self.inner)


@dataclass
class MaskSurvey:
    """``values``: grey value or palette index -> what it is; ``colors``: the same by packed colour, of masks that hold
    any but greys, or all that are stored in RGB where one of them does."""

    masks: int = 0
    pixels: int = 0
    values: dict[int, Value] = field(default_factory=dict)
    colors: dict[int, Value] = field(default_factory=dict)
    colored: bool = False
    with_ignored: int = 0  # masks that hold 255
    with_both: int = 0  # of these, masks that hold another value but the lowest too

    @property
    def found(self) -> dict[int, Value]:
        return self.colors if self.colored else self.values


def survey_masks(paths: Sequence[Path]) -> MaskSurvey:
    """Looks at all of them; those that cannot be read are passed over: the check of the data names them."""
    seen = MaskSurvey()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for found in pool.map(_look, paths):
            if found is None:
                continue
            values, colors, colored = found
            seen.masks += 1
            seen.pixels += sum(value.pixels for value in values.values())
            seen.colored |= colored
            _add(seen.values, values)
            _add(seen.colors, colors)
            if IGNORE in values:
                seen.with_ignored += 1
                seen.with_both += any(0 < value < IGNORE for value in values)
    return seen


def _add(whole: dict[int, Value], part: dict[int, Value]) -> None:
    for key, one in part.items():
        every = whole.setdefault(key, Value())
        for name in vars(one):
            setattr(every, name, getattr(every, name) + getattr(one, name))


def _look(path: Path) -> tuple[dict[int, Value], dict[int, Value], bool] | None:
    try:
        stored, colors = load_mask(path)
    except ImageError:
        return None
    by_color = {} if colors is None else _measure(pack_colors(colors))
    return _measure(stored), by_color, colors is not None and is_colored(colors)


def _measure(stored: np.ndarray) -> dict[int, Value]:
    """Whole numbers (H, W) -> what each value is in this mask."""
    padded = np.pad(stored, 1, mode="edge")
    height, width = stored.shape
    every, some = np.ones(stored.shape, bool), np.zeros(stored.shape, bool)
    for y, x in ((y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1)):
        same = padded[y : y + height, x : x + width] == stored
        every &= same
        some |= _inside(same, y, x)
    between = np.zeros(stored.shape, bool)
    if stored.dtype == np.uint8:
        kernel = np.ones((5, 5), np.uint8)
        between = (cv2.erode(stored, kernel) < stored) & (stored < cv2.dilate(stored, kernel))
    if stored.dtype == np.uint8:  # without sorting
        keys, which = np.arange(256), stored
    else:
        keys, which = np.unique(stored, return_inverse=True)
        which = which.reshape(stored.shape)
    marks: tuple[np.ndarray, ...] = (np.ones(stored.shape, bool), every, ~some, between)
    counts = [np.bincount(which[mark], minlength=len(keys)) for mark in marks]
    return {
        int(key): Value(int(pixels), 1, int(inner), int(lonely), int(middle))
        for key, pixels, inner, lonely, middle in zip(keys, *counts, strict=True)
        if pixels
    }


def _inside(same: np.ndarray, y: int, x: int) -> np.ndarray:
    """Without what the padding repeats: a pixel at the edge is no neighbour of itself."""
    kept = same.copy()
    if y != 1:
        kept[0 if y == 0 else -1] = False
    if x != 1:
        kept[:, 0 if x == 0 else -1] = False
    return kept


# What the values are


def classes_among(seen: MaskSurvey) -> list[int]:
    """The values, or colours, that fill areas, rising: what is thin and rare, or stray, is left out, and so is what a
    JPEG makes of one of them."""
    found = seen.found
    if seen.pixels < JUDGED:
        return sorted(found)
    rims = set(find_rims(seen))
    kept = [
        key
        for key, one in found.items()
        if key not in rims and not one.is_stray and not (one.is_thin and one.pixels < RARE * seen.pixels)
    ]
    if len(kept) == len(found):
        return sorted(kept)
    kept.sort(key=lambda key: -found[key].pixels)
    chosen: list[int] = []
    for key in kept:
        if not any(
            _is_near(key, other, seen.colored) and found[key].pixels < 0.1 * found[other].pixels for other in chosen
        ):
            chosen.append(key)
    return sorted(chosen)


def _is_near(a: int, b: int, colored: bool) -> bool:
    """Whether noise may have made one of the other; class numbers are as close, so greys are asked only past them."""
    if not colored:
        return abs(a - b) <= FAR // 2 and max(a, b) >= 4 * FAR
    apart = unpack_colors(np.array([a, b], np.uint32))
    return bool(np.linalg.norm(apart[0] - apart[1]) <= NEAR_COLOR)


def find_rims(seen: MaskSurvey) -> list[int]:
    """Values, or colours, that lie between others and fill no area, or that are stray pixels; rising."""
    if seen.pixels < JUDGED:
        return []
    found = seen.found
    rare = {key: one for key, one in found.items() if one.pixels < RARE * seen.pixels and (one.is_thin or one.is_stray)}
    if seen.colored:
        rims = [key for key, one in rare.items() if one.is_stray or _is_blend(key, found.keys() - rare.keys())]
        return sorted(rims)
    between = {key: one for key, one in found.items() if one.is_thin and one.between > 0.5 * one.pixels}
    are_greys = max(found) - min(found) >= 4 * FAR  # where a class of rims would not stand between
    strays = {key for key, one in rare.items() if one.is_stray}
    rims = [key for key in found if key in strays or (key in between and (key in rare or are_greys))]
    ends = set(range(min(found), max(found) + 1)) == set(found)
    if ends and len(rims) == 1 and not found[rims[0]].is_stray:
        return []  # 0, 1, 2 and the like: a class of rims, as of cells
    return sorted(rims)


def _is_blend(color: int, others: Iterable[int]) -> bool:
    """Whether a colour lies between two of the others, or close to one."""
    palette = unpack_colors(np.array(sorted(others), np.uint32)).astype(float)
    if not len(palette):
        return True
    own = unpack_colors(np.array([color], np.uint32))[0].astype(float)
    if np.linalg.norm(palette - own, axis=1).min() <= NEAR_COLOR:
        return True
    for index, start in enumerate(palette[:-1]):
        along = palette[index + 1 :] - start
        share = ((own - start) * along).sum(axis=1) / (along**2).sum(axis=1)
        off = np.linalg.norm(start + share[:, None] * along - own, axis=1)
        if ((share > 0) & (share < 1) & (off <= NEAR_COLOR / 4)).any():
            return True
    return False


def doubt_ignored(seen: MaskSurvey) -> str:
    """In words, why 255 may be a class and not what counts for nothing; empty where it looks like the latter."""
    values = seen.values
    others = sorted(value for value in values if value < IGNORE)
    if IGNORE not in values or not others:
        return ""
    if len(others) == 1:
        return ""  # 0 and 255: black and white
    if (others[-1] - others[0]) / (len(others) - 1) >= FAR and others[-1] >= 4 * FAR:
        return "the values are far apart, as greys are: 255 may be a class like the others"
    foreground = sum(values[value].pixels for value in others[1:])
    if seen.with_both < 0.5 * seen.with_ignored:
        alone = seen.with_ignored - seen.with_both
        return f"{alone} of the {seen.with_ignored} masks with 255 hold no class but the first: it may be foreground"
    if values[IGNORE].pixels > 10 * foreground:
        return "255 fills more than ten times as much as all classes but the first: it may be the foreground"
    return ""


def as_colors(keys: Sequence[int]) -> list[tuple[int, int, int]]:
    return [(int(r), int(g), int(b)) for r, g, b in unpack_colors(np.array(keys, np.uint32))]


# For the user


def describe_values(seen: MaskSurvey, shown: int = 8) -> list[str]:
    """The histogram in lines, the most frequent first."""
    found = seen.found
    order = sorted(found, key=lambda key: -found[key].pixels)
    lines = []
    for key in order[:shown]:
        one = found[key]
        name = "{} {} {}".format(*as_colors([key])[0]) if seen.colored else f"value {key}"
        lines.append(f"{name.ljust(11)} {one.pixels / max(1, seen.pixels):>9.4%} of the pixels, in {one.masks} masks")
    if len(order) > shown:
        rest = sum(found[key].pixels for key in order[shown:])
        what = "colours" if seen.colored else f"values from {min(order[shown:])} to {max(order[shown:])}"
        lines.append(f"{len(order) - shown} more {what}: {rest / max(1, seen.pixels):.4%} of the pixels")
    return lines
