"""One model over one set of annotated images, at the images' full resolution.

Of each image only its counts are kept (three numbers a class, and for binary models two curves of 255), so the memory
does not grow with the images' sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from imago.core.errors import DataError
from imago.core.labels import IGNORE
from imago.core.model_card import ModelCard, Task
from imago.evaluation.reading import read_ahead
from imago.evaluation.results import ClassScores, Evaluation, ImageScores
from imago.metrics import confusion
from imago.metrics.bootstrap import Interval, interval, interval_of
from imago.metrics.boundary import boundary_f
from imago.metrics.confusion import ConfusionMatrix
from imago.metrics.soft import THRESHOLDS, SoftScores, precision_recall_f, soft_scores


class Sample(Protocol):
    """One annotated image; ``imago.data.dataset.Sample`` is one."""

    @property
    def name(self) -> str: ...

    def image(self) -> np.ndarray: ...  # uint8 (H, W, C)

    def label_map(self) -> np.ndarray: ...  # uint8 (H, W), classes or 255 for "ignore"


class Answer(Protocol):
    """What the evaluation looks at in a prediction."""

    @property
    def label_map(self) -> np.ndarray | None: ...  # uint8 (H, W)

    @property
    def alpha(self) -> np.ndarray | None: ...  # float32 (H, W) 0..1, binary models


class Model(Protocol):
    """Anything that can be evaluated; ``imago.inference.predictor.Predictor`` is one."""

    @property
    def card(self) -> ModelCard: ...

    def __call__(self, image: np.ndarray, /) -> Answer: ...


def evaluate(
    predictor: Model,
    samples: Iterable[Sample],
    *,
    boundary: bool = True,
    task: Task | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Runs ``predictor`` over ``samples`` and scores it, by the scores of ``task``; None: of the model's own.

    A model of two labels can be scored as ``binary``, to be held against one that is: label 1 is the foreground, and
    its label map is the alpha. Labels past the model's classes are an error. ``boundary=False`` leaves out the boundary
    F-score, which costs 5 to 20 ms a megapixel and class. ``progress`` is told the count of images done. Raises
    DataError (or what the sample raises) for the first image that cannot be scored: a mean over the rest would be
    another score.
    """

    def read(sample: Sample) -> tuple[str, np.ndarray, np.ndarray]:
        return sample.name, sample.image(), sample.label_map()

    if task == "binary" and len(predictor.card.labels) != 2:
        raise ValueError(f"binary scores are for two labels; the model has {len(predictor.card.labels)}")
    tally = _Tally(predictor.card, boundary, task or predictor.card.task)
    for done, (name, image, truth) in enumerate(read_ahead(samples, read), 1):
        answer = predictor(image)
        tally.add(name, answer, truth)
        if progress is not None:
            progress(done)
    if not tally.names:
        raise DataError("there is nothing to evaluate: the list of images is empty; choose another split or folder")
    return tally.evaluation()


