"""What an evaluation of objects found out: plain values, as JSON and as a table."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from imago.core.labels import Labels
from imago.evaluation.results import ImageScores, align_columns, finite, format_score
from imago.metrics.bootstrap import Interval
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


@dataclass(frozen=True)
class DetectionClassScores:
    """One class over all images; nan where the truth has no such object."""

    name: str
    objects: int  # in the truth, crowds and difficult ones not counted
    found: int  # with at least the least score
    ap: Interval  # of masks where there are any, else of boxes
    ap50: Interval
    box_ap: float
    best_f: float  # the best F1 at IoU 0.5 that any least score gives
    best_score: float  # and that least score


@dataclass(frozen=True)
class DetectionEvaluation:
    """The scores of one model on one set of images."""

    model: str
    labels: Labels
    iou_type: Literal["mask", "box"]  # what the scores of images and classes, the curves and the mistakes are of
    score_threshold: (
        float  # from which on an object counts as found: in mean_precision, ``found``, ``matrix``, ``mistakes``
    )
    summary: dict[str, Interval]  # named and ordered as THING_SCORE_NAMES
    classes: tuple[DetectionClassScores, ...]  # without the background
    images: tuple[ImageScores, ...]  # the worst first; score is the image's mean precision
    matrix: np.ndarray = field(repr=False, compare=False)  # int64 (K, K) objects [truth, found]; 0 is the background
    error_counts: dict[str, int]  # how many of each kind of KINDS
    tide_errors: TideErrors  # what each kind costs in AP50; of all that was found, whatever its score
    curves: np.ndarray = field(repr=False, compare=False)  # float64 (2, K-1, 101): precision at IoU 0.5 and 0.75
    names: tuple[str, ...] = field(repr=False)  # of the images, in the order of ``ranked``
    ranked: tuple[Ranked, ...] = field(repr=False, compare=False)  # for ``imago.evaluation.detection.ap_difference``

    @property
    def scores(self) -> dict[str, float]:
        """The means alone, for a model card; what is not known is left out."""
        return {name: value.mean for name, value in self.summary.items() if math.isfinite(value.mean)}

    @property
    def main(self) -> str:
        """What models are compared by, a name in ``summary``: AP of masks where there are any, else of boxes."""
        return f"{self.iou_type}_ap"

    @property
    def score(self) -> float:
        """The one number that models are compared by."""
        return self.summary[self.main].mean

    def by_class(self) -> tuple[Interval, ...]:
        """What classes are compared by: AP, one for each label but the background."""
        return tuple(row.ap for row in self.classes)

    def worst(self, count: int) -> tuple[ImageScores, ...]:
        """The ``count`` images with the lowest score, the lowest first."""
        return self.images[:count]

    def best(self, count: int) -> tuple[ImageScores, ...]:
        """The ``count`` images with the highest score, the highest first."""
        return self.images[::-1][:count]

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; nan becomes None."""
        return {
            "model": self.model,
            "task": "detection",
            "iou_type": self.iou_type,
            "labels": self.labels.to_json(),
            "images_count": len(self.images),
            "score_threshold": self.score_threshold,
            "confidence": next(iter(self.summary.values())).confidence,
            "summary": {name: value.to_json() for name, value in self.summary.items()},
            "classes": [
                {
                    "name": row.name,
                    "objects": row.objects,
                    "found": row.found,
                    "ap": row.ap.to_json(),
                    "ap50": row.ap50.to_json(),
                    "box_ap": finite(row.box_ap),
                    "best_f": finite(row.best_f),
                    "best_score": finite(row.best_score),
                }
                for row in self.classes
            ],
            "confusion_matrix": self.matrix.tolist(),
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
            "images": [
                {
                    "name": image.name,
                    "score": finite(image.score),
                    "scores": {name: finite(value) for name, value in image.scores.items()},
                }
                for image in self.images
            ],
        }

    def table(self, extremes: int = 3) -> str:
        """Aligned text: the summary, the mistakes, a row for each class that there is, the worst and best images."""
        confidence = next(iter(self.summary.values())).confidence
        count = len(self.images)
        objects = sum(row.objects for row in self.classes)
        parts = [
            f"{self.model}: {count} image{'s' if count != 1 else ''}, {objects} objects, {len(self.classes)} classes; "
            f"found is what scores at least {self.score_threshold:g}"
        ]
        rows: list[tuple[str, ...]] = [("score", "value", f"{confidence * 100:g} % interval")]
        for name, value in self.summary.items():
            bounds = f"{value.low:.4f} to {value.high:.4f}" if math.isfinite(value.low) else "-"
            rows.append((DETECTION_SCORE_NAMES[name], format_score(value.mean), bounds))
        parts.append(align_columns(rows))
        parts.append(
            align_columns(
                [
                    ("mistake", "count", "costs AP50"),
                    *(
                        (name, str(self.error_counts[name]), format_score(self.tide_errors.by_type[name]))
                        for name in ERROR_TYPES
                    ),
                ]
            )
        )
        by_class: list[tuple[str, ...]] = [
            ("class", "objects", "found", "AP", "AP50", "AP boxes", "best F1", "at score")
        ]
        for row in self.classes:
            if row.objects or row.found:
                numbers = (row.ap.mean, row.ap50.mean, row.box_ap, row.best_f, row.best_score)
                by_class.append((row.name, str(row.objects), str(row.found), *map(format_score, numbers)))
        parts.append(align_columns(by_class))
        if extremes:
            for title, images in (("worst", self.worst(extremes)), ("best", self.best(extremes))):
                parts.append(
                    align_columns([(title, "score"), *((image.name, format_score(image.score)) for image in images)])
                )
        return "\n\n".join(parts)
