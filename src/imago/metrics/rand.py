"""Rand and information scores of a segmentation into parts: cells that are split, cells that are merged.

Arganda-Carreras et al. 2015, "Crowdsourcing the creation of image segmentation algorithms for connectomics", Frontiers
in Neuroanatomy 9:142, section on evaluation: V_Rand and V_Info, restricted to the foreground of the truth, after the
predicted borders were thinned; of a probability map the best over thresholds. alpha = 0.5 weighs splits and merges
alike. All scores run from 0 to 1, and 1 is best; the challenge's older "Rand error" is 1 - F without thinning.

What a pair of pixels is taken for: parts of the truth are the 4-connected components of its foreground, and pixels of
its border or of "ignore" count for nothing. Where the prediction has border inside them, each such pixel is a part of
its own, as in the challenge's program.

Differs from the challenge's program (Fiji's Trainable Segmentation), which was not run beside this: borders are thinned
by letting all parts grow at the same speed until one pixel is left between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from imago.core.labels import IGNORE
from imago.metrics.confusion import check_same_shape

THRESHOLDS = np.arange(11) / 10  # a pixel is foreground where its probability is above; as in the challenge's program

MERGE, SPLIT, F = 0, 1, 2  # the columns of the scores


@dataclass(frozen=True)
class PartScores:
    """V_Rand and V_Info, float64 (..., 3) each: merge (1: no two cells became one), split (1: none was cut), F."""

    rand: np.ndarray
    info: np.ndarray


def segments(foreground: np.ndarray, thin: bool = False) -> np.ndarray:
    """bool (H, W) -> int32 (H, W): 4-connected parts from 1 up, 0 is border. ``thin``: the border is one pixel wide."""
    _, parts = cv2.connectedComponents(foreground.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    if not thin or not parts.any():
        return parts
    # OpenCV's watershed turns the outermost pixels into border, so there is a frame around to be taken off again.
    grown = cv2.copyMakeBorder(parts, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    flat = np.zeros((*grown.shape, 3), np.uint8)  # without hills all parts grow at the same speed
    return np.maximum(cv2.watershed(flat, grown)[1:-1, 1:-1], 0)


def part_scores(predicted: np.ndarray, truth: np.ndarray) -> PartScores:
    """Integer (H, W) twice, parts from 1 up and 0 for border (see ``segments``); pixels where ``truth`` is 0 do not
    count. Raises ValueError where none counts."""
    check_same_shape(predicted, truth)
    counted = truth != 0
    total = np.count_nonzero(counted)
    if not total:
        raise ValueError("the truth has no foreground: all of it is border or ignored; give a slice with cells")
    mine, its = predicted[counted].astype(np.int64), truth[counted].astype(np.int64)
    if min(mine.min(), its.min()) < 0:
        raise ValueError(f"parts are numbered from 1 up, 0 is border; got {min(mine.min(), its.min())}")
    of_truth = np.unique(its, return_counts=True)[1] / total  # t_j
    alone = np.full(np.count_nonzero(mine == 0), 1 / total)  # pixels of border: parts of their own
    its, mine = its[mine > 0], mine[mine > 0]
    parts = np.append(np.unique(mine, return_counts=True)[1] / total, alone)  # s_i
    # p_ij: one number a pair, which is unique.
    pairs = np.unique(mine * (truth.max() + 1) + its, return_counts=True)[1]
    both = np.append(pairs / total, alone)
    return PartScores(_rand(both, parts, of_truth), _info(both, parts, of_truth))


def _rand(both: np.ndarray, parts: np.ndarray, of_truth: np.ndarray) -> np.ndarray:
    together, mine, its = (float(np.sum(share**2)) for share in (both, parts, of_truth))
    return np.array([together / mine, together / its, together / (0.5 * mine + 0.5 * its)])


def _info(both: np.ndarray, parts: np.ndarray, of_truth: np.ndarray) -> np.ndarray:
    """Mutual information over the entropy of the truth (merge), of the prediction (split), and of their mean."""
    joint, mine, its = (float(-np.sum(share * np.log(share))) for share in (both, parts, of_truth))
    mutual = max(0.0, mine + its - joint)
    # One part alone has no entropy: nothing can be lost of it.
    return np.array([mutual / whole if whole > 1e-12 else 1.0 for whole in (its, mine, (mine + its) / 2)])


def score_curves(
    probability: np.ndarray,
    truth: np.ndarray,
    *,
    thresholds: np.ndarray = THRESHOLDS,
    thin: bool = True,
    ignore: int = IGNORE,
) -> PartScores:
    """``probability`` of foreground, float (H, W) 0..1; ``truth`` integer (H, W): 0 border, ``ignore``, else cell.

    Gives the scores at each threshold, (T, 3) each.
    """
    cells = segments((truth != 0) & (truth != ignore))
    found = [part_scores(segments(probability > threshold, thin), cells) for threshold in thresholds]
    return PartScores(np.stack([each.rand for each in found]), np.stack([each.info for each in found]))


def best_threshold(curves: np.ndarray, thresholds: np.ndarray = THRESHOLDS) -> tuple[float, np.ndarray]:
    """Curves of N images (N, T, 3) -> the one threshold with the best mean F, and the mean scores (3,) at it."""
    mean = np.asarray(curves).mean(axis=0)
    best = int(mean[:, F].argmax())
    return float(thresholds[best]), mean[best]


def pixel_error(predicted: np.ndarray, truth: np.ndarray, *, ignore: int = IGNORE) -> float:
    """Share of the pixels (label maps (H, W)) whose class is wrong; nan where all are ignored."""
    check_same_shape(predicted, truth)
    counted = truth != ignore
    return float(np.mean(predicted[counted] != truth[counted])) if counted.any() else float("nan")
