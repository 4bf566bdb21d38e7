"""What differs between comparisons: of models that label pixels (semantic.py), of models that find objects
(detection.py). The comparison and its page know neither: they ask the ``ComparisonTask``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from imago.core.labels import Labels
from imago.core.model_card import ModelCard
from imago.draw.axes import Point
from imago.evaluation.results import Evaluation
from imago.inference.predictor import Predictor

if TYPE_CHECKING:
    from imago.training.config import TrainConfig


class Opened(NamedTuple):
    """What is compared on."""

    samples: tuple[Any, ...]  # with ``name``, ``image_path`` and ``image()``
    labels: Labels
    notes: tuple[str, ...] = ()


def curve(history: Sequence[Mapping[str, float]], key: str) -> list[Point]:
    """(minutes, value) of the rows of metrics.csv that have ``key``."""
    return [(row["seconds"] / 60, row[key]) for row in history if key in row and "seconds" in row]


class ComparisonTask(Protocol):
    """One kind of comparison."""

    @property
    def score_names(self) -> Mapping[str, str]:
        """Every score that a summary may have, in the order of the tables, and its name in words."""
        ...

    @property
    def of_class(self) -> str:
        """What ``by_class`` of its evaluations holds, in a word."""
        ...

    @property
    def of_image(self) -> str:
        """What an image's own score is, in words."""
        ...

    @property
    def timed(self) -> str:
        """What the times are of, as a sentence."""
        ...

    def open_data(self, config: TrainConfig, root: Path, split: str, limit: int | None) -> Opened:
        """The photos of all folders of ``config`` that validate; ``limit``: so many of each. Raises DataError."""
        ...

    def counting(self, most: int) -> ComparisonTask:
        """This kind, where AP looks at the ``most`` best objects of a class and image. Raises ImagoError where there
        is no AP."""
        ...

    def fair_to(self, cards: Sequence[ModelCard]) -> ComparisonTask:
        """This kind, with a score that all of these models have."""
        ...

    def measure(
        self, predictor: Predictor, samples: Sequence[Any], labels: Labels, counted: Callable[[int], None]
    ) -> Evaluation:
        """``counted`` is told the count of images done. Raises ImagoError for a model of other classes."""
        ...

    def inputs(self, predictor: Predictor, photo: np.ndarray) -> list[list[np.ndarray]]:
        """What the net is given for uint8 (H, W, C), run after run; frames (N, C, h, w) first."""
        ...

    def run(self, predictor: Predictor, photos: Sequence[np.ndarray]) -> Callable[[], object]:
        """What is timed, on photos uint8 (H, W, C); it may take another of them each time."""
        ...

    def beside(self, evaluations: Sequence[Any]) -> tuple[str, ...]:
        """Further scores for the ranking, names in ``score_names``."""
        ...

    def notes(self, evaluations: Sequence[Any]) -> tuple[str, ...]:
        """What the reader of the page should know of the scores."""
        ...

    def curves(self, card: ModelCard, history: Sequence[Mapping[str, float]]) -> dict[str, list[Point]]:
        """Of a training's metrics.csv: title of a chart -> (minutes, value). Curves of one title can be compared."""
        ...

    def load_truth(self, sample: Any) -> Any:
        """What a sample's answer should be."""
        ...

    def predict(self, predictor: Predictor, image: np.ndarray, labels: Labels) -> Any:
        """What the model says of uint8 (H, W, C), in values of ``labels``."""
        ...

    def draw(self, image: np.ndarray, answer: Any, labels: Labels) -> np.ndarray:
        """uint8 RGB of the size of ``image`` (a small copy of the photo, RGB): an answer or a truth drawn on it."""
        ...
