"""What every evaluation found out, whatever its task: plain values, as JSON and as a table.

The task's own part stands beside it: ``SemanticEvaluation``, ``DetectionEvaluation``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np

from imago.core.labels import Labels
from imago.core.table import align_columns
from imago.metrics.bootstrap import Difference, Interval

Rows = list[tuple[str, ...]]  # of a table, the head first


@dataclass(frozen=True)
class ImageScores:
    """One image. ``scores`` holds what its task has, named as in ``score_names`` (here of this image alone)."""

    name: str
    score: float  # what the rows are sorted by; nan where all is ignored
    scores: dict[str, float]


@dataclass(frozen=True)
class ClassScores(ABC):
    """One class over all images; nan where nothing can be said of it."""

    name: str

    @property
    @abstractmethod
    def main(self) -> Interval:
        """What classes are compared by."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; nan becomes None."""


@dataclass(frozen=True)
class Evaluation(ABC):
    """The scores of one model on one set of images."""

    model: str
    labels: Labels
    summary: dict[str, Interval]  # named and ordered as ``score_names``
    classes: tuple[ClassScores, ...]
    images: tuple[ImageScores, ...]  # the worst first; images without a score last
    matrix: np.ndarray = field(repr=False, compare=False)  # int64 (K, K) [truth, predicted], pixels or objects
    names: tuple[str, ...] = field(repr=False)  # of the images, in the order in which they were measured

    # Every score that a summary may have, in the order of the tables, and its name in words.
    score_names: ClassVar[Mapping[str, str]]

    @property
    @abstractmethod
    def main(self) -> str:
        """What models are compared by, a name in ``summary``."""

    @property
    @abstractmethod
    def headline(self) -> tuple[str, ...]:
        """The scores that a page shows large, names in ``summary``."""

    @property
    @abstractmethod
    def contents(self) -> str:
        """What the images hold, in a word or two: "3 classes"."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the JSON says of the task at its head: ``task``, and what else there is."""

    @abstractmethod
    def details(self) -> dict[str, Any]:
        """What the JSON says that this task alone has."""

    @abstractmethod
    def tables(self) -> list[Rows]:
        """What stands between the summary and the images in the text: at the least a row for each class."""

    @abstractmethod
    def _paired(self, other: Any, resamples: int | None) -> Difference: ...

    @property
    def score(self) -> float:
        """The one number that models are compared by."""
        return self.summary[self.main].mean

    @property
    def scores(self) -> dict[str, float]:
        """The means alone, for a model card; what is not known is left out."""
        return {name: value.mean for name, value in self.summary.items() if math.isfinite(value.mean)}

    def by_class(self) -> tuple[Interval, ...]:
        """What classes are compared by, one for each of ``classes``."""
        return tuple(row.main for row in self.classes)

    def worst(self, count: int) -> tuple[ImageScores, ...]:
        """The ``count`` images with the lowest score, the lowest first."""
        return tuple(image for image in self.images if math.isfinite(image.score))[:count]

    def best(self, count: int) -> tuple[ImageScores, ...]:
        """The ``count`` images with the highest score, the highest first."""
        return tuple(image for image in reversed(self.images) if math.isfinite(image.score))[:count]

    def difference(self, other: Evaluation, resamples: int | None = None) -> Difference:
        """How much better this one's score is, over the same draws of the same images for both (paired bootstrap).

        ``resamples``: draws; None: as many as its intervals usually have. Raises ValueError where they are not of the
        same images, classes and kind of score.
        """
        for name, one, its in (
            ("images", self.names, other.names),
            ("classes", self.labels.names, other.labels.names),
            ("kind of score", self.main, other.main),
        ):
            if one != its:
                raise ValueError(f"a paired test needs the same {name} for both; {self.model} and {other.model} differ")
        return self._paired(other, resamples)

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; nan becomes None."""
        return {
            "model": self.model,
            **self.facts(),
            "labels": asdict(self.labels),
            "images_count": len(self.images),
            "confidence": self.confidence,
            "summary": {name: value.to_json() for name, value in self.summary.items()},
            "classes": [row.to_json() for row in self.classes],
            "confusion_matrix": self.matrix.tolist(),
            **self.details(),
            "images": [
                {
                    "name": image.name,
                    "score": finite(image.score),
                    "scores": {name: finite(value) for name, value in image.scores.items()},
                }
                for image in self.images
            ],
        }

    @property
    def confidence(self) -> float:
        """Of the intervals, 0..1."""
        return next(iter(self.summary.values())).confidence

    def table(self, extremes: int = 3, width: int | None = None) -> str:
        """Aligned text: the summary, the task's own tables, the ``extremes`` worst and best images. ``width``:
        characters a line at most."""
        parts = [f"{self.model}: {count_words(len(self.images), 'image', 'images')}, {self.contents}"]
        rows: Rows = [("score", "value", f"{self.confidence * 100:g} % interval")]
        for name, value in self.summary.items():
            rows.append((self.score_names[name], format_score(value.mean), format_bounds(value)))
        parts += [align_columns(table, width) for table in (rows, *self.tables())]
        if extremes:
            for title, images in (("worst", self.worst(extremes)), ("best", self.best(extremes))):
                scores = [(image.name, format_score(image.score)) for image in images]
                parts.append(align_columns([(title, "score"), *scores], width))
        return "\n\n".join(parts)


def count_words(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def format_score(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "-"


def format_bounds(value: Interval, missing: str = "-") -> str:
    """The ends of an interval; ``missing`` where it has none."""
    return f"{value.low:.4f} to {value.high:.4f}" if math.isfinite(value.low) else missing