@dataclass
class _Tally:
    """What is kept of the images seen so far."""

    card: ModelCard
    boundary: bool
    task: Task  # whose scores they are
    names: list[str] = field(default_factory=list)
    counts: list[np.ndarray] = field(default_factory=list)  # int64 (3, K) an image
    outlines: list[np.ndarray] = field(default_factory=list)  # float64 (K,) an image
    soft: list[SoftScores] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.total = ConfusionMatrix(len(self.card.labels))

    @property
    def binary(self) -> bool:
        return self.task == "binary"

    def add(self, name: str, answer: Answer, truth: np.ndarray) -> None:
        predicted = answer.label_map
        if predicted is None or predicted.shape != truth.shape:
            came = "none" if predicted is None else f"{predicted.shape}"
            raise DataError(f"{name}: the prediction must be a label map of the mask's size {truth.shape}; got {came}")
        classes = len(self.card.labels)
        try:
            matrix = ConfusionMatrix(classes).update(predicted, truth)
        except ValueError as error:
            raise DataError(f"{name}: {error}") from error
        self.total += matrix
        self.names.append(name)
        self.counts.append(matrix.counts())
        if self.boundary:
            outlines = boundary_f(predicted, truth, classes)
            if self.binary and np.isnan(outlines[1]) and matrix.matrix.any():
                outlines[1] = 1.0  # no subject, and none was found
            self.outlines.append(outlines)
        if self.binary:
            alpha = answer.alpha if self.card.task == "binary" else None
            if alpha is None:
                alpha = (predicted == 1).astype(np.float32)
            try:
                self.soft.append(soft_scores(alpha, truth, ignore=IGNORE))
            except ValueError as error:
                raise DataError(f"{name}: {error}") from error

    def evaluation(self) -> Evaluation:
        counts = np.stack(self.counts)  # (N, 3, K)
        per_image = self._per_image(counts)
        return Evaluation(
            model=self.card.name,
            task=self.task,
            labels=self.card.labels,
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
            precision, recall, dice = precision_recall_f(hits, predicted - hits, truth - hits)
            union = truth + predicted - hits
            # No subject, and none was found: that is right, and counts 1.
            iou = np.divide(hits, union, out=np.ones(len(hits)), where=union > 0)
            values |= {"iou": iou, "dice": dice, "precision": precision, "recall": recall}
            values["max_f"] = np.array([soft.max_f for soft in self.soft])
            values["mae"] = np.array([soft.mae for soft in self.soft])
        else:
            values["mean_iou"] = confusion.mean_iou(counts)
            values["mean_dice"] = confusion.mean_dice(counts)
        values["pixel_accuracy"] = confusion.pixel_accuracy(counts)
        if self.boundary:
            outlines = np.stack(self.outlines)
            values["boundary_f"] = outlines[:, 1] if self.binary else confusion.nan_mean(outlines)
        blank = counts[:, confusion.TRUTH].sum(axis=1) == 0  # all of it is "ignore"
        return {name: np.where(blank, np.nan, value) for name, value in values.items()}

    def _summary(self, counts: np.ndarray, per_image: dict[str, np.ndarray]) -> dict[str, Interval]:
        summary: dict[str, Interval] = {}
        if self.binary:
            summary["iou_image_mean"] = interval(per_image["iou"])
            summary["iou"] = interval_of(lambda sums: confusion.iou(sums)[..., 1], counts)
            summary["dice"] = interval_of(lambda sums: confusion.dice(sums)[..., 1], counts)
            summary["precision"] = interval(per_image["precision"])
            summary["recall"] = interval(per_image["recall"])
            known = ~np.isnan(per_image["max_f"])
            curves = np.array([[*soft.f_beta, 1.0] for soft in self.soft])[known]
            summary["max_f"] = interval_of(lambda sums: (sums[..., :-1] / sums[..., -1:]).max(axis=-1), curves)
            summary["mae"] = interval(per_image["mae"])
        summary["mean_iou"] = interval_of(confusion.mean_iou, counts)
        summary["frequency_weighted_iou"] = interval_of(confusion.frequency_weighted_iou, counts)
        summary["mean_dice"] = interval_of(confusion.mean_dice, counts)
        summary["pixel_accuracy"] = interval_of(confusion.pixel_accuracy, counts)
        summary["mean_pixel_accuracy"] = interval_of(confusion.mean_pixel_accuracy, counts)
        if self.boundary and self.binary:
            summary["boundary_f"] = interval(per_image["boundary_f"])
        elif self.boundary:
            outlines = np.stack(self.outlines)
            # Sums of (value, 1) over the images that show the class: (N, 2, K).
            shown = np.stack([np.nan_to_num(outlines), ~np.isnan(outlines)], axis=1)
            summary["boundary_f"] = interval_of(_mean_of_class_means, shown)
        return summary

    def _classes(self, counts: np.ndarray) -> tuple[ClassScores, ...]:
        total = self.total
        truth = total.matrix.sum(axis=1)
        share = truth / truth.sum() if truth.sum() else np.full(len(truth), np.nan)
        accuracy, dice = total.class_accuracy(), total.dice()
        outlines = confusion.nan_mean(np.stack(self.outlines).T) if self.boundary else np.full(len(truth), np.nan)
        return tuple(
            ClassScores(
                name=name,
                share=float(share[index]),
                pixel_accuracy=float(accuracy[index]),
                iou=interval_of(lambda sums: confusion.iou(sums)[..., 0], counts[:, :, index : index + 1]),
                dice=float(dice[index]),
                boundary_f=float(outlines[index]),
            )
            for index, name in enumerate(self.card.labels.names)
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

    def _curve(self) -> dict[str, list[float]] | None:
        """Means over images for each threshold."""
        known = [soft for soft in self.soft if not np.isnan(soft.mae)]
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
