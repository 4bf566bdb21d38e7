"""TIFFs of any number of bands, 8 bits to 64 and float, as they are stored; what Pillow cannot read, or would take for
something else (a fourth band that is no transparency).

tifffile reads them. What it leaves to the large package imagecodecs (LZW, ZSTD, PackBits) is unpacked by libtiff, which
Pillow brings: each strip or tile is handed to it as a grey image of as many bytes.
"""

from __future__ import annotations

import io
import json
import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from imago.core.bands import MOST_BANDS, Ranges
from imago.core.errors import ImageError
from imago.files.decoder_warnings import decode_listening
from imago.files.headers import BROKEN, format_reason

if TYPE_CHECKING:
    from PIL import Image

_SAMPLES, _PHOTOMETRIC, _EXTRA, _PLANAR, _BITS, _FORMAT = 277, 262, 338, 284, 258, 339
_DESCRIPTION, _PROFILE, _NO_DATA, _ORIENTATION = 270, 34675, 42113, 274
_GRAY, _RGB = (0, 1), 2
_LZW, _PACKBITS = 5, 32773
_BY_LIBTIFF = (_LZW, 34925, 50000, _PACKBITS)  # LZMA, ZSTD
_BY_BOTH = (1, 8, 32946)  # none, DEFLATE
_FLOAT_PREDICTOR = 3
_LARGEST_PIECE = 80_000_000  # bytes, of what libtiff unpacks; past it Pillow warns of an attack


@dataclass(frozen=True, eq=False)
class TiffBands:
    """What is stored, upright or not."""

    values: np.ndarray  # (H, W, C), any dtype that is no complex number
    colors: int  # how many of the bands the file calls colours: 1, 3
    alpha: bool = False  # whether the one behind them is said to be transparency
    orientation: int = 1  # EXIF's 1..8
    no_data: float | None = None  # the value of pixels without one
    icc: bytes | None = None
    more_pages: bool = False
    told: tuple[str, ...] = ()  # libtiff's warnings
    window: Ranges = ()  # DICOM, NIfTI: the values that become 0 and 255, where it was asked for
    usual: Ranges = ()  # NIfTI: those that do where nobody says: of the whole volume, so that all slices are alike
    inverted: bool = False  # DICOM's MONOCHROME1: large values are dark


def suits_pillow(header: Image.Image, channels: int, ranged: bool) -> bool:
    """Whether Pillow gives what is meant: grey, RGB or a palette, with transparency that is said to be such, 8 bits a
    colour (grey may be deeper, unless it is ``ranged``: scaled by the model's own range)."""
    tags: Any = getattr(header, "tag_v2", {})
    samples, photometric = _number(tags.get(_SAMPLES), 1), _number(tags.get(_PHOTOMETRIC), 1)
    bits, extra = max(_numbers(tags.get(_BITS, (1,)))), _numbers(tags.get(_EXTRA, ()))
    if photometric not in (*_GRAY, _RGB):  # palettes, CMYK, Lab, YCbCr: colours that have to be converted
        return True
    if channels not in (1, 3) or (ranged and bits > 8):
        return False
    colors = 3 if photometric == _RGB else 1
    if samples != colors and (samples != colors + 1 or extra not in ((1,), (2,)) or bits > 8):
        return False
    if _description_shape(tags.get(_DESCRIPTION, ""), header.size[::-1]):
        return False
    return colors == 1 or bits <= 8


def _number(value: Any, usual: int) -> int:
    found = _numbers(value)
    return found[0] if found else usual


def _numbers(value: Any) -> tuple[int, ...]:
    if isinstance(value, (tuple, list)):
        return tuple(int(one) for one in value if isinstance(one, (int, float)))
    return (int(value),) if isinstance(value, (int, float)) else ()


