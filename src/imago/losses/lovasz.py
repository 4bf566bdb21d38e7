"""The Lovasz losses (Berman, Rannen Triki, Blaschko 2018, arXiv:1705.08790): a convex surrogate of 1 - IoU.

The errors of all valid pixels of the batch are sorted, the largest first; each is weighted by how much the IoU drops
when that pixel, too, is wrong. One channel: the hinge form. More: the softmax form, mean over the classes present.
Pixels either count or do not: of their weights only "0" is heard, which means ignored.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from imago.losses.target import Pixels

LAST = -1e4  # the error given to ignored pixels: sorted behind all others, where the positive part makes it 0


def _drops(truth: Tensor) -> Tensor:
    """By how much 1 - IoU grows with each further wrong pixel. ``truth`` 0 or 1, (K, P), sorted by error."""
    area = truth.sum(1, keepdim=True)
    loss = 1 - (area - truth.cumsum(1)) / (area + (1 - truth).cumsum(1)).clamp_min(1)
    return torch.diff(loss, dim=1, prepend=torch.zeros_like(area))


def _extension(errors: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """The loss of each class, (K,), from errors and truth (K, P) and the valid pixels bool (P,)."""
    errors = torch.where(valid, errors, LAST)
    ordered, order = errors.sort(dim=1, descending=True)
    drops = _drops((truth * valid).gather(1, order))
    return (F.relu(ordered) * drops).sum(1)


def lovasz(logits: Tensor, pixels: Pixels, class_weights: Tensor | None = None) -> Tensor:
    """A scalar of logits (N, K, H, W): Lovasz hinge for one channel, Lovasz softmax for more."""
    classes = logits.shape[1]
    labels = pixels.labels.flatten()  # (P,), P = N H W
    valid = pixels.weights.flatten() > 0
    if classes == 1:
        truth = (labels == 1).to(logits.dtype).unsqueeze(0)
        margins = logits.flatten().unsqueeze(0) * (2 * truth - 1)
        return _extension(1 - margins, truth, valid)[0]
    probabilities = torch.softmax(logits, dim=1).movedim(1, 0).flatten(1)  # (K, P)
    truth = F.one_hot(labels, classes).T.to(logits.dtype)
    losses = _extension((truth - probabilities).abs(), truth, valid)
    present = ((truth * valid).sum(1) > 0).to(logits.dtype)
    return (losses * present).sum() / present.sum().clamp_min(1)
