"""What an evaluation of objects says, as sections of an HTML page: for the report of a training, or by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

import cv2
import numpy as np

from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.draw.axes import Point
from imago.draw.charts import LINE_COLORS, bar_chart, heat_table, line_chart
from imago.draw.html import bar, data_address, format_number, section, table
from imago.draw.objects import draw_objects, shrink
from imago.evaluation.detection import Sample
from imago.evaluation.detection_results import DETECTION_SCORE_NAMES, DetectionEvaluation
from imago.evaluation.results import ImageScores
from imago.metrics.bootstrap import Interval
from imago.metrics.coco import RECALLS
from imago.metrics.confusion import nan_mean
from imago.metrics.tide import ERROR_TYPES

THUMBNAIL_PX = 480  # longest side of a picture: names on objects can still be read
_CURVES = len(LINE_COLORS)  # classes with a curve of their own: as many as there are colours


@dataclass(frozen=True)
class DetectionExample:
    """One image with the objects that it has and those that the model found."""

    name: str
    image: np.ndarray = field(repr=False)  # uint8 (H, W, 3) or (H, W)
    truth: Instances
    found: Instances
    score: float  # 0..1


def detection_examples(
    images: Sequence[ImageScores],
    predict: Callable[[np.ndarray], Instances],
    samples: Iterable[Sample],
    score_threshold: float,
) -> list[DetectionExample]:
    """Of ``DetectionEvaluation.best(n)`` or ``.worst(n)``, found anew, with at least ``score_threshold``."""
    by_name = {sample.name: sample for sample in samples}
    examples = []
    for row in images:
        sample = by_name[row.name]
        image = sample.image()
        found = predict(image)
        examples.append(
            DetectionExample(row.name, image, sample.instances(), found[found.scores >= score_threshold], row.score)
        )
    return examples


def detection_tiles(evaluation: DetectionEvaluation) -> str:
    """The head of a page: the main scores in large figures."""
    shown = [f"{evaluation.iou_type}_{name}" for name in ("ap", "ap50")] + ["mean_precision"]
    tiles = [
        (DETECTION_SCORE_NAMES[name], format_number(evaluation.summary[name].mean), _bounds(evaluation.summary[name]))
        for name in shown
    ]
    objects = sum(row.objects for row in evaluation.classes)
    tiles.append(("images evaluated", str(len(evaluation.images)), f"{objects} objects"))
    cells = "".join(
        f"<div><small>{escape(name)}</small><b>{value}</b><small>{escape(below)}</small></div>"
        for name, value, below in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def detection_sections(
    evaluation: DetectionEvaluation, best: Sequence[DetectionExample] = (), worst: Sequence[DetectionExample] = ()
) -> list[str]:
    """Sections for ``imago.draw.html.page``. Every text from outside is escaped."""
    rows = [
        (DETECTION_SCORE_NAMES[name], format_number(value.mean), _bounds(value))
        for name, value in evaluation.summary.items()
    ]
    confidence = next(iter(evaluation.summary.values())).confidence
    what = "masks" if evaluation.iou_type == "mask" else "boxes"
    return [
        section("Scores", table(("score", "value", f"{confidence * 100:g} % interval over images"), rows)),
        section("Precision and recall", _curves(evaluation, what)),
        section("Mistakes", _error_section(evaluation, what)),
        section("Classes", _classes(evaluation)),
        section("Confusion matrix", _confusion(evaluation, what)),
        section("Worst images", _pictures(worst, evaluation.labels), bool(worst)),
        section("Best images", _pictures(best, evaluation.labels), bool(best)),
    ]


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
        if not row.objects and not row.found:
            continue
        numbers = (row.ap50.mean, row.box_ap, row.best_f, row.best_score)
        ap = f"{format_number(row.ap.mean)}{bar(row.ap.mean)}"
        cells = [str(row.objects), str(row.found), ap, *map(format_number, numbers)]
        rows.append(
            f'<tr><th scope="row"><i style="background:rgb{color}"></i>{escape(row.name)}</th>'
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + "</tr>"
        )
    names = ("class", "objects", "found", "AP", "AP50", "AP of boxes", "best F1", "at score")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _confusion(evaluation: DetectionEvaluation, what: str) -> str:
    matrix = evaluation.matrix
    there = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    there[0] = True
    part = matrix[np.ix_(there, there)].astype(np.float64)
    total = part.sum(axis=1, keepdims=True)
    shares = np.divide(part, total, out=np.full(part.shape, np.nan), where=total > 0)
    names = [name for name, shown in zip(evaluation.labels.names, there, strict=True) if shown]
    heat = heat_table(shares, names, "truth \\ found")
    return (
        f"<p>Each row shows, in per cent, what the objects of one class were taken for ({what}, IoU of 0.5, scores of "
        f"{evaluation.score_threshold:g} and more). Column {escape(names[0])}: not found; row {escape(names[0])}: "
        f'found, but not there.</p><div class="wide">{heat}</div>'
    )


def _pictures(examples: Sequence[DetectionExample], labels: Labels) -> str:
    figures, several = [], len(labels) > 2  # one class needs no names, which would hide small objects
    for example in examples:
        height, width = example.truth.size_hw
        ratio = min(1.0, THUMBNAIL_PX / max(height, width))
        small_hw = max(1, round(height * ratio)), max(1, round(width * ratio))
        image = cv2.resize(example.image, small_hw[::-1], interpolation=cv2.INTER_AREA)
        drawn = (
            ("photo", image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)),
            ("truth", draw_objects(image, shrink(example.truth, small_hw), labels, names=several, scores=False)),
            ("found", draw_objects(image, shrink(example.found, small_hw), labels, names=several, scores=several)),
        )
        cells = "".join(
            f'<div><img src="{data_address(pixels)}" alt="{kind} of {escape(example.name)}" '
            f'width="{width}" height="{height}"><small>{kind}</small></div>'
            for kind, pixels in drawn
        )
        caption = f"{escape(example.name)} <b>{format_number(example.score)}</b>"
        figures.append(f'<figure><div class="trio">{cells}</div><figcaption>{caption}</figcaption></figure>')
    return f'<div class="examples">{"".join(figures)}</div>'


def _bounds(value: Interval) -> str:
    return f"{value.low:.4f} to {value.high:.4f}" if math.isfinite(value.low) else "–"
