"""Modes of Pillow and types of NumPy arrays to 8 bits a channel, a strip at a time so that nothing is held twice."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from imago.core.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

STRIP_PIXELS = 2_000_000  # pixels that are copied from Pillow to NumPy at a time
_ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")
_GRAY_MODES = ("L", "1", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")


def read_pillow(image: Image.Image, channels: int, label: str) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """A loaded Pillow image -> uint8 (H, W, channels), opacity uint8 (H, W) or None, notes.

    Transparent images come over white, except with four channels, where the colours stay as stored.
    """
    if channels not in (1, 3, 4):
        raise ImageError(f"{label}: image files give 1, 3 or 4 channels; the model wants {channels}; pass an array")
    width, height = image.size
    notes: list[str] = []
    transparent = image.mode in _ALPHA_MODES or "transparency" in image.info
    opacity = np.empty((height, width), np.uint8) if transparent else None
    convert = _gray_managed(image, _converter(image, notes), notes)
    pixels = np.empty((height, width, channels), np.uint8)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        part = convert(image.crop((0, top, width, min(height, top + rows))))
        out = pixels[top : top + rows]
        if part.mode != "RGBA":
            out[:] = np.asarray(part.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])).reshape(out.shape)
            continue
        values = np.asarray(part)
        if opacity is not None:
            opacity[top : top + rows] = values[:, :, 3]
        if channels == 4:
            out[:] = values
        else:
            over = blend_over_white(values[:, :, :3], values[:, :, 3])
            out[:] = over if channels == 3 else _gray(over)[:, :, None]
    if opacity is not None and opacity.min() == 255:
        opacity = None  # an alpha channel that hides nothing
    return pixels, opacity, notes


def _converter(image: Image.Image, notes: list[str]) -> Callable[[Image.Image], Image.Image]:
    """The function that turns a strip of ``image`` into mode L, RGB or RGBA."""
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        if image.mode in ("La", "RGBa"):  # colours multiplied by alpha: Pillow undoes it by this way only
            straight = "LA" if image.mode == "La" else "RGBA"
            return lambda part: part.convert(straight).convert("RGBA")
        return lambda part: _with_transparency(part, image).convert("RGBA")
    if image.mode in _DEEP_MODES:
        return _deep_converter(image, notes)
    if image.mode in ("CMYK", "LAB"):
        return _profile_converter(image)
    if image.mode in ("RGB", "L"):
        return lambda part: part
    return lambda part: part.convert("RGB")


def _gray_managed(
    image: Image.Image, convert: Callable[[Image.Image], Image.Image], notes: list[str]
) -> Callable[[Image.Image], Image.Image]:
    """Grey by its own profile becomes sRGB: what is written from it is RGB, which cannot carry a profile of grey."""
    profile = image.info.get("icc_profile")
    if image.mode not in _GRAY_MODES or not isinstance(profile, bytes) or profile[16:20] != b"GRAY":
        return convert
    from PIL import Image as pillow

    from imago.files.color_profiles import ProfileError, make_transform

    try:
        ramp = pillow.fromarray(np.arange(256, dtype=np.uint8)[None])
        table = np.asarray(make_transform(profile, None, "L", "RGB", exact=True).apply(ramp))[0, :, 1]
    except ProfileError as error:
        notes.append(f"its profile of greys cannot be used ({error}); the values are taken as they are")
        return convert

    def managed(part: Image.Image) -> Image.Image:
        part = convert(part)
        bands = [
            band.point(table.tolist()) if name != "A" else band
            for name, band in zip(part.mode, part.split(), strict=True)
        ]
        return pillow.merge(part.mode, bands)

    return managed


def _with_transparency(part: Image.Image, image: Image.Image) -> Image.Image:
    if "transparency" in image.info:
        part.info["transparency"] = image.info["transparency"]
    return part


def _deep_converter(image: Image.Image, notes: list[str]) -> Callable[[Image.Image], Image.Image]:
    """More than 8 bits of grey: integers by the range that is in use, floats 0..1, others by least and largest."""
    from PIL import Image as pillow

    low, high = (float(value) for value in image.getextrema())  # type: ignore[arg-type]
    if image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif image.mode != "F" and low >= 0 and high <= 65535:
        low, high = 0.0, next(top for top in (255.0, 4095.0, 65535.0) if high <= top)
        if high < 65535:
            notes.append(f"deep grey image uses values up to {high:.0f} only: scaled from those")
    else:
        notes.append(f"values from {low:g} to {high:g} were spread over 0..255")
    if not high > low:
        high = low + 1.0

    def convert(part: Image.Image) -> Image.Image:
        values = np.asarray(part).astype(np.float32)
        return pillow.fromarray(to_byte((values - low) / (high - low)))

    return convert


def _profile_converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """CMYK by the profile inside, or by the plain rule where there is none; Lab by LittleCMS."""
    from PIL import ImageCms

    try:
        if image.mode == "LAB":
            source: Any = ImageCms.createProfile("LAB")
        else:
            source = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), image.mode, "RGB")
    except (KeyError, OSError, ImageCms.PyCMSError):
        return lambda part: part.convert("RGB")
    return lambda part: transform.apply(part)


def read_array(array: np.ndarray, channels: int, label: str) -> tuple[np.ndarray, np.ndarray | None]:
    """(H, W) or (H, W, C) -> uint8 (H, W, channels), opacity or None. Not copied where it fits already."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3:
        raise ImageError(f"{label}: expected an array (H, W) or (H, W, C); got shape {array.shape}")
    if array.dtype == np.uint8:
        values = array
    elif array.dtype == np.bool_:
        values = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint16:
        values = ((array.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        if array.size and not (np.min(array) >= 0 and np.max(array) <= 1):
            raise ImageError(f"{label}: float arrays must be within 0..1, without NaN; divide, or pass uint8")
        values = to_byte(array)
    else:
        raise ImageError(f"{label}: arrays must be uint8, uint16, bool or float 0..1; got {array.dtype}")
    given = values.shape[2]
    if given == channels:
        return values, None
    if given == 1 and channels == 3:
        return np.repeat(values, 3, axis=2), None
    if given == 3 and channels == 1:
        return _gray(values)[:, :, None], None
    if given == 4 and channels in (1, 3):
        opacity = np.ascontiguousarray(values[:, :, 3])
        over = blend_over_white(values[:, :, :3], opacity)
        return (over if channels == 3 else _gray(over)[:, :, None]), opacity
    raise ImageError(f"{label}: the model wants {channels} channels; the array has {given}: shape {array.shape}")


def to_byte(values: np.ndarray) -> np.ndarray:
    """Float 0..1 -> uint8 0..255, rounded."""
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)


def blend_over_white(colors: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) over white by uint8 (h, w), 255 opaque, rounded exactly."""
    if opacity.min(initial=255) == 255:
        return colors
    share = opacity[:, :, None].astype(np.uint32)
    return ((colors * share + 255 * (255 - share) + 127) // 255).astype(np.uint8)


def _gray(colors: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) -> uint8 (h, w) by ITU-R 601's weights, as Pillow's and OpenCV's decoders do."""
    import cv2

    return cv2.cvtColor(np.ascontiguousarray(colors), cv2.COLOR_RGB2GRAY)
