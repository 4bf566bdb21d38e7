"""How models that label pixels are scored: the semantic part of ``evaluate``.

Of each image only its counts are kept: three numbers a class, and for binary models two curves of 255.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from imago.core.errors import DataError, ImagoError
from imago.core.labels import IGNORE, Labels
from imago.core.model_card import ModelCard, Task
from imago.evaluation.classes import ClassMatch
from imago.evaluation.results import ImageScores
from imago.evaluation.semantic_results import SemanticClassScores, SemanticEvaluation
from imago.metrics import confusion
from imago.metrics.bootstrap import RESAMPLES, Interval, interval, interval_of
from imago.metrics.boundary import boundary_f
from imago.metrics.confusion import ConfusionMatrix
from imago.metrics.soft import THRESHOLDS, SoftScores, precision_recall_f, soft_scores


@dataclass(frozen=True)
class Answer:
    """A prediction in the classes of the data."""

    label_map: np.ndarray | None  # uint8 or uint16 (H, W)
    alpha: np.ndarray | None = None  # float32 (H, W) 0..1, where a binary model's own is scored


@dataclass(frozen=True)
class SemanticScoring:
    """What is worked out, and what is left out because it takes its time.

    ``task``: whose scores, "binary" or "semantic"; None: the model's own. A model of two labels can be scored as
    binary, to be held against one that is: label 1 is the foreground, and its label map is the alpha.
    """

    task: Task | None = None
    boundary: bool = True  # the boundary F-score: 5 to 20 ms a megapixel and class
    alpha: bool = True  # what speaks of a binary model's soft alpha: max-F, mean absolute error, their curve
    refine_edges: bool = True  # a binary model's mask follows the photo's edges, as the user's does: 0.02 s a megapixel
    resamples: int = RESAMPLES  # of the intervals; 0: none

    def start(self, card: ModelCard, labels: Labels, match: ClassMatch) -> SemanticTally:
        """See ``evaluate.Scoring``."""
        if card.finds_objects:
            raise ImagoError(
                f"model {card.name!r} finds objects (its task is {card.task!r}); it cannot be scored by pixels"
            )
        task = self.task or card.task
        if task == "binary" and len(labels) != 2:
            raise ValueError(f"binary scores are for two labels; the model has {len(labels)}")
        return SemanticTally(card, labels, match, replace(self, task=task))


@dataclass
class SemanticTally:
    """See ``evaluate.Tally``."""

    card: ModelCard
    labels: Labels  # of the data
    match: ClassMatch
    scoring: SemanticScoring  # whose task is known
    names: list[str] = field(default_factory=list)
    counts: list[np.ndarray] = field(default_factory=list)  # int64 (3, K) an image
    outlines: list[np.ndarray] = field(default_factory=list)  # float64 (K,) an image
    soft: list[SoftScores] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.total = ConfusionMatrix(len(self.labels))
        self.binary = self.scoring.task == "binary"
        self.soft_alpha = self.binary and self.scoring.alpha

    def read(self, sample: Any) -> np.ndarray:
        """uint8 (H, W), classes or 255 for "ignore"."""
        label_map: np.ndarray = sample.label_map()
        return label_map

    def predict(self, predictor: Any, image: np.ndarray) -> Answer:
        """``predictor(image)`` has ``label_map`` and, if it is binary, ``alpha``."""
        prediction = predictor(image)
        if not self.scoring.refine_edges and self.card.task == "binary":
            alpha = replace(prediction.alpha_map, guided=False).full()
            return Answer(self.match.relabel((alpha >= 0.5).astype(np.uint8)), self._turn(alpha))
        label_map = prediction.label_map
        if label_map is None or not self.soft_alpha or self.card.task != "binary":
            return Answer(None if label_map is None else self.match.relabel(label_map))
        return Answer(self.match.relabel(label_map), self._turn(prediction.alpha))

    def _turn(self, alpha: np.ndarray | None) -> np.ndarray | None:
        """Where the model's two classes stand in the other order, its alpha is that of the background."""
        return alpha if alpha is None or self.match.is_identity else 1 - alpha

    def add(self, name: str, answer: Answer, truth: np.ndarray) -> None:
        """See ``evaluate.Tally``."""
        predicted, classes = answer.label_map, len(self.labels)
        if predicted is None or predicted.shape != truth.shape:
            came = "none" if predicted is None else f"{predicted.shape}"
            raise DataError(f"{name}: the prediction must be a label map of the mask's size {truth.shape}; got {came}")
        try:
            matrix = ConfusionMatrix(classes).update(predicted, truth)
            if self.soft_alpha:
                alpha = (predicted == 1).astype(np.float32) if answer.alpha is None else answer.alpha
                self.soft.append(soft_scores(alpha, truth, ignore=IGNORE))
        except ValueError as error:
            raise DataError(f"{name}: {error}") from error
        self.total += matrix
        self.names.append(name)
        self.counts.append(matrix.counts())
        if self.scoring.boundary:
            self.outlines.append(boundary_f(predicted, truth, classes))

    def show(self, truth: np.ndarray, answer: Answer) -> tuple[np.ndarray, np.ndarray]:
        """Two label maps."""
        assert answer.label_map is not None
        return truth, answer.label_map

    def evaluation(self) -> SemanticEvaluation:
        """See ``evaluate.Tally``."""
        counts = np.stack(self.counts)  # (N, 3, K)
        per_image = self._per_image(counts)
        assert self.scoring.task is not None  # see SemanticScoring.start
        return SemanticEvaluation(
            model=self.card.name,
            task=self.scoring.task,
            labels=self.labels,
            summary=self._summary(counts, per_image),
            classes=self._classes(counts),
            images=self._rows(per_image),
            matrix=self.total.matrix,
            names=tuple(self.names),
            counts=counts,
            curve=self._curve(),
        )

    def _per_image(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """float64 (N,) each; nan where an image says nothing of it."""
        values: dict[str, np.ndarray] = {}
        if self.binary:
            hits, truth, predicted = counts[:, :, 1].T
            precision, recall, _ = precision_recall_f(hits, predicted - hits, truth - hits)
            # No foreground, and none was found: that says nothing of how well it is found. Found where none is: 0.
            values |= {"iou": confusion.iou(counts)[:, 1], "dice": confusion.dice(counts)[:, 1]}
            values |= {"precision": precision, "recall": recall}
        if self.soft_alpha:
            values["max_f"] = np.array([soft.max_f for soft in self.soft])
            values["mae"] = np.array([soft.mae for soft in self.soft])
        if not self.binary:
            values["mean_iou"] = confusion.mean_iou(counts)
            values["mean_dice"] = confusion.mean_dice(counts)
        values["pixel_accuracy"] = confusion.pixel_accuracy(counts)
        if self.scoring.boundary:
            outlines = np.stack(self.outlines)
            values["boundary_f"] = outlines[:, 1] if self.binary else confusion.nan_mean(outlines)
        blank = counts[:, confusion.TRUTH].sum(axis=1) == 0  # all of it is "ignore"
        return {name: np.where(blank, np.nan, value) for name, value in values.items()}

    def _summary(self, counts: np.ndarray, per_image: dict[str, np.ndarray]) -> dict[str, Interval]:
        summary: dict[str, Interval] = {}
        if self.binary:
            shown = counts[:, confusion.TRUTH, 1] > 0  # the rest holds no foreground
            empty = ~shown & (counts[:, confusion.TRUTH, 0] > 0)  # neither is it ignored as a whole
            summary["iou_image_mean"] = self._interval(per_image["iou"][shown])
            if empty.any():
                alarms = counts[empty][:, confusion.PREDICTED, 1] > 0
                summary["false_alarm_rate"] = self._interval(alarms.astype(np.float64))
            summary["iou"] = self._interval_of(lambda sums: confusion.iou(sums)[..., 1], counts)
            summary["dice"] = self._interval_of(lambda sums: confusion.dice(sums)[..., 1], counts)
            summary["precision"] = self._interval(per_image["precision"][shown])
            summary["recall"] = self._interval(per_image["recall"][shown])
        if self.soft_alpha:
            curves = np.array([[*soft.f_beta, 1.0] for soft in self.soft])[shown]
            summary["max_f"] = self._interval_of(lambda sums: (sums[..., :-1] / sums[..., -1:]).max(axis=-1), curves)
            summary["mae"] = self._interval(per_image["mae"])
        summary["mean_iou"] = self._interval_of(confusion.mean_iou, counts)
        summary["frequency_weighted_iou"] = self._interval_of(confusion.frequency_weighted_iou, counts)
        summary["mean_dice"] = self._interval_of(confusion.mean_dice, counts)
        summary["pixel_accuracy"] = self._interval_of(confusion.pixel_accuracy, counts)
        summary["mean_pixel_accuracy"] = self._interval_of(confusion.mean_pixel_accuracy, counts)
        if self.scoring.boundary and self.binary:
            summary["boundary_f"] = self._interval(per_image["boundary_f"][shown])
        elif self.scoring.boundary:
            outlines = np.stack(self.outlines)
            # Sums of (value, 1) over the images that show the class: (N, 2, K).
            known = np.stack([np.nan_to_num(outlines), ~np.isnan(outlines)], axis=1)
            summary["boundary_f"] = self._interval_of(_mean_of_class_means, known)
        return summary

    def _classes(self, counts: np.ndarray) -> tuple[SemanticClassScores, ...]:
        total = self.total
        truth = total.matrix.sum(axis=1)
        share = truth / truth.sum() if truth.sum() else np.full(len(truth), np.nan)
        accuracy, dice = total.class_accuracy(), total.dice()
        outlines = (
            confusion.nan_mean(np.stack(self.outlines).T) if self.scoring.boundary else np.full(len(truth), np.nan)
        )
        return tuple(
            SemanticClassScores(
                name=name,
                share=float(share[index]),
                pixel_accuracy=float(accuracy[index]),
                iou=self._interval_of(lambda sums: confusion.iou(sums)[..., 0], counts[:, :, index : index + 1]),
                dice=float(dice[index]),
                boundary_f=float(outlines[index]),
            )
            for index, name in enumerate(self.labels.names)
        )

    def _rows(self, per_image: dict[str, np.ndarray]) -> tuple[ImageScores, ...]:
        key = "iou" if self.binary else "mean_iou"
        order = np.argsort(per_image[key], kind="stable")  # nan last
        return tuple(
            ImageScores(
                name=self.names[index],
                score=float(per_image[key][index]),
                scores={name: float(values[index]) for name, values in per_image.items()},
            )
            for index in order
        )

    def _interval(self, per_image: np.ndarray) -> Interval:
        return interval(per_image, resamples=self.scoring.resamples)

    def _interval_of(self, function: Callable[[np.ndarray], np.ndarray], per_image: np.ndarray) -> Interval:
        return interval_of(function, per_image, resamples=self.scoring.resamples)

    def _curve(self) -> dict[str, list[float]] | None:
        """Means over the images with foreground, for each threshold."""
        known = [soft for soft, counts in zip(self.soft, self.counts, strict=False) if counts[confusion.TRUTH, 1]]
        if not known:
            return None
        means = {
            name: np.mean([getattr(soft, name) for soft in known], axis=0).round(6).tolist()
            for name in ("precision", "recall", "f_beta")
        }
        return {"threshold": THRESHOLDS.round(6).tolist(), **means}


def _mean_of_class_means(sums: np.ndarray) -> np.ndarray:
    """(..., 2, K) sums of (value, count) -> (...): each class alike."""
    values, count = sums[..., 0, :], sums[..., 1, :]
    return confusion.nan_mean(np.divide(values, count, out=np.full(values.shape, np.nan), where=count > 0))
