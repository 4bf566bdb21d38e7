"""Colours from one ICC profile to another, by LittleCMS through Pillow. No profile means sRGB."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from imago.files.headers import BROKEN, format_reason

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform


class ProfileError(ValueError):
    """A profile that LittleCMS does not take."""


def convert_colors(colors: np.ndarray, source: bytes | None, target: bytes | None) -> np.ndarray:
    """uint8 RGB (H, W, 3) in the profile ``source`` -> the same colours in ``target``. Raises ProfileError."""
    if source == target:
        return colors
    from PIL import Image

    return np.asarray(make_transform(source, target, "RGB", "RGB").apply(Image.fromarray(np.ascontiguousarray(colors))))


@lru_cache(maxsize=4)
def make_transform(
    source: bytes | None, target: bytes | None, source_mode: str, target_mode: str, exact: bool = False
) -> ImageCmsTransform:
    """``exact``: without LittleCMS's tables for speed, which are 7 of 255 off next to black (gamma 1 to sRGB).
    Relative colorimetric with black point compensation: white stays white, black black. Raises ProfileError."""
    from PIL import ImageCms

    def opened(profile: bytes | None) -> Any:
        return ImageCms.createProfile("sRGB") if profile is None else ImageCms.ImageCmsProfile(io.BytesIO(profile))

    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION | (ImageCms.Flags.NOOPTIMIZE if exact else 0)
    try:
        return ImageCms.buildTransform(
            opened(source), opened(target), source_mode, target_mode,
            ImageCms.Intent.RELATIVE_COLORIMETRIC, flags,
        )  # fmt: skip
    except (*BROKEN, ImageCms.PyCMSError) as error:
        raise ProfileError(format_reason(error)) from error
