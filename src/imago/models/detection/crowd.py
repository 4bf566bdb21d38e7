"""Crowd regions, of many objects that nobody outlined one by one: they are no objects, and no background either."""

from __future__ import annotations

import torch
from torch import Tensor

from imago.models.detection.base import DetectionTarget

IN_CROWD = 0.5  # share of a box in a crowd region from which on it is no background


def split_crowd(target: DetectionTarget) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (K, 4) and classes (K,) of the objects, and boxes (M, 4) of the crowd regions."""
    if target.crowd is None:
        return target.boxes, target.classes, target.boxes[:0]
    crowd = target.crowd.bool()
    return target.boxes[~crowd], target.classes[~crowd], target.boxes[crowd]


def measure_share_within(boxes: Tensor, regions: Tensor) -> Tensor:
    """float (K, 4) and (M, 4) -> (K,): the largest share of each box that lies in one of the regions."""
    low = torch.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    common = (high - low).clamp(min=0).prod(dim=2)  # (K, M)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).clamp(min=1e-6)
    return torch.cat([common, common.new_zeros(len(boxes), 1)], dim=1).amax(dim=1) / area


def ignore_crowd(labels: Tensor, candidates: Tensor, crowd: Tensor) -> Tensor:
    """``labels`` (M,) with -1 in place of 0 where a crowd region, of (C, 4), holds much of the candidate (M, 4)."""
    if not len(crowd):
        return labels
    return torch.where((labels == 0) & (measure_share_within(candidates, crowd) >= IN_CROWD), -1, labels)