def _description_shape(text: Any, page_hw: tuple[int, int]) -> tuple[int, int, int] | None:
    """(H, W, C) that tifffile notes of an array whose bands come last, and which it stored as H pages of W x C."""
    if not isinstance(text, str) or not text.startswith('{"shape":'):
        return None
    try:
        shape = json.loads(text)["shape"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    fits = isinstance(shape, list) and len(shape) == 3 and all(isinstance(side, int) for side in shape)
    if fits and tuple(shape[1:]) == tuple(page_hw) and 1 <= shape[2] <= MOST_BANDS < shape[0]:
        return shape[0], shape[1], shape[2]
    return None


def tiff_size(stream: BinaryIO, label: str) -> tuple[int, int]:
    """(height, width) of the upright image. Raises ImageError."""
    with _guard(label):
        file = _open(stream)
        page = file.pages[0]
        shape = _description_shape(page.description, page.shape[:2]) or (page.imagelength, page.imagewidth)
        turned = _orientation(page) >= 5
        return (int(shape[1]), int(shape[0])) if turned else (int(shape[0]), int(shape[1]))
    raise AssertionError


def count_tiff_pages(stream: BinaryIO, label: str) -> int:
    """How many images the file holds; bands that lie in pages, where the file says that they are such, are one.
    Raises ImageError."""
    with _guard(label):
        file = _open(stream)
        page, count = file.pages[0], len(file.pages)
        if count == 1 or _description_shape(page.description, (page.imagelength, page.imagewidth)):
            return 1
        return 1 if _stacked_bands(file, page, 0) > 1 else count
    raise AssertionError


def read_tiff(
    stream: BinaryIO, label: str, channels: int, check_size: Callable[[tuple[int, int]], None], number: int = 0
) -> TiffBands:
    """The bands of page ``number``, from 1; with 0 of the first page, or of pages that are bands themselves (ImageJ's
    channels; as many pages as ``channels``) of all. ``check_size`` is told (width, height) before anything is decoded.

    Raises ImageError for what is damaged, not to be unpacked, or has more than ``MOST_BANDS`` bands.
    """
    with _guard(label):
        file = _open(stream)
        page = file.pages[max(0, number - 1)]
        if page.dtype is None or page.dtype.kind not in "buif":
            raise ImageError(f"{label}: its values are {page.dtype or 'of no known type'}; expected integers or floats")
        values, told = decode_listening(
            lambda: _read_arranged(file, page, label, channels, check_size, alone=number > 0)
        )
        extra = tuple(int(one) for one in page.extrasamples)
        colors = 3 if page.photometric == _RGB else 1
        profile = page.tags.valueof(_PROFILE)
        return TiffBands(
            values=_as_light(values, page),
            colors=colors,
            alpha=values.shape[2] == colors + 1 and extra[:1] in ((1,), (2,)),
            orientation=_orientation(page),
            no_data=_no_data(page),
            icc=profile if isinstance(profile, bytes) else None,
            more_pages=not number and len(file.pages) > 1 and values.shape[2] == page.samplesperpixel,
            told=tuple(told[:1]),
        )
    raise AssertionError


class _guard:
    """Whatever tifffile throws at a damaged file is one line."""

    def __init__(self, label: str) -> None:
        self.label = label

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, MemoryError):
            raise ImageError(f"{self.label}: not enough memory for its pixels") from error
        if isinstance(error, BROKEN):
            reason = format_reason(error)
            raise ImageError(f"{self.label}: the TIFF is damaged or cut off ({reason}); copy it again") from error


def _open(stream: BinaryIO) -> Any:
    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # else its warnings go to the standard error
    import tifffile

    stream.seek(0)
    return tifffile.TiffFile(stream)


def _read_arranged(
    file: Any, page: Any, label: str, channels: int, check_size: Callable[[tuple[int, int]], None], *, alone: bool
) -> np.ndarray:
    """(H, W, C) of whatever lies in pages, planes or pixels; ``alone``: of this page."""
    height, width, samples = int(page.imagelength), int(page.imagewidth), int(page.samplesperpixel)
    noted = _description_shape(page.description, (height, width))
    if noted and len(file.pages) == noted[0]:
        check_size((noted[1], noted[0]))
        return np.stack([_decode(one, label) for one in file.pages])[:, :, :, 0]
    check_size((width, height))
    if samples > MOST_BANDS:
        raise ImageError(f"{label}: has {samples} bands; images of 1 to {MOST_BANDS} are read")
    stacked = 1 if alone else _stacked_bands(file, page, channels)
    if stacked < 2:
        return _decode(page, label)
    if file.is_imagej:  # of a large one only the first page is listed
        values = np.asarray(_series(file).asarray(maxworkers=1)).reshape(stacked, height, width)
        return np.ascontiguousarray(values.transpose(1, 2, 0))
    return np.concatenate([_decode(one, label) for one in file.pages[:stacked]], axis=2)


def _series(file: Any) -> Any:
    series = file.series
    return (series() if callable(series) else series)[0]


def _stacked_bands(file: Any, page: Any, channels: int) -> int:
    """How many pages are the bands of one image."""
    if page.samplesperpixel != 1:
        return 1
    series = _series(file)
    names = [name for name, side in zip(series.axes, series.shape, strict=True) if side > 1 and name not in "YX"]
    count = int(np.prod([side for name, side in zip(series.axes, series.shape, strict=True) if name not in "YX"]))
    if not 1 < count <= MOST_BANDS or tuple(series.shape[-2:]) != (page.imagelength, page.imagewidth):
        return 1
    return count if names == ["C"] or (count == channels and channels != 3) else 1


