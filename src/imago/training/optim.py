"""Optimizer, course of the learning rate, and the moving average of the weights."""

from __future__ import annotations

import math

import torch
from torch import nn

from imago.training.config import TrainConfig


def build_optimizer(net: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Weight decay on matrices and kernels only: on biases and norms it harms (He et al. 2019, arXiv:1812.01187)."""
    decay = [p for p in net.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in net.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=config.lr)
    return torch.optim.AdamW(groups, lr=config.lr)


def rate_factor(progress: float, config: TrainConfig) -> float:
    """Learning rate relative to the largest, at ``progress`` 0..1 of the training.

    Warm-up is linear; "poly" is (1 - t)^0.9 (DeepLab v2, arXiv:1606.00915), "cosine" half a cosine
    (arXiv:1608.03983) down to a hundredth.
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < config.warmup:
        return max(progress / config.warmup, 1e-3)
    t = (progress - config.warmup) / (1 - config.warmup)
    if config.schedule == "poly":
        return max((1 - t) ** 0.9, 1e-3)
    if config.schedule == "cosine":
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
