"""Mask files to label maps: palette, grey, or RGB colour codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from imago.core.errors import ImageError
from imago.core.labels import IGNORE
from imago.files.arrays import ARRAY_SUFFIXES, read_array

Codes = dict[tuple[int, int, int], int]  # RGB 0..255 -> value
UNKNOWN = 254  # the value of what no class has; so there are at most 254 classes
JPEG_TINT = 24  # a grey JPEG that was stored with colours has as much of them at most
UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # Pillow's ways


def load_mask(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """What stands in the file: palette indices or grey values (H, W), whole numbers of any width, and None; or of an
    RGB file the mean of its channels and its colours, uint8 (H, W, 3). Raises ImageError."""
    if path.suffix.lower() in ARRAY_SUFFIXES:
        stored = read_array(path)
        return (stored, None) if stored.ndim == 2 else (stored.mean(axis=2).round().astype(np.uint8), stored)
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode in ("P", "L", "1"):
                return np.array(image).astype(np.uint8), None
            if image.mode.startswith("I"):
                return np.array(image), None
            if image.mode == "LA":
                return np.array(image)[:, :, 0].copy(), None
            colors = np.array(image.convert("RGB"))
            if image.format == "JPEG" and int(np.ptp(colors, axis=2).max(initial=0)) <= JPEG_TINT:
                return colors.mean(axis=2).round().astype(np.uint8), None
            return colors.mean(axis=2).round().astype(np.uint8), colors
    except FileNotFoundError as error:
        raise ImageError(f"{path}: mask is missing") from error
    except UNREADABLE as error:
        raise ImageError(f"{path}: mask cannot be read ({error})") from error


def read_mask(path: Path, codes: Codes | None = None, snap: bool = False) -> np.ndarray:
    """uint8 (H, W): palette indices or grey values as stored, or colours through ``codes``.

    Pixels of an RGB mask whose colour is not in ``codes`` become UNKNOWN, or with ``snap`` take the nearest colour of
    ``codes``. With ``codes``, a palette or grey file is taken by its colours if all of them are known (some programs
    store RGB masks of few colours so), else as stored. Raises ImageError.
    """
    stored, colors = load_mask(path)
    if colors is not None and (codes is not None or is_colored(colors)):
        if codes is None:
            raise ImageError(
                f"{path}: mask is RGB but no colour codes are known; list them in classes.txt as: name R G B"
            )
        return _decode(colors, codes, snap)
    if stored.dtype != np.uint8 and (stored.min() < 0 or stored.max() > 255):
        raise ImageError(
            f"{path}: mask values go up to {stored.max()}; up to 254 classes (values 0 to 255) can be read. Of two "
            "classes --mask-threshold says which value parts them, of more --mask-values which they are"
        )
    stored = stored.astype(np.uint8)
    if codes is not None:
        by_color = _decode(_shown_colors(path), codes, snap=False)
        if not (by_color == UNKNOWN).any():
            return by_color
        if snap and not (np.isin(stored, list(codes.values()))).all():
            return _decode(_shown_colors(path), codes, snap)
    return stored


def is_colored(colors: np.ndarray) -> bool:
    """Whether uint8 (H, W, 3) holds any colour but greys."""
    return not (colors == colors[:, :, :1]).all()


def _shown_colors(path: Path) -> np.ndarray:
    if path.suffix.lower() in ARRAY_SUFFIXES:
        return np.repeat(load_mask(path)[0].astype(np.uint8)[:, :, None], 3, axis=2)
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def pack_colors(colors: np.ndarray) -> np.ndarray:
    """uint8 (..., 3) -> uint32 (...), a number for each colour."""
    wide = colors.astype(np.uint32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def unpack_colors(packed: np.ndarray) -> np.ndarray:
    """uint32 (N,) -> int64 (N, 3)."""
    wide = packed.astype(np.int64)
    return np.stack([wide >> 16, wide >> 8 & 255, wide & 255], axis=-1)


def _decode(colors: np.ndarray, codes: Codes, snap: bool) -> np.ndarray:
    packed = pack_colors(colors)
    labels = np.full(packed.shape, UNKNOWN, np.uint8)
    for (red, green, blue), value in codes.items():
        labels[packed == (red << 16 | green << 8 | blue)] = value
    if snap and (unknown := labels == UNKNOWN).any():
        found, which = np.unique(packed[unknown], return_inverse=True)
        palette, values = np.array(list(codes), np.int64), np.array(list(codes.values()), np.uint8)
        labels[unknown] = values[nearest(unpack_colors(found), palette)][which]
    return labels


def nearest(colors: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """int64 (N, 3) and (P, 3) -> int64 (N,), the row of ``palette`` that is nearest."""
    rows = [
        np.argmin(((part[:, None] - palette[None]) ** 2).sum(axis=2), axis=1)
        for part in np.array_split(colors, max(1, len(colors) * len(palette) // 1_000_000))
    ]
    return np.concatenate(rows)


def colors_in(path: Path) -> set[tuple[int, int, int]] | None:
    """The colours of an RGB mask; None for palette and grey masks. Raises ImageError."""
    if path.suffix.lower() in ARRAY_SUFFIXES:
        pixels = load_mask(path)[1]
        return None if pixels is None else _unique_colors(pixels)
    try:
        with Image.open(path) as image:
            if image.mode not in ("RGB", "RGBA"):
                return None
            colors = np.array(image.convert("RGB"))
    except UNREADABLE as error:
        raise ImageError(f"{path}: mask cannot be read ({error})") from error
    return _unique_colors(colors)


def _unique_colors(colors: np.ndarray) -> set[tuple[int, int, int]]:
    return {(int(c) >> 16, int(c) >> 8 & 255, int(c) & 255) for c in np.unique(pack_colors(colors))}


def palette_in(path: Path, count: int) -> tuple[tuple[int, int, int], ...]:
    """The first ``count`` palette colours of a palette PNG; empty where there is none (or no image)."""
    if path.suffix.lower() in ARRAY_SUFFIXES:
        return ()
    try:
        with Image.open(path) as image:
            flat = image.getpalette() if image.mode == "P" else None
    except UNREADABLE:
        return ()  # colours are only for drawing; the check of the data names the file
    if not flat or len(flat) < 3 * count:
        return ()
    return tuple((flat[3 * i], flat[3 * i + 1], flat[3 * i + 2]) for i in range(count))


@dataclass(frozen=True)
class Levels:
    """Grey values, of any width, to classes."""

    starts: tuple[float, ...]  # rising: from starts[i] on a value belongs to classes[i + 1]
    classes: tuple[int, ...]  # one more than there are starts
    ignored: int | None = None  # the value that counts for nothing

    @classmethod
    def nearest(cls, values: Sequence[int], classes: Sequence[int], ignored: int | None = None) -> Levels:
        """Each value takes the class of the nearest of ``values``."""
        order = sorted(range(len(values)), key=lambda index: values[index])
        rising = [values[index] for index in order]
        middles = tuple((low + high) / 2 for low, high in pairwise(rising))
        return cls(middles, tuple(classes[index] for index in order), ignored)

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        """Whole numbers (H, W) -> uint8 (H, W) of classes, and IGNORE."""
        found = np.array(self.classes, np.uint8)[np.digitize(stored, self.starts)]
        if self.ignored is not None:
            found[stored == self.ignored] = IGNORE
        return found


@dataclass(frozen=True)
class LabelReader:
    """Reads one mask file: stored values -> class values (and groups)."""

    path: Path
    table: tuple[int, ...]  # 256 entries, stored value (with ``levels``: what they say of it) -> class value
    codes: Codes | None = None
    levels: Levels | None = None  # what grey values mean, of masks that hold others than classes
    snap: bool = False  # colours that are not in ``codes`` take the nearest one
    load: Callable[[Path], np.ndarray] | None = None  # in place of all that: uint8 (H, W) of whatever file it is

    def __call__(self) -> np.ndarray:
        return self.to_classes(self.read_raw())

    def read_raw(self) -> np.ndarray:
        """uint8 (H, W) as in the file, before any grouping; with ``levels`` the classes."""
        if self.load is not None:
            return self.load(self.path)
        return (
            read_mask(self.path, self.codes, self.snap) if self.levels is None else self.levels(load_mask(self.path)[0])
        )

    def to_classes(self, stored: np.ndarray) -> np.ndarray:
        """What ``read_raw`` gave -> uint8 (H, W) of classes."""
        return np.array(self.table, np.uint8)[stored]
