"""Scores of a soft foreground (alpha 0..1) against a hard truth, as papers on salient objects report them.

The F-score weighs precision over recall with beta^2 = 0.3 (Achanta et al. 2009, "Frequency-tuned salient region
detection"; the habit of the field since). Max-F is the largest value, over 255 thresholds, of the mean over images of
each image's F-score. MAE is the mean absolute difference between alpha and truth.

Where nothing can be divided: precision is 1 where nothing was predicted (no pixel was wrongly claimed), recall is 1
where the truth is empty (none was missed), and the F-score of an empty prediction for an empty truth is 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imago.core.labels import IGNORE
from imago.metrics.confusion import check_same_shape

BETA_SQUARED = 0.3
THRESHOLDS = np.arange(1, 256) / 255  # a pixel is foreground where its alpha, in steps of 1/255, is at least this

_ROUNDING = 1e-4  # past 0 and 1 that is taken for them: half precision, a resize


@dataclass(frozen=True)
class SoftScores:
    """One image. The curves are float64 (255,), one value for each of ``THRESHOLDS``."""

    precision: np.ndarray
    recall: np.ndarray
    f_beta: np.ndarray
    mae: float  # nan where every pixel is ignored

    @property
    def max_f(self) -> float:
        return float(self.f_beta.max())


def soft_scores(
    alpha: np.ndarray, truth: np.ndarray, *, ignore: int = IGNORE, beta_squared: float = BETA_SQUARED
) -> SoftScores:
    """``alpha`` float (H, W) 0..1; ``truth`` integer (H, W): 0 background, ``ignore``, anything else foreground."""
    check_same_shape(alpha, truth)
    if alpha.dtype.kind != "f":
        raise ValueError(f"alpha must be floating point, 0 to 1; got {alpha.dtype}")
    if alpha.size and not (alpha.min() >= -_ROUNDING and alpha.max() <= 1 + _ROUNDING):  # also where it holds nan
        raise ValueError(f"alpha must lie in 0 to 1; got {alpha.min()} to {alpha.max()}")
    alpha = alpha.clip(0, 1)
    foreground = (truth != 0).astype(np.float32)
    counted = truth != ignore
    error = np.abs(alpha - foreground)[counted]
    mae = float(error.mean(dtype=np.float64)) if error.size else float("nan")

    steps = (alpha * 255 + 0.5).astype(np.uint16)  # 0..255
    steps += (foreground * 256).astype(np.uint16)
    steps[~counted] = 512
    negative, positive = np.bincount(steps.ravel(), minlength=513)[:512].reshape(2, 256)
    # Pixels at or above each threshold 1..255.
    hits = positive[::-1].cumsum()[::-1][1:]
    false = negative[::-1].cumsum()[::-1][1:]
    missed = positive.sum() - hits
    return SoftScores(*precision_recall_f(hits, false, missed, beta_squared), mae)


def precision_recall_f(
    hits: np.ndarray, false: np.ndarray, missed: np.ndarray, beta_squared: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F-beta from pixel counts (true positives, false positives, false negatives)."""
    return (
        _share(hits, hits + false),
        _share(hits, hits + missed),
        _share((1 + beta_squared) * hits, (1 + beta_squared) * hits + beta_squared * missed + false),
    )


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, 1 where the whole is nothing."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.ones(whole.shape), where=whole > 0)
