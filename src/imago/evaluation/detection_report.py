"""What a report shows of objects: precision and recall, errors by kind, classes, objects drawn on photos."""

from __future__ import annotations

import math
from html import escape

import numpy as np

from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.draw.axes import Point
from imago.draw.charts import LINE_COLORS, bar_chart, heat_table, line_chart
from imago.draw.html import bar, class_table, format_number, section, shrink_photo
from imago.draw.objects import draw_objects, shrink
from imago.evaluation.detection_results import DetectionEvaluation
from imago.metrics.coco import RECALLS
from imago.metrics.confusion import nan_mean
from imago.metrics.tide import ERROR_TYPES

THUMBNAIL_PX = 480  # longest side of a picture: names on objects can still be read
_CURVES = len(LINE_COLORS)  # classes with a curve of their own: as many as there are colours


class DetectionReport:
    """See ``report.TaskReport``."""

    def sections(self, evaluation: DetectionEvaluation) -> list[str]:
        """Curves, errors, scores of the classes, confusion matrix."""
        what = "masks" if evaluation.iou_type == "mask" else "boxes"
        return [
            section("Precision and recall", _curves(evaluation, what)),
            section("Mistakes", _error_section(evaluation, what)),
            section("Classes", _classes(evaluation)),
            section("Confusion matrix", _confusion(evaluation, what)),
        ]

    def draw(self, image: np.ndarray, truth: Instances, found: Instances, labels: Labels) -> dict[str, np.ndarray]:
        """Outlines or boxes on the photo; one class needs no names, which would hide small objects."""
        small, several = shrink_photo(image, THUMBNAIL_PX), len(labels) > 2
        size_hw = small.shape[0], small.shape[1]
        return {
            "photo": small,
            "truth": draw_objects(small, shrink(truth, size_hw), labels, names=several, scores=False),
            "found": draw_objects(small, shrink(found, size_hw), labels, names=several, scores=several),
        }


def _curves(evaluation: DetectionEvaluation, what: str) -> str:
    means = {
        f"IoU {name}": _line(nan_mean(curves.T))
        for name, curves in zip(("0.50", "0.75"), evaluation.curves, strict=True)
    }
    mean = line_chart(means, "Precision, mean over classes", "recall, per cent", (0, 100))
    usual = sorted(range(len(evaluation.classes)), key=lambda k: -evaluation.classes[k].objects)[:_CURVES]
    usual = [k for k in usual if evaluation.classes[k].objects]
    if len(usual) < 2:
        return f'<div class="one">{mean}</div>'
    lines = {evaluation.classes[k].name: _line(evaluation.curves[0, k]) for k in usual}
    keys = "".join(
        f'<span><i style="background:{color}"></i>{escape(name)}</span>'
        for color, name in zip(LINE_COLORS, lines, strict=False)
    )
    all_of_them = len(evaluation.classes) <= len(usual)
    of_which = "of each class" if all_of_them else f"of the {len(usual)} most frequent classes"
    each = line_chart(lines, f"Precision at IoU 0.50 {of_which}", "recall, per cent", (0, 100), keys=False)
    return (
        f"<p>Of {what}: going down the scores, how many of those found are right, and how many of the true ones are "
        f'found.</p><div class="charts"><div>{mean}</div><div>{each}<div class="keys">{keys}</div></div></div>'
    )


def _line(curve: np.ndarray) -> list[Point]:
    return [(float(x) * 100, float(y) * 100) for x, y in zip(RECALLS, curve, strict=True)]


def _error_section(evaluation: DetectionEvaluation, what: str) -> str:
    counts = {name: float(evaluation.error_counts[name]) for name in ERROR_TYPES}
    by_kind = {name: evaluation.tide_errors.by_type[name] for name in ERROR_TYPES}
    count_words = {name: str(evaluation.error_counts[name]) for name in ERROR_TYPES}
    cost_words = {name: f"{cost * 100:.1f} points" if math.isfinite(cost) else "–" for name, cost in by_kind.items()}
    costs = evaluation.tide_errors
    below = ""
    if math.isfinite(costs.ap50):
        below = (
            f"<p>AP50 is {costs.ap50 * 100:.1f}; were nothing wrong, {(costs.ap50 + costs.wrong) * 100:.1f}; "
            f"were nothing left out, {(costs.ap50 + costs.lacking) * 100:.1f}.</p>"
        )
    how_many = f"How many there are, scores of {evaluation.score_threshold:g} and more"
    return (
        f"<p>Of {what}. Class: the right place, another name. Location: the right name, IoU of 0.1 to 0.5. Both: near "
        "an object of another name. Duplicate: found before with a better score. Background: nothing is there. Missed: "
        "not found at all.</p>"
        f'<div class="charts"><div>{bar_chart(by_kind, "What each kind costs in AP50", cost_words)}</div>'
        f"<div>{bar_chart(counts, how_many, count_words)}</div></div>{below}"
    )


def _classes(evaluation: DetectionEvaluation) -> str:
    rows = []
    for row, color in zip(evaluation.classes, evaluation.labels.colors[1:], strict=True):
        if row.objects or row.found:
            ap = f"{format_number(row.ap.mean)}{bar(row.ap.mean)}"
            numbers = map(format_number, (row.ap50.mean, row.box_ap, row.best_f, row.best_score))
            rows.append((color, row.name, (str(row.objects), str(row.found), ap, *numbers)))
    return class_table(("class", "objects", "found", "AP", "AP50", "AP of boxes", "best F1", "at score"), rows)


def _confusion(evaluation: DetectionEvaluation, what: str) -> str:
    matrix = evaluation.matrix
    there = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    there[0] = True
    part = matrix[np.ix_(there, there)].astype(np.float64)
    total = part.sum(axis=1, keepdims=True)
    shares = np.divide(part, total, out=np.full(part.shape, np.nan), where=total > 0)
    names = [name for name, shown in zip(evaluation.labels.names, there, strict=True) if shown]
    heat = heat_table(shares, names, "truth \\ found")
    nothing = escape(names[0])
    return (
        f"<p>Each row shows, in per cent, what the objects of one class were taken for ({what}, IoU of 0.5, scores "
        f"of {evaluation.score_threshold:g} and more). Column {nothing}: not found; row {nothing}: found, but not "
        "there.</p>"
        f'<div class="wide">{heat}</div>'
    )
