"""What ``--background`` means: nothing, a colour, the blurred photo or an image file; colours are sRGB."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imago.core.errors import ImageError, ImagoError
from imago.core.input_spec import resize_image
from imago.files.color_profiles import ProfileError, convert_colors
from imago.files.images import Photo, read_image

Behind = str | Path | Photo  # what stands behind, as ``resolve_background`` gives it
Color = tuple[int, ...]  # RGB, or RGBA where it lets something through; 0..255


def parse_color(text: str | Path) -> Color | None:
    """``#rgb``, ``#rgba``, ``#rrggbb``, ``#rrggbbaa`` or a name of CSS -> RGB 0..255, with alpha where it is not whole;
    None for everything else. ``transparent`` is no colour here."""
    from PIL import ImageColor

    name = str(text).strip().lower()
    code = ImageColor.colormap.get(name, name)
    if isinstance(code, tuple):
        return code[:3]
    digits = code.removeprefix("#") if code.startswith("#") else ""
    if re.fullmatch(r"[0-9a-f]{3,4}", digits):
        digits = "".join(digit * 2 for digit in digits)
    if not re.fullmatch(r"[0-9a-f]{6}([0-9a-f]{2})?", digits):
        return None
    values = tuple(bytes.fromhex(digits))
    return values[:3] if values[3:] in ((), (255,)) else values


def resolve_background(background: Any) -> Behind:
    """What Python may give as a background: ``transparent`` (or None), ``blur``, a colour in words or as 3 or 4 numbers
    0..255, the path of an image, a Pillow image, an array (H, W, C) as ``read_image`` takes it. Raises ImagoError."""
    if background is None:
        return "transparent"
    if isinstance(background, Photo):
        return background
    if isinstance(background, (str, os.PathLike)):
        plain = background if isinstance(background, str) else Path(background)
        check_background(plain)
        return plain
    if isinstance(background, (tuple, list)) or (isinstance(background, np.ndarray) and background.ndim == 1):
        parts = list(background)
        whole = all(isinstance(part, (int, np.integer)) and not isinstance(part, bool) for part in parts)
        if len(parts) in (3, 4) and whole and all(0 <= part <= 255 for part in parts):
            return "#" + "".join(f"{int(part):02x}" for part in parts)
        raise ImagoError(f"a colour is 3 or 4 whole numbers from 0 to 255; got {background!r}")
    try:
        return read_image(background, name="background")
    except ImageError as error:
        raise ImagoError(f"{error}; a background is also transparent, blur, or a colour like white") from error


def is_opaque(background: Behind) -> bool:
    """Whether a cut-out on it has no transparent part left."""
    if isinstance(background, Photo):
        return True
    return background != "transparent" and len(parse_color(background) or ()) != 4


def check_background(background: str | Path) -> None:
    """Raises ImagoError unless it is ``transparent``, ``blur``, a colour or a file that is there."""
    if background in ("transparent", "blur") or parse_color(background) or Path(background).is_file():
        return
    raise ImagoError(
        f"background {str(background)!r} is neither transparent, blur, a colour like #ffffff or white, nor an "
        "image file"
    )


def make_backdrop(
    background: Behind, photo: Photo, small: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """What stands behind, in the photo's own colour profile, which the cut-out carries; and notes.

    A colour uint8 (3,), or (4,) where it lets something through; of ``blur`` float32 (h, w, 3), made of the small
    photo and alpha ``small``; an image uint8 (H, W, 3); of ``transparent`` None.
    """
    if background == "transparent":
        return None, ()
    if background == "blur":
        return blur_background(*small), ()
    color = None if isinstance(background, Photo) else parse_color(background)
    if color is not None:
        flat = np.array(color, np.uint8)
        converted, notes = _to_profile(flat[None, None, :3], None, photo.icc)
        flat[:3] = converted[0, 0]
        return flat, notes
    image = background if isinstance(background, Photo) else read_image(Path(background))
    converted, notes = _to_profile(cover(image.pixels, photo.size_hw), image.icc, photo.icc)
    return converted, tuple(f"background {image.name}: {note}" for note in image.notes) + notes


def _to_profile(colors: np.ndarray, source: bytes | None, target: bytes | None) -> tuple[np.ndarray, tuple[str, ...]]:
    try:
        return convert_colors(colors, source, target), ()
    except ProfileError as error:
        return colors, (
            f"a colour profile cannot be used ({error}): the colours behind are not converted to the photo's",
        )


def blur_background(small: np.ndarray, share: np.ndarray) -> np.ndarray:
    """float32 (h, w, 3): the photo's background out of focus. The subject lends it no colour: it weighs nothing.

    Under the subject it is filled from farther and farther away. What is only half background counts little, since
    the alpha may lie a pixel off.
    """
    weights = np.clip(1 - 2 * cv2.dilate(share, np.ones((5, 5), np.uint8)), 0, 1)
    side = max(small.shape[:2])
    filled, known = small, weights
    for radius in (side // 60, side // 30, side // 12, side // 5, side):
        box = (2 * max(1, radius) + 1,) * 2
        total = cv2.blur(small * weights[:, :, None], box, borderType=cv2.BORDER_REPLICATE)
        weight = cv2.blur(weights, box, borderType=cv2.BORDER_REPLICATE)
        trust = np.maximum(known, np.clip(weight * 4, 0, 1))
        mean = total / np.maximum(weight, 1e-6)[:, :, None]
        gain = np.where(trust > known, (trust - known) / np.maximum(trust, 1e-6), 0)[:, :, None]
        filled = filled + (mean - filled) * gain
        known = trust
    radius = max(1, side // 60)
    for _ in range(3):  # three boxes are nearly a Gaussian
        filled = cv2.blur(filled, (2 * radius + 1,) * 2, borderType=cv2.BORDER_REPLICATE)
    return filled


def cover(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """uint8 (h, w, 3) -> uint8 ``size_hw``: scaled to cover it, cut evenly at two sides."""
    ratio = max(size_hw[0] / image.shape[0], size_hw[1] / image.shape[1])
    height, width = (min(side, round(want / ratio)) for side, want in zip(image.shape[:2], size_hw, strict=True))
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    part = image[top : top + max(1, height), left : left + max(1, width)]
    return resize_image(part, size_hw)
