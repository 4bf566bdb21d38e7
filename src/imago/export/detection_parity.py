"""A file that finds objects held against torch, find by find."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from imago.core.boxes import iou_matrix
from imago.inference.detection import iter_inputs
from imago.inference.engines.base import DetectionEngine, FrameDetections

# Largest difference to torch, of a score, and of a box's corner as ``corner_scale`` counts it.
TOLERANCE = {"float32": 1e-3, "float16": 2e-2}
# The score from which on every find of either must be one of the other too. Weights rounded to float16 move what is
# doubtful in and out.
SURE = {"float32": 0.0, "float16": 0.5}
TOSS = {"float32": 1e-4, "float16": 2e-2}  # overlaps so near to the threshold of suppression may end on either side


def compare_detection(
    module: nn.Module,
    engine: DetectionEngine,
    samples: Sequence[np.ndarray],
    *,
    least: float,
    most: int,
    iou: float,
    precision: str,
) -> np.ndarray:
    """The differences of all pairs of finds, on the samples and on the first one lying on its side.

    ``module`` gives boxes, scores, classes (and masks) of float32 (1, C, h, w), ``engine`` is the file. ``least``: the
    score from which on finds count; ``most`` and ``iou``: the net's thresholds.
    """
    images = list(samples)
    if not engine.card.input.fixed_size:
        images.append(np.ascontiguousarray(images[0].swapaxes(0, 1)))
    parts = []
    for image in images:
        given = next(iter_inputs(engine.card, image), None)  # of crops the first batch
        if given is None:
            continue
        with torch.inference_mode():
            expected = FrameDetections(*(tensor.numpy() for tensor in module(*map(torch.from_numpy, given))))
        parts.append(find_differences(expected, engine.run(*given), least, most, iou, precision))
    return np.concatenate([*parts, np.zeros(0)])


def find_differences(
    first: FrameDetections, second: FrameDetections, least: float, most: int, iou: float, precision: str = "float32"
) -> np.ndarray:
    """For each find of either with a score of ``least`` or more: how far the nearest one of the other is.

    The largest of: the difference of the scores, of the corners over ``corner_scale``, of the masks' means; inf where
    the other has none of its class. Two kinds are let go: finds that come last among ``most``, which may be crowded
    out, and those of one side alone because an overlap lay at the threshold ``iou`` (see ``find_ties``).
    """
    parts = []
    tables = (measure_distances(first, second, precision), measure_distances(second, first, precision))
    lone = [table.min(axis=1, initial=np.inf) > TOLERANCE[precision] for table in tables]
    chance = [alone & find_ties(one, iou, TOSS[precision]) for one, alone in zip((first, second), lone, strict=True)]
    for one, other, table, alone, mine, its in (
        (first, second, tables[0], lone[0], *chance),
        (second, first, tables[1], lone[1], *reversed(chance)),
    ):
        # Where the other side has a find by such a chance, that one took away what it overlaps.
        taken = alone & (measure_overlaps(one, other)[:, its] > iou - TOSS[precision]).any(axis=1)
        last = float(other.scores.min()) + 1e-3 if len(other.scores) >= most else 0.0
        for index in np.flatnonzero((one.scores >= max(least, last)) & ~mine & ~taken):
            nearest = int(np.argmin(table[index])) if len(other.scores) else -1
            value = float(table[index, nearest]) if len(other.scores) else np.inf
            if np.isfinite(value) and one.masks is not None and other.masks is not None:
                value = max(value, float(np.abs(other.masks[nearest] - one.masks[index]).mean()))
            parts.append(value)
    return np.array(parts, np.float64)


def measure_distances(one: FrameDetections, other: FrameDetections, precision: str) -> np.ndarray:
    """float (K, M): how far each find of ``one`` is from each of ``other``; inf where the classes differ."""
    corners = np.abs(one.boxes[:, None] - other.boxes[None]).max(axis=2, initial=0.0)
    corners = corners / corner_scale(one.boxes, precision)[:, None]
    apart = np.maximum(corners, np.abs(one.scores[:, None] - other.scores[None]))
    return np.where(one.classes[:, None] == other.classes[None], apart, np.inf)


def corner_scale(boxes: np.ndarray, precision: str) -> np.ndarray:
    """float (K,): by how many pixels a corner of each box (K, 4) is off where a score is off by 1.

    float32: one pixel, and for boxes of more than 10 pixels a tenth of their longer side: nets make sides by exp(), so
    rounding is in proportion to them. A limit of 1e-3 is then a twentieth of a pixel for a box of 500.
    """
    if precision == "float16":
        return np.full(len(boxes), 100.0)
    return np.maximum(1.0, (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0) / 10)


def measure_overlaps(one: FrameDetections, other: FrameDetections) -> np.ndarray:
    """float (K, M): IoU of finds of one class, 0 of those of two."""
    return np.where(one.classes[:, None] == other.classes[None], iou_matrix(one.boxes, other.boxes), 0.0)


def find_ties(found: FrameDetections, iou: float, near: float) -> np.ndarray:
    """bool (K,): finds that are there by chance, for they overlap a better one by ``iou``, give or take ``near``: in
    sums of another order non-maximum suppression may take them away."""
    better = found.scores[None] > found.scores[:, None]
    return np.any((np.abs(measure_overlaps(found, found) - iou) < near) & better, axis=1)
