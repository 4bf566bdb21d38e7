"""A sheet of small photos, each beside what its annotation was understood to say, and a legend of the classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from imago.core.bands import to_rgb
from imago.core.instances import Instances
from imago.core.labels import IGNORE, Labels
from imago.draw.html import data_address, page
from imago.draw.objects import draw_objects, shrink
from imago.draw.overlay import overlay

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

TILE_PX = 250  # longer side of a small photo
COLUMNS = 3
_GAP = 12
_GROUND, _TEXT, _FAINT = (24, 26, 31), (236, 238, 242), (150, 155, 165)
_STRIPES = ((224, 224, 192), (90, 90, 80))  # of what counts for nothing


@dataclass(frozen=True)
class Tile:
    """One photo and its truth, already small; see ``make_tile``."""

    image: np.ndarray  # uint8 (h, w, 3)
    drawn: np.ndarray  # uint8 (h, w, 3)
    caption: str
    classes: frozenset[int] = frozenset()  # that are seen


def make_tile(image: np.ndarray, truth: np.ndarray | Instances, labels: Labels, caption: str) -> Tile:
    """``image``: uint8 (H, W, C); ``truth``: a label map (H, W), or the objects. What counts for nothing is striped."""
    height, width = image.shape[:2]
    scale = TILE_PX / max(height, width)
    size_hw = max(1, round(height * scale)), max(1, round(width * scale))
    rgb = to_rgb(image)
    small = cv2.resize(np.ascontiguousarray(rgb), size_hw[::-1], interpolation=cv2.INTER_AREA)
    if isinstance(truth, Instances):
        objects = shrink(truth, size_hw)
        crowd = np.zeros(len(objects), bool) if objects.crowd is None else objects.crowd
        drawn = draw_objects(
            small, objects[~crowd], labels, names=False, scores=False,
            color_by="class" if len(labels) > 2 else "object",
        )  # fmt: skip
        ignored = np.zeros(size_hw, bool)
        for index in np.flatnonzero(crowd):
            where, crop = objects.region(int(index))
            ignored[where] |= crop
    else:
        label = cv2.resize(truth, size_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        drawn, ignored = overlay(small, label, labels, legend=False), label == IGNORE
    y, x = np.nonzero(ignored)
    drawn[y, x] = np.array(_STRIPES, np.uint8)[(x + y) // 4 % 2]
    values = truth.classes if isinstance(truth, Instances) else np.unique(label)
    return Tile(small, drawn, caption, frozenset(int(value) for value in values))


def contact_sheet(tiles: Sequence[Tile], labels: Labels, counts: Sequence[str], title: str) -> Image.Image:
    """RGB. ``counts``: words for each class in the legend; classes with none ("") are left out."""
    font, large = ImageFont.load_default(13), ImageFont.load_default(18)
    cell_w, cell_h = 2 * TILE_PX + _GAP // 2, TILE_PX + 22
    columns = min(COLUMNS, max(1, len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    width = max(columns * (cell_w + _GAP) + _GAP, math.ceil(large.getlength(title)) + 2 * _GAP)
    top = 2 * _GAP + 20
    entries = [
        (labels.names[i], words, None if i == labels.background else labels.colors[i])
        for i, words in enumerate(counts)
        if words
    ]
    places, bottom = _flow([f"{name}  {words}" for name, words, _ in entries], font, width)
    legend_top = top + rows * (cell_h + _GAP)
    sheet = Image.new("RGB", (width, legend_top + bottom + _GAP), _GROUND)
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP, _GAP), title, fill=_TEXT, font=large)
    for index, tile in enumerate(tiles):
        x = _GAP + index % columns * (cell_w + _GAP)
        y = top + index // columns * (cell_h + _GAP)
        sheet.paste(Image.fromarray(tile.image), (x, y))
        sheet.paste(Image.fromarray(tile.drawn), (x + TILE_PX + _GAP // 2, y))
        pen.text((x, y + TILE_PX + 3), _shorten(tile.caption, font, cell_w), fill=_FAINT, font=font)
    for (name, words, color), (x, y) in zip(entries, places, strict=True):
        pen.rectangle((x, legend_top + y + 2, x + 12, legend_top + y + 14), fill=color, outline=_FAINT)
        pen.text((x + 18, legend_top + y), name, fill=_TEXT, font=font)
        pen.text((x + 18 + font.getlength(f"{name}  "), legend_top + y), words, fill=_FAINT, font=font)
    return sheet


def sheet_page(tiles: Sequence[Tile], labels: Labels, counts: Sequence[str], title: str) -> str:
    """The same as a page of HTML."""
    legend = "".join(
        f'<span><i style="background:rgb{labels.colors[value]}"></i>{escape(f"{labels.names[value]} {words}")}</span>'
        for value, words in enumerate(counts)
        if words
    )
    figures = "".join(
        f'<figure><div class="trio" style="grid-template-columns:1fr 1fr">{_picture(tile.image, "photo")}'
        f"{_picture(tile.drawn, 'annotation')}</div><figcaption>{escape(tile.caption)}</figcaption></figure>"
        for tile in tiles
    )
    body = f'<div class="keys">{legend}</div><div class="examples">{figures}</div>'
    return page(title, [f"<h1>{escape(title)}</h1>", f"<section>{body}</section>"])


def _picture(pixels: np.ndarray, alt: str) -> str:
    """uint8 (h, w, 3) as an element."""
    return f'<img alt="{alt}" src="{data_address(pixels)}">'


def _flow(
    texts: Sequence[str], font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> tuple[list[tuple[int, int]], int]:
    """Places like words in lines, and the height of all."""
    places, x, y = [], _GAP, 0
    for text in texts:
        wide = 18 + math.ceil(font.getlength(text)) + 2 * _GAP
        if x > _GAP and x + wide > width:
            x, y = _GAP, y + 20
        places.append((x, y))
        x += wide
    return places, y + 20


def _shorten(text: str, font: Font, width: int) -> str:
    while len(text) > 4 and font.getlength(text) > width:
        text = text[:-4] + "..."
    return text
