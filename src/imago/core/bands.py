"""Images of any number of bands: how many there may be, and which three of them are shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST_BANDS = 32

Ranges = tuple[tuple[float, float], ...]  # of each band the values that become 0 and 255; empty: as the type says


def check_shown(bands: Sequence[int], channels: int) -> None:
    """Raises ValueError unless ``bands`` is empty, one band (grey) or three (red, green, blue), counted from 1."""
    if len(bands) not in (0, 1, 3) or any(not 1 <= band <= channels for band in bands):
        raise ValueError(
            f"show_bands names one or three bands from 1 to {channels}; got {','.join(map(str, bands)) or 'none'}"
        )


def check_ranges(ranges: Ranges, channels: int) -> None:
    """Raises ValueError unless ``ranges`` is empty, or has for each channel a least and a larger value."""
    if ranges and (len(ranges) != channels or not all(-1e30 < low < high < 1e30 for low, high in ranges)):
        raise ValueError(f"ranges are {channels} pairs of a least and a larger value; got {ranges}")


def to_rgb(pixels: np.ndarray, bands: Sequence[int] = ()) -> np.ndarray:
    """uint8 (H, W, C) or (H, W) -> uint8 (H, W, 3), as it is shown: ``bands`` are red, green and blue, counted from 1.

    Without ``bands`` RGB is itself, one or two bands are grey, and of more the first three are taken. Bands that the
    image does not have are passed over (a photo of another model).
    """
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    channels = pixels.shape[2]
    if not bands or max(bands) > channels:
        bands = (1, 2, 3) if channels >= 3 else (1,)
    if channels == 3 and tuple(bands) == (1, 2, 3):
        return pixels
    chosen = [band - 1 for band in bands] if len(bands) == 3 else [bands[0] - 1] * 3
    return np.stack([pixels[:, :, band] for band in chosen], axis=2)
