"""The frame of a chart: where values lie in the picture, rules, round numbers at both axes. Lengths in pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 34, 36  # around the plot

Point = tuple[float, float]


@dataclass(frozen=True)
class Frame:
    """Where values lie in the picture."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    height: int = HEIGHT

    def place(self, x: float, y: float) -> Point:
        across = (x - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT)
        share = (min(max(y, self.y_low), self.y_high) - self.y_low) / (self.y_high - self.y_low)
        return round(LEFT + across, 1), round(self.height - BOTTOM - share * (self.height - TOP - BOTTOM), 1)

    def draw(
        self, title: str, x_label: str, x_ticks: Sequence[float], x_text: Callable[[float], str] | None = None
    ) -> list[str]:
        """The beginning of the ``<svg>``: title, rules, numbers at both axes. ``x_text``: what stands at a tick, where
        it is not its number."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" role="img" '
            f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="11" fill="currentColor">',
            f'<text x="{LEFT}" y="16" font-size="13" font-weight="600">{escape(title)}</text>',
        ]
        right = WIDTH - RIGHT
        for tick in ticks(self.y_low, self.y_high):
            _, y = self.place(self.x_low, tick)
            parts.append(
                f'<line x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}" stroke="currentColor" stroke-opacity=".15"/>'
                f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end" opacity=".7">{format_number(tick)}</text>'
            )
        for tick in x_ticks:
            x, _ = self.place(tick, self.y_low)
            across = f'x="{x}" text-anchor="middle"' if x < WIDTH - 20 else f'x="{WIDTH - 1}" text-anchor="end"'
            text = (x_text or format_number)(tick)
            parts.append(f'<text {across} y="{self.height - BOTTOM + 15}" opacity=".7">{text}</text>')
        if x_label:
            place = f'x="{(LEFT + right) / 2}" y="{self.height - 5}"'
            parts.append(f'<text {place} text-anchor="middle" opacity=".7">{escape(x_label)}</text>')
        return parts


def span(values: Sequence[float]) -> tuple[float, float]:
    """Least and largest, never the same."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if high > low:
        return low, high
    room = abs(low) * 0.1 or 0.5
    return low - room, high + room


def choose_step(low: float, high: float, about: int = 5) -> float:
    """1, 2 or 5 times a power of ten, so that ``about`` steps make the way."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)


def ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Round numbers in ``low`` to ``high``."""
    step = choose_step(low, high)
    if whole:
        step = max(1.0, step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)] or [low, high]


def format_number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def finite(point: Point) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])
