"""A box as seen from another: the regression targets of R-CNN (arXiv:1311.2524, appendix C) and of all its heirs.

Of a proposal with centre (x, y) and size (w, h) and a box with centre (X, Y) and size (W, H):
((X - x) / w, (Y - y) / h, log(W / w), log(H / h)). The centre moves in units of the proposal, so that large and small
objects cost alike.

Differs from the paper: ``decode_deltas`` lets a size grow by 62.5 at most (1000 / 16, as Detectron and torchvision do),
for an exponential of a wild answer would be infinite.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST = math.log(1000 / 16)


def encode_deltas(proposals: Tensor, boxes: Tensor) -> Tensor:
    """float (K, 4) x1 y1 x2 y2 each, sizes above 0 -> float (K, 4): what turns each proposal into its box."""
    center, size = _center_size(proposals)
    goal_center, goal_size = _center_size(boxes)
    return torch.cat([(goal_center - center) / size, torch.log(goal_size / size)], dim=-1)


def decode_deltas(proposals: Tensor, deltas: Tensor) -> Tensor:
    """The way back: float (..., 4) each -> float (..., 4) x1 y1 x2 y2. Sizes before the last may be broadcast."""
    center, size = _center_size(proposals)
    new_center = center + deltas[..., :2] * size
    half = size * torch.exp(deltas[..., 2:].clamp(max=LARGEST)) / 2
    return torch.cat([new_center - half, new_center + half], dim=-1)


def _center_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
