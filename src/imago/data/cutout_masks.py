"""Masks that are photos: the subject on black, beside the same photo with its background (GrapesNet's bunches, and what
cut-out programs give). The mask is what is not black."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from imago.core.errors import ImageError
from imago.core.labels import IGNORE, Labels
from imago.data.classes import Classes
from imago.data.mask_pixels import UNKNOWN, load_mask
from imago.files.images import read_image

LOOKED_AT = 6  # pairs
COLORS = 200  # more are a photo's, not codes of classes
_BLACK = 0  # of a file without loss; the largest channel
_BLACK_JPEG = 20  # JPEGs ring round a rim
_ALIKE = 16.0  # mean distance of a channel from the photo's
_LEAST_BLACK = 0.02  # of the mask's pixels
SPOT = 0.0005  # of the photo: larger black spots are holes


def find_cutouts(pairs: Sequence[tuple[Path, Path]]) -> Classes | None:
    """The two classes of such masks; None where the masks are no photos on black. Files that cannot be read are passed
    over."""
    step = max(1, len(pairs) // LOOKED_AT)
    found = [_is_cutout(photo, mask) for photo, mask in pairs[::step][:LOOKED_AT]]
    known = [one for one in found if one is not None]
    if not known or not all(known):
        return None
    table = tuple({0: 0, 1: 1}.get(value, IGNORE if value == IGNORE else UNKNOWN) for value in range(256))
    note = "masks are photos on black: what is not black is the foreground"
    return Classes(Labels(("background", "foreground")), table, note=note, load=read_cutout)


def _is_cutout(photo: Path, mask: Path) -> bool | None:
    try:
        with Image.open(mask) as image:
            if image.mode not in ("RGB", "RGBA"):
                return False
        _, colors = load_mask(mask)
        if colors is None or len(np.unique(colors.reshape(-1, 3), axis=0)) < COLORS:
            return False
        shown = _is_shown(mask, colors)
        pixels = read_image(photo, channels=3).pixels
    except (ImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if pixels.shape != colors.shape or not shown.any() or (~shown).mean() < _LEAST_BLACK:
        return False
    inner = cv2.erode(shown.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    inner = inner if inner.any() else shown
    return bool(np.abs(pixels[inner].astype(int) - colors[inner]).mean() < _ALIKE)


def _is_shown(path: Path, colors: np.ndarray) -> np.ndarray:
    """bool (H, W). Of JPEGs what is nearly black too, and specks of noise, are the background."""
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        return np.asarray(colors.max(axis=2) > _BLACK)
    shown = (colors.max(axis=2) > _BLACK_JPEG).astype(np.uint8)
    return cv2.medianBlur(shown, 3).astype(bool)


def read_cutout(path: Path) -> np.ndarray:
    """uint8 (H, W): 1 where the file is not black. Small black spots within are the subject's own shadows, and belong
    to it. Raises ImageError."""
    stored, colors = load_mask(path)
    shown = _is_shown(path, colors if colors is not None else np.repeat(stored[:, :, None], 3, axis=2))
    _, numbers, stats, _ = cv2.connectedComponentsWithStats((~shown).astype(np.uint8), connectivity=4)
    height, width = shown.shape
    left, top, wide, high, area = stats.T
    inside = (left > 0) & (top > 0) & (left + wide < width) & (top + high < height)
    small = inside & (area < SPOT * shown.size)
    small[0] = False  # what is shown
    return (shown | small[numbers]).astype(np.uint8)
