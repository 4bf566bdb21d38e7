"""Objects drawn over their photo: masks washed and outlined, boxes, and a tag with name and score at each.

Everything is done in the rectangles of the objects, straight into the one copy of the photo that is the answer. Large
objects are painted first, so that small ones on them stay to be seen; tags come last, the best score first.
"""

from __future__ import annotations

import colorsys
import math
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from imago.core.bands import to_rgb
from imago.core.boxes import clip
from imago.core.instances import CroppedMask, Instances
from imago.core.labels import Labels

_STRIP = 1 << 20  # pixels washed at a time: a mask over all of 100 megapixels needs no second copy of the photo
_SMALLEST_PX = 11  # a font that can just be read
_CROWDED = (
    30  # past so many objects those that are smaller than their tags have none: cells would not be seen for words
)


def draw_objects(
    image: np.ndarray,
    instances: Instances,
    labels: Labels,
    strength: float = 0.5,
    names: bool = True,
    scores: bool = True,
    color_by: Literal["object", "class"] = "object",
    boxes: bool = True,
) -> np.ndarray:
    """uint8 RGB (H, W, 3), a new array.

    ``image``: uint8 (H, W, 3) or grey (H, W); ``instances`` in its pixels; ``strength``: of the wash, 0 to
    1. Objects without masks have their boxes alone. Lines and text grow with the image. A tag stands above its box, or
    inside, below, wherever the first free place is; where all of them are taken by better scores it is left out, and in
    a crowd of objects that are smaller than it. Raises ValueError where image, instances and labels do not belong
    together.
    """
    out = _copy_parts(image, instances, labels, strength)
    colors = [_color(index, instances, labels, color_by) for index in range(len(instances))]
    side = math.sqrt(out.shape[0] * out.shape[1])
    line_px = max(1, round(side / 600))
    for index in np.argsort(-instances.areas, kind="stable"):
        if instances.cropped is not None:
            _paint_mask(out, instances.cropped[index], colors[index], strength, line_px)
    for index in reversed(range(len(instances) if boxes else 0)):
        _outline_box(out, instances.boxes[index], colors[index], line_px)
    if names or scores:
        words = [_format_tags(index, instances, labels, names, scores) for index in range(len(instances))]
        usual_px = float(np.median(instances.boxes[:, 3] - instances.boxes[:, 1])) if len(instances) else side
        _put_tags(out, instances, words, colors, max(_SMALLEST_PX, round(min(side / 62, usual_px / 4))))
    return out


def shrink(instances: Instances, size_hw: tuple[int, int]) -> Instances:
    """The same objects in an image of ``size_hw``, for small pictures of large photos; masks by share of the area."""
    ratio_y, ratio_x = size_hw[0] / instances.size_hw[0], size_hw[1] / instances.size_hw[1]
    boxes = instances.boxes * np.array([ratio_x, ratio_y] * 2, np.float32)
    masks = None
    if instances.cropped is not None:
        masks = [_shrink_mask(mask, size_hw, ratio_y, ratio_x) for mask in instances.cropped]
    return Instances.make(size_hw, boxes, instances.classes, instances.scores, masks, instances.crowd)


def _shrink_mask(mask: CroppedMask, size_hw: tuple[int, int], ratio_y: float, ratio_x: float) -> CroppedMask:
    left, top = min(size_hw[1] - 1, round(mask.left * ratio_x)), min(size_hw[0] - 1, round(mask.top * ratio_y))
    width = min(size_hw[1] - left, max(1, round(mask.size_hw[1] * ratio_x)))
    height = min(size_hw[0] - top, max(1, round(mask.size_hw[0] * ratio_y)))
    if not mask.bits:
        return CroppedMask(left, top, (0, 0), b"")
    small = cv2.resize(mask.crop.view(np.uint8) * np.uint8(255), (width, height), interpolation=cv2.INTER_AREA)
    return CroppedMask.from_mask(small >= 128, left, top)


def _copy_parts(image: np.ndarray, instances: Instances, labels: Labels, strength: float) -> np.ndarray:
    """A copy of the photo, RGB."""
    if image.ndim in (2, 3):
        image = to_rgb(image)
    if image.dtype != np.uint8 or image.ndim != 3:
        raise ValueError(f"objects are drawn on a uint8 image (H, W, C) or (H, W); got {image.dtype} {image.shape}")
    if instances.size_hw != image.shape[:2]:
        raise ValueError(
            f"the image is {image.shape[:2]} pixels, its objects are of {instances.size_hw}; both must agree"
        )
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie between 0 and 1; got {strength}")
    if len(instances) and not 0 <= instances.classes.min() <= instances.classes.max() < len(labels):
        raise ValueError(f"there is an object of class {instances.classes.max()}; the labels end at {len(labels) - 1}")
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else np.array(image, order="C")


