"""Bootstrap intervals over images (Efron 1979, the percentile method): how far a mean would move with other photos.

Images are the unit that is drawn anew, not pixels: pixels of one photo are right or wrong together, and an interval
over pixels would be far too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
_CHUNK = 4_000_000  # drawn numbers at a time: bounds the memory at some 100 MB whatever the count of images


@dataclass(frozen=True)
class Interval:
    """A mean (or pooled score) with the bounds of its interval; they are nan with fewer than two images, and where none
    were asked for."""

    mean: float
    low: float
    high: float
    confidence: float = 0.95

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"

    def to_json(self) -> dict[str, float | None]:
        """nan is not JSON: it becomes null."""
        values = {"mean": self.mean, "low": self.low, "high": self.high}
        return {name: value if math.isfinite(value) else None for name, value in values.items()}


def interval(per_image: np.ndarray, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The mean of ``per_image`` (N,) and its interval. Images whose value is nan are left out."""
    values = np.asarray(per_image, np.float64)
    if values.ndim != 1:
        raise ValueError(f"one value an image is expected, shape (N,); got {values.shape}")
    values = values[~np.isnan(values)]
    # Sums of (value, 1): their ratio is the mean.
    stack = np.stack([values, np.ones_like(values)], axis=1)
    return interval_of(lambda sums: sums[..., 0] / sums[..., 1], stack, confidence, resamples, seed)


def interval_of(
    function: Callable[[np.ndarray], np.ndarray],
    per_image: np.ndarray,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """A score of the *sum* over images, such as a pooled IoU, and its interval.

    ``per_image`` is (N, ...), for instance the counts (N, 3, K) of ``ConfusionMatrix``. ``function`` takes such sums
    with one more leading axis (R, ...) and gives float (R,); resamples for which it says nan are left out. With no
    resamples the bounds are nan.
    """
    if not 0 < confidence < 1 or resamples < 0:
        raise ValueError(
            f"confidence must lie between 0 and 1 and resamples be 0 or more; got {confidence}, {resamples}"
        )
    stack = np.asarray(per_image, np.float64)
    count = len(stack)
    if count == 0:
        return Interval(math.nan, math.nan, math.nan, confidence)
    mean = float(function(stack.sum(axis=0)[None])[0])
    if count == 1 or not resamples:
        return Interval(mean, math.nan, math.nan, confidence)
    return interval_of_draws(mean, _resample(function, stack, resamples, seed), confidence)


def interval_of_draws(mean: float, draws: np.ndarray, confidence: float = 0.95) -> Interval:
    """From a score and what it is in each draw, float (R,); nan among them are left out."""
    draws = draws[~np.isnan(draws)]
    if draws.size == 0:
        return Interval(mean, math.nan, math.nan, confidence)
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean, float(low), float(high), confidence)


def draw_weights(count: int, resamples: int, seed: int = 0) -> np.ndarray:
    """float64 (R, N): how often each of ``count`` images comes in each draw. For scores that are no function of sums,
    such as average precision. No rows with fewer than two images: nothing can be said of their spread."""
    if count < 2:
        return np.zeros((0, count))
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples).astype(np.float64)


@dataclass(frozen=True)
class Difference:
    """How much better the first of two models is, over the same draws of images for both."""

    mean: float
    low: float
    high: float
    p: float  # two-sided: how often a difference of the other sign, or none, is drawn, twice; at least 1 / resamples

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"

    @property
    def real(self) -> bool:
        """0 lies outside the 95 % interval."""
        return self.low > 0 or self.high < 0


def paired_difference(
    function: Callable[[np.ndarray], np.ndarray],
    first: np.ndarray,
    second: np.ndarray,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """``function`` as in ``interval_of``, of ``first`` less that of ``second``, both (N, ...) of the same images.

    Each draw takes the same images for both, so what makes an image hard for all models cancels (paired bootstrap).
    """
    if np.shape(first) != np.shape(second):
        raise ValueError(f"a paired test needs the same images and classes; got {np.shape(first)}, {np.shape(second)}")
    stack = np.stack([first, second], axis=1).astype(np.float64)

    def difference(sums: np.ndarray) -> np.ndarray:
        return function(sums[:, 0]) - function(sums[:, 1])

    mean = float(difference(stack.sum(axis=0)[None])[0])
    draws = _resample(difference, stack, resamples, seed) if len(stack) > 1 else np.empty(0)
    return difference_of_draws(mean, draws, confidence)


def difference_of_draws(mean: float, draws: np.ndarray, confidence: float = 0.95) -> Difference:
    """From a difference and what it is in each draw, float (R,); nan among them are left out."""
    draws = draws[~np.isnan(draws)]
    if draws.size == 0:
        return Difference(mean, math.nan, math.nan, math.nan)
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    other_sign = min(float(np.mean(draws <= 0)), float(np.mean(draws >= 0)))
    return Difference(mean, float(low), float(high), min(1.0, max(2 * other_sign, 1 / draws.size)))


def _resample(function: Callable[[np.ndarray], np.ndarray], stack: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """float (resamples,): ``function`` of the sums over as many images, drawn anew each time."""
    count = len(stack)
    flat = stack.reshape(count, -1)
    random = np.random.default_rng(seed)
    rows = max(1, min(resamples, _CHUNK // max(count, flat.shape[1])))
    answers = []
    for start in range(0, resamples, rows):
        draws = min(rows, resamples - start)
        drawn = random.integers(0, count, (draws, count)) + np.arange(draws)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=draws * count).reshape(draws, count)
        sums = times.astype(np.float64) @ flat
        answers.append(function(sums.reshape(draws, *stack.shape[1:])))
    return np.concatenate(answers)
