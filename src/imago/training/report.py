"""The report of a run: one HTML file with everything in it, for a light or a dark screen, without scripts."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from imago.core.labels import Labels
from imago.draw.charts import Point, heat_table, line_chart
from imago.draw.overlay import overlay
from imago.evaluation.result import SCORE_NAMES, Evaluation
from imago.files.writing import atomic_write
from imago.metrics.bootstrap import Interval

THUMBNAIL_PX = 320  # longest side of a picture in the report
JPEG_QUALITY = 82


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
    with atomic_write(Path(path), overwrite=True) as stream:
        stream.write(render(run).encode("utf-8"))


def render(run: ReportData) -> str:
    """The report as HTML. Every text from outside is escaped."""
    evaluation = run.evaluation
    normalised = evaluation.matrix / np.maximum(evaluation.matrix.sum(axis=1, keepdims=True), 1)
    normalised = np.where(evaluation.matrix.sum(axis=1, keepdims=True) > 0, normalised, np.nan)
    sections = [
        f"<header><h1>{escape(run.title)}</h1>{_tiles(run)}</header>",
        _section(
            "Notes", "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in run.notes) + "</ul>", bool(run.notes)
        ),
        _section("Training", _curves(run.history), bool(run.history)),
        _section("Scores", _scores(evaluation)),
        _section("Classes", _classes(evaluation, run.labels)),
        _section(
            "Confusion matrix",
            "<p>Each row shows, in per cent, what the pixels of one class were taken for.</p>"
            f'<div class="wide">{heat_table(normalised, run.labels.names)}</div>',
        ),
        _section("Worst images", _examples(run.worst, run.labels), bool(run.worst)),
        _section("Best images", _examples(run.best, run.labels), bool(run.best)),
        _section("Settings", _table(("setting", "value"), _settings(run.settings)), bool(run.settings)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(run.title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _section(title: str, body: str, shown: bool = True) -> str:
    return f"\n<section><h2>{escape(title)}</h2>{body}</section>" if shown else ""


def _tiles(run: ReportData) -> str:
    evaluation = run.evaluation
    main = "iou_image_mean" if evaluation.task == "binary" else "mean_iou"
    shown = [name for name in (main, "boundary_f", "pixel_accuracy") if name in evaluation.summary]
    tiles = [
        (SCORE_NAMES[name], _text(evaluation.summary[name].mean), _bounds(evaluation.summary[name])) for name in shown
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
    rows = [(SCORE_NAMES[name], _text(value.mean), _bounds(value)) for name, value in evaluation.summary.items()]
    confidence = next(iter(evaluation.summary.values())).confidence
    return _table(("score", "value", f"{confidence * 100:g} % interval over images"), rows)


def _classes(evaluation: Evaluation, labels: Labels) -> str:
    rows = []
    for row, colour in zip(evaluation.classes, labels.colours, strict=True):
        numbers = (row.pixel_accuracy, row.iou.mean, row.dice, row.boundary_f)
        share = f"{row.share * 100:.2f} %" if math.isfinite(row.share) else "–"
        swatch = f'<i style="background:rgb{colour}"></i>'
        cells = [share, _text(numbers[0]), f"{_text(numbers[1])}{_bar(numbers[1])}", *map(_text, numbers[2:])]
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
        image, truth, prediction = _small(example)
        pictures = (
            ("photo", image),
            ("truth", overlay(image, truth, labels, legend=False)),
            ("prediction", overlay(image, prediction, labels, legend=False)),
        )
        height, width = truth.shape
        cells = "".join(
            f'<div><img src="{_data_address(pixels)}" alt="{kind} of {escape(example.name)}" '
            f'width="{width}" height="{height}"><small>{kind}</small></div>'
            for kind, pixels in pictures
        )
        caption = f"{escape(example.name)} <b>{_text(example.score)}</b>"
        figures.append(f'<figure><div class="trio">{cells}</div><figcaption>{caption}</figcaption></figure>')
    return f'<div class="examples">{"".join(figures)}</div>'


def _small(example: Example) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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


def _data_address(pixels: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


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


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head_cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head_cells}</tr></thead><tbody>{lines}</tbody></table></div>'


def _bar(share: float) -> str:
    return f'<u><s style="width:{share * 100:.1f}%"></s></u>' if math.isfinite(share) else ""


def _text(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "–"


def _bounds(value: Interval) -> str:
    return f"{value.low:.4f} to {value.high:.4f}" if math.isfinite(value.low) else "–"


_STYLE = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1c2128;--faint:#68717e;--rule:#e2e5ea;--mark:#2563eb}
@media (prefers-color-scheme:dark){
:root{--page:#14161a;--card:#1d2026;--ink:#e6e8ec;--faint:#98a1ae;--rule:#323740;--mark:#5b8df5}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;margin:0 0 14px;overflow-wrap:anywhere}h2{font-size:17px;margin:0 0 12px}
section{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:18px 20px;margin-top:18px}
small,figcaption,p{color:var(--faint)}p{margin:0 0 10px}ul{margin:0;padding-left:20px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:12px}
.tiles div{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:12px 16px}
.tiles b{display:block;font-size:28px;line-height:1.25;font-variant-numeric:tabular-nums}
.tiles small{display:block}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(320px,100%),1fr));gap:18px}
.charts svg{width:100%;height:auto;display:block}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:5px 12px;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th:first-child{text-align:left;padding-left:0}tbody th{font-weight:500}
thead th{color:var(--faint);font-weight:500;font-size:13px}
td:last-child{white-space:normal}
th i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:8px;vertical-align:-1px;
border:1px solid var(--rule)}
td u{display:block;height:3px;min-width:80px;background:var(--rule);border-radius:2px;text-decoration:none}
td s{display:block;height:3px;background:var(--mark);border-radius:2px}
table.heat td{text-align:center;padding:5px 8px;min-width:34px;border:1px solid var(--card);
background:var(--page)}
table.heat thead th{vertical-align:bottom;padding:5px 4px;text-align:center}
table.heat thead th:first-child{text-align:left}
table.heat thead span{writing-mode:vertical-rl;transform:rotate(180deg);display:inline-block}
.examples{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(500px,100%),1fr));gap:20px}
figure{margin:0}.trio{display:grid;grid-template-columns:repeat(3,1fr);gap:6px}
.trio img{width:100%;height:auto;display:block;border-radius:5px}
figcaption{margin-top:4px;overflow-wrap:anywhere}figcaption b{color:var(--ink)}
"""
