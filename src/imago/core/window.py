"""Windows of DICOM and NIfTI: which values are shown as black and as white."""

from __future__ import annotations

import math

Window = tuple[float, float]  # centre and width, as DICOM means them
FROM_FILE = "file"  # the one that stands in the file


def parse_window(text: str) -> Window | str | None:
    """``40,400`` -> centre and width; ``file`` -> itself; empty -> None. Raises ValueError."""
    if not text or text == FROM_FILE:
        return text or None
    try:
        center, width = (float(part) for part in text.split(","))
    except ValueError:
        center, width = 0.0, 0.0
    if not (math.isfinite(center) and 1 <= width < math.inf):
        raise ValueError(f"a window is a centre and a width of 1 or more, as 40,400, or {FROM_FILE!r}; got {text!r}")
    return center, width


def window_range(window: Window) -> tuple[float, float]:
    """The values that become 0 and 255, by DICOM's linear rule (PS3.3, C.11.2.1.2)."""
    center, width = window
    low = center - 0.5 - (width - 1) / 2
    return low, low + max(width - 1, 1e-6)
