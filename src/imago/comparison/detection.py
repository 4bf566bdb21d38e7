"""Comparing models that find objects, with boxes or masks: average precision, and the objects drawn. See ``Kind``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imago.comparison.task import Opened, curve
from imago.core.errors import DataError, ImagoError
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.core.model_card import ModelCard
from imago.data.detection import DetectionDataset, DetectionSample
from imago.draw.axes import Point
from imago.draw.objects import draw_objects, shrink
from imago.evaluation.detection import ap_difference, evaluate_detection
from imago.evaluation.detection_results import DETECTION_SCORE_NAMES, DetectionEvaluation
from imago.inference.detection import iter_inputs
from imago.inference.predictor import Predictor
from imago.metrics.bootstrap import Difference
from imago.metrics.detection_matching import MOST

if TYPE_CHECKING:
    from imago.training.config import TrainConfig


@dataclass(frozen=True)
class DetectionComparison:
    """See ``Kind``. Masks are the better judge, but every model must have them."""

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
        from imago.training.sources import open_detection_folder

        entries = [entry for entry in config.data if entry.validate]
        if not entries:
            raise DataError("no folder validates; leave validate = true on one")
        found: list[DetectionSample] = []
        datasets: list[DetectionDataset] = []
        for entry in entries:
            dataset, faults = open_detection_folder(entry, root, config)
            if faults:
                count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
                raise DataError(f"{root / entry.path}: {count} in the data set", faults)
            datasets.append(dataset)
            first = datasets[0]
            if dataset.labels.names != first.labels.names:
                raise DataError(f"{entry.path}: has other classes than the folders before it; give all the same ones")
            if dataset.has_masks != first.has_masks:
                raise DataError(
                    f"{entry.path}: has {'masks' if dataset.has_masks else 'boxes alone'}, the folders before it "
                    f"{'masks' if first.has_masks else 'boxes alone'}; give masks to all or to none"
                )
            for sample in dataset.split(split)[:limit]:
                name = f"{entry.name(root)}/{sample.name}" if len(entries) > 1 else sample.name
                found.append(replace(sample, name=name))
        return tuple(found), datasets[0].labels

    def counting(self, most: int) -> DetectionComparison:
        return replace(self, most=most)

    def fair_to(self, cards: Sequence[ModelCard]) -> DetectionComparison:
        return replace(self, by_boxes=any(card.task == "boxes" for card in cards))

    def measure(
        self, predictor: Predictor, samples: Sequence[DetectionSample], labels: Labels, counted: Callable[[int], None]
    ) -> DetectionEvaluation:
        card = predictor.card
        if not card.finds_objects:
            raise ImagoError(f"the model finds no single objects (its task is {card.task!r}); leave it out")
        values = match_classes(card.object_labels, labels)
        return evaluate_detection(
            lambda image: rename_classes(predictor.objects(image), values), samples, labels, model=card.name,
            by_boxes=self.by_boxes, most=self.most, progress=counted,
        )  # fmt: skip

    def difference(self, better: DetectionEvaluation, worse: DetectionEvaluation) -> Difference:
        return ap_difference(better, worse)

    def inputs(self, predictor: Predictor, photo: np.ndarray) -> list[list[np.ndarray]]:
        if predictor.card.objects:
            return [[predictor.card.input.fit(photo)[0][None]]]
        return list(iter_inputs(predictor.card, photo, predictor.propose))

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

    def load_truth(self, sample: DetectionSample) -> Instances:
        return sample.instances()

    def predict(self, predictor: Predictor, image: np.ndarray, labels: Labels) -> Instances:
        found = predictor(image).instances
        assert found is not None
        return rename_classes(found, match_classes(predictor.card.object_labels, labels))

    def draw(self, image: np.ndarray, answer: Instances, labels: Labels) -> np.ndarray:
        several = len(labels) > 2
        return draw_objects(
            image, shrink(answer, (image.shape[0], image.shape[1])), labels, names=several, scores=False,
            color_by="class" if several else "object",
        )  # fmt: skip


def match_classes(own: Labels, wanted: Labels) -> np.ndarray:
    """int64 (len(own),): the value in ``wanted`` of each class that a model finds, 0 for those that are not wanted.

    By their names, where the model knows all that are wanted (one of COCO's 80 knows more than most data have), else by
    their order. Raises ImagoError where neither can be.
    """
    if set(wanted.names[1:]) <= set(own.names[1:]):
        return np.array([0, *(wanted.names.index(n) if n in wanted.names[1:] else 0 for n in own.names[1:])])
    if len(own) == len(wanted):
        return np.arange(len(own))
    raise ImagoError(
        f"the model finds {len(own) - 1} classes of objects, the data has {len(wanted) - 1}; both must have the same "
        "in one order, or the model all names of the data's: leave it out"
    )


def rename_classes(found: Instances, values: np.ndarray) -> Instances:
    """Only what is wanted, as ``match_classes`` says: what the data do not mark is no mistake."""
    kept = found[values[found.classes] > 0]
    return replace(kept, classes=values[kept.classes])
