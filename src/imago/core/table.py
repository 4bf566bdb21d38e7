"""Tables as text: whole, or within the width of a terminal, where the cells of the widest columns are wrapped."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence

GAP = "  "
_PARTS = re.compile(r"[^\s/_-]+[\s/_-]*|[\s/_-]+")
_WORDS = re.compile(r"\S+\s*|\s+")
_LEAST = 6  # characters that a column keeps; a narrower terminal breaks the lines itself


def terminal_width() -> int | None:
    """Characters a line where standard output is a terminal; None where it is a file or a pipe."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


def align_columns(
    rows: Sequence[tuple[str, ...]], width: int | None = None, *, right: bool = True, rule: bool = True
) -> str:
    """``rows``, the head first. The first column stands to the left, the others to the right, or with ``right=False``
    to the left too; ``rule``: a line under the head. ``width``: characters a line at most; None: as many as it takes.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    if width is not None:
        widths = _narrow(widths, width)
    lines: list[str] = []
    for number, row in enumerate(rows):
        cells = [_wrap(cell, wide) for cell, wide in zip(row, widths, strict=True)]
        for at in range(max(map(len, cells))):
            parts = [cell[at] if at < len(cell) else "" for cell in cells]
            placed = [
                part.rjust(wide) if right and column else part.ljust(wide)
                for column, (part, wide) in enumerate(zip(parts, widths, strict=True))
            ]
            lines.append(GAP.join(placed).rstrip())
        if rule and number == 0:
            lines.append(GAP.join("-" * wide for wide in widths))
    return "\n".join(lines)


def _narrow(widths: list[int], width: int) -> list[int]:
    """The same, the widest ones cut down to a common size until all fit."""
    room = width - len(GAP) * (len(widths) - 1)
    most = max(widths)
    while sum(min(wide, most) for wide in widths) > room and most > _LEAST:
        most -= 1
    narrowed = [min(wide, most) for wide in widths]
    spare = room - sum(narrowed)  # of cutting all of them by a whole character
    for column, wide in enumerate(widths):
        if spare > 0 and wide > narrowed[column]:
            narrowed[column] += 1
            spare -= 1
    return narrowed


def _wrap(cell: str, width: int) -> list[str]:
    """Broken after spaces, and where a word is too long after what joins its parts (people/mean_iou), else anywhere."""
    if len(cell) <= width:
        return [cell]
    lines, line = [], ""
    words = _WORDS.findall(cell)
    for part in (part for word in words for part in ([word] if len(word.rstrip()) <= width else _PARTS.findall(word))):
        if line and len(line) + len(part.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        while len(part.rstrip()) > width:
            lines.append(part[:width])
            part = part[width:]
        line += part
    return [*lines, line.rstrip()] if line.strip() or not lines else lines
