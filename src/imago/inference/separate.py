"""Objects out of a semantic net's answer: insides are the seeds, which grow over the borders until they meet.

The net knows background, border and the inside of each class (``data.borders``). A watershed (Beucher and Lantuéjoul
1979; OpenCV's) floods the map of "how much border" from the seeds; what is not background belongs to a seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from imago.core.instances import CroppedMask, Instances, boxes_of

BACKGROUND, BORDER, INSIDE = 0, 1, 2  # channels of the net; see data.borders
MOST_PIXELS = 20_000_000  # of a map that is worked on: some 30 bytes each


@dataclass(frozen=True)
class Separation:
    """How objects are made. Areas are in pixels of the map that is worked on."""

    # Measured on 50 training images of nuclei, mean precision: 0.456 at 0.5, 0.465 at 0.6, 0.478 at 0.7, 0.481 at 0.8
    # (AP50 0.703, 0.704, 0.715, 0.708): a bridge of half-sure pixels joins two seeds where cells touch.
    seed: float = 0.7  # least probability of "inside" in a seed
    least_seed_px: int = 4  # smaller seeds are noise
    least_area_px: int = 12  # smaller objects are left out
    foreground: float = 0.5  # least probability of "not background" in an object


def separate_in(scores: np.ndarray, size_hw: tuple[int, int], how: Separation | None = None) -> Instances:
    """``separate`` for a photo of ``size_hw``: ``scores`` (K, h, w) of any size are brought to it first; past
    ``MOST_PIXELS`` the work is done smaller, and the masks are enlarged one by one."""
    ratio = min(1.0, math.sqrt(MOST_PIXELS / (size_hw[0] * size_hw[1])))
    work_hw = max(1, round(size_hw[0] * ratio)), max(1, round(size_hw[1] * ratio))
    if scores.shape[1:] != work_hw:
        scores = np.stack([cv2.resize(plane, work_hw[::-1], interpolation=cv2.INTER_LINEAR) for plane in scores])
    found = separate(scores, how)
    if work_hw == size_hw or found.cropped is None:
        return found
    factor_y, factor_x = size_hw[0] / work_hw[0], size_hw[1] / work_hw[1]
    masks = [_enlarged(mask, factor_y, factor_x) for mask in found.cropped]
    return Instances.make(size_hw, boxes_of(masks), found.classes, found.scores, masks)


def _enlarged(mask: CroppedMask, factor_y: float, factor_x: float) -> CroppedMask:
    top, bottom = round(mask.top * factor_y), round((mask.top + mask.size_hw[0]) * factor_y)
    left, right = round(mask.left * factor_x), round((mask.left + mask.size_hw[1]) * factor_x)
    large = cv2.resize(mask.crop.astype(np.float32), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    return CroppedMask.of(large >= 0.5, left, top)


def separate(scores: np.ndarray, how: Separation | None = None) -> Instances:
    """float32 (2 + classes, H, W), probabilities 0..1 -> the objects, the surest first, with masks.

    An object's class is the one whose inside its pixels favour, its score the mean probability of "not background".
    """
    how = how or Separation()
    size_hw = scores.shape[1], scores.shape[2]
    inside = scores[INSIDE:].sum(axis=0)
    foreground = 1 - scores[BACKGROUND]
    region = foreground >= how.foreground
    count, seeds, stats, _ = cv2.connectedComponentsWithStats(
        ((inside > how.seed) & region).astype(np.uint8), connectivity=4, ltype=cv2.CV_32S
    )
    weak = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < how.least_seed_px)
    if weak.size:
        table = np.arange(count, dtype=np.int32)
        table[weak] = 0
        seeds = table[seeds]
    grown = grow(seeds, inside, region)
    masks, classes, confidence = [], [], []
    for where, crop in parts(grown):
        if np.count_nonzero(crop) < how.least_area_px:
            continue
        crop = filled(crop)
        masks.append(CroppedMask.of(crop, where[1].start, where[0].start))
        votes = [float(plane[where][crop].sum()) for plane in scores[INSIDE:]]
        classes.append(1 + int(np.argmax(votes)))
        confidence.append(float(foreground[where][crop].mean()))
    order = np.argsort(-np.array(confidence), kind="stable")
    found = Instances.make(size_hw, boxes_of(masks), classes, confidence, masks)
    return found[order]


def grow(seeds: np.ndarray, inside: np.ndarray, region: np.ndarray) -> np.ndarray:
    """int32 (H, W): each seed (1 and more) grown over ``region``, the most likely inside first; 0 elsewhere."""
    if not seeds.any():
        return seeds
    heights = np.repeat(np.round(255 * (1 - inside)).clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    # OpenCV numbers what is known from 1 and turns the outermost pixels into border: the frame around is cut off again.
    known = np.where(region, np.where(seeds > 0, seeds + 1, 0), 1).astype(np.int32)
    framed = cv2.copyMakeBorder(known, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    flooded = cv2.watershed(cv2.copyMakeBorder(heights, 1, 1, 1, 1, cv2.BORDER_REPLICATE), framed)[1:-1, 1:-1]
    grown = np.where(flooded > 1, flooded - 1, 0).astype(np.int32)
    # The line between two objects, and between object and background, belongs to the object that it touches.
    for _ in range(2):
        around = cv2.dilate(grown.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
        grown = np.where((grown == 0) & region, around, grown)
    return grown


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


def filled(crop: np.ndarray) -> np.ndarray:
    """bool (h, w) without holes."""
    outside = np.pad(crop, 1).astype(np.uint8)
    cv2.floodFill(outside, None, (0, 0), 2)
    return outside[1:-1, 1:-1] != 2
