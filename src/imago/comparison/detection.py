"""Comparing models that find objects, with boxes or masks: average precision, and the objects drawn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imago.comparison.opening import open_entries
from imago.comparison.task import Opened, curve
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.core.model_card import ModelCard
from imago.data.dataset import Sample
from imago.draw.axes import Point
from imago.draw.objects import draw_objects, shrink
from imago.evaluation.classes import match_classes
from imago.evaluation.detection import DetectionScoring
from imago.evaluation.detection_results import DETECTION_SCORE_NAMES, DetectionEvaluation
from imago.evaluation.evaluate import evaluate
from imago.inference.detection import iter_inputs
from imago.inference.predictor import Predictor
from imago.metrics.detection_matching import MOST

if TYPE_CHECKING:
    from imago.training.config import TrainConfig


@dataclass(frozen=True)
class DetectionComparison:
    """See ``ComparisonTask``. Masks are the better judge, but every model must have them."""

    by_boxes: bool = False
    most: int = MOST  # objects of a class and image that AP looks at

    score_names = DETECTION_SCORE_NAMES
    of_image = "mean precision of the image (IoU 0.50 to 0.95), of what scores 0.5 and more, which is what is drawn"
    timed = (
        "Times are those of the whole way from a photo in memory to its objects, on several photos in turn: a net that "
        "tells objects apart by insides and borders is not done when its run is."
    )

    @property
    def of_class(self) -> str:
        return "AP of boxes" if self.by_boxes else "AP"

    def open_data(self, config: TrainConfig, root: Path, split: str, limit: int | None) -> Opened:
        from imago.training.folders import open_detection_folder

        return open_entries(config, root, split, limit, open_detection_folder)

    def counting(self, most: int) -> DetectionComparison:
        return replace(self, most=most)

    def fair_to(self, cards: Sequence[ModelCard]) -> DetectionComparison:
        return replace(self, by_boxes=any(card.task == "boxes" for card in cards))

    def measure(
        self, predictor: Predictor, samples: Sequence[Sample], labels: Labels, counted: Callable[[int], None]
    ) -> DetectionEvaluation:
        scoring = DetectionScoring(by_boxes=self.by_boxes, most=self.most)
        return evaluate(predictor, samples, labels=labels, scoring=scoring, progress=counted)

    def inputs(self, predictor: Predictor, photo: np.ndarray) -> list[list[np.ndarray]]:
        if predictor.card.objects:
            return [[predictor.card.input.fit(photo)[0][None]]]
        return list(iter_inputs(predictor.card, photo, predictor.options.find_proposals))

    def run(self, predictor: Predictor, photos: Sequence[np.ndarray]) -> Callable[[], object]:
        """Another photo each time: the more objects, the longer it takes."""
        turns = cycle(photos)
        return lambda: predictor(next(turns)).instances

    def beside(self, evaluations: Sequence[DetectionEvaluation]) -> tuple[str, ...]:
        kind = evaluations[0].iou_type
        wanted = (f"{kind}_ap50", "box_ap" if kind == "mask" else "mask_ap", "mean_precision")
        return tuple(name for name in wanted if any(name in evaluation.summary for evaluation in evaluations))

    def notes(self, evaluations: Sequence[DetectionEvaluation]) -> tuple[str, ...]:
        found = []
        with_masks = [evaluation for evaluation in evaluations if "mask_ap" in evaluation.summary]
        if with_masks and len(with_masks) < len(evaluations):
            found.append(
                "ranked by AP of boxes, which all of them find; the AP of masks stands beside it for those that find "
                "masks"
            )
        if self.most != MOST:
            counted = "all objects" if self.most == sys.maxsize else f"the {self.most} best"
            found.append(f"AP counts {counted} of a class and image; COCO's counts {MOST}")
        return tuple(found)

    def curves(self, card: ModelCard, history: Sequence[Mapping[str, float]]) -> dict[str, list[Point]]:
        """Losses are of many kinds: each is shown by how far it fell. What separates objects afterwards is judged as a
        label map while it trains."""
        score = "Validation AP"
        if card.objects:
            score = "Validation mean IoU of insides and borders"
        elif card.crop_padding is not None:
            score = "Validation share of crops told right"  # until R-CNN's last stages there is no AP
        loss = curve(history, "train_loss")
        fallen = [(minutes, value / loss[0][1]) for minutes, value in loss] if loss and loss[0][1] > 0 else []
        return {score: curve(history, "score"), "Training loss, as a share of its first": fallen}

    def load_truth(self, sample: Sample) -> Instances:
        return sample.instances()

    def predict(self, predictor: Predictor, image: np.ndarray, labels: Labels) -> Instances:
        found = predictor(image).instances
        assert found is not None
        return match_classes(predictor.card.object_labels, labels, model=predictor.card.name).rename(found)

    def draw(self, image: np.ndarray, answer: Instances, labels: Labels) -> np.ndarray:
        several = len(labels) > 2
        return draw_objects(
            image, shrink(answer, (image.shape[0], image.shape[1])), labels, names=several, scores=False,
            color_by="class" if several else "object",
        )  # fmt: skip
