"""Mask files to label maps: palette, grey, or RGB colour codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from imago.core.errors import ImageError

Codes = dict[tuple[int, int, int], int]  # RGB 0..255 -> value


def read_mask(path: Path, codes: Codes | None = None) -> np.ndarray:
    """uint8 (H, W) as stored: palette indices, grey values, or through ``codes`` where the file is RGB.

    Pixels of an RGB mask whose colour is not in ``codes`` become 254, which no class has. Raises ImageError.
    """
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode in ("P", "L"):
                return np.array(image)
            if image.mode == "1":
                return np.array(image).astype(np.uint8)
            if image.mode.startswith("I"):
                wide = np.array(image)
                if wide.min() < 0 or wide.max() > 255:
                    raise ImageError(
                        f"{path}: mask values go up to {wide.max()}; up to 254 classes (values 0 to 255) can be read"
                    )
                return wide.astype(np.uint8)
            if image.mode == "LA":
                return np.array(image)[:, :, 0].copy()
            colours = np.array(image.convert("RGB"))
    except FileNotFoundError as error:
        raise ImageError(f"{path}: mask is missing") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path}: mask cannot be read ({error})") from error
    grey = (colours[:, :, 0] == colours[:, :, 1]).all() and (colours[:, :, 1] == colours[:, :, 2]).all()
    if codes is None:
        if grey:
            return colours[:, :, 0].copy()
        raise ImageError(f"{path}: mask is RGB but no colour codes are known; list them in classes.txt as: name R G B")
    return _decode(colours, codes)


def _packed(colours: np.ndarray) -> np.ndarray:
    wide = colours.astype(np.uint32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _decode(colours: np.ndarray, codes: Codes) -> np.ndarray:
    packed = _packed(colours)
    labels = np.full(packed.shape, 254, np.uint8)
    for (red, green, blue), value in codes.items():
        labels[packed == (red << 16 | green << 8 | blue)] = value
    return labels


def colours_in(path: Path) -> set[tuple[int, int, int]] | None:
    """The colours of an RGB mask that is not grey; None for palette and grey masks. Raises ImageError."""
    try:
        with Image.open(path) as image:
            if image.mode not in ("RGB", "RGBA"):
                return None
            colours = np.array(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"{path}: mask cannot be read ({error})") from error
    found = np.unique(_packed(colours))
    result = {(int(c) >> 16, int(c) >> 8 & 255, int(c) & 255) for c in found}
    return None if all(r == g == b for r, g, b in result) else result


def palette_in(path: Path, count: int) -> tuple[tuple[int, int, int], ...]:
    """The first ``count`` palette colours of a palette PNG; empty where there is none."""
    with Image.open(path) as image:
        flat = image.getpalette() if image.mode == "P" else None
    if not flat or len(flat) < 3 * count:
        return ()
    return tuple((flat[3 * i], flat[3 * i + 1], flat[3 * i + 2]) for i in range(count))
