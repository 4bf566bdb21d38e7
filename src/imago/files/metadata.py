"""What a photo says of itself beside its pixels: the EXIF block and the resolution, as outputs carry them on.

The block is edited where it lies, tag by tag, and not written anew: makers' notes hold offsets that would break.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, NamedTuple

from imago.files.headers import BROKEN

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION, X_RESOLUTION, EXIF_IFD, GPS_IFD = 0x0112, 0x011A, 0x8769, 0x8825
_WIDTH, _HEIGHT = 0xA002, 0xA003  # of the picture, in the Exif IFD
_THUMBNAIL, _THUMBNAIL_BYTES = 0x0201, 0x0202
# Of a TIFF, whose own directory is mostly about how its pixels lie: maker, model, software, date, artist, copyright.
_TIFF_TAGS = (0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)

Dpi = tuple[float, float]  # dots per inch, across and down


class _Entry(NamedTuple):
    tag: int
    kind: int
    at: int  # of the value or of its offset, in the block


def upright_exif(block: bytes, size_hw: tuple[int, int]) -> bytes:
    """The same block for pixels that stand upright: orientation 1, no thumbnail (it would show what was cut away), and
    ``size_hw`` of the picture that carries it. Begins with the TIFF header. Raises ValueError for a
    damaged block."""
    data = bytearray(block.removeprefix(b"Exif\0\0"))
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None:
        raise ValueError("no byte order at its start")
    try:
        (first,) = struct.unpack_from(order + "I", data, 4)
        entries, following = _read_directory(data, order, first)
        _drop_thumbnail(data, order, following)
        for entry in entries:
            if entry.tag == ORIENTATION:
                _set_number(data, order, entry, 1)
            elif entry.tag == EXIF_IFD:
                for inner in _read_directory(data, order, _number(data, order, entry))[0]:
                    if inner.tag in (_WIDTH, _HEIGHT):
                        _set_number(data, order, inner, size_hw[inner.tag == _WIDTH])
    except struct.error as error:
        raise ValueError("it is cut off") from error
    return bytes(data)


def _read_directory(data: bytearray, order: str, at: int) -> tuple[list[_Entry], int]:
    """Its entries, and where the offset of the next directory stands."""
    (count,) = struct.unpack_from(order + "H", data, at)
    entries = []
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, _ = struct.unpack_from(order + "HHI", data, entry)
        entries.append(_Entry(tag, kind, entry + 8))
    return entries, at + 2 + 12 * count


def _number(data: bytearray, order: str, entry: _Entry) -> int:
    return int(struct.unpack_from(order + ("H" if entry.kind == 3 else "I"), data, entry.at)[0])


def _set_number(data: bytearray, order: str, entry: _Entry, value: int) -> None:
    if entry.kind == 3:
        struct.pack_into(order + "H", data, entry.at, min(value, 0xFFFF))
    else:
        struct.pack_into(order + "I", data, entry.at, value)


def _drop_thumbnail(data: bytearray, order: str, pointer: int) -> None:
    if pointer + 4 > len(data):  # some writers end the block without it
        return
    (second,) = struct.unpack_from(order + "I", data, pointer)
    struct.pack_into(order + "I", data, pointer, 0)
    if not second:
        return
    found = {entry.tag: _number(data, order, entry) for entry in _read_directory(data, order, second)[0]}
    start = found.get(_THUMBNAIL, 0)
    end = min(len(data), start + found.get(_THUMBNAIL_BYTES, 0))
    if second < start < end:
        if end == len(data):
            del data[start:]
        else:
            data[start:end] = bytes(end - start)


def read_metadata(image: Image.Image) -> tuple[bytes | None, Dpi | None, str]:
    """EXIF (upright) and resolution of Pillow's image, and a note where something of it cannot be carried on.

    Of a TIFF before its pixels are loaded, because Pillow closes the file afterwards."""
    block = image.info.get("exif")
    note = ""
    if isinstance(block, bytes) and block:
        try:
            block = upright_exif(block, image.size[::-1])  # writers set their own size
        except ValueError as error:
            block, note = None, f"its EXIF block is damaged ({error}) and is left out of what is written"
    else:
        block = _tiff_exif(image) if image.format == "TIFF" else None
    return block, _resolution(image, block), note


def _tiff_exif(image: Image.Image) -> bytes | None:
    from PIL import Image as pillow

    try:
        own, kept = image.getexif(), pillow.Exif()
        for tag in _TIFF_TAGS:
            if tag in own:
                kept[tag] = own[tag]
        for directory in (EXIF_IFD, GPS_IFD):
            inner = own.get_ifd(directory)
            if inner:
                kept.get_ifd(directory).update(inner)
        return upright_exif(kept.tobytes(), image.size[::-1]) if len(kept) else None
    except BROKEN:  # the pixels are read all the same; a TIFF without such tags is no rarity
        return None


def _resolution(image: Image.Image, exif: bytes | None) -> Dpi | None:
    found = image.info.get("dpi")
    try:
        across, down = (float(value) for value in found)  # type: ignore[union-attr]
    except BROKEN:
        return None
    if not (math.isfinite(across) and math.isfinite(down) and across > 0 and down > 0):
        return None
    if image.format in ("JPEG", "MPO") and image.info.get("jfif_unit") not in (1, 2) and not _says_resolution(exif):
        return None  # Pillow's guess of 72
    return across, down


def _says_resolution(exif: bytes | None) -> bool:
    if not exif:
        return False
    order = "<" if exif[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "I", exif, 4)
    return any(entry.tag == X_RESOLUTION for entry in _read_directory(bytearray(exif), order, first)[0])
