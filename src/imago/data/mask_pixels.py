"""Mask files to label maps: palette, grey, or RGB colour codes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from imago.core.errors import ImageError

Codes = dict[tuple[int, int, int], int]  # RGB 0..255 -> value
UNKNOWN = 254  # the value of what no class has; so there are at most 254 classes
UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # Pillow's ways


def read_mask(path: Path, codes: Codes | None = None) -> np.ndarray:
    """uint8 (H, W): palette indices or grey values as stored, or colours through ``codes``.

    Pixels of an RGB mask whose colour is not in ``codes`` become UNKNOWN. With ``codes``, a palette or grey file is
    taken by its colours if all of them are known (some programs store RGB masks of few colours so), else as stored.
    Raises ImageError.
    """
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode in ("P", "L", "1"):
                stored = np.array(image).astype(np.uint8)
                by_color = None if codes is None else _decode(np.array(image.convert("RGB")), codes)
                return stored if by_color is None or (by_color == UNKNOWN).any() else by_color
            if image.mode.startswith("I"):
                wide = np.array(image)
                if wide.min() < 0 or wide.max() > 255:
                    raise ImageError(
                        f"{path}: mask values go up to {wide.max()}; up to 254 classes (values 0 to 255) can be read"
                    )
                return wide.astype(np.uint8)
            if image.mode == "LA":
                return np.array(image)[:, :, 0].copy()
            colors = np.array(image.convert("RGB"))
    except FileNotFoundError as error:
        raise ImageError(f"{path}: mask is missing") from error
    except UNREADABLE as error:
        raise ImageError(f"{path}: mask cannot be read ({error})") from error
    gray = (colors[:, :, 0] == colors[:, :, 1]).all() and (colors[:, :, 1] == colors[:, :, 2]).all()
    if codes is None:
        if gray:
            return colors[:, :, 0].copy()
        raise ImageError(f"{path}: mask is RGB but no colour codes are known; list them in classes.txt as: name R G B")
    return _decode(colors, codes)


def _pack(colors: np.ndarray) -> np.ndarray:
    wide = colors.astype(np.uint32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _decode(colors: np.ndarray, codes: Codes) -> np.ndarray:
    packed = _pack(colors)
    labels = np.full(packed.shape, UNKNOWN, np.uint8)
    for (red, green, blue), value in codes.items():
        labels[packed == (red << 16 | green << 8 | blue)] = value
    return labels


def colors_in(path: Path) -> set[tuple[int, int, int]] | None:
    """The colours of an RGB mask; None for palette and grey masks. Raises ImageError."""
    try:
        with Image.open(path) as image:
            if image.mode not in ("RGB", "RGBA"):
                return None
            colors = np.array(image.convert("RGB"))
    except UNREADABLE as error:
        raise ImageError(f"{path}: mask cannot be read ({error})") from error
    return {(int(c) >> 16, int(c) >> 8 & 255, int(c) & 255) for c in np.unique(_pack(colors))}


def is_colored(colors: Iterable[tuple[int, int, int]]) -> bool:
    """Whether any of the colours is not grey."""
    return any(not red == green == blue for red, green, blue in colors)


def palette_in(path: Path, count: int) -> tuple[tuple[int, int, int], ...]:
    """The first ``count`` palette colours of a palette PNG; empty where there is none (or no image)."""
    try:
        with Image.open(path) as image:
            flat = image.getpalette() if image.mode == "P" else None
    except UNREADABLE:
        return ()  # colours are only for drawing; the check of the data names the file
    if not flat or len(flat) < 3 * count:
        return ()
    return tuple((flat[3 * i], flat[3 * i + 1], flat[3 * i + 2]) for i in range(count))


@dataclass(frozen=True)
class LabelReader:
    """Reads one mask file: stored values -> class values (and groups)."""

    path: Path
    table: tuple[int, ...]  # 256 entries, stored value -> class value
    codes: Codes | None = None

    def __call__(self) -> np.ndarray:
        return self.to_classes(self.read_raw())

    def read_raw(self) -> np.ndarray:
        """uint8 (H, W) as in the file, before any grouping."""
        return read_mask(self.path, self.codes)

    def to_classes(self, stored: np.ndarray) -> np.ndarray:
        """What ``read_raw`` gave -> uint8 (H, W) of classes."""
        return np.array(self.table, np.uint8)[stored]
