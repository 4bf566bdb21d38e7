"""What an evaluation of label maps found out. See ``Evaluation``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from imago.core.model_card import Task
from imago.evaluation.results import ClassScores, Evaluation, Rows, count_words, finite, format_score
from imago.metrics import confusion
from imago.metrics.bootstrap import RESAMPLES, Difference, Interval, paired_difference

# Every score in the summary, in the order of the table. "Over images": each image counts alike; those without any
# foreground say nothing of how well it is found; ``false_alarm_rate`` and the mean absolute error judge them. The rest
# is pooled: the pixels of all images are counted together first.
SEMANTIC_SCORE_NAMES: dict[str, str] = {
    "iou_image_mean": "IoU of the foreground, mean over images",
    "false_alarm_rate": "images without foreground in which some is found",
    "iou": "IoU of the foreground, all pixels pooled",
    "dice": "Dice of the foreground, all pixels pooled",
    "precision": "precision of the foreground, mean over images",
    "recall": "recall of the foreground, mean over images",
    "max_f": "max-F of the alpha (beta² 0.3), over images",
    "mae": "mean absolute error of the alpha, over images",
    "mean_iou": "mean IoU over classes",
    "frequency_weighted_iou": "frequency weighted IoU",
    "mean_dice": "mean Dice over classes",
    "pixel_accuracy": "pixel accuracy",
    "mean_pixel_accuracy": "mean pixel accuracy over classes",
    "boundary_f": "boundary F-score",
}


@dataclass(frozen=True)
class SemanticClassScores(ClassScores):
    """One class, pixels of all images pooled; nan where the class was in neither truth nor prediction."""

    share: float  # of the counted pixels of the truth, 0..1
    pixel_accuracy: float
    iou: Interval
    dice: float
    boundary_f: float  # mean over the images that show the class

    @property
    def main(self) -> Interval:
        return self.iou

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "share": finite(self.share),
            "pixel_accuracy": finite(self.pixel_accuracy),
            "iou": self.iou.to_json(),
            "dice": finite(self.dice),
            "boundary_f": finite(self.boundary_f),
        }


@dataclass(frozen=True)
class SemanticEvaluation(Evaluation):
    """``matrix`` counts pixels; ``counts`` belong to ``names``."""

    task: Task  # "binary" or "semantic"
    classes: tuple[SemanticClassScores, ...]
    counts: np.ndarray = field(repr=False, compare=False)  # int64 (N, 3, K), see ConfusionMatrix
    curve: dict[str, list[float]] | None = field(repr=False)  # binary: threshold, precision, recall, f_beta

    score_names: ClassVar[dict[str, str]] = SEMANTIC_SCORE_NAMES

    @property
    def main(self) -> str:
        """``iou_image_mean`` (binary) or ``mean_iou``."""
        return "iou_image_mean" if self.task == "binary" else "mean_iou"

    @property
    def headline(self) -> tuple[str, ...]:
        wanted = (self.main, "false_alarm_rate", "boundary_f", "pixel_accuracy")
        return tuple(name for name in wanted if name in self.summary)

    @property
    def contents(self) -> str:
        return count_words(len(self.labels), "class", "classes")

    def facts(self) -> dict[str, Any]:
        return {"task": self.task}

    def details(self) -> dict[str, Any]:
        return {"curve": self.curve}

    def tables(self) -> list[Rows]:
        rows: Rows = [("class", "share", "accuracy", "IoU", "Dice", "boundary F")]
        for row in self.classes:
            share = f"{row.share * 100:.2f} %" if math.isfinite(row.share) else "-"
            numbers = (row.pixel_accuracy, row.iou.mean, row.dice, row.boundary_f)
            rows.append((row.name, share, *map(format_score, numbers)))
        return [rows]

    def _paired(self, other: SemanticEvaluation, resamples: int | None) -> Difference:
        function, first = self._main_sums()
        _, second = other._main_sums()
        return paired_difference(function, first, second, resamples=resamples or RESAMPLES)

    def _main_sums(self) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
        """How ``score`` follows from sums over images, and those of each image, in the order of ``names``."""
        if self.task == "semantic":
            return confusion.mean_iou, self.counts
        known = self.counts[:, confusion.TRUTH, 1] > 0
        values = np.where(known, np.nan_to_num(confusion.iou(self.counts)[:, 1]), 0)
        return _divide_sums, np.stack([values, known], axis=1).astype(np.float64)


def _divide_sums(sums: np.ndarray) -> np.ndarray:
    return np.divide(sums[..., 0], sums[..., 1], out=np.full(sums.shape[:-1], np.nan), where=sums[..., 1] > 0)
