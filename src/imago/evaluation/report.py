"""The report on a model, or on the run that made it: one HTML file with everything in it, for a light or a dark screen,
without scripts. What a task shows of its own is in ``semantic_report`` and the like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from imago.core.bands import to_rgb
from imago.core.labels import Labels
from imago.core.text import to_utf8
from imago.draw.axes import Point
from imago.draw.charts import line_chart
from imago.draw.html import data_address, format_number, page, section, table
from imago.evaluation.detection_report import DetectionReport
from imago.evaluation.detection_results import DetectionEvaluation
from imago.evaluation.evaluate import Sample, Scoring, start_tally
from imago.evaluation.panoptic_report import PanopticReport
from imago.evaluation.panoptic_results import PanopticEvaluation
from imago.evaluation.reading import read_for
from imago.evaluation.results import Evaluation, ImageScores, format_bounds
from imago.evaluation.semantic_report import SemanticReport
from imago.evaluation.semantic_results import SemanticEvaluation
from imago.files.writing import atomic_write

SHOWN = 6  # best and worst images of a report


@dataclass(frozen=True)
class Example:
    """One image with what it should be and what the model made of it."""

    name: str
    image: np.ndarray = field(repr=False)  # uint8 (H, W, 3) or (H, W)
    truth: Any = field(repr=False)  # label map uint8 (H, W), Instances or Panoptic
    found: Any = field(repr=False)  # the same of the model
    score: float  # 0..1


@dataclass(frozen=True)
class ReportData:
    """What a report tells."""

    title: str
    evaluation: Evaluation
    # One dict an epoch (or step): "epoch" or "step", and what there is of "train_loss", "val_loss", "score",
    # "score/FOLDER", "lr".
    history: Sequence[Mapping[str, Any]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    best: Sequence[Example] = ()  # the best first
    worst: Sequence[Example] = ()  # the worst first
    notes: Sequence[str] = ()


class TaskReport(Protocol):
    """What a task shows of its own."""

    def sections(self, evaluation: Any) -> list[str]:
        """HTML sections, from the scores of the classes on."""
        ...

    def draw(self, image: np.ndarray, truth: Any, found: Any, labels: Labels) -> dict[str, np.ndarray]:
        """Caption to small RGB picture, uint8 (h, w, 3): the photo, the truth, what was found."""
        ...


TASK_REPORTS: dict[type[Evaluation], TaskReport] = {
    SemanticEvaluation: SemanticReport(),
    DetectionEvaluation: DetectionReport(),
    PanopticEvaluation: PanopticReport(),
}


def write_report(path: Path, report: ReportData, overwrite: bool = True) -> None:
    """Writes the HTML file ``path``; raises ImagoError where it is there, unless ``overwrite``."""
    with atomic_write(Path(path), overwrite=overwrite) as stream:
        stream.write(to_utf8(render(report)))


def render(report: ReportData) -> str:
    """The report as HTML. Every text from outside is escaped."""
    evaluation, notes = report.evaluation, report.notes
    part = TASK_REPORTS[type(evaluation)]
    sections = [
        f"<header><h1>{escape(report.title)}</h1>{_tiles(evaluation)}</header>",
        section("Notes", "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>", bool(notes)),
        section("Training", _curves(report.history), bool(report.history)),
        section("Scores", _scores(evaluation)),
        *part.sections(evaluation),
        section("Worst images", _pictures(report.worst, part, evaluation.labels), bool(report.worst)),
        section("Best images", _pictures(report.best, part, evaluation.labels), bool(report.best)),
        section("Settings", table(("setting", "value"), _settings(report.settings)), bool(report.settings)),
    ]
    return page(report.title, sections)


def pick_examples(
    predictor: Any,
    samples: Iterable[Sample],
    evaluation: Evaluation,
    scoring: Scoring[Any] | None = None,
    most: int = SHOWN,
) -> tuple[list[Example], list[Example]]:
    """The best and the worst images, at most ``most`` each and none twice, predicted anew; ``samples`` and ``scoring``
    as for ``evaluate``. Few images are halved, one alone is among the worst."""
    by_name = {sample.name: sample for sample in samples}
    tally = start_tally(predictor.card, evaluation.labels, scoring)

    def show(row: ImageScores) -> Example:
        sample = by_name[row.name]
        image = read_for(predictor.card.input, sample)
        truth, found = tally.show(tally.read(sample), tally.predict(predictor, image))
        return Example(row.name, to_rgb(image, predictor.show_bands), truth, found, row.score)

    count = len(evaluation.worst(len(evaluation.images)))
    best, worst = evaluation.best(min(most, count // 2)), evaluation.worst(min(most, (count + 1) // 2))
    return [show(row) for row in best], [show(row) for row in worst]


def _tiles(evaluation: Evaluation) -> str:
    """The head of the page: the main scores in large figures."""
    summary = evaluation.summary
    tiles = [
        (evaluation.score_names[name], format_number(summary[name].mean), format_bounds(summary[name], "–"))
        for name in evaluation.headline
    ]
    tiles.append(("images evaluated", str(len(evaluation.images)), evaluation.contents))
    cells = "".join(
        f"<div><small>{escape(name)}</small><b>{value}</b><small>{escape(below)}</small></div>"
        for name, value, below in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def _scores(evaluation: Evaluation) -> str:
    rows = [
        (evaluation.score_names[name], format_number(value.mean), format_bounds(value, "–"))
        for name, value in evaluation.summary.items()
    ]
    return table(("score", "value", f"{evaluation.confidence * 100:g} % interval over images"), rows)


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


def _pictures(examples: Sequence[Example], part: TaskReport, labels: Labels) -> str:
    figures = []
    for example in examples:
        height, width = example.image.shape[:2]
        drawn = part.draw(example.image, example.truth, example.found, labels)
        cells = "".join(
            f'<div><img src="{data_address(pixels)}" alt="{kind} of {escape(example.name)}" '
            f'width="{width}" height="{height}"><small>{kind}</small></div>'
            for kind, pixels in drawn.items()
        )
        caption = f"{escape(example.name)} <b>{format_number(example.score)}</b>"
        figures.append(f'<figure><div class="trio">{cells}</div><figcaption>{caption}</figcaption></figure>')
    return f'<div class="examples">{"".join(figures)}</div>'


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
