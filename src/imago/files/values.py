"""Values as they are stored (integers of any depth, floats) to 8 bits a band.

By ``ranges``, which a model brings along from its training data, so that a value means the same in every image; without
them by the range that is in use, which is said.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from imago.core.bands import Ranges

_STRIP_VALUES = 4_000_000  # that are turned to floats at a time
_TOPS = (255.0, 4095.0, 65535.0)  # of 8, 12 and 16 bits


def scale_to_bytes(
    values: np.ndarray, ranges: Ranges = (), no_data: float | None = None
) -> tuple[np.ndarray, list[str]]:
    """(H, W, C) of any real dtype -> uint8 (H, W, C) and notes. uint8 stays as it is, not copied; of ``ranges`` each
    band has its own. NaN, infinities and ``no_data`` become 0."""
    if values.dtype == np.uint8:
        return values, []
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255), []
    low, high, missing = _find_extremes(values, no_data)
    notes = []
    if missing:
        notes.append(f"{missing} values are no number (NaN, infinity or the file's mark for no data): taken as 0")
    if not ranges:
        pair, note = usual_range(low, high, np.issubdtype(values.dtype, np.integer))
        ranges, notes = (pair,) * values.shape[2], notes + ([note] if note else [])
    lows, highs = (np.array(side, np.float64) for side in zip(*ranges, strict=True))
    factor = np.where(highs > lows, 255 / np.where(highs > lows, highs - lows, 1), 255.0)
    out = np.empty(values.shape, np.uint8)
    for rows in _strips(values):
        part = (values[rows].astype(np.float64) - lows) * factor
        if missing:
            part[~is_number(values[rows], no_data)] = 0
        out[rows] = (np.clip(part, 0, 255) + 0.5).astype(np.uint8)
    return out, notes


def usual_range(low: float, high: float, whole: bool) -> tuple[tuple[float, float], str]:
    """The range that values from ``low`` to ``high`` are scaled by, and a note where that is not their type's."""
    if not whole and low >= 0 and high <= 1:
        return (0.0, 1.0), ""
    if whole and low >= 0 and high <= _TOPS[-1]:
        top = next(top for top in _TOPS if high <= top)
        return (0.0, top), "" if top == _TOPS[-1] else f"deep image uses values up to {top:.0f} only: scaled from those"
    return (low, high), f"values from {low:g} to {high:g} were spread over 0..255"


def _find_extremes(values: np.ndarray, no_data: float | None) -> tuple[float, float, int]:
    """The least and the largest number, and how many values are none."""
    low, high, missing = np.inf, -np.inf, 0
    for rows in _strips(values):
        part = values[rows]
        known = is_number(part, no_data)
        count = int(np.count_nonzero(known))
        missing += part.size - count
        if count:
            part = part if count == part.size else part[known]
            low, high = min(low, float(part.min())), max(high, float(part.max()))
    return (low, high, missing) if missing < values.size else (0.0, 1.0, missing)


def is_number(values: np.ndarray, no_data: float | None) -> np.ndarray:
    """bool of the same shape: what is neither NaN nor infinite, nor the mark for no data."""
    known: np.ndarray = np.isfinite(values)
    if no_data is not None and np.isfinite(no_data):
        known &= values != values.dtype.type(no_data) if _holds(values.dtype, no_data) else True
    return known


def _holds(kind: np.dtype, value: float) -> bool:
    if np.issubdtype(kind, np.floating):
        return True
    about = np.iinfo(kind)
    return value.is_integer() and about.min <= value <= about.max


def _strips(values: np.ndarray) -> Iterator[slice]:
    rows = max(1, _STRIP_VALUES // max(1, values.shape[1] * values.shape[2]))
    for top in range(0, values.shape[0], rows):
        yield slice(top, top + rows)
