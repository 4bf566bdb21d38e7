"""How models that find objects are scored: the part of ``evaluate`` that is detection's.

Of each image only the outcome of its comparison is kept (a few hundred bytes an object). Masks are scored beside boxes
where truth and model both have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from imago.core.errors import DataError, ImagoError
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.core.model_card import ModelCard
from imago.evaluation.classes import ClassMatch
from imago.evaluation.detection_results import (
    RESAMPLES,
    DetectionClassScores,
    DetectionEvaluation,
    draw_with_score,
    interval_around_score,
)
from imago.evaluation.results import ImageScores
from imago.metrics import coco, voc
from imago.metrics.bootstrap import interval
from imago.metrics.detection_confusion import confusion
from imago.metrics.detection_matching import MOST, Matches, Ranked, rank_matches
from imago.metrics.detection_overlap import Compared, compare_boxes, compare_masks
from imago.metrics.nuclei import mean_precision
from imago.metrics.tide import ERROR_TYPES, ErrorCounts, count_errors, measure_tide_errors


@dataclass(frozen=True)
class DetectionScoring:
    """AP wants everything that the model finds, down to low scores. What speaks of single objects (mean precision,
    confusion, counts of errors) takes those of ``score_threshold`` and more."""

    score_threshold: float = 0.5
    by_boxes: bool = False  # images, classes and errors by boxes though there are masks, to be held against a model
    # that has none; the masks' scores stay in the summary
    most: int = MOST  # objects of a class and image that AP looks at; COCO's 100 cut off what crowded images hold
    resamples: int = RESAMPLES  # of the intervals; 0: none

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold <= 1:
            raise ValueError(f"score_threshold must lie between 0 and 1; got {self.score_threshold}")

    def start(self, card: ModelCard, labels: Labels, match: ClassMatch) -> DetectionTally:
        """See ``evaluate.Scoring``."""
        if not card.finds_objects:
            raise ImagoError(f"model {card.name!r} finds no single objects (its task is {card.task!r})")
        return DetectionTally(card.name, labels, match, self, finds_masks=card.task != "boxes")


@dataclass(frozen=True)
class Truth:
    """What is asked for in one image."""

    instances: Instances
    unannotated: tuple[int, ...] = ()  # classes that nobody marked: what is found of them counts nowhere


class _Side:
    """What is kept of the boxes, or of the masks, of the images seen so far."""

    def __init__(self, classes: int, score_threshold: float, most: int) -> None:
        self.classes, self.score_threshold, self.most = classes, score_threshold, most
        self.matches: list[Matches] = []
        self.mistakes: list[ErrorCounts] = []  # of all that was found
        self.counts = np.zeros(len(ERROR_TYPES), np.int64)  # of what has at least the least score
        self.matrix = np.zeros((classes, classes), np.int64)
        self.precisions: list[float] = []

    def add(self, compared: Compared) -> None:
        clear = compared.above(self.score_threshold)
        self.matches.append(coco.match(compared, self.classes, self.most))
        self.mistakes.append(count_errors(compared, self.classes))
        self.counts += count_errors(clear, self.classes).counts()
        self.matrix += confusion(clear, self.classes)
        self.precisions.append(mean_precision(clear))


class DetectionTally:
    """See ``evaluate.Tally``."""

    def __init__(
        self, model: str, labels: Labels, match: ClassMatch, scoring: DetectionScoring, finds_masks: bool = True
    ) -> None:
        """``finds_masks``: False for a model that finds boxes alone, which an image without finds does not show."""
        self.model, self.labels, self.match, self.scoring = model, labels, match, scoring
        self.finds_masks = finds_masks
        self.score_threshold = scoring.score_threshold
        self.names: list[str] = []
        self.counts: list[tuple[int, int]] = []  # objects in the truth, and found
        self.sides = {kind: _Side(len(labels), self.score_threshold, scoring.most) for kind in ("mask", "box")}
        self.voc: list[Matches] = []
        self.masked: dict[str, dict[bool, str]] = {"the truth": {}, "the model": {}}  # with masks or not: first image

    def read(self, sample: Any) -> Truth:
        """``sample`` has ``instances()``, in pixels of the image, and ``unannotated``."""
        return Truth(sample.instances(), sample.unannotated)

    def predict(self, predictor: Any, image: np.ndarray) -> Instances:
        """``predictor.objects(image)``: all of them, low scores too."""
        return self.match.rename(predictor.objects(image))

    def show(self, truth: Truth, answer: Instances) -> tuple[Instances, Instances]:
        """Of the answer what has at least the score threshold."""
        return truth.instances, answer[answer.scores >= self.score_threshold]

    def add(self, name: str, answer: Instances, truth: Truth) -> None:
        """See ``evaluate.Tally``."""
        found, wanted = answer, truth.instances
        if truth.unannotated:
            found = found[~np.isin(found.classes, truth.unannotated)]
        self._check(name, found, wanted)
        boxes = compare_boxes(found, wanted)
        self.sides["box"].add(boxes)
        self.voc.append(voc.match(boxes, len(self.labels)))
        if self._masks_in_both():
            self.sides["mask"].add(compare_masks(found, wanted))
        self.names.append(name)
        asked = int((~boxes.ignored).sum())
        self.counts.append((asked, int((found.scores >= self.score_threshold).sum())))

    def _masks_in_both(self) -> bool:
        return self.finds_masks and not any(False in seen for seen in self.masked.values())

    def _check(self, name: str, found: Instances, truth: Instances) -> None:
        if found.size_hw != truth.size_hw:
            raise DataError(f"{name}: the objects found must be those of {truth.size_hw} pixels; got {found.size_hw}")
        if not np.isfinite(found.scores).all():
            raise DataError(f"{name}: scores must be numbers; {int((~np.isfinite(found.scores)).sum())} are not")
        for who, instances in (("the truth", truth), ("the model", found)):
            if not len(instances):
                continue
            wrong = instances.classes[(instances.classes < 1) | (instances.classes >= len(self.labels))]
            if wrong.size:
                raise DataError(
                    f"{name}: {who} has an object of class {wrong[0]}, but objects are 1 to {len(self.labels) - 1}; "
                    "group or remap the classes first"
                )
            seen = self.masked[who]
            seen.setdefault(instances.cropped is not None, name)
            if len(seen) == 2:
                raise DataError(
                    f"{who} has masks in {seen[True]} and boxes alone in {seen[False]}; give masks to all or to none"
                )

    def evaluation(self) -> DetectionEvaluation:
        """See ``evaluate.Tally``."""
        has_masks = self._masks_in_both() and any(True in seen for seen in self.masked.values())
        kind: Literal["mask", "box"] = "mask" if has_masks and not self.scoring.by_boxes else "box"
        side = self.sides[kind]
        resamples = self.scoring.resamples
        weights = draw_with_score(len(self.names), resamples)
        summary = {"mean_precision": interval(np.array(side.precisions), resamples=resamples)}
        tables, scores = {}, {}
        for name in ("mask", "box") if has_masks else ("box",):
            tables[name] = rank_matches(self.sides[name].matches, len(self.labels))
            scores[name] = coco.scores(tables[name], weights)
            summary |= {
                f"{name}_{score}": interval_around_score(values) for score, values in scores[name].summary.items()
            }
        by_voc = rank_matches(self.voc, len(self.labels))
        summary["voc_ap"] = interval_around_score(voc.mean_average_precision(by_voc, weights))
        summary["voc_ap11"] = interval_around_score(voc.mean_average_precision(by_voc, weights, 11))
        return DetectionEvaluation(
            model=self.model,
            labels=self.labels,
            iou_type=kind,
            score_threshold=self.score_threshold,
            summary=summary,
            classes=self._classes(tables[kind], scores[kind], scores["box"]),
            images=self._rows(side),
            matrix=side.matrix,
            error_counts=dict(zip(ERROR_TYPES, side.counts.tolist(), strict=True)),
            tide_errors=measure_tide_errors(side.mistakes),
            curves=np.stack(
                [[coco.precision_curve(one, t) for one in tables[kind]] for t in (coco.AT_50, coco.AT_75)],
            ),
            names=tuple(self.names),
            ranked=tables[kind],
        )

    def _classes(
        self, table: Sequence[Ranked], scores: coco.DetectionScores, box_scores: coco.DetectionScores
    ) -> tuple[DetectionClassScores, ...]:
        rows = []
        for k, (name, one) in enumerate(zip(self.labels.names[1:], table, strict=True)):
            best_f, best_score = coco.best_f(one)
            rows.append(
                DetectionClassScores(
                    name=name,
                    objects=int(one.wanted[0].sum()),
                    found=int((one.scores >= self.score_threshold).sum()),
                    ap=interval_around_score(scores.ap[:, k]),
                    ap50=interval_around_score(scores.ap50[:, k]),
                    box_ap=float(box_scores.ap[0, k]),
                    best_f=best_f,
                    best_score=best_score,
                )
            )
        return tuple(rows)

    def _rows(self, side: _Side) -> tuple[ImageScores, ...]:
        rows = []
        for index in np.argsort(side.precisions, kind="stable"):
            precision, (objects, found) = side.precisions[index], self.counts[index]
            values = {"mean_precision": precision, "objects": float(objects), "found": float(found)}
            rows.append(ImageScores(self.names[index], precision, values))
        return tuple(rows)
