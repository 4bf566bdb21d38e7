"""Optimizer, course of the learning rate, and the moving average of the weights."""

from __future__ import annotations

import math

import torch
from torch import nn

from imago.training.settings import OptimizationSettings


def build_optimizer(net: nn.Module, settings: OptimizationSettings) -> torch.optim.Optimizer:
    """Weight decay on matrices and kernels only: on biases and norms it harms (He et al. 2019, arXiv:1812.01187)."""
    decay = [p for p in net.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in net.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0)
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, lr=settings.lr)
    return torch.optim.AdamW(groups, lr=settings.lr)


def rate_factor(progress: float, settings: OptimizationSettings) -> float:
    """Learning rate relative to the largest, at ``progress`` 0..1 of the training.

    Warm-up is linear; "poly" is (1 - t)^0.9 (DeepLab v2, arXiv:1606.00915), "cosine" half a cosine
    (arXiv:1608.03983) down to a hundredth.
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < settings.warmup:
        return max(progress / settings.warmup, 1e-3)
    t = (progress - settings.warmup) / (1 - settings.warmup)
    if settings.schedule == "poly":
        return max((1 - t) ** 0.9, 1e-3)
    if settings.schedule == "cosine":
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * t))
    return 1.0


class MovingAverage:
    """Exponential moving average of weights and buffers. Early steps average less, so that it is not held back by
    the random start: the decay of step n is at most (1 + n) / (10 + n)."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        mine, theirs = [], []
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                mine.append(self.values[name])
                theirs.append(value.detach())
            else:
                self.values[name].copy_(value)
        torch._foreach_lerp_(mine, theirs, 1 - decay)
