"""The confusion matrix and the scores that follow from it.

All scores need only three numbers a class, the *counts* ``(3, K)``: pixels where prediction and truth agree on the
class, pixels of the class in the truth, pixels of it in the prediction. The functions below take counts with any
number of leading axes, so that 2000 bootstrap resamples are scored at once.

Names follow Long et al. 2015 (arXiv:1411.4038, section 5): pixel accuracy, mean accuracy, mean IU,
frequency weighted IU.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from imago.core.labels import IGNORE
from imago.core.text import plural

HITS, TRUTH, PREDICTED = 0, 1, 2  # the rows of the counts


def check_same_shape(predicted: np.ndarray, truth: np.ndarray) -> None:
    """Raises ValueError unless both are of one shape, (H, W) or (N, H, W)."""
    if predicted.shape != truth.shape:
        raise ValueError(f"prediction {predicted.shape} and truth {truth.shape} must have the same shape")


@dataclass
class ConfusionMatrix:
    """Counts pixels: ``matrix[t, p]`` are those of class ``t`` that were taken for class ``p``.

    ``matrix = ConfusionMatrix(2); matrix.update(predicted, truth); matrix.iou()``
    """

    classes: int
    ignore: int = IGNORE  # pixels of the truth with this value count for nothing
    matrix: np.ndarray = field(init=False, repr=False)  # int64 (K, K) [truth, predicted]

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise ValueError(f"a confusion matrix needs at least one class; got {self.classes}")
        if 0 <= self.ignore < self.classes:
            raise ValueError(f"the ignore value {self.ignore} is also a class; choose one of {self.classes} or more")
        self.matrix = np.zeros((self.classes, self.classes), np.int64)

    def update(self, predicted: np.ndarray, truth: np.ndarray) -> ConfusionMatrix:
        """Adds the pixels of one image (or a batch): integer arrays of one shape. Gives itself back."""
        check_same_shape(predicted, truth)
        if truth.size == 0:
            return self
        if predicted.dtype == np.uint8 and truth.dtype == np.uint8:
            # All 65,536 pairs of two bytes are counted without looking at any value first: half the time of masking.
            pairs = truth.ravel().astype(np.uint16)
            pairs <<= 8
            pairs |= predicted.ravel()
            table = np.bincount(pairs, minlength=65536).reshape(256, 256)
            if 0 <= self.ignore < 256:
                table[self.ignore] = 0
            if self.classes < 256 and (table[self.classes :].any() or table[:, self.classes :].any()):
                self._refuse(table)
            self.matrix += table[: self.classes, : self.classes]
            return self
        counted = truth != self.ignore
        wide_truth = truth[counted].astype(np.int64)
        wide_predicted = predicted[counted].astype(np.int64)
        if wide_truth.size == 0:
            return self
        for name, values in (("truth", wide_truth), ("prediction", wide_predicted)):
            if values.min() < 0 or values.max() >= self.classes:
                worst = int(values.min() if values.min() < 0 else values.max())
                raise ValueError(self._complaint(name, worst))
        pairs = wide_truth * self.classes + wide_predicted
        self.matrix += np.bincount(pairs, minlength=self.classes**2).reshape(self.classes, self.classes)
        return self

    def _refuse(self, table: np.ndarray) -> None:
        for name, present in (("truth", table.sum(axis=1)), ("prediction", table.sum(axis=0))):
            if present[self.classes :].any():
                raise ValueError(self._complaint(name, int(np.flatnonzero(present)[-1])))

    def _complaint(self, where: str, value: int) -> str:
        return (
            f"the {where} holds the value {value}, but there are {plural(self.classes, 'class')} "
            f"(0 to {self.classes - 1}; {self.ignore} is ignored in the truth); group or remap the labels first"
        )

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        if (self.classes, self.ignore) != (other.classes, other.ignore):
            raise ValueError(
                f"cannot add matrices of {self.classes} and {plural(other.classes, 'class')} "
                f"(ignore {self.ignore} and {other.ignore}); both must agree"
            )
        result = ConfusionMatrix(self.classes, self.ignore)
        result.matrix = self.matrix + other.matrix
        return result

    def counts(self) -> np.ndarray:
        """int64 (3, K): hits, pixels in the truth, pixels in the prediction."""
        return np.stack([np.diagonal(self.matrix), self.matrix.sum(axis=1), self.matrix.sum(axis=0)])

    def pixel_accuracy(self) -> float:
        return float(pixel_accuracy(self.counts()))

    def class_accuracy(self) -> np.ndarray:
        return class_accuracy(self.counts())

    def mean_pixel_accuracy(self) -> float:
        return float(mean_pixel_accuracy(self.counts()))

    def iou(self) -> np.ndarray:
        return iou(self.counts())

    def mean_iou(self) -> float:
        return float(mean_iou(self.counts()))

    def frequency_weighted_iou(self) -> float:
        return float(frequency_weighted_iou(self.counts()))

    def dice(self) -> np.ndarray:
        return dice(self.counts())

    def mean_dice(self) -> float:
        return float(mean_dice(self.counts()))

    def normalized(self) -> np.ndarray:
        """float64 (K, K): each row divided by its sum; a row without pixels is nan."""
        return _ratio(self.matrix, self.matrix.sum(axis=1, keepdims=True))


# Scores of ``counts`` (see ``ConfusionMatrix.counts``): float64, 0..1, nan where nothing is known.


def pixel_accuracy(counts: np.ndarray) -> np.ndarray:
    """(..., 3, K) -> (...): share of all pixels that have the right class."""
    return _ratio(counts[..., HITS, :].sum(axis=-1), counts[..., TRUTH, :].sum(axis=-1))


def class_accuracy(counts: np.ndarray) -> np.ndarray:
    """(..., 3, K) -> (..., K): share of the pixels of each class that were found (recall); nan for a class that is not
    in the truth."""
    return _ratio(counts[..., HITS, :], counts[..., TRUTH, :])


def mean_pixel_accuracy(counts: np.ndarray) -> np.ndarray:
    """(..., 3, K) -> (...): mean of ``class_accuracy`` over the classes in the truth."""
    return nan_mean(class_accuracy(counts))


def iou(counts: np.ndarray) -> np.ndarray:
    """(..., 3, K) -> (..., K): intersection over union of each class; nan for a class in neither truth nor
    prediction."""
    hits = counts[..., HITS, :]
    return _ratio(hits, counts[..., TRUTH, :] + counts[..., PREDICTED, :] - hits)


def mean_iou(counts: np.ndarray) -> np.ndarray:
    """(..., 3, K) -> (...): mean of ``iou`` over the classes in truth or prediction."""
    return nan_mean(iou(counts))


def frequency_weighted_iou(counts: np.ndarray) -> np.ndarray:
    """(..., 3, K) -> (...): ``iou``, each class weighing as many pixels as it has in the truth."""
    truth = counts[..., TRUTH, :]
    return _ratio((truth * np.nan_to_num(iou(counts))).sum(axis=-1), truth.sum(axis=-1))


def dice(counts: np.ndarray) -> np.ndarray:
    """(..., 3, K) -> (..., K): 2 |A and B| / (|A| + |B|) of each class (the F1 score); nan for a class in neither."""
    return _ratio(2 * counts[..., HITS, :], counts[..., TRUTH, :] + counts[..., PREDICTED, :])


def mean_dice(counts: np.ndarray) -> np.ndarray:
    """(..., 3, K) -> (...): mean of ``dice`` over the classes in truth or prediction."""
    return nan_mean(dice(counts))


def nan_mean(values: np.ndarray) -> np.ndarray:
    """(..., K) -> (...): mean over the last axis without the nan, and nan without a warning where there is nothing
    else."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """``above / below`` as float64, nan where ``below`` is 0."""
    above, below = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
