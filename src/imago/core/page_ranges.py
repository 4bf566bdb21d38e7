"""Which pages of a file are meant: ``1,3-5``, ``4-`` to the end, ``all``. Pages are counted from 1."""

from __future__ import annotations

import re

_RANGE = re.compile(r"(\d+)(-(\d*))?", re.ASCII)
_MOST = 100_000  # the largest number
Range = tuple[int, int | None]  # first and last page; None: as far as it goes


def parse_pages(text: str) -> tuple[Range, ...]:
    """The ranges that are named. Raises ValueError."""
    if text.strip() == "all":
        return ((1, None),)
    ranges: list[Range] = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        first = int(found[1]) if found else 0
        last = None if found and found[2] and not found[3] else int(found[3] or first) if found else 0
        if not 1 <= first <= (first if last is None else last) <= _MOST:
            raise ValueError(f"pages are numbers from 1, as 1,3-5, or 4- to the end, or all; got {text!r}")
        ranges.append((first, last))
    return tuple(ranges)


def is_open(text: str) -> bool:
    """Whether the file has to say how many there are."""
    return any(last is None for _, last in parse_pages(text))


def choose_pages(text: str, count: int) -> tuple[int, ...]:
    """The numbers that are named, each once, in their order; an open range goes up to ``count``. A range that begins
    behind it is its first number, so that somebody says that there is no such page. Raises ValueError."""
    named = (range(first, max(first, count if last is None else last) + 1) for first, last in parse_pages(text))
    return tuple(dict.fromkeys(page for numbers in named for page in numbers))
