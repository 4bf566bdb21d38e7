"""Named dots in a plane, as an SVG: what is gained for what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

from imago.draw.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Frame, Point, finite, format_number, span, ticks
from imago.draw.charts import LINE_COLORS
from imago.draw.placing import DOT, HIGH, place_names

WIDE = 30
_LETTER = 6.6  # about the width of one: an SVG cannot be asked
_MOST_LETTERS = int((WIDTH - LEFT - RIGHT) / _LETTER)


def scatter_chart(
    points: Mapping[str, Point], title: str, x_label: str, y_label: str, front: Sequence[str] = ()
) -> str:
    """An ``<svg>`` with one named dot a point; those of ``front``, from left to right, are joined by a stepped line.

    No name lies over another; where so many stand together that they do not fit, the chart is higher. A very long name
    ends in "…". Where x goes over more than ``WIDE`` times its least value its axis is logarithmic.
    """
    shown = {name: point for name, point in points.items() if finite(point)}
    least, most = min((x for x, _ in shown.values()), default=0), max((x for x, _ in shown.values()), default=0)
    wide = 0 < WIDE * least < most
    if wide:
        shown = {name: (math.log10(x), y) for name, (x, y) in shown.items()}
    words = [name if len(name) <= _MOST_LETTERS else name[: _MOST_LETTERS - 1] + "…" for name in shown]
    x_low, x_high = _roomy([x for x, _ in shown.values()])
    y_low, y_high = _roomy([y for _, y in shown.values()], 0.14)  # a name fits above the highest dot
    height, named = HEIGHT, None
    while named is None:
        frame = Frame(x_low, x_high, y_low, y_high, height)
        dots = {name: frame.place(*point) for name, point in shown.items()}
        room = (LEFT, TOP, WIDTH - RIGHT, height - BOTTOM)
        steps = _steps([dots[name] for name in front])
        lines = [(*one, *two) for one, two in pairwise(steps)]
        named = place_names(list(dots.values()), [_LETTER * len(text) for text in words], room, lines)
        height += round(4 * HIGH)

    if wide:
        parts = frame.draw(title, x_label, _decades(x_low, x_high), lambda tick: format_number(round(10**tick, 6)))
    else:
        parts = frame.draw(title, x_label, ticks(x_low, x_high))
    parts.append(f'<text x="{LEFT}" y="{TOP - 4}" opacity=".7">{escape(y_label)}</text>')
    if len(steps) > 1:
        corners = " ".join(f"{x},{y}" for x, y in steps)
        parts.append(
            f'<polyline points="{corners}" fill="none" stroke="{LINE_COLORS[0]}" stroke-opacity=".5" '
            'stroke-width="2" stroke-dasharray="4 3"/>'
        )
    for place in named:
        if place.line is not None:
            x1, y1, x2, y2 = place.line
            parts.append(f'<path d="M{x1} {y1}L{x2} {y2}" stroke="currentColor" stroke-opacity=".4"/>')
    for name, text, place in zip(shown, words, named, strict=True):
        x, y = dots[name]
        color = LINE_COLORS[0] if name in front else LINE_COLORS[-1]
        left, top, right, _ = place.box
        to_the_left = right < x  # the text's own width is known to the browser alone: it ends at the dot
        across = f'x="{right}" text-anchor="end"' if to_the_left else f'x="{left}"'
        parts.append(
            f'<circle cx="{x}" cy="{y}" r="{DOT}" fill="{color}"/><text {across} y="{top + 10:.1f}">'
            f"{escape(text)}</text>"
        )
    parts.append("</svg>")
    return "".join(parts)


def _decades(low: float, high: float) -> list[float]:
    """Logarithms of 1, 2 and 5 times the powers of ten in 10 ** ``low`` to 10 ** ``high``; over many, of those."""
    factors = (1, 2, 5) if high - low < 3 else (1,)
    places = [power + math.log10(factor) for power in range(math.floor(low), math.ceil(high)) for factor in factors]
    return [place for place in places if low <= place <= high]


def _steps(dots: Sequence[Point]) -> list[Point]:
    """From dot to dot, first across and then up."""
    corners = list(dots[:1])
    for x, y in dots[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    return corners


def _roomy(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """The span with some room on both sides, so that no dot lies on the frame."""
    low, high = span(values)
    room = share * (high - low)
    return low - room, high + room
