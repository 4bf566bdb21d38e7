"""What an evaluation of objects found out. See ``Evaluation``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from imago.evaluation.results import ClassScores, Evaluation, Rows, count_words, finite, format_score
from imago.metrics import coco
from imago.metrics.bootstrap import Difference, Interval, difference_of_draws, draw_weights, interval_of_draws
from imago.metrics.coco import RECALLS
from imago.metrics.detection_matching import Ranked
from imago.metrics.tide import ERROR_TYPES, TideErrors

_BY_IOU_TYPE = {
    "ap": "AP (IoU 0.50 to 0.95)",
    "ap50": "AP at IoU 0.50",
    "ap75": "AP at IoU 0.75",
    "ap_small": "AP of small objects (below 32 x 32)",
    "ap_medium": "AP of medium objects",
    "ap_large": "AP of large objects (above 96 x 96)",
    "ar1": "AR with 1 object an image and class",
    "ar10": "AR with 10",
    "ar100": "AR with 100",
    "ar_small": "AR of small objects",
    "ar_medium": "AR of medium objects",
    "ar_large": "AR of large objects",
}
# Every score in the summary, in the order of the table.
DETECTION_SCORE_NAMES: dict[str, str] = {
    "mean_precision": "mean precision (IoU 0.50 to 0.95), over images",
    **{f"mask_{name}": f"masks: {words}" for name, words in _BY_IOU_TYPE.items()},
    **{f"box_{name}": f"boxes: {words}" for name, words in _BY_IOU_TYPE.items()},
    "voc_ap": "boxes: VOC mAP, all points",
    "voc_ap11": "boxes: VOC mAP, 11 points",
}


RESAMPLES = 200  # of the bootstrap: AP is worked out anew for each draw


@dataclass(frozen=True)
class DetectionClassScores(ClassScores):
    """One class over all images; nan where the truth has no such object."""

    objects: int  # in the truth, crowds and difficult ones not counted
    found: int  # with at least the score threshold
    ap: Interval  # of masks where there are any, else of boxes
    ap50: Interval
    box_ap: float
    best_f: float  # the best F1 at IoU 0.5 that any score threshold gives
    best_score: float  # and that threshold

    @property
    def main(self) -> Interval:
        return self.ap

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "objects": self.objects,
            "found": self.found,
            "ap": self.ap.to_json(),
            "ap50": self.ap50.to_json(),
            "box_ap": finite(self.box_ap),
            "best_f": finite(self.best_f),
            "best_score": finite(self.best_score),
        }


@dataclass(frozen=True)
class DetectionEvaluation(Evaluation):
    """``matrix`` counts objects, 0 is the background; ``classes`` are without it; an image's score is its mean
    precision; ``ranked`` belongs to ``names``."""

    iou_type: Literal["mask", "box"]  # what the scores of images and classes, the curves and the errors are of
    score_threshold: float  # from which on an object counts as found: in mean_precision, ``found``, ``matrix``, errors
    classes: tuple[DetectionClassScores, ...]
    error_counts: dict[str, int]  # how many of each of ERROR_TYPES
    tide_errors: TideErrors  # what each kind costs in AP50; of all that was found, whatever its score
    curves: np.ndarray = field(repr=False, compare=False)  # float64 (2, K-1, 101): precision at IoU 0.5 and 0.75
    ranked: tuple[Ranked, ...] = field(repr=False, compare=False)

    score_names: ClassVar[dict[str, str]] = DETECTION_SCORE_NAMES

    @property
    def main(self) -> str:
        """AP of masks where there are any, else of boxes."""
        return f"{self.iou_type}_ap"

    @property
    def headline(self) -> tuple[str, ...]:
        return self.main, f"{self.iou_type}_ap50", "mean_precision"

    @property
    def contents(self) -> str:
        objects = count_words(sum(row.objects for row in self.classes), "object", "objects")
        return f"{objects}, {count_words(len(self.classes), 'class', 'classes')}"

    def facts(self) -> dict[str, Any]:
        return {"task": "detection", "iou_type": self.iou_type, "score_threshold": self.score_threshold}

    def details(self) -> dict[str, Any]:
        return {
            "errors": {
                name: {"count": self.error_counts[name], "ap50_cost": finite(self.tide_errors.by_type[name])}
                for name in ERROR_TYPES
            },
            "ap50_cost_of_all_wrong": finite(self.tide_errors.wrong),
            "ap50_cost_of_all_lacking": finite(self.tide_errors.lacking),
            "curves": {
                "recall": RECALLS.round(2).tolist(),
                **{
                    name: {
                        row.name: curve.round(4).tolist()
                        for row, curve in zip(self.classes, curves, strict=True)
                        if not np.isnan(curve[0])
                    }
                    for name, curves in zip(("iou_50", "iou_75"), self.curves, strict=True)
                },
            },
        }

    def tables(self) -> list[Rows]:
        errors: Rows = [("mistake", "count", "costs AP50")]
        for name in ERROR_TYPES:
            errors.append((name, str(self.error_counts[name]), format_score(self.tide_errors.by_type[name])))
        classes: Rows = [("class", "objects", "found", "AP", "AP50", "AP boxes", "best F1", "at score")]
        for row in self.classes:
            if row.objects or row.found:
                numbers = (row.ap.mean, row.ap50.mean, row.box_ap, row.best_f, row.best_score)
                classes.append((row.name, str(row.objects), str(row.found), *map(format_score, numbers)))
        return [errors, classes]

    def _paired(self, other: DetectionEvaluation, resamples: int | None) -> Difference:
        weights = draw_with_score(len(self.names), RESAMPLES if resamples is None else resamples)
        values = coco.scores(self.ranked, weights).summary["ap"] - coco.scores(other.ranked, weights).summary["ap"]
        return difference_of_draws(float(values[0]), center_draws(values))


def draw_with_score(count: int, resamples: int) -> np.ndarray:
    """float64 (1 + R, N): weights of ``count`` images; the first row is the score itself, the others are the draws."""
    return np.concatenate([np.ones((1, count)), draw_weights(count, resamples)])


def interval_around_score(values: np.ndarray) -> Interval:
    """float (1 + R,): the score, then what it is in each draw."""
    return interval_of_draws(float(values[0]), center_draws(values))


def center_draws(values: np.ndarray) -> np.ndarray:
    """float (1 + R,) -> the draws (R,), moved so that their middle is the score.

    AP of a draw is too high on average: a rare class drawn twice has more objects, but no more wrong finds in the other
    images, and drawn not at all it leaves the mean. On coco128 (71 classes) all of a plain 95 % interval lay above the
    score.
    """
    known = values[1:][~np.isnan(values[1:])]
    return known - np.median(known) + values[0] if known.size else known
