"""The loss of a distance map (see ``data.borders.distance_map``)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from imago.core.labels import IGNORE
from imago.losses.target import Pixels, Target, weighted_mean


def distance_entropy(logits: Tensor, target: Target, ignore: int = IGNORE) -> Tensor:
    """Binary cross-entropy of a sigmoid, ``logits`` float (N, 1, H, W), with ``target.distance`` -> scalar.

    So StarDist learns it (Schmidt et al. 2018, arXiv:1806.03535). Pixels count as they do for the labels.
    The target must have a distance.
    """
    assert target.distance is not None
    pixels = Pixels.from_logits(logits, target, ignore)
    entropy = F.binary_cross_entropy_with_logits(logits[:, 0], target.distance, reduction="none")
    return weighted_mean(entropy, pixels.weights)
