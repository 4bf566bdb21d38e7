"""Losses that judge how regions overlap: soft Dice and soft Jaccard, counted over the whole batch.

Binary: the overlap of the foreground. Multi-class: the mean over the classes that are PRESENT in the batch's valid
pixels, background included; an absent class would ask for an overlap with nothing (its false alarms are punished
all the same: they are missing from the class that is there).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from imago.losses.target import Pixels

SMOOTH = 1.0  # pixels added above and below: a batch without foreground gives a small, finite loss and a mild gradient


def _areas(logits: Tensor, pixels: Pixels) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted areas in pixels, each (K,): of both together, of the prediction, of the truth."""
    classes = logits.shape[1]
    if classes == 1:
        probabilities = torch.sigmoid(logits)
        truth = (pixels.labels == 1).unsqueeze(1).to(logits.dtype)
    else:
        probabilities = torch.softmax(logits, dim=1)
        truth = F.one_hot(pixels.labels, classes).movedim(-1, 1).to(logits.dtype)
    weights = pixels.weights.unsqueeze(1)  # (N, 1, H, W)
    over = (0, 2, 3)
    both = (probabilities * truth * weights).sum(over)
    return both, (probabilities * weights).sum(over), (truth * weights).sum(over)


def _mean_present(losses: Tensor, truth: Tensor) -> Tensor:
    if len(losses) == 1:
        return losses[0]
    present = (truth > 0).to(losses.dtype)
    return (losses * present).sum() / present.sum().clamp_min(1)


def dice(logits: Tensor, pixels: Pixels, class_weights: Tensor | None = None) -> Tensor:
    """1 - 2 |P and T| / (|P| + |T|) (Milletari et al. 2016, arXiv:1606.04797, with plain sums below, not squares)."""
    both, predicted, truth = _areas(logits, pixels)
    return _mean_present(1 - (2 * both + SMOOTH) / (predicted + truth + SMOOTH), truth)


def jaccard(logits: Tensor, pixels: Pixels, class_weights: Tensor | None = None) -> Tensor:
    """A scalar of logits (N, K, H, W): 1 - |P and T| / |P or T|, the soft IoU (Rahman and Wang 2016)."""
    both, predicted, truth = _areas(logits, pixels)
    return _mean_present(1 - (both + SMOOTH) / (predicted + truth - both + SMOOTH), truth)
