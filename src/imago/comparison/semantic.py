"""Comparing models that label pixels: mean IoU, and label maps drawn side by side. See ``ComparisonTask``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from imago.comparison.opening import open_entries
from imago.comparison.task import Opened, curve
from imago.core.errors import ImagoError
from imago.core.labels import Labels
from imago.core.model_card import ModelCard
from imago.data.dataset import Sample
from imago.draw.axes import Point
from imago.draw.overlay import overlay
from imago.evaluation.classes import match_classes
from imago.evaluation.evaluate import evaluate
from imago.evaluation.results import Evaluation
from imago.evaluation.semantic import SemanticScoring
from imago.evaluation.semantic_results import SEMANTIC_SCORE_NAMES, SemanticEvaluation
from imago.inference.engines.base import Engine
from imago.inference.predictor import Predictor

if TYPE_CHECKING:
    from imago.training.config import TrainConfig


@dataclass(frozen=True)
class SemanticComparison:
    """See ``ComparisonTask``. A net of two labels has one output or two; where one has one, all are judged by the
    foreground."""

    by_foreground: bool = False

    score_names = SEMANTIC_SCORE_NAMES
    of_class = "IoU"
    of_image = "IoU of the image, of its foreground or the mean over its classes"
    timed = "Times are those of a run of the net on one photo."

    def open_data(self, config: TrainConfig, root: Path, split: str, limit: int | None) -> Opened:
        from imago.training.folders import open_folder

        return open_entries(config, root, split, limit, open_folder)

    def counting(self, most: int) -> SemanticComparison:
        raise ImagoError("--max-found is for models that find objects; these label pixels: leave it out")

    def fair_to(self, cards: Sequence[ModelCard]) -> SemanticComparison:
        return replace(self, by_foreground=any(card.task == "binary" for card in cards))

    def measure(
        self, predictor: Predictor, samples: Sequence[Sample], labels: Labels, counted: Callable[[int], None]
    ) -> SemanticEvaluation:
        scoring = SemanticScoring("binary" if self.by_foreground and len(labels) == 2 else None)
        return evaluate(predictor, samples, labels=labels, scoring=scoring, progress=counted)

    def inputs(self, predictor: Predictor, photo: np.ndarray) -> list[list[np.ndarray]]:
        return [[predictor.card.input.fit(photo)[0][None]]]

    def run(self, predictor: Predictor, photos: Sequence[np.ndarray]) -> Callable[[], object]:
        ((frame,),) = self.inputs(predictor, photos[0])
        engine = cast(Engine, predictor.engine)
        return lambda: engine.run(frame)

    def beside(self, evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
        return ()

    def notes(self, evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
        return ()

    def curves(self, card: ModelCard, history: Sequence[Mapping[str, float]]) -> dict[str, list[Point]]:
        titles = {"Validation score": "score", "Training loss": "train_loss", "Validation loss": "val_loss"}
        return {title: curve(history, key) for title, key in titles.items()}

    def load_truth(self, sample: Sample) -> np.ndarray:
        """uint8 or uint16 (H, W)."""
        return sample.label_map()

    def predict(self, predictor: Predictor, image: np.ndarray, labels: Labels) -> np.ndarray:
        own = predictor.card.labels
        return match_classes(own, labels, model=predictor.card.name).relabel(predictor(image).label_map)

    def draw(self, image: np.ndarray, answer: np.ndarray, labels: Labels) -> np.ndarray:
        small = cv2.resize(answer, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        return overlay(image, small, labels, legend=False)
