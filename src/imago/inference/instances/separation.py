"""Objects out of a semantic net's answer: insides are the seeds, which grow over the borders until they meet.

The net knows background, border and the inside of each class (``data.borders``). A watershed (``flood``) floods the map
of "how much inside" from the seeds; what is not background belongs to a seed. A part without a seed (a small one, all
border) is an object by itself, and scores low. Where no border was seen between two, their shape may still tell them
apart (``split``). Of a model that says a distance map (``data.borders.distance_map``) the middles may be the seeds, and
the flood goes by the distance.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from imago.core.instances import CroppedMask, Instances, masks_to_boxes
from imago.core.separation import Separation
from imago.inference.flood import grow, parts
from imago.inference.instances.split import solidity, split_by_shape

BACKGROUND, BORDER, INSIDE = 0, 1, 2  # channels of the net; see data.borders
MOST_PIXELS = 20_000_000  # of a map that is worked on: some 30 bytes each


def separate_in(
    scores: np.ndarray, size_hw: tuple[int, int], how: Separation | None = None, with_distance: bool = False
) -> Instances:
    """``separate`` for a photo of ``size_hw``: ``scores`` (K, h, w) of any size are brought to it first; past
    ``MOST_PIXELS`` the work is done smaller, and the masks are enlarged one by one."""
    ratio = min(1.0, math.sqrt(MOST_PIXELS / (size_hw[0] * size_hw[1])))
    work_hw = max(1, round(size_hw[0] * ratio)), max(1, round(size_hw[1] * ratio))
    if scores.shape[1:] != work_hw:
        scores = np.stack([cv2.resize(plane, work_hw[::-1], interpolation=cv2.INTER_LINEAR) for plane in scores])
    found = separate(scores, how, with_distance)
    if work_hw == size_hw or found.cropped is None:
        return found
    factor_y, factor_x = size_hw[0] / work_hw[0], size_hw[1] / work_hw[1]
    masks = [_enlarge(mask, factor_y, factor_x) for mask in found.cropped]
    return Instances.make(size_hw, masks_to_boxes(masks), found.classes, found.scores, masks)


def _enlarge(mask: CroppedMask, factor_y: float, factor_x: float) -> CroppedMask:
    top, bottom = round(mask.top * factor_y), round((mask.top + mask.size_hw[0]) * factor_y)
    left, right = round(mask.left * factor_x), round((mask.left + mask.size_hw[1]) * factor_x)
    large = cv2.resize(mask.crop.astype(np.float32), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    return CroppedMask.from_mask(large >= 0.5, left, top)


def separate(scores: np.ndarray, how: Separation | None = None, with_distance: bool = False) -> Instances:
    """float32 (2 + classes, H, W), probabilities 0..1 -> the objects, the surest first, with masks.

    ``with_distance``: a distance map is the last channel.
    An object's class is the one whose inside its pixels favour; its score the mean probability of "not background"
    times the largest one of "inside", and where shape may split (``neck``) times the share that it fills of its hull.
    """
    how = how or Separation()
    size_hw = scores.shape[1], scores.shape[2]
    distance = scores[-1] if with_distance and how.seed_distance else None
    scores = scores[:-1] if with_distance else scores
    inside = scores[INSIDE:].sum(axis=0)
    foreground = 1 - scores[BACKGROUND]
    region = foreground >= how.foreground
    middle = inside > how.seed if distance is None else distance > how.seed_distance
    count, seeds, stats, _ = cv2.connectedComponentsWithStats(
        (middle & region).astype(np.uint8), connectivity=4, ltype=cv2.CV_32S
    )
    weak = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < how.least_seed_px)
    if weak.size:
        table = np.arange(count, dtype=np.int32)
        table[weak] = 0
        seeds = table[seeds]
    seeds = add_lone_parts(seeds, region, count, how.least_area_px)
    grown = grow(seeds, inside if distance is None else distance, region)
    masks, classes, confidence = [], [], []
    for where, crop in parts(grown):
        if np.count_nonzero(crop) < how.least_area_px:
            continue
        for within, part in split_by_shape(fill_holes(crop), how.neck, how.least_area_px):
            top, left = where[0].start + within[0].start, where[1].start + within[1].start
            here = slice(top, top + part.shape[0]), slice(left, left + part.shape[1])
            masks.append(CroppedMask.from_mask(part, left, top))
            votes = [float(plane[here][part].sum()) for plane in scores[INSIDE:]]
            classes.append(1 + int(np.argmax(votes)))
            sure = float(inside[here][part].max()) * float(foreground[here][part].mean())
            confidence.append(sure * solidity(part) if how.neck else sure)
    order = np.argsort(-np.array(confidence), kind="stable")
    found = Instances.make(size_hw, masks_to_boxes(masks), classes, confidence, masks)
    return found[order]


def add_lone_parts(seeds: np.ndarray, region: np.ndarray, first: int, least_area_px: int) -> np.ndarray:
    """``seeds``, int32 (H, W), and those parts of ``region``, bool (H, W), that hold none, numbered from ``first``."""
    count, connected, stats, _ = cv2.connectedComponentsWithStats(
        region.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S
    )
    lone = stats[:, cv2.CC_STAT_AREA] >= least_area_px
    lone[0] = False  # what is no part
    lone[np.unique(connected[seeds > 0])] = False
    table = np.where(lone, first + np.arange(count), 0).astype(np.int32)
    return np.where(seeds > 0, seeds, table[connected])


def fill_holes(crop: np.ndarray) -> np.ndarray:
    """bool (h, w) without holes."""
    outside = np.pad(crop, 1).astype(np.uint8)
    cv2.floodFill(outside, None, (0, 0), 2)
    return outside[1:-1, 1:-1] != 2
