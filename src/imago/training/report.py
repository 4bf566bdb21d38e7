"""The report of a run: one HTML file with everything in it, for a light or a dark screen, without scripts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imago.core.labels import Labels
from imago.core.text import to_utf8
from imago.draw.axes import Point
from imago.draw.charts import heat_table, line_chart
from imago.draw.html import bar, data_address, format_number, page, section, table
from imago.draw.overlay import overlay
from imago.evaluation.results import SCORE_NAMES, Evaluation
from imago.files.writing import atomic_write
from imago.metrics.bootstrap import Interval

THUMBNAIL_PX = 320  # longest side of a picture in the report


@dataclass(frozen=True)
class Example:
    """One validation photo with what it should be and what the model made of it."""

    name: str
    image: np.ndarray = field(repr=False)  # uint8 (H, W, 3) or (H, W)
    truth: np.ndarray = field(repr=False)  # uint8 (H, W), classes and "ignore"
    prediction: np.ndarray = field(repr=False)  # uint8 (H, W), classes
    score: float = math.nan  # 0..1


@dataclass(frozen=True)
class ReportData:
    """What a report tells."""

    title: str
    labels: Labels
    evaluation: Evaluation
    # One dict an epoch (or step): "epoch" or "step", and what there is of "train_loss", "val_loss", "score",
    # "score/FOLDER", "lr".
    history: Sequence[Mapping[str, Any]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    best: Sequence[Example] = ()  # the best first
    worst: Sequence[Example] = ()  # the worst first
    notes: Sequence[str] = ()


def write_report(path: Path, run: ReportData) -> None:
    """Writes the HTML file ``path``, replacing an older one."""
    write_page(path, render(run))


def write_page(path: Path, text: str) -> None:
    with atomic_write(Path(path), overwrite=True) as stream:
        stream.write(to_utf8(text))


def render(run: ReportData) -> str:
    """The report as HTML. Every text from outside is escaped."""
    evaluation = run.evaluation
    sections = [
        *_judgement(evaluation, run.labels),
        section("Worst images", _examples(run.worst, run.labels), bool(run.worst)),
        section("Best images", _examples(run.best, run.labels), bool(run.best)),
    ]
    return whole_page(run.title, _tiles(run), sections, run.history, run.settings, run.notes)


def whole_page(
    title: str,
    tiles: str,
    judgement: Sequence[str],
    history: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    notes: Sequence[str],
) -> str:
    """What all trainings tell, around the HTML that says how good the model is: ``tiles`` at the head, and sections."""
    sections = [
        f"<header><h1>{escape(title)}</h1>{tiles}</header>",
        section("Notes", "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>", bool(notes)),
        section("Training", _curves(history), bool(history)),
        *judgement,
        section("Settings", table(("setting", "value"), _settings(settings)), bool(settings)),
    ]
    return page(title, sections)


def _judgement(evaluation: Evaluation, labels: Labels) -> list[str]:
    normalized = evaluation.matrix / np.maximum(evaluation.matrix.sum(axis=1, keepdims=True), 1)
    normalized = np.where(evaluation.matrix.sum(axis=1, keepdims=True) > 0, normalized, np.nan)
    return [
        section("Scores", _scores(evaluation)),
        section("Classes", _classes(evaluation, labels)),
        section(
            "Confusion matrix",
            "<p>Each row shows, in per cent, what the pixels of one class were taken for.</p>"
            f'<div class="wide">{heat_table(normalized, labels.names)}</div>',
        ),
    ]


def _tiles(run: ReportData) -> str:
    evaluation = run.evaluation
    shown = [name for name in (evaluation.main, "boundary_f", "pixel_accuracy") if name in evaluation.summary]
    tiles = [
        (SCORE_NAMES[name], format_number(evaluation.summary[name].mean), _bounds(evaluation.summary[name]))
        for name in shown
    ]
    tiles.append(("images evaluated", str(len(evaluation.images)), f"{len(run.labels)} classes"))
    return (
        '<div class="tiles">'
        + "".join(
            f"<div><small>{escape(name)}</small><b>{value}</b><small>{escape(below)}</small></div>"
            for name, value, below in tiles
        )
        + "</div>"
    )


def _curves(history: Sequence[Mapping[str, Any]]) -> str:
    x_name = "epoch" if any("epoch" in row for row in history) else "step"

    def line(key: str) -> list[Point]:
        # Rows without the value (epochs without validation) are passed over; one that is not finite breaks the line.
        known = [(index, row) for index, row in enumerate(history) if row.get(key) not in (None, "")]
        return [(float(row.get(x_name, index)), float(row[key])) for index, row in known]

    parts = sorted({key for row in history for key in row if key.startswith("score/")})
    by_folder = {key.removeprefix("score/"): key for key in parts} if len(parts) > 1 else {}
    charts = []
    for title, keys in (
        ("Loss", {"train": "train_loss", "validation": "val_loss"}),
        ("Validation score", {"score": "score", **by_folder}),
        ("Learning rate", {"rate": "lr"}),
    ):
        lines = {name: points for name, key in keys.items() if (points := line(key))}
        if lines:
            charts.append(f"<div>{line_chart(lines, title, x_name)}</div>")
    return f'<div class="charts">{"".join(charts)}</div>'


def _scores(evaluation: Evaluation) -> str:
    rows = [
        (SCORE_NAMES[name], format_number(value.mean), _bounds(value)) for name, value in evaluation.summary.items()
    ]
    confidence = next(iter(evaluation.summary.values())).confidence
    return table(("score", "value", f"{confidence * 100:g} % interval over images"), rows)


def _classes(evaluation: Evaluation, labels: Labels) -> str:
    rows = []
    for row, color in zip(evaluation.classes, labels.colors, strict=True):
        numbers = (row.pixel_accuracy, row.iou.mean, row.dice, row.boundary_f)
        share = f"{row.share * 100:.2f} %" if math.isfinite(row.share) else "–"
        swatch = f'<i style="background:rgb{color}"></i>'
        cells = [
            share,
            format_number(numbers[0]),
            f"{format_number(numbers[1])}{bar(numbers[1])}",
            *map(format_number, numbers[2:]),
        ]
        rows.append(
            f'<tr><th scope="row">{swatch}{escape(row.name)}</th>'
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + "</tr>"
        )
    names = ("class", "share of pixels", "pixel accuracy", "IoU", "Dice", "boundary F")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _examples(examples: Sequence[Example], labels: Labels) -> str:
    figures = []
    for example in examples:
        image, truth, prediction = _shrink(example)
        pictures = (
            ("photo", image),
            ("truth", overlay(image, truth, labels, legend=False)),
            ("prediction", overlay(image, prediction, labels, legend=False)),
        )
        height, width = truth.shape
        cells = "".join(
            f'<div><img src="{data_address(pixels)}" alt="{kind} of {escape(example.name)}" '
            f'width="{width}" height="{height}"><small>{kind}</small></div>'
            for kind, pixels in pictures
        )
        caption = f"{escape(example.name)} <b>{format_number(example.score)}</b>"
        figures.append(f'<figure><div class="trio">{cells}</div><figcaption>{caption}</figcaption></figure>')
    return f'<div class="examples">{"".join(figures)}</div>'


def _shrink(example: Example) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image uint8 (h, w, 3), truth and prediction uint8 (h, w), the longest side at most THUMBNAIL_PX."""
    height, width = example.truth.shape
    ratio = min(1.0, THUMBNAIL_PX / max(height, width))
    size_wh = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    image = cv2.resize(example.image, size_wh, interpolation=cv2.INTER_AREA)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    truth, prediction = (
        cv2.resize(label_map, size_wh, interpolation=cv2.INTER_NEAREST_EXACT)
        for label_map in (example.truth, example.prediction)
    )
    return image, truth, prediction


def _settings(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings become dotted names; a list of them is numbered."""
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            rows += _settings(value, f"{prefix}{name}.")
        elif isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
            for index, item in enumerate(value, 1):
                rows += _settings(item, f"{prefix}{name} {index}.")
        elif isinstance(value, (list, tuple)):
            rows.append((f"{prefix}{name}", ", ".join(map(str, value)) or "–"))
        else:
            rows.append((f"{prefix}{name}", "–" if value in ("", None) else str(value)))
    return rows


def _bounds(value: Interval) -> str:
    return f"{value.low:.4f} to {value.high:.4f}" if math.isfinite(value.low) else "–"
