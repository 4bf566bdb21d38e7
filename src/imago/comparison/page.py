"""The comparison as one HTML file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import cv2
import numpy as np

from imago.comparison.compare import UNKNOWN, Comparison
from imago.core.bands import to_rgb
from imago.draw.charts import LINE_COLORS, line_chart
from imago.draw.html import bar, data_address, format_number, page, section, table
from imago.draw.scatter import scatter_chart
from imago.evaluation.reading import read_for
from imago.inference.load import load

THUMBNAIL_PX = 260


def render(comparison: Comparison, title: str, notes: tuple[str, ...] = ()) -> str:
    """The page. Every text from outside is escaped."""
    evaluations = [entry.evaluation for entry in comparison.entries]
    lines = [*notes, *comparison.task.notes(evaluations), *(f"failed: {line}" for line in comparison.failed)]
    return page(
        title,
        [
            f"<header><h1>{escape(title)}</h1></header>",
            section("Notes", "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>", bool(lines)),
            section("Which is best", _ranking(comparison)),
            section("Accuracy over time", _front(comparison), len(comparison.entries) > 1),
            section("What they cost", _costs(comparison)),
            section("All scores", _scores(comparison)),
            section(f"Classes: {comparison.task.of_class}", _classes(comparison)),
            section("Training", *_curves(comparison)),
            section("The same images through every model", _pictures(comparison)),
            section("Images", _images(comparison)),
        ],
    )


def _ranking(comparison: Comparison) -> str:
    names = {name: words.split(" (")[0] for name, words in comparison.task.score_names.items()}
    beside = comparison.task.beside([entry.evaluation for entry in comparison.entries])
    rows = []
    for entry in comparison.entries:
        value, behind = entry.evaluation.summary[comparison.main], entry.to_best
        gap = (
            ("–", "–", "the best")
            if behind is None
            else (
                f"{behind.mean:.4f} [{format_number(behind.low)}, {format_number(behind.high)}]",
                f"{behind.p:.4f}" if math.isfinite(behind.p) else "–",
                "really worse" if behind.real else "may be chance",
            )
        )
        interval = f"{format_number(value.low)} to {format_number(value.high)}"
        others = [entry.evaluation.summary.get(name, UNKNOWN).mean for name in beside]
        rows.append((entry.name, format_number(value.mean), interval, *gap[:2], *map(format_number, others), gap[2]))
    head = ("model", names[comparison.main], "95 % interval", "behind the best", "p", *(names[n] for n in beside), "")
    return table(head, rows) + (
        "<p>Intervals are bootstrap intervals over the images. The difference to the best is drawn in pairs, the same "
        "images for both: it is real where its interval does not hold 0.</p>"
    )


def _front(comparison: Comparison) -> str:
    points = {entry.name: (entry.cost.median_ms, entry.score) for entry in comparison.entries}
    score = comparison.task.score_names[comparison.main]
    chart = scatter_chart(points, "Accuracy over latency", "median time, ms", score, front=comparison.front)
    told = "<p>The dashed line joins those that no other one beats in both.</p>"
    return f'<div class="one">{chart}</div>{told}'


def _costs(comparison: Comparison) -> str:
    rows = [
        (
            entry.name,
            _scale_down(entry.cost.weights),
            _scale_down(entry.cost.multiply_adds),
            f"{entry.cost.bytes / 1e6:.1f} MB",
            f"{entry.cost.frame_hw[0]} x {entry.cost.frame_hw[1]}",
            f"{entry.cost.median_ms:.1f}",
            f"{entry.cost.p95_ms:.1f}",
            f"{entry.cost.peak_mb:.0f} MB" if math.isfinite(entry.cost.peak_mb) else "–",
            f"{entry.history[-1]['seconds'] / 60:.1f}" if entry.history and "seconds" in entry.history[-1] else "–",
        )
        for entry in comparison.entries
    ]
    head = ("model", "weights", "multiply-adds", "file", "sees", "median ms", "p95 ms", "peak memory", "trained min")
    return table(head, rows) + f"<p>{escape(comparison.task.timed)}</p>"


def _scores(comparison: Comparison) -> str:
    """Without those that nobody has: AP of large objects where there are none."""
    rows = []
    for name in comparison.scores:
        values = [entry.evaluation.summary.get(name, UNKNOWN) for entry in comparison.entries]
        if any(math.isfinite(value.mean) for value in values):
            texts = (f"{value}" if math.isfinite(value.mean) else "–" for value in values)
            rows.append((comparison.task.score_names[name], *texts))
    return table(("score", *(entry.name for entry in comparison.entries)), rows)


def _classes(comparison: Comparison) -> str:
    rows = []
    by_class = zip(*(entry.evaluation.by_class() for entry in comparison.entries), strict=True)
    for (name, color), values in zip(comparison.classes, by_class, strict=True):
        if not any(math.isfinite(value.mean) for value in values):
            continue  # the images have none of it
        _, best = extremes([value.mean for value in values])
        cells = []
        for value in values:
            text = format_number(value.mean)
            hint = f"{format_number(value.low)} to {format_number(value.high)}"
            shown = f"<b>{text}</b>" if value.mean == best else text
            cells.append(f'<td title="{hint}">{shown}{bar(value.mean)}</td>')
        square = f'<i style="background:rgb{color}"></i>'
        rows.append(f'<tr><th scope="row">{square}{escape(name)}</th>{"".join(cells)}</tr>')
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in ("class", *(e.name for e in comparison.entries)))
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _curves(comparison: Comparison) -> tuple[str, bool]:
    """And whether there are any: ready models may come without their history."""
    trained = [entry for entry in comparison.entries if entry.history]
    found = {entry.name: comparison.task.curves(entry.card, entry.history) for entry in trained}
    charts = []
    for title in dict.fromkeys(title for curves in found.values() for title in curves):
        lines = {name: curves.get(title, []) for name, curves in found.items()}  # all of them: each keeps its colour
        if any(lines.values()):
            charts.append(f"<div>{line_chart(lines, title, 'minutes', keys=False)}</div>")
    keys = "".join(
        f'<span><i style="background:{LINE_COLORS[index % len(LINE_COLORS)]}"></i>{escape(name)}</span>'
        for index, name in enumerate(found)
    )
    return f'<div class="keys">{keys}</div><div class="charts">{"".join(charts)}</div>', bool(charts)


def _pictures(comparison: Comparison) -> str:
    shown = comparison.select_shown()
    predictors = [(entry, load(entry.candidate.file)) for entry in comparison.entries if entry.candidate.file]
    figures = []
    for sample in shown:
        image, truth = sample.image(), comparison.task.load_truth(sample)
        shown_image = to_rgb(image, comparison.entries[0].card.input.show_bands)
        scores = [entry.per_image[sample.name] for entry in comparison.entries]
        worst, best = extremes(scores)
        cells = [_cell(shown_image, None, comparison, "photo"), _cell(shown_image, truth, comparison, "truth")]
        for (entry, predictor), score in zip(predictors, scores, strict=True):
            mark = " ▲" if score == best else " ▼" if score == worst else ""
            caption = f"{entry.name} {format_number(score)}{mark}"
            seen = read_for(predictor.card.input, sample)
            cells.append(
                _cell(shown_image, comparison.task.predict(predictor, seen, comparison.labels), comparison, caption)
            )
        figures.append(
            f'<figure><div class="row">{"".join(cells)}</div><figcaption>{escape(sample.name)}</figcaption></figure>'
        )
    told = f"<p>The numbers: {escape(comparison.task.of_image)}. ▲ the best, ▼ the worst.</p>"
    return f'{told}<div class="rows">{"".join(figures)}</div>'


def _cell(image: np.ndarray, answer: Any, comparison: Comparison, caption: str) -> str:
    """``answer`` drawn over the photo; None is the photo alone."""
    height, width = image.shape[:2]
    ratio = min(1.0, THUMBNAIL_PX / max(height, width))
    size_wh = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    small = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    if small.ndim == 2:
        small = cv2.cvtColor(small, cv2.COLOR_GRAY2RGB)
    if answer is not None:
        small = comparison.task.draw(small, answer, comparison.labels)
    return (
        f'<div><img src="{data_address(small)}" alt="{escape(caption)}" width="{size_wh[0]}" height="{size_wh[1]}">'
        f"<small>{escape(caption)}</small></div>"
    )


def _images(comparison: Comparison) -> str:
    """For each entry its worst and best images, and where it gains and loses most against the best entry."""
    best = comparison.entries[0]
    rows = []
    for entry in comparison.entries:
        worst, top = entry.evaluation.worst(3), entry.evaluation.best(3)
        gains = {
            name: score - best.per_image[name]
            for name, score in entry.per_image.items()
            if math.isfinite(score) and math.isfinite(best.per_image[name])
        }
        ahead = sum(gain > 0 for gain in gains.values())
        rows.append(
            (
                entry.name,
                ", ".join(f"{image.name} {image.score:.3f}" for image in worst),
                ", ".join(f"{image.name} {image.score:.3f}" for image in top),
                "–" if entry is best else f"{ahead} of {len(gains)}",
            )
        )
    told = table(("model", "worst images", "best images", f"images on which it beats {best.name}"), rows)
    return f'<div class="names">{told}</div>'


def extremes(scores: Sequence[float]) -> tuple[float, float]:
    """The least and the largest; nan where they are the same, or none is a number: nobody is the best then."""
    known = [score for score in scores if math.isfinite(score)]
    return (min(known), max(known)) if known and min(known) < max(known) else (math.nan, math.nan)


def _scale_down(value: float) -> str:
    """With the letter of thousands, millions or thousand millions."""
    if not math.isfinite(value):
        return "–"
    unit, letter = next(((u, c) for u, c in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if value >= u), (1.0, ""))
    return f"{value / unit:.3g} {letter}".rstrip()
