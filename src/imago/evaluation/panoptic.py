"""How models that give segments are scored: the part of ``evaluate`` that is panoptic's.

Of each image only four numbers a class are kept, and for the confusion the pixels of each pair of classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imago.core.errors import DataError, ImagoError
from imago.core.labels import Labels
from imago.core.panoptic import Panoptic
from imago.evaluation.classes import ClassMatch
from imago.evaluation.panoptic_results import PARTS, PanopticClassScores, PanopticEvaluation, mean_quality
from imago.evaluation.results import ImageScores
from imago.metrics.bootstrap import RESAMPLES, Interval, interval_of
from imago.metrics.panoptic import FN, FP, TP, count_panoptic, quality


@dataclass(frozen=True)
class PanopticScoring:
    """``resamples``: of the intervals; 0: none."""

    resamples: int = RESAMPLES

    def start(self, card: Any, labels: Labels, match: ClassMatch) -> PanopticTally:
        """See ``evaluate.Scoring``."""
        if card.task != "panoptic":
            raise ImagoError(
                f"model {card.name!r} gives no segments (its task is {card.task!r}); put two together by --stuff"
            )
        return PanopticTally(card.name, labels, match, self)


@dataclass
class PanopticTally:
    """See ``evaluate.Tally``."""

    model: str
    labels: Labels  # of the data
    match: ClassMatch
    scoring: PanopticScoring
    names: list[str] = field(default_factory=list)
    counts: list[np.ndarray] = field(default_factory=list)  # float64 (K, 4) an image
    are_things: dict[int, bool] = field(default_factory=dict)  # by class, as the truth says, else the model

    def __post_init__(self) -> None:
        self.matrix = np.zeros((len(self.labels), len(self.labels)), np.int64)

    def read(self, sample: Any) -> Panoptic:
        """``sample`` has ``panoptic()``, in pixels of the image."""
        truth: Panoptic = sample.panoptic()
        return truth

    def predict(self, predictor: Any, image: np.ndarray) -> Panoptic:
        """``predictor(image)``, uint8 (H, W, C), has ``panoptic``. What the data do not know is void."""
        found: Panoptic = predictor(image).panoptic
        return found.with_values(self.match.values)

    def add(self, name: str, answer: Panoptic, truth: Panoptic) -> None:
        """See ``evaluate.Tally``."""
        for panoptic in (truth, answer):
            wrong = next((each for each in panoptic.segments if each.value >= len(self.labels)), None)
            if wrong is not None:
                raise DataError(
                    f"{name}: segment {wrong.id} is of class {wrong.value}, but classes end at {len(self.labels) - 1}; "
                    "group or remap the classes first"
                )
        try:
            self.counts.append(count_panoptic(answer, truth, len(self.labels)))
        except ValueError as error:
            raise DataError(f"{name}: {error}") from error
        self.names.append(name)
        for segment in (*answer.segments, *truth.segments):
            self.are_things[segment.value] = segment.is_thing
        pairs = truth.to_label_map().astype(np.int64) * len(self.labels) + answer.to_label_map()
        self.matrix += np.bincount(pairs.ravel(), minlength=self.matrix.size).reshape(self.matrix.shape)

    def show(self, truth: Panoptic, answer: Panoptic) -> tuple[Panoptic, Panoptic]:
        """Both as they are."""
        return truth, answer

    def evaluation(self) -> PanopticEvaluation:
        """See ``evaluate.Tally``."""
        counts = np.stack(self.counts)
        things = np.array([self.are_things.get(value, False) for value in range(len(self.labels))])
        summary = {}
        for part, chosen in (("", things | True), ("_things", things), ("_stuff", ~things)):
            for score in PARTS:
                function = mean_quality(score, chosen)
                summary[score + part] = interval_of(function, counts, resamples=self.scoring.resamples)
        images = [
            ImageScores(name, scores["pq"], scores)
            for name, one in zip(self.names, counts, strict=True)
            for scores in [self._score_image(one)]
        ]
        images.sort(key=lambda row: (np.isnan(row.score), row.score))
        return PanopticEvaluation(
            self.model, self.labels, summary, self._classes(counts, things), tuple(images), self.matrix,
            names=tuple(self.names), counts=counts,
        )  # fmt: skip

    def _score_image(self, counts: np.ndarray) -> dict[str, float]:
        every = np.ones(len(self.labels), bool)
        return {score: float(mean_quality(score, every)(counts[None])[0]) for score in PARTS}

    def _classes(self, counts: np.ndarray, things: np.ndarray) -> tuple[PanopticClassScores, ...]:
        pooled = counts.sum(axis=0)
        scores = quality(pooled)

        def spread(value: int) -> Interval:
            resamples = self.scoring.resamples
            return interval_of(lambda sums: quality(sums).pq, counts[:, value], resamples=resamples)

        return tuple(
            PanopticClassScores(
                self.labels.names[value], bool(things[value]), int(pooled[value, [TP, FN]].sum()),
                int(pooled[value, [TP, FP]].sum()), int(pooled[value, TP]),
                pq=spread(value), sq=float(scores.sq[value]), rq=float(scores.rq[value]),
            )
            for value in range(1, len(self.labels))
        )  # fmt: skip
