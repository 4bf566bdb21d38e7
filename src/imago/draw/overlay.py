"""A label map drawn over its photo: a wash of colour, outlines, and a legend below."""

from __future__ import annotations

import math
from collections.abc import Collection

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from imago.core.bands import to_rgb
from imago.core.labels import Color, Labels
from imago.core.palette import color_table
from imago.core.text import plural

_STRIP = 1 << 20  # pixels washed at a time: an image of 100 megapixels needs no second copy of itself
_PANEL = (24, 26, 31)
_TEXT = (236, 238, 242)
_FAINT = (150, 155, 165)


def overlay(
    image: np.ndarray, label_map: np.ndarray, labels: Labels, strength: float = 0.5, legend: bool = True
) -> np.ndarray:
    """uint8 RGB, a new array: the image, each class washed in its colour and outlined.

    ``image``: uint8 (H, W, C), shown as ``core.bands.to_rgb`` does, or grey (H, W); ``label_map``: uint8 or uint16
    (H, W). The background, where ``labels`` have one, and ignored pixels stay as they are. ``strength``: of the wash,
    0 to 1. With ``legend`` the answer is higher than the image, and wider where the image is narrower than a class
    name: the panel with names and areas hides nothing of the photo.
    """
    image = _check(image, label_map, strength)
    table = color_table(labels)
    counts = _areas(label_map, labels)
    painted = np.arange(len(table)) < len(labels)
    if labels.background is not None:
        painted[labels.background] = False
    out = image.copy()
    height, width = label_map.shape
    thickness = max(1, round(math.sqrt(height * width) / 500))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * thickness + 1, 2 * thickness + 1))
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        # The outline needs to see a little past the strip.
        above, below = max(0, top - thickness), min(height, bottom + thickness)
        around = np.ascontiguousarray(label_map[above:below])
        differs = cv2.dilate(around, kernel) != cv2.erode(around, kernel)
        here = slice(top - above, bottom - above)
        part = around[here]
        wash = _colorize(part, table)
        mask = painted[part].view(np.uint8)
        strip = out[top:bottom]
        cv2.copyTo(cv2.addWeighted(strip, 1 - strength, wash, strength, 0), mask, strip)
        cv2.copyTo(wash, cv2.bitwise_and(mask, differs[here].view(np.uint8)), strip)
    return add_legend(out, counts, labels) if legend else out


def add_legend(picture: np.ndarray, counts: np.ndarray, labels: Labels, uncolored: Collection[int] = ()) -> np.ndarray:
    """uint8 RGB (H, W, 3) with a panel below it: names and shares of the classes, of int64 (V,) ``counts`` of pixels.
    ``uncolored``: classes that have no colour of their own."""
    return np.vstack(_match_channels(picture, _legend(counts, labels, picture.shape[:2], uncolored)))


def _check(image: np.ndarray, label_map: np.ndarray, strength: float) -> np.ndarray:
    if image.ndim in (2, 3):
        image = to_rgb(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an overlay needs a uint8 image (H, W, C) or (H, W); got {image.dtype} {image.shape}")
    if label_map.dtype not in (np.uint8, np.uint16) or label_map.shape != image.shape[:2] or label_map.size == 0:
        raise ValueError(
            f"the label map must be uint8 or uint16 of the image's size {image.shape[:2]}; "
            f"got {label_map.dtype} {label_map.shape}"
        )
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie between 0 and 1; got {strength}")
    return image


def _colorize(part: np.ndarray, table: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3): each pixel in its class's colour."""
    if part.dtype != np.uint8:
        return table[part]
    whole = np.zeros((1, 256, 3), np.uint8)
    whole[0, : len(table)] = table[:256]
    return cv2.LUT(cv2.merge([part] * 3), whole)  # a tenth of the time of indexing


def _areas(label_map: np.ndarray, labels: Labels) -> np.ndarray:
    """int64 (V,) pixels of each value. Refuses values that are no class."""
    counts = np.bincount(label_map.ravel(), minlength=len(labels))
    extra = [int(v) for v in np.flatnonzero(counts[len(labels) :]) + len(labels) if v != labels.ignore]
    if extra:
        raise ValueError(f"the label map holds the value {extra[0]}, but there are {plural(len(labels), 'class')}")
    return counts


def _legend(counts: np.ndarray, labels: Labels, image_hw: tuple[int, ...], uncolored: Collection[int]) -> Image.Image:
    """The panel: a swatch, the name and the share of the image for each class that is there, the largest first."""
    size = max(12, round(math.sqrt(image_hw[0] * image_hw[1]) / 45))  # pixels; 12 can just be read
    font = ImageFont.load_default(size)
    gap, swatch = round(size * 0.6), round(size * 0.9)
    total = counts.sum()
    order = sorted((i for i in range(len(labels)) if counts[i]), key=lambda i: -counts[i])
    entries: list[tuple[str, str, Color | None]] = [
        (
            labels.names[i],
            _percent(counts[i] / total),
            None if i == labels.background or i in uncolored else labels.colors[i],
        )
        for i in order
    ]
    if labels.ignore < len(counts) and counts[labels.ignore]:
        entries.append(("ignored", _percent(counts[labels.ignore] / total), None))
    spaces = [font.getlength(f"{name}  {share}") for name, share, _ in entries]
    widths = [math.ceil(swatch + gap / 2 + space + gap) for space in spaces]
    panel_width = max(image_hw[1], *(width + gap for width in widths))
    # Entries flow like words: side by side, a new line where one no longer fits.
    places, x, line = [], gap, 0
    for width in widths:
        if x > gap and x + width > panel_width:
            x, line = gap, line + 1
        places.append((x, line))
        x += width + gap
    pitch = round(size * 1.6)
    panel = Image.new("RGB", (panel_width, (line + 1) * pitch + gap), _PANEL)
    pen = ImageDraw.Draw(panel)
    for (name, share, color), (x, line) in zip(entries, places, strict=True):
        middle = gap // 2 + line * pitch + pitch // 2
        box = (x, middle - swatch // 2, x + swatch, middle - swatch // 2 + swatch)
        pen.rounded_rectangle(box, radius=swatch // 5, fill=color, outline=None if color and any(color) else _FAINT)
        start = x + swatch + gap / 2
        pen.text((start, middle), name, fill=_TEXT, font=font, anchor="lm")
        pen.text((start + font.getlength(f"{name}  "), middle), share, fill=_FAINT, font=font, anchor="lm")
    return panel


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %" if share >= 0.0005 else "< 0.1 %"


def _match_channels(image: np.ndarray, panel: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Both of the same width: a narrow image stands in the middle of the panel's colour."""
    below = np.asarray(panel)
    missing = below.shape[1] - image.shape[1]
    if missing <= 0:
        return image, below
    wide = np.empty((image.shape[0], below.shape[1], 3), np.uint8)
    wide[:] = _PANEL
    wide[:, missing // 2 : missing // 2 + image.shape[1]] = image
    return wide, below
