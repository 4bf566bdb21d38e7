"""Losses that judge each pixel alone: cross-entropy, its binary form, focal. All are weighted means over pixels.

A pixel's weight is its own weight times the weight of its class, as in ``torch.nn.functional.cross_entropy``.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from imago.losses.target import Pixels, weighted_mean

FOCUS = 2.0  # gamma of the focal loss; the paper's best
SURE = 0.7  # OHEM: pixels whose true class has at least this probability are easy
HARD_SHARE = 1 / 16  # OHEM: at least this share of the counted pixels is kept


def _weights(pixels: Pixels, class_weights: Tensor | None) -> Tensor:
    return pixels.weights if class_weights is None else pixels.weights * class_weights[pixels.labels]


def _entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log of the probability given to the true class: (N, H, W). One channel: sigmoid, more: softmax."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype), reduction="none")
    return F.cross_entropy(logits, labels, reduction="none")


def cross_entropy(logits: Tensor, pixels: Pixels, class_weights: Tensor | None) -> Tensor:
    """A scalar of logits (N, K, H, W): softmax (more than one channel) or sigmoid (one channel) cross-entropy."""
    return weighted_mean(_entropy(logits, pixels.labels), _weights(pixels, class_weights))


def ohem(logits: Tensor, pixels: Pixels, class_weights: Tensor | None) -> Tensor:
    """Cross-entropy over the hard pixels alone (online hard example mining, Shrivastava et al. 2016, arXiv:1604.03540).

    Hard is a pixel whose true class has a probability below ``SURE``; where those are fewer than ``HARD_SHARE`` of the
    counted pixels, the hardest up to that share are taken.
    """
    entropy = _entropy(logits, pixels.labels)
    counted = pixels.weights > 0
    ranked = torch.where(counted, entropy.detach(), -1.0).flatten().sort(descending=True).values
    keep = (HARD_SHARE * counted.sum()).long().clamp_min(1)
    least = torch.minimum(ranked[keep - 1], ranked.new_tensor(-math.log(SURE)))
    hard = counted & (entropy.detach() >= least)
    return weighted_mean(entropy, torch.where(hard, _weights(pixels, class_weights), 0.0))


def focal(logits: Tensor, pixels: Pixels, class_weights: Tensor | None) -> Tensor:
    """Cross-entropy times (1 - p)^2, p being the probability of the true class (Lin et al. 2017, arXiv:1708.02002).

    The paper's alpha is the class weights here; the mean is over pixels, where the paper divides by the boxes found.
    """
    entropy = _entropy(logits, pixels.labels)
    missing = -torch.expm1(-entropy)  # 1 - p without loss of digits near p = 1
    return weighted_mean(missing**FOCUS * entropy, _weights(pixels, class_weights))
