"""Masks that annotation files hold as a PNG in base64."""

from __future__ import annotations

import base64
import binascii
import io
import zlib

import numpy as np
from PIL import Image

from imago.data.mask_pixels import UNREADABLE

_MOST = 1 << 26  # bytes of an unpacked PNG


def unpack_png(text: str, deflated: bool = False) -> np.ndarray:
    """A PNG in base64, or after ``data:image/png;base64,`` -> bool (h, w): what is not 0, or not clear. ``deflated``:
    packed by zlib once more. Raises ValueError."""
    try:
        data = base64.b64decode(str(text).rpartition(",")[2], validate=True)
        if deflated:
            data = zlib.decompressobj().decompress(data, _MOST)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            bands = image if image.mode in ("1", "L", "P", "I;16", "I") else image.convert("RGBA").getchannel("A")
            return np.asarray(bands) > 0
    except (binascii.Error, zlib.error, *UNREADABLE) as error:
        raise ValueError(f"its mask is no PNG in base64 ({error})") from error


def pack_png(mask: np.ndarray) -> str:
    """bool (h, w) as a PNG of one bit a pixel, in base64."""
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")
