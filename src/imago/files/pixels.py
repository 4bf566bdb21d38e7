"""Modes of Pillow and types of NumPy arrays to 8 bits a channel, a strip at a time so that nothing is held twice."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from imago.core.bands import Ranges
from imago.core.errors import ImageError
from imago.core.text import plural
from imago.files.values import scale_to_bytes

if TYPE_CHECKING:
    from PIL import Image

    from imago.files.tiff import TiffBands

STRIP_PIXELS = 2_000_000  # pixels that are copied from Pillow to NumPy at a time
_ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")
_GRAY_MODES = ("L", "1", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")
DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")


def read_pillow(
    image: Image.Image, channels: int, label: str, ranges: Ranges = ()
) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """A loaded Pillow image -> uint8 (H, W, channels), opacity uint8 (H, W) or None, notes.

    Transparent images come over white; with 2 or 4 channels grey or colours stay as stored, and alpha is the last.
    """
    _check_bands(image, channels, label)
    width, height = image.size
    notes: list[str] = []
    transparent = image.mode in _ALPHA_MODES or "transparency" in image.info
    opacity = np.empty((height, width), np.uint8) if transparent else None
    if image.mode in DEEP_MODES and not transparent:
        image = _make_shallow(image, ranges, notes)
    convert = _gray_managed(image, _converter(image), notes)
    pixels = np.empty((height, width, channels), np.uint8)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        part = convert(image.crop((0, top, width, min(height, top + rows))))
        out = pixels[top : top + rows]
        if part.mode != "RGBA":
            out[:] = np.asarray(part.convert({1: "L", 3: "RGB"}[channels])).reshape(out.shape)
            continue
        values = np.asarray(part)
        if opacity is not None:
            opacity[top : top + rows] = values[:, :, 3]
        if channels in (2, 4):
            out[:] = values[:, :, ::3] if channels == 2 else values
        else:
            over = blend_over_white(values[:, :, :3], values[:, :, 3])
            out[:] = over if channels == 3 else _gray(over)[:, :, None]
    if opacity is not None and opacity.min() == 255:
        opacity = None  # an alpha channel that hides nothing
    return pixels, opacity, notes


def _check_bands(image: Image.Image, channels: int, label: str) -> None:
    """Refuses an image that has not the bands that are wanted; grey and colour alone go into each other."""
    transparent = image.mode in _ALPHA_MODES or "transparency" in image.info
    gray = image.mode in _GRAY_MODES
    has = (1 if gray else 3) + transparent
    if channels in (1, 3) or channels == has or (channels == 4 and transparent):
        return
    raise wrong_bands(label, has, channels)


def wrong_bands(label: str, has: int, wanted: int) -> ImageError:
    bands = "1 band" if has == 1 else f"{has} bands"
    return ImageError(
        f"{label}: has {bands}; the model takes {wanted}. Give it an image of {wanted} (a TIFF, or in Python an array "
        f"(H, W, {wanted})), or train one with --channels {has}"
    )


def _converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """The function that turns a strip of ``image`` into mode L, RGB or RGBA."""
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        if image.mode in ("La", "RGBa"):  # colours multiplied by alpha: Pillow undoes it by this way only
            straight = "LA" if image.mode == "La" else "RGBA"
            return lambda part: part.convert(straight).convert("RGBA")
        return lambda part: _with_transparency(part, image).convert("RGBA")
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


def _make_shallow(image: Image.Image, ranges: Ranges, notes: list[str]) -> Image.Image:
    """Grey of more than 8 bits as grey of 8."""
    from PIL import Image as pillow

    scaled, told = scale_to_bytes(np.asarray(image)[:, :, None], ranges[:1])
    notes += told
    shallow = pillow.fromarray(scaled[:, :, 0])
    shallow.info = image.info
    return shallow


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


def read_array(
    array: np.ndarray, channels: int, label: str, ranges: Ranges = ()
) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """(H, W) or (H, W, C) -> uint8 (H, W, channels), opacity or None, notes. Not copied where it fits already."""
    if isinstance(array, np.ma.MaskedArray):
        raise ImageError(f"{label}: a masked array says nothing of what lies under its mask; pass array.filled(0)")
    array = np.asarray(array)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3:
        raise ImageError(f"{label}: expected an array (H, W) or (H, W, C); got shape {array.shape}")
    notes: list[str] = []
    if array.dtype == np.uint8:
        values = array
    elif array.dtype == np.bool_:
        values = array.astype(np.uint8) * np.uint8(255)
    elif ranges and array.dtype.kind in "iuf" and array.shape[2] == channels:
        values, notes = scale_to_bytes(array, ranges)
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
        return values, None, notes
    if given == 1 and channels == 3:
        return np.repeat(values, 3, axis=2), None, notes
    if given == 3 and channels == 1:
        return _gray(values)[:, :, None], None, notes
    if given == 4 and channels in (1, 3):
        opacity = np.ascontiguousarray(values[:, :, 3])
        over = blend_over_white(values[:, :, :3], opacity)
        return (over if channels == 3 else _gray(over)[:, :, None]), opacity, notes
    hint = "; channels stand last: array.transpose(1, 2, 0)" if array.shape[0] == channels else ""
    raise ImageError(
        f"{label}: the model wants {plural(channels, 'channel')}; the array has {given}: shape {array.shape}{hint}"
    )


def read_stored(
    stored: TiffBands, channels: int, label: str, ranges: Ranges = ()
) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Bands as a TIFF stores them -> uint8 (H, W, channels), opacity or None, notes."""
    values, alpha, notes = choose_bands(stored, channels, label)
    pixels, told = scale_to_bytes(values, ranges, stored.no_data)
    if alpha is None:
        return pixels, None, notes + told
    opacity = scale_to_bytes(alpha[:, :, None])[0][:, :, 0]
    over = blend_over_white(np.repeat(pixels, 3, axis=2) if channels == 1 else pixels, opacity)[:, :, :channels]
    return np.ascontiguousarray(over), opacity if opacity.min(initial=255) < 255 else None, notes + told


def choose_bands(stored: TiffBands, channels: int, label: str) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """The bands (H, W, channels) that a model of so many ``channels`` wants, the file's transparency (H, W) where it is
    not one of them, and notes. Raises ImageError where the file has others."""
    values, has = stored.values, stored.values.shape[2]
    notes = [f"the decoder says: {warning}" for warning in stored.told]
    notes += (
        ["more than one frame or page: the first is used (--pages, or page= in Python, says which)"]
        if stored.more_pages
        else []
    )
    if has == channels:
        return values, None, notes
    if channels not in (1, 3) or (stored.colors == 1 and has > 1 and not stored.alpha):
        raise wrong_bands(label, has, channels)
    rest = has - stored.colors
    alpha = values[:, :, stored.colors] if stored.alpha else None
    if rest and alpha is None:
        more = "band 4 is" if rest == 1 else f"bands 4 to {has} are"
        notes.append(
            f"{more} not said to be transparency, and left out; --channels {has} trains a model on all of them"
        )
    values = values[:, :, : stored.colors]
    if stored.colors < channels:
        values = np.repeat(values, channels, axis=2)
    elif stored.colors > channels:
        gray = values[:, :, :3] @ np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601
        values = (gray if values.dtype.kind == "f" else np.round(gray)).astype(values.dtype)[:, :, None]
    return values, alpha, notes


def to_byte(values: np.ndarray) -> np.ndarray:
    """Float 0..1 -> uint8 0..255, rounded, of any shape."""
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