def _color(index: int, instances: Instances, labels: Labels, color_by: str) -> tuple[int, int, int]:
    """RGB. An object's: hues a golden angle apart, so that neighbours in the list are never alike."""
    if color_by == "class":
        return labels.colors[instances.classes[index]]
    red, green, blue = colorsys.hls_to_rgb((0.58 + index * 0.6180339887) % 1, (0.55, 0.65, 0.45)[index % 3], 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def _paint_mask(out: np.ndarray, mask: CroppedMask, color: tuple[int, int, int], strength: float, line_px: int) -> None:
    """The wash, and the outline in the full colour."""
    if not mask.bits:
        return
    crop = mask.crop.view(np.uint8)
    values = np.arange(256)[:, None]
    washed = np.round(values * (1 - strength) + np.array(color) * strength).astype(np.uint8)[None]  # (1, 256, 3)
    part = out[mask.slices]
    rows = max(1, _STRIP // crop.shape[1])
    for top in range(0, len(crop), rows):
        strip = part[top : top + rows]
        cv2.copyTo(cv2.LUT(strip, washed), crop[top : top + rows], strip)
    outlines, _ = cv2.findContours(crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, outlines, -1, color, line_px, offset=(mask.left, mask.top))


def _outline_box(out: np.ndarray, box: np.ndarray, color: tuple[int, int, int], line_px: int) -> None:
    x1, y1, x2, y2 = (round(float(v)) for v in clip(box[None], out.shape[:2])[0])
    if x2 > x1 and y2 > y1:
        cv2.rectangle(out, (x1, y1), (x2 - 1, y2 - 1), color, line_px)


def _format_tags(index: int, instances: Instances, labels: Labels, names: bool, scores: bool) -> str:
    parts = [labels.names[instances.classes[index]]] if names else []
    if scores:
        parts.append(f"{instances.scores[index]:.2f}")
    if instances.crowd is not None and instances.crowd[index]:
        parts.append("(crowd)")
    return " ".join(parts)


def _put_tags(
    out: np.ndarray, instances: Instances, words: list[str], colors: list[tuple[int, int, int]], font_px: int
) -> None:
    font = ImageFont.load_default(font_px)
    texts: dict[str, np.ndarray] = {}  # many objects have the same words
    height, width = out.shape[:2]
    boxes = clip(instances.boxes, (height, width)).round().astype(int)
    taken = np.zeros((len(words), 4), int)  # x1 y1 x2 y2 of the tags that stand
    count = 0
    for index in np.argsort(-instances.scores, kind="stable"):
        if words[index] not in texts:
            texts[words[index]] = _text(words[index], font, font_px)
        text = texts[words[index]]
        high, wide = text.shape
        x1, y1, x2, y2 = boxes[index]
        left = max(0, min(x1, width - wide))
        covers = high * wide > (x2 - x1) * (y2 - y1)
        if covers and len(words) > _CROWDED:
            continue
        others = taken[:count]
        inside = [] if covers else [(left, y1), (left, y2 - high)]
        for x, y in ((left, y1 - high), *inside, (left, y2), (max(0, x2 - wide), y1 - high)):
            if y < 0 or y + high > height or x + wide > width:
                continue
            meets = (others[:, 0] < x + wide) & (x < others[:, 2]) & (others[:, 1] < y + high) & (y < others[:, 3])
            if not meets.any():
                out[y : y + high, x : x + wide] = _tag(text, colors[index])
                taken[count] = x, y, x + wide, y + high
                count += 1
                break


def _text(words: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, font_px: int) -> np.ndarray:
    """uint8 (h, w), 0..255: how much ink is on each pixel of a tag."""
    margin = max(2, round(font_px * 0.3))
    tag = Image.new("L", (math.ceil(font.getlength(words)) + 2 * margin, round(font_px * 1.35)))
    ImageDraw.Draw(tag).text((margin, tag.height / 2), words, fill=255, font=font, anchor="lm")
    return np.asarray(tag)


def _tag(text: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """uint8 (h, w, 3): dark or light letters, whichever is read better on the colour."""
    light = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]  # as Rec. 601 weighs them
    ink = np.array((16, 18, 22) if light > 120 else (255, 255, 255), np.float32)
    steps = np.linspace(0, 1, 256, dtype=np.float32)[:, None]
    table = (np.array(color, np.float32) * (1 - steps) + ink * steps).round().astype(np.uint8)
    return table[text]
