"""What the values of a training set are: the range of each band, its mean and its spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imago.core.bands import Ranges
from imago.data.dataset import Sample
from imago.files.images import read_values
from imago.files.values import is_number

LOOKED_AT = 100  # photos
_VALUES = 4096  # of each band and photo
_CUT = 0.1  # percent of the values at either end that the range leaves out: broken pixels, glints
_LEAST_SPREAD = 1 / 255


@dataclass(frozen=True)
class BandStatistics:
    """Of each band, in their order."""

    ranges: Ranges  # values that become 0 and 255; empty where all photos have 8 bits
    mean: tuple[float, ...]  # 0..1
    std: tuple[float, ...]  # above 0


def measure_bands(samples: Sequence[Sample], channels: int) -> BandStatistics:
    """Looks at ``LOOKED_AT`` photos, evenly from first to last. Raises ImageError for one that cannot be read."""
    places = np.unique(np.linspace(0, len(samples) - 1, min(LOOKED_AT, len(samples))).round().astype(int))
    found: list[np.ndarray] = []
    deep = False
    for place in places:
        values, no_data = read_values(samples[place].image_path, channels)
        step = max(1, int((values.shape[0] * values.shape[1] / _VALUES) ** 0.5))
        part = values[::step, ::step].reshape(-1, channels)
        deep = deep or part.dtype != np.uint8
        found.append(np.where(is_number(part, no_data), part, np.nan).astype(np.float64))
    pooled = np.concatenate(found)
    ranges: Ranges = ()
    shares = pooled / 255
    if deep:
        ranges = tuple(_find_range(pooled[:, band]) for band in range(channels))
        low, high = np.array(ranges).T
        shares = np.clip((pooled - low) / (high - low), 0, 1)
    shares = np.nan_to_num(shares, nan=0.0)
    mean, std = shares.mean(axis=0), np.maximum(shares.std(axis=0), _LEAST_SPREAD)
    return BandStatistics(ranges, tuple(round(float(m), 4) for m in mean), tuple(round(float(s), 4) for s in std))


def _find_range(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = (float(f"{value:.6g}") for value in np.percentile(known, (_CUT, 100 - _CUT)))
    return (low, high) if high > low else (low, low + 1.0)
