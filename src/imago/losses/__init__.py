"""Losses, and sums of them by formula: ``imago.losses.build("bce+0.5*dice", classes=1)``.

All take raw logits and a ``Target``, leave ignored pixels out, and give 0 for a batch without any valid pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from imago.core.errors import ImagoError
from imago.core.labels import IGNORE
from imago.core.text import plural
from imago.losses.lovasz import lovasz
from imago.losses.overlap import dice, jaccard
from imago.losses.pixelwise import cross_entropy, focal, ohem
from imago.losses.target import Criterion, Pixels, Target

__all__ = ["TERMS", "Criterion", "LossSum", "Target", "build", "parse"]

Term = Callable[[Tensor, Pixels, Tensor | None], Tensor]  # logits, pixels, class weights -> scalar

TERMS: dict[str, Term] = {
    "ce": cross_entropy,
    "bce": cross_entropy,
    "dice": dice,
    "focal": focal,
    "ohem": ohem,
    "jaccard": jaccard,
    "lovasz": lovasz,
}
TAKES_CLASS_WEIGHTS = ("ce", "bce", "focal", "ohem")


class LossSum:
    """A criterion: the weighted sum of some ``TERMS``. Made by ``build``."""

    def __init__(self, parts: dict[str, float], ignore: int, class_weights: Sequence[float] | None) -> None:
        self.parts = parts  # name of the term -> its factor
        self.ignore = ignore
        self.class_weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)

    def __call__(self, logits: Tensor, target: Target) -> Tensor:
        """``logits`` float (N, K, H, W) -> scalar."""
        pixels = Pixels.from_logits(logits, target, self.ignore)
        class_weights = None if self.class_weights is None else self.class_weights.to(logits.device, logits.dtype)
        total = logits.new_zeros(())
        for name, factor in self.parts.items():
            total = total + factor * TERMS[name](logits, pixels, class_weights)
        return total


def parse(formula: str) -> dict[str, float]:
    """``"bce+0.5*dice"`` -> ``{"bce": 1.0, "dice": 0.5}``. Raises ImagoError where a part is no term."""
    parts: dict[str, float] = {}
    for part in formula.split("+"):
        factor_text, star, name = part.rpartition("*")
        name = name.strip()
        if name not in TERMS:
            raise ImagoError(f"loss {formula!r}: {part.strip()!r} is no term; choose from {', '.join(TERMS)}")
        try:
            factor = float(factor_text) if star else 1.0
        except ValueError:
            factor = math.nan
        if not (math.isfinite(factor) and factor > 0):
            raise ImagoError(f"loss {formula!r}: the factor of {name} must be a number above 0; got {factor_text!r}")
        if name in parts:
            raise ImagoError(f"loss {formula!r}: {name} stands twice; give it one factor, such as 2*{name}")
        parts[name] = factor
    return parts


def build(formula: str, *, classes: int, ignore: int = IGNORE, class_weights: Sequence[float] | None = None) -> LossSum:
    """A criterion from a sum of terms, such as ``"ce"``, ``"bce+dice"``, ``"focal+0.5*lovasz"``.

    ``classes`` is the number of output channels K of the net; 1 is binary (sigmoid; labels 0 and 1).
    ``class_weights``: one a class (two for a binary net: background, foreground); heard by ce, bce, focal and ohem.
    Raises ImagoError for a formula that does not fit the net.
    """
    parts = parse(formula)
    if classes == 1 and "ce" in parts:
        raise ImagoError(f"loss {formula!r}: ce needs two classes or more, this net has one channel; use bce")
    if classes > 1 and "bce" in parts:
        raise ImagoError(f"loss {formula!r}: bce is for a net of one channel, this one has {classes}; use ce")
    if class_weights is not None:
        expected = max(classes, 2)
        if len(class_weights) != expected:
            raise ImagoError(f"{plural(expected, 'class', 'need')} as many class weights; got {len(class_weights)}")
        if not all(math.isfinite(w) and w >= 0 for w in class_weights):
            raise ImagoError(f"class weights must be 0 or more; got {', '.join(str(w) for w in class_weights)}")
        if not any(name in TAKES_CLASS_WEIGHTS for name in parts):
            raise ImagoError(
                f"loss {formula!r}: no term of it takes class weights; add one of {', '.join(TAKES_CLASS_WEIGHTS)}"
            )
    return LossSum(parts, ignore, class_weights)
