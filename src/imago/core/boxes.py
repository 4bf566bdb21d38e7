"""Boxes: float32 (K, 4), x1 y1 x2 y2 in pixels, corners at whole numbers (a box over one pixel is 0 0 1 1)."""

from __future__ import annotations

import numpy as np


def as_boxes(boxes: object) -> np.ndarray:
    """float32 (K, 4) of anything like it; an empty list is (0, 4). Raises ValueError."""
    found = np.asarray(boxes, np.float32)
    if found.size == 0:
        return np.zeros((0, 4), np.float32)
    if found.ndim != 2 or found.shape[1] != 4:
        raise ValueError(f"boxes must be (K, 4), x1 y1 x2 y2; got shape {found.shape}")
    return found


def area(boxes: np.ndarray) -> np.ndarray:
    """(K, 4) -> (K,) square pixels; 0 for a box that is none."""
    return np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)


def iou_matrix(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(K, 4) and (M, 4) -> (K, M): what two boxes have in common, divided by what either has; 0 where neither has."""
    common = intersections(first, second)
    either = area(first)[:, None] + area(second)[None] - common
    return np.divide(common, either, out=np.zeros_like(common), where=either > 0)


def intersections(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(K, 4) and (M, 4) -> (K, M) square pixels."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.prod(np.maximum(high - low, 0), axis=2)


def clip(boxes: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The parts of the boxes (K, 4) that lie in an image of ``size_hw``."""
    height, width = size_hw
    return np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))


def from_xywh(boxes: object) -> np.ndarray:
    """COCO's x y width height, (K, 4) -> x1 y1 x2 y2."""
    found = as_boxes(boxes)
    return np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)


def to_xywh(boxes: np.ndarray) -> np.ndarray:
    """x1 y1 x2 y2, (K, 4) -> COCO's x y width height."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def from_centers(boxes: object, size_hw: tuple[int, int]) -> np.ndarray:
    """YOLO's centre x, centre y, width, height as shares of the image, (K, 4) -> x1 y1 x2 y2 in pixels."""
    found = as_boxes(boxes)
    scale = np.array([size_hw[1], size_hw[0]], np.float32)
    center, half = found[:, :2] * scale, found[:, 2:] * scale / 2
    return np.concatenate([center - half, center + half], axis=1)


def to_centers(boxes: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """x1 y1 x2 y2 in pixels, (K, 4) -> YOLO's centre x, centre y, width, height as shares of the image."""
    scale = np.array([size_hw[1], size_hw[0]], np.float32)
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2 / scale, (boxes[:, 2:] - boxes[:, :2]) / scale], axis=1)


def nms(boxes: np.ndarray, scores: np.ndarray, iou_thresh: float) -> np.ndarray:
    """int64 (k,): indices of the boxes (K, 4) that stay, the best score (K,) first: each takes away what it overlaps by
    more than ``iou_thresh``.

    As ``torchvision.ops.nms``; of equal scores the first comes first.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        # As float64, as torchvision compares: an overlap of just 0.3 is a hair more in float32, and goes.
        order = rest[iou_matrix(boxes[best : best + 1], boxes[rest])[0].astype(np.float64) <= iou_thresh]
    return np.array(kept, np.int64)


def nms_by_class(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou_thresh: float) -> np.ndarray:
    """``nms`` among the boxes (K, 4) of each class (K,); int64 (k,), all that stay, the best score first."""
    if not len(boxes):
        return np.zeros(0, np.int64)
    kept = [np.flatnonzero(classes == value) for value in np.unique(classes)]
    stay = np.concatenate([where[nms(boxes[where], scores[where], iou_thresh)] for where in kept])
    return stay[np.argsort(-scores[stay], kind="stable")]


def soft_nms(
    boxes: np.ndarray, scores: np.ndarray, sigma: float = 0.5, least: float = 1e-3
) -> tuple[np.ndarray, np.ndarray]:
    """Indices and new scores: overlap lowers a score by exp(-IoU^2 / sigma) instead of taking the box away; below
    ``least`` it goes (Bodla et al. 2017, arXiv:1704.04503, the Gaussian form)."""
    left = scores.astype(np.float64).copy()
    waiting = np.arange(len(boxes))
    kept, found = [], []
    while waiting.size:
        at = int(np.argmax(left[waiting]))
        best = int(waiting[at])
        if left[best] < least:
            break
        kept.append(best)
        found.append(left[best])
        waiting = np.delete(waiting, at)
        overlap = iou_matrix(boxes[best : best + 1], boxes[waiting])[0]
        left[waiting] *= np.exp(-(overlap**2) / sigma)
    return np.array(kept, np.int64), np.array(found, np.float32)


def suppress(
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    iou_thresh: float,
    *,
    soft: bool = False,
    agnostic: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """int64 (k,), indices of the boxes (K, 4) that stay, the best score first, and their scores, float32 (k,).

    Among the boxes of each class, or of all with ``agnostic``: ``nms``, which leaves scores as they are, or with
    ``soft`` ``soft_nms``, which knows no threshold.
    """
    if agnostic:
        classes = np.zeros_like(classes)
    if not soft:
        stay = nms_by_class(boxes, scores, classes, iou_thresh)
        return stay, scores[stay]
    stays, lowered = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for value in np.unique(classes):
        own = np.flatnonzero(classes == value)
        stay, left = soft_nms(boxes[own], scores[own])
        stays.append(own[stay])
        lowered.append(left)
    stay, left = np.concatenate(stays), np.concatenate(lowered)
    order = np.argsort(-left, kind="stable")
    return stay[order], left[order]
