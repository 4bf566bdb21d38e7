"""Pictures in the formats that are written: PNG by strips, the others whole; all carry the photo's metadata."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from imago.core.errors import ImagoError
from imago.files.metadata import Dpi, upright_exif
from imago.files.outputs import no_transparency
from imago.files.png import Mode, write_png

if TYPE_CHECKING:
    from imago.files.images import Photo

Format = Literal["PNG", "JPEG", "WEBP", "TIFF"]
FORMATS: dict[str, Format] = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF",
}  # fmt: skip
QUALITY = 95  # of cut-outs as JPEG and WebP; the alpha of WebP is stored without loss
_MAX_SIDE = {"JPEG": 65500, "WEBP": 16383}
_MAX_SEGMENT = 65533  # bytes that one marker segment of a JPEG holds


@dataclass(frozen=True)
class Metadata:
    """What travels with a picture."""

    icc: bytes | None = None
    exif: bytes | None = None  # beginning with the TIFF header
    dpi: Dpi | None = None
    text: tuple[tuple[str, str], ...] = ()  # PNG alone: keywords and what they say, in ASCII

    @staticmethod
    def of(photo: Photo, colors: bool = True) -> Metadata:
        """``colors``: False for pictures that show no colours of the photo, as masks."""
        return Metadata(photo.icc if colors else None, photo.exif, photo.dpi)

    def exif_for(self, size_hw: tuple[int, int], name: str) -> bytes | None:
        """Raises ImagoError for a block that is so damaged that it does not stand being edited twice."""
        try:
            return upright_exif(self.exif, size_hw) if self.exif else None
        except ValueError as error:
            raise ImagoError(
                f"{name}: its EXIF block is damaged ({error}); leave it out by --strip-metadata"
            ) from error


def write_picture(
    stream: BinaryIO,
    format: Format,
    size_hw: tuple[int, int],
    mode: Mode,
    strips: Iterable[np.ndarray],
    metadata: Metadata,
    *,
    name: str,
    quality: int = QUALITY,
    palette: Any = (),
    threads: int | None = None,
) -> None:
    """``strips``: see ``write_png``; ``name`` is for messages. Raises ImagoError for what ``format`` cannot hold."""
    height, width = size_hw
    most = _MAX_SIDE.get(format)
    if most is not None and max(size_hw) > most:
        raise ImagoError(f"{name}: {width} x {height} is too long for {format} ({most} pixels); write a PNG or TIFF")
    exif = metadata.exif_for(size_hw, name)
    if format == "PNG":
        write_png(
            stream, size_hw, mode, strips,
            palette=palette, icc=metadata.icc, exif=exif, dpi=metadata.dpi, text=metadata.text, threads=threads,
        )  # fmt: skip
        return
    if format == "JPEG" and mode not in ("RGB", "L"):
        raise no_transparency(name)
    whole = np.concatenate(list(strips))
    if format == "JPEG":
        stream.write(encode_jpeg(whole, metadata, exif, quality))
        return
    from PIL import Image

    image = Image.fromarray(whole if whole.ndim == 2 or whole.shape[2] > 1 else whole[:, :, 0])
    if mode == "P":
        image.putpalette([value for color in palette for value in color])
    options: dict[str, Any] = {}
    if metadata.icc:
        options["icc_profile"] = metadata.icc
    if format == "TIFF":
        # libtiff, which packs, cannot write an EXIF directory; Pillow by itself can, but does not pack.
        options["compression"] = "raw" if exif else "tiff_adobe_deflate"
        if metadata.dpi:
            options["dpi"] = metadata.dpi
        if exif:
            options["exif"] = _without_resolution(exif)
    else:
        options |= {"quality": quality, "method": 4} | ({"exif": exif} if exif else {})
    finished = io.BytesIO()  # Pillow asks the stream for more than ours can do
    image.save(finished, format, **options)
    stream.write(finished.getbuffer())


def encode_jpeg(pixels: np.ndarray, metadata: Metadata, exif: bytes | None, quality: int) -> bytes:
    """uint8 RGB (H, W, 3) or grey (H, W) -> a JPEG. By OpenCV: Pillow takes three times as long."""
    import cv2

    ordered = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels
    _, coded = cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, quality])
    data = coded.tobytes()
    if data[2:4] != b"\xff\xe0" or data[6:11] != b"JFIF\0":
        raise RuntimeError("OpenCV wrote a JPEG without JFIF's header")
    header = bytearray(data[:20])
    if metadata.dpi:
        header[13:18] = struct.pack(">BHH", 1, *(min(0xFFFF, max(1, round(value))) for value in metadata.dpi))
    segments = []
    if exif and len(exif) + 6 <= _MAX_SEGMENT:  # longer blocks come from PNG or TIFF alone, and no JPEG holds them
        segments.append(_segment(0xE1, b"Exif\0\0" + exif))
    if metadata.icc:
        room = _MAX_SEGMENT - 14
        parts = [metadata.icc[at : at + room] for at in range(0, len(metadata.icc), room)]
        for number, part in enumerate(parts, 1):
            segments.append(_segment(0xE2, b"ICC_PROFILE\0" + bytes((number, len(parts))) + part))
    return bytes(header) + b"".join(segments) + data[20:]


def _segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes((marker,)) + struct.pack(">H", len(content) + 2) + content


def _without_resolution(exif: bytes) -> Any:
    """For a TIFF, whose own directory takes the tags: Pillow writes the resolution from ``dpi``."""
    from PIL import Image

    block = Image.Exif()
    block.load(b"Exif\0\0" + exif)
    for tag in (0x011A, 0x011B, 0x0128):
        if tag in block:
            del block[tag]
    return block
