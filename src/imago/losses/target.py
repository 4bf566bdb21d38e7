"""What a loss is given beside the logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Target(NamedTuple):
    """What a batch should come to."""

    labels: Tensor  # int64 (N, H, W), classes (0 and 1 for a binary net); the ignore value counts for nothing
    weights: Tensor | None = None  # float32 (N, H, W), how much each pixel counts, None where all count alike
    distance: Tensor | None = None  # float32 (N, H, W), 0..1, for nets that say it: see data.borders.distance_map


Criterion = Callable[[Tensor, Target], Tensor]  # logits float (N, K, H, W) and target -> scalar


class Pixels(NamedTuple):
    """A target made ready: the ignored pixels have class 0 and weight 0, so that sums need no holes.

    Shapes stay fixed (no boolean indexing), so that a GPU need not wait for the count of valid pixels.
    """

    labels: Tensor  # int64 (N, H, W), 0 where ignored
    weights: Tensor  # like the logits in type (N, H, W), 0 where ignored

    @classmethod
    def from_logits(cls, logits: Tensor, target: Target, ignore: int) -> Pixels:
        """Raises ValueError where labels or weights do not lie over the logits (N, K, H, W)."""
        labels, weights = target.labels, target.weights
        expected = (logits.shape[0], *logits.shape[2:])
        for name, tensor in (("labels", labels), ("weights", weights)):
            if tensor is not None and tuple(tensor.shape) != expected:
                raise ValueError(
                    f"{name} must be {expected} for logits {tuple(logits.shape)}; got {tuple(tensor.shape)}"
                )
        valid = labels != ignore
        asked = torch.ones_like(labels) if weights is None else weights
        # where(), not a product: an ignored pixel may carry any weight, even a NaN.
        return cls(torch.where(valid, labels, 0), torch.where(valid, asked.to(logits.dtype), 0.0))


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Scalar; 0 (with a gradient of 0) where all weights are 0."""
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, 1.0)