def _decode(page: Any, label: str) -> np.ndarray:
    """One page as (H, W, C)."""
    import tifffile

    head = page.keyframe  # what all pages of a series have in common
    compression, predictor = int(head.compression), int(head.predictor)
    whole_bytes = head.bitspersample % 8 == 0
    known = _has(tifffile.TIFF.DECOMPRESSORS, compression)
    predicted = predictor == 1 or _has(tifffile.TIFF.UNPREDICTORS, predictor)
    if whole_bytes and (compression in _BY_LIBTIFF or (compression in _BY_BOTH and not predicted)):
        values = _decode_by_libtiff(page, head, compression)
    elif known and predicted:
        values = page.asarray(maxworkers=1)
    else:
        name = getattr(head.compression, "name", str(compression))
        raise ImageError(
            f"{label}: its {head.samplesperpixel} bands are packed by {name}, which is not unpacked here; store it "
            "with DEFLATE or LZW (gdal_translate -co COMPRESS=DEFLATE), or pip install imagecodecs"
        )
    values = np.asarray(values).reshape(head.shape)
    if values.ndim == 2:
        return values[:, :, None]
    if head.axes.startswith("S"):
        values = values.transpose(1, 2, 0)
    if values.ndim != 3:
        raise ImageError(f"{label}: expected an image; its pages have {values.ndim} dimensions ({head.axes})")
    return np.ascontiguousarray(values)


def _has(codecs: Any, key: int) -> bool:
    try:
        return codecs[key] is not None
    except (LookupError, AttributeError, NotImplementedError, ImportError):
        return False


def _decode_by_libtiff(page: Any, head: Any, compression: int) -> np.ndarray:
    """(planes, H, W, C) from segments that libtiff unpacks; ``head`` says how they lie."""
    planes, _, height, width, samples = head.shaped
    tall, wide = (head.tilelength, head.tilewidth) if head.is_tiled else (min(head.rowsperstrip, height), width)
    if tall < 1 or wide < 1 or tall * wide > 4 * max(height * width, 1 << 20):
        raise ValueError(f"its pieces are {tall} x {wide}")
    down, across = -(-height // tall), -(-width // wide)
    kind = head.dtype.newbyteorder(page.parent.byteorder)
    row = wide * samples * kind.itemsize
    if tall * row > _LARGEST_PIECE:
        raise ValueError(f"one piece of {tall * row / 1e6:.0f} MB; it wants strips or tiles of at most 80")
    out = np.zeros((planes, height, width, samples), head.dtype)
    handle = page.parent.filehandle
    for index, (offset, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        plane, place = divmod(index, down * across)
        top, left = place // across * tall, place % across * wide
        if plane >= planes:
            raise ValueError("it has more strips than pixels")
        if not count:  # a tile without a pixel
            continue
        rows = tall if head.is_tiled else min(tall, height - top)
        handle.seek(offset)
        data = _unpack(handle.read(count), compression, (rows, row))
        part = _undo_predictor(data, int(head.predictor), kind, samples).reshape(rows, wide, samples)
        kept = min(rows, height - top), min(wide, width - left)
        out[plane, top : top + kept[0], left : left + kept[1]] = part[: kept[0], : kept[1]]
    return out


def _unpack(data: bytes, compression: int, rows_bytes: tuple[int, int]) -> np.ndarray:
    """The bytes of one segment, uint8 (rows, bytes)."""
    from PIL.TiffImagePlugin import TiffImageFile

    rows, row = rows_bytes
    entries = [
        (256, 4, row), (257, 4, rows), (258, 3, 8), (259, 3, compression), (262, 3, 1), (273, 4, 8), (277, 3, 1),
        (278, 4, rows), (279, 4, len(data)),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHI", tag, kind, 1) + (struct.pack("<HH", value, 0) if kind == 3 else b"")
        directory += struct.pack("<I", value) if kind == 4 else b""
    at = 8 + len(data) + len(data) % 2
    entries_at = b"II*\0" + struct.pack("<I", at) + data + b"\0" * (len(data) % 2) + directory + b"\0\0\0\0"
    with TiffImageFile(io.BytesIO(entries_at)) as image:
        return np.asarray(image)


def _undo_predictor(data: np.ndarray, predictor: int, kind: np.dtype[Any], samples: int) -> np.ndarray:
    """uint8 (rows, bytes) -> (rows, pixels, samples) of ``kind``."""
    rows = len(data)
    if predictor == _FLOAT_PREDICTOR:  # bytes by significance, the highest first, each the difference to its neighbour
        steps = data.reshape(rows, -1, samples)
        bytes_ = np.cumsum(steps, axis=1, dtype=np.uint8).reshape(rows, kind.itemsize, -1)
        return np.ascontiguousarray(bytes_.transpose(0, 2, 1)).view(kind.newbyteorder(">")).reshape(rows, -1, samples)
    values = np.ascontiguousarray(data).view(kind).reshape(rows, -1, samples)
    if predictor == 2:
        return np.cumsum(values, axis=1, dtype=kind.newbyteorder("="))
    if predictor != 1:
        raise ValueError(f"predictor {predictor} is not known")
    return values


def _as_light(values: np.ndarray, page: Any) -> np.ndarray:
    """Greys that are stored as ink (0 is white) turned round."""
    if page.photometric == 0 and values.shape[2] == 1 and values.dtype.kind in "bu":
        return np.invert(values)
    return values


def _orientation(page: Any) -> int:
    value = page.tags.valueof(_ORIENTATION)
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else 1


def _no_data(page: Any) -> float | None:
    """GDAL's tag."""
    try:
        return float(str(page.tags.valueof(_NO_DATA)).strip("\0 "))
    except ValueError:
        return None
