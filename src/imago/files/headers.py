"""The first bytes of an image file: what it is, how large, which way up; no pixel is decoded.

Pillow's format plugins are called one by one instead of ``Image.open``, whose limit of size is a global setting.
"""

from __future__ import annotations

import importlib
import io
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from imago.core.errors import ImageError
from imago.files.paths import explain_missing, path_kind

if TYPE_CHECKING:
    from PIL import Image

# What Pillow's plugins throw at damaged files, beside OSError and its own UnidentifiedImageError (an OSError).
BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, OverflowError, AttributeError,
    ArithmeticError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip


def open_stream(source: Any, name: str | None) -> tuple[BinaryIO, str]:
    """A binary stream that can seek, at its start, and the name for messages."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _not_empty(io.BytesIO(source), name or "image")
    if not isinstance(source, (str, os.PathLike)):
        label = name or str(getattr(source, "name", "image"))
        content = source.read() if callable(getattr(source, "read", None)) else None
        if not isinstance(content, bytes):
            raise ImageError(f"{label}: {_explain_type(source, content)}")
        return _not_empty(io.BytesIO(content), label)
    path, label = Path(source), name or str(source)
    kind = path_kind(path)
    if kind == "device":  # some never end
        raise ImageError(f"{label}: is a device or a terminal, not an image; name a file")
    try:
        if kind == "folder":
            raise ImageError(f"{label}: is a folder, not an image; name the files in it, or let a command walk it")
        stream = path.open("rb")
        if not stream.seekable():
            with stream:
                return _not_empty(io.BytesIO(stream.read()), label)
    except FileNotFoundError as error:
        raise ImageError(explain_missing(label if name is None else f"{label} ({path})")) from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{label}: cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    return _not_empty(stream, label)


def _explain_type(source: Any, content: Any) -> str:
    """What to give in place of an object that is no image; ``content``: what its ``read`` gave."""
    if isinstance(content, str):
        return "is opened as text; open it as bytes, by open(path, 'rb')"
    kind = type(source).__name__
    if hasattr(source, "__array__"):
        return f"a {kind} is no image here; pass it as an array: np.asarray(image), colours last"
    if isinstance(source, (list, tuple)):
        return f"a {kind} of numbers is no image here; pass it as an array: np.array(image, np.uint8)"
    if isinstance(source, (set, frozenset, dict)):
        return f"a {kind} has no order that answers could come in; pass a list of images"
    return f"expected a path, the bytes of a file, a binary stream, a Pillow image or an array; got {kind}"


def _not_empty(stream: BinaryIO, label: str) -> tuple[BinaryIO, str]:
    if not stream.read(1):
        stream.close()
        raise ImageError(f"{label}: is empty (0 bytes); copy or download it again")
    stream.seek(0)
    return stream, label


def _format_of(start: bytes) -> tuple[str, str] | None:
    """Pillow's name of the format and of its plugin, by the first bytes. Formats that run other programs are left out
    (Pillow starts Ghostscript for EPS)."""
    if start[4:8] == b"ftyp":
        return ("AVIF", "AvifImagePlugin") if start[8:12] in (b"avif", b"avis") else ("HEIF", "")
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP", "WebPImagePlugin"
    if start[:1] == b"P" and start[1:2] in b"123456fFyY":
        return "PPM", "PpmImagePlugin"
    for signature, found in _SIGNATURES.items():
        if start.startswith(signature):
            return found
    return None


TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_SIGNATURES = {
    b"\xff\xd8\xff": ("JPEG", "JpegImagePlugin"),
    b"\x89PNG\r\n\x1a\n": ("PNG", "PngImagePlugin"),
    b"GIF8": ("GIF", "GifImagePlugin"),
    b"BM": ("BMP", "BmpImagePlugin"),
    **dict.fromkeys(TIFF_STARTS, ("TIFF", "TiffImagePlugin")),
    b"\0\0\0\x0cjP  \r\n\x87\n": ("JPEG2000", "Jpeg2KImagePlugin"),
    b"\xff\x4f\xff\x51": ("JPEG2000", "Jpeg2KImagePlugin"),
}


def open_header(stream: BinaryIO, label: str) -> Image.Image:
    """Pillow's lazy image: header read, no pixel decoded."""
    from PIL import Image

    stream.seek(0)
    found = _format_of(stream.read(16))
    stream.seek(0)
    if found is None:
        raise ImageError(f"{label}: is not an image that Imago reads (JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF)")
    kind, plugin = found
    try:
        if kind == "JPEG":  # by its class: the registered opener looks for more pictures behind the first, and warns
            from PIL.JpegImagePlugin import JpegImageFile

            return JpegImageFile(stream, label)
        if kind == "HEIF":
            importlib.import_module("pillow_heif").register_heif_opener()
        else:
            importlib.import_module(f"PIL.{plugin}")
        return Image.OPEN[kind][0](stream, label)
    except (ImportError, KeyError) as error:
        advice = "pip install pillow-heif" if kind == "HEIF" else "pip install -U pillow"
        raise ImageError(f"{label}: {kind} images cannot be read by this Pillow; {advice}") from error
    except BROKEN as error:
        raise ImageError(f"{label}: {kind} header is damaged or cut off ({format_reason(error)})") from error


def format_reason(error: BaseException) -> str:
    """The first line of what the decoder says."""
    return (str(error) or type(error).__name__).splitlines()[0]


def orientation(image: Image.Image) -> int:
    """EXIF's orientation 1..8 (1: upright) from the raw block; Pillow's own reader warns on standard error."""
    block = image.info.get("exif", b"")
    if not isinstance(block, bytes):
        return 1
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", block, entry)
            if tag == 0x0112:
                (value,) = struct.unpack_from(order + ("I" if kind == 4 else "H"), block, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:  # a cut-off EXIF block says nothing; the pixels are whole
        return 1
    return 1
