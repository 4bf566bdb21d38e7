"""What an evaluation found out: plain values, as JSON and as a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imago.core.labels import Labels
from imago.core.model_card import Task
from imago.metrics import confusion
from imago.metrics.bootstrap import Interval

# Every score in the summary, in the order of the table. "Over images": each image counts alike. The others are pooled:
# the pixels of all images are counted together first.
SCORE_NAMES: dict[str, str] = {
    "iou_image_mean": "IoU of the foreground, mean over images",
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
class ClassScores:
    """One class, pixels of all images pooled; nan where the class was in neither truth nor prediction."""

    name: str
    share: float  # of the counted pixels of the truth, 0..1
    pixel_accuracy: float
    iou: Interval
    dice: float
    boundary_f: float  # mean over the images that show the class


@dataclass(frozen=True)
class ImageScores:
    """One image. ``scores`` holds what its task has, named as in ``SCORE_NAMES`` (here of this image alone)."""

    name: str
    score: float  # what the rows are sorted by: ``iou`` (binary) or ``mean_iou``; nan where all is ignored
    scores: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """The scores of one model on one set of images."""

    model: str
    task: Task
    labels: Labels
    summary: dict[str, Interval]  # named and ordered as SCORE_NAMES
    classes: tuple[ClassScores, ...]
    images: tuple[ImageScores, ...]  # the worst first; images without a score last
    matrix: np.ndarray = field(repr=False, compare=False)  # int64 (K, K) pixels [truth, predicted]
    names: tuple[str, ...] = field(default=(), repr=False)  # of the images in the order of ``counts``
    counts: np.ndarray | None = field(default=None, repr=False, compare=False)  # int64 (N, 3, K), see ConfusionMatrix
    curve: dict[str, list[float]] | None = field(
        default=None, repr=False
    )  # binary: threshold, precision, recall, f_beta

    @property
    def scores(self) -> dict[str, float]:
        """The means alone, for a model card; what is not known is left out."""
        return {name: value.mean for name, value in self.summary.items() if math.isfinite(value.mean)}

    @property
    def main(self) -> str:
        """What models are compared by, a name in ``summary``: ``iou_image_mean`` (binary) or ``mean_iou``."""
        return "iou_image_mean" if self.task == "binary" else "mean_iou"

    @property
    def score(self) -> float:
        """The one number that models are compared by."""
        return self.summary[self.main].mean

    def by_class(self) -> tuple[Interval, ...]:
        """What classes are compared by: IoU, one for each label."""
        return tuple(row.iou for row in self.classes)

    def main_score(self) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
        """How ``score`` follows from sums over images, and those of each image, in the order of ``names``: what
        ``metrics.bootstrap.paired_difference`` takes."""
        assert self.counts is not None
        if self.task == "semantic":
            return confusion.mean_iou, self.counts
        scores = {image.name: image.score for image in self.images}
        values = np.array([scores[name] for name in self.names])
        known = np.isfinite(values)
        return _divide_sums, np.stack([np.where(known, values, 0), known], axis=1).astype(np.float64)

    def worst(self, count: int) -> tuple[ImageScores, ...]:
        """The ``count`` images with the lowest score, the lowest first."""
        return tuple(image for image in self.images if math.isfinite(image.score))[:count]

    def best(self, count: int) -> tuple[ImageScores, ...]:
        """The ``count`` images with the highest score, the highest first."""
        return tuple(image for image in reversed(self.images) if math.isfinite(image.score))[:count]

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; nan becomes None."""
        return {
            "model": self.model,
            "task": self.task,
            "labels": self.labels.to_json(),
            "images_count": len(self.images),
            "confidence": next(iter(self.summary.values())).confidence,
            "summary": {name: value.to_json() for name, value in self.summary.items()},
            "classes": [
                {
                    "name": row.name,
                    "share": finite(row.share),
                    "pixel_accuracy": finite(row.pixel_accuracy),
                    "iou": row.iou.to_json(),
                    "dice": finite(row.dice),
                    "boundary_f": finite(row.boundary_f),
                }
                for row in self.classes
            ],
            "confusion_matrix": self.matrix.tolist(),
            "curve": self.curve,
            "images": [
                {
                    "name": image.name,
                    "score": finite(image.score),
                    "scores": {name: finite(value) for name, value in image.scores.items()},
                }
                for image in self.images
            ],
        }

    def table(self, extremes: int = 3) -> str:
        """Aligned text: the summary, a row for each class, and the worst and best images."""
        confidence = next(iter(self.summary.values())).confidence
        count = len(self.images)
        parts = [f"{self.model}: {count} image{'s' if count != 1 else ''}, {len(self.labels)} classes"]
        rows: list[tuple[str, ...]] = [("score", "value", f"{confidence * 100:g} % interval")]
        for name, value in self.summary.items():
            bounds = f"{value.low:.4f} to {value.high:.4f}" if math.isfinite(value.low) else "-"
            rows.append((SCORE_NAMES[name], format_score(value.mean), bounds))
        parts.append(align_columns(rows))
        by_class: list[tuple[str, ...]] = [("class", "share", "accuracy", "IoU", "Dice", "boundary F")]
        for row in self.classes:
            share = f"{row.share * 100:.2f} %" if math.isfinite(row.share) else "-"
            numbers = (row.pixel_accuracy, row.iou.mean, row.dice, row.boundary_f)
            by_class.append((row.name, share, *map(format_score, numbers)))
        parts.append(align_columns(by_class))
        if extremes:
            for title, images in (("worst", self.worst(extremes)), ("best", self.best(extremes))):
                parts.append(
                    align_columns([(title, "score"), *((image.name, format_score(image.score)) for image in images)])
                )
        return "\n\n".join(parts)


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def format_score(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "-"


def align_columns(rows: list[tuple[str, ...]]) -> str:
    """The first column to the left, the others to the right, a rule under the first row."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _divide_sums(sums: np.ndarray) -> np.ndarray:
    return np.divide(sums[..., 0], sums[..., 1], out=np.full(sums.shape[:-1], np.nan), where=sums[..., 1] > 0)
