"""Small charts as text: an SVG with lines and a table coloured by its values. No styles or scripts from elsewhere.

Text and axes take the colour of the page around them (``currentColor``), so the charts fit a light and a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from imago.draw.axes import RIGHT, TOP, WIDTH, Frame, Point, choose_step, finite, format_number, span, ticks

# Mid-tones that can be told apart on white and on near-black, also by most colour-blind eyes.
LINE_COLORS = (
    "#3b82f6", "#f08c2e", "#22a06b", "#b65fcf", "#d6475b", "#7a869a",
    "#12a5b8", "#a3842c", "#e377b3", "#6b7f2a", "#8b6f5c", "#5d5fd0",
)  # fmt: skip


def line_chart(
    series: Mapping[str, Sequence[Point]],
    title: str,
    x_label: str = "",
    y_range: tuple[float, float] | None = None,
    keys: bool = True,
) -> str:
    """An ``<svg>`` with one line a name; points are (x, y), those that are not finite break the line.

    ``keys``: the names stand beside the title; there is room for a few.
    """
    points = [point for line in series.values() for point in line if finite(point)]
    x_low, x_high = span([x for x, _ in points])
    y_low, y_high = y_range if y_range is not None else span([y for _, y in points])
    if y_range is None:  # from one round number to another, so that the ends are labelled
        step = choose_step(y_low, y_high)
        y_low, y_high = math.floor(y_low / step + 1e-9) * step, math.ceil(y_high / step - 1e-9) * step
    frame = Frame(x_low, x_high, y_low, y_high)
    place = frame.place
    parts = frame.draw(title, x_label, ticks(x_low, x_high, whole=True))
    for index, line in enumerate(series.values()):
        color = LINE_COLORS[index % len(LINE_COLORS)]
        for run in _runs(line):
            places = [place(x, y) for x, y in run]
            if len(places) == 1:
                parts.append(f'<circle cx="{places[0][0]}" cy="{places[0][1]}" r="3" fill="{color}"/>')
            else:
                path = " ".join(f"{x},{y}" for x, y in places)
                parts.append(
                    f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2" '
                    'stroke-linejoin="round" stroke-linecap="round"/>'
                )
    if keys:
        parts.append(_keys(series))
    parts.append("</svg>")
    return "".join(parts)


def _keys(series: Mapping[str, Sequence[Point]]) -> str:
    """The names of the lines, from the right of the title's line."""
    parts = []
    x = float(WIDTH - RIGHT)
    for index, name in reversed(list(enumerate(series))):
        x -= 6.2 * len(name)  # about the width of the text: an SVG cannot be asked
        parts.append(f'<text x="{x:.0f}" y="16">{escape(name)}</text>')
        color = LINE_COLORS[index % len(LINE_COLORS)]
        parts.append(f'<rect x="{x - 14:.0f}" y="8" width="10" height="8" rx="2" fill="{color}"/>')
        x -= 26
    return "".join(parts)


def bar_chart(values: Mapping[str, float], title: str, texts: Mapping[str, str] | None = None) -> str:
    """An ``<svg>`` with one bar a name from the left, the longest as wide as there is room; values that are negative or
    not finite have none. ``texts`` stand at the bars' ends (the numbers where there are none)."""
    pitch = 26
    height = TOP + pitch * len(values) + 6
    start = 24 + 6.2 * max((len(name) for name in values), default=0)  # about the width of the text
    room = WIDTH - start - 110
    longest = max((value for value in values.values() if math.isfinite(value)), default=0.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="11" fill="currentColor">',
        f'<text x="8" y="16" font-size="13" font-weight="600">{escape(title)}</text>',
    ]
    for row, (name, value) in enumerate(values.items()):
        y = TOP + row * pitch
        wide = room * value / longest if math.isfinite(value) and value > 0 else 0.0
        text = texts[name] if texts is not None else format_number(value) if math.isfinite(value) else "–"
        parts.append(
            f'<text x="{start - 8:.0f}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{start:.0f}" y="{y}" width="{wide:.1f}" height="18" rx="2" fill="{LINE_COLORS[0]}"/>'
            f'<text x="{start + wide + 6:.0f}" y="{y + 13}" opacity=".7">{escape(text)}</text>'
        )
    parts.append("</svg>")
    return "".join(parts)


def heat_table(
    values: np.ndarray, names: Sequence[str], corner: str = "truth \\ prediction", numbers_up_to: int = 24
) -> str:
    """A ``<table>`` of ``values`` float (K, K), 0..1, each cell coloured by its value; nan is an empty cell.

    Percentages stand in the cells up to ``numbers_up_to`` classes; past that only in the cells' titles.
    """
    if values.shape != (len(names), len(names)):
        raise ValueError(f"the table must be {len(names)} x {len(names)}, as the names; got {values.shape}")
    show = len(names) <= numbers_up_to
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in names)
    rows = []
    for row_name, row in zip(names, values, strict=True):
        cells = []
        for column_name, value in zip(names, row, strict=True):
            if not math.isfinite(value):
                cells.append("<td></td>")
                continue
            share = min(max(float(value), 0.0), 1.0)
            text = f"{share * 100:.0f}" if share >= 0.005 else ""
            ink = ";color:#fff" if share > 0.5 else ""
            hint = escape(f"{row_name} taken for {column_name}: {share * 100:.2f} %")
            style = f"background:rgba(37,99,235,{share * 0.9:.3f}){ink}"
            cells.append(f'<td style="{style}" title="{hint}">{text if show else ""}</td>')
        rows.append(f'<tr><th scope="row">{escape(row_name)}</th>{"".join(cells)}</tr>')
    return (
        f'<table class="heat"><thead><tr><th>{escape(corner)}</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _runs(line: Sequence[Point]) -> list[list[Point]]:
    """The line cut where a point is missing."""
    runs: list[list[Point]] = [[]]
    for point in line:
        if finite(point):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
