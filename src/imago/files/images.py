"""Photos to arrays: every format that Pillow reads, and TIFFs of any bands, upright, 8 bits a channel, or one clear
line that says why not.

A file that a decoder could only mend is used with a note, one that ends before its time is refused; ``damaged`` says
otherwise.

JPEGs are decoded by OpenCV straight into the array. Measured on two cores: 12 megapixels 51 ms (Pillow and the copy
to NumPy 75 to 107 ms); 100 megapixels 0.6 s and 636 MB for the whole process (Pillow 1.8 s and 736 MB, because its
pixels take four bytes). OpenCV fills up cut-off files without a word, so the end marker is looked for here.

Sizes are read from the header (headers.py) and checked before any pixel is decoded.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeGuard

import numpy as np

from imago.core.bands import Ranges, to_rgb
from imago.core.errors import ImageError, is_out_of_memory
from imago.core.text import plural
from imago.core.window import Window
from imago.files.decoder_warnings import decode_listening
from imago.files.headers import BROKEN, TIFF_STARTS, format_reason, open_header, open_stream, orientation
from imago.files.medical_kind import HEAD, MedicalKind, medical_kind
from imago.files.metadata import Dpi, read_metadata

if TYPE_CHECKING:
    from PIL import Image

    from imago.files.tiff import TiffBands

Damaged = Literal["skip", "use"]
USE_DAMAGED = "--damaged use (damaged='use' in Python) takes what can be read"
_PADDING = 32  # bytes in front of the end marker that some cameras leave there; more of them are lost picture

MAX_PIXELS = 250_000_000  # a photo of 250 megapixels is 750 MB as an array

# Files with these endings are taken from folders; a file that is named directly is taken whatever its ending.
SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif",
    ".avif", ".heic", ".heif", ".jp2", ".ppm", ".pgm", ".pbm", ".dcm", ".nii",
))  # fmt: skip


@dataclass(frozen=True, eq=False)
class Photo:
    """One photo in memory, upright."""

    pixels: np.ndarray  # uint8 (H, W, C), RGB where C is 3; transparent parts are laid over white
    notes: tuple[str, ...] = ()  # what the reader had to decide: "first of several frames" and the like
    opacity: np.ndarray | None = None  # uint8 (H, W), the file's own transparency, None where it has none
    icc: bytes | None = None  # colour profile of ``pixels``, None where it is sRGB or not known
    name: str = "image"  # for messages
    exif: bytes | None = None  # the file's block, made upright, to be carried on
    dpi: Dpi | None = None  # dots per inch, across and down, of the upright photo
    show_bands: tuple[int, ...] = ()  # which bands are shown as red, green, blue, from 1; empty: the first
    path: Path | None = None  # the file that it was read from
    page: int = 0  # of it, from 1; 0: the first

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    @cached_property
    def rgb(self) -> np.ndarray:
        """uint8 (H, W, 3): what is shown and cut out; ``pixels`` themselves where they are RGB."""
        return to_rgb(self.pixels, self.show_bands)


@dataclass(frozen=True)
class _Wanted:
    """What is asked of an image; see ``read_image``."""

    channels: int
    ranges: Ranges
    max_pixels: int
    label: str
    damaged: Damaged | None
    page: int = 0
    window: Window | str | None = None

    def check_page(self, count: int) -> None:
        if self.page > count:
            raise ImageError(f"{self.label}: the file has {plural(count, 'page')}; name one of them (--pages)")

    def refuse_window(self) -> None:
        if self.window is not None:
            raise ImageError(f"{self.label}: is neither DICOM nor NIfTI, which a window is for; leave out --window")

    def check_size(self, size_wh: tuple[int, int]) -> None:
        width, height = size_wh
        if width < 1 or height < 1:
            raise ImageError(f"{self.label}: the image is {width} x {height}; it has no pixels")
        if width * height > self.max_pixels:
            raise ImageError(
                f"{self.label}: {width} x {height} is {width * height / 1e6:g} megapixels, above the limit of "
                f"{self.max_pixels / 1e6:g}; if you trust the file, raise it with --max-megapixels (max_pixels in "
                "Python)"
            )


def read_image(
    source: Path | str | bytes | BinaryIO | Image.Image | np.ndarray,
    *,
    channels: int = 3,
    ranges: Ranges = (),
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
    damaged: Damaged | None = None,
    page: int = 0,
    window: Window | str | None = None,
) -> Photo:
    """A path, the bytes of a file, a binary stream, a Pillow image or an array -> Photo.

    ``channels``: 1 is grey, 3 is RGB, which are made of each other; 2 and 4 are these with alpha, as stored; any other
    number, up to 32, comes from a TIFF or an array that has as many bands.
    Arrays are (H, W) or (H, W, C): uint8, uint16 (0..65535), bool, or float 0..1; uint8 arrays are not copied.
    Deeper values (16 bits, float) are scaled by ``ranges``: for each channel the values that become 0 and 255. Without
    them files of 16 bits are scaled by 65535 (by 4095 or 255 if no value is larger, which is noted), floats by 1, or
    from their least to their largest value (noted). NaN, infinities and GDAL's mark for no data become 0 (noted).
    ``damaged``: ``skip`` refuses every file with a fault, ``use`` takes what can be read of it; None: a file that lacks
    its end is refused, what a decoder mended is used. All that is used is noted.
    ``page``: of a file of several pages, frames or slices, from 1; 0 is the first, which is noted. Bands in pages are
    one image. ``window``: of DICOM and NIfTI the centre and width that are spread over 0..255 in place of ``ranges``,
    or "file" for those that stand in it.
    Raises ImageError, one line with the name, for everything that is no whole image of at most ``max_pixels``.
    """

    def want(label: str) -> _Wanted:
        return _Wanted(channels, ranges, max_pixels, page_label(label, page), damaged, page=page, window=window)

    photo = _read(source, want, name)
    path = Path(source) if isinstance(source, (str, os.PathLike)) else None
    return replace(photo, path=path, page=page)


def _read(
    source: Path | str | bytes | BinaryIO | Image.Image | np.ndarray, want: Callable[[str], _Wanted], name: str | None
) -> Photo:
    if isinstance(source, np.ndarray):
        wanted = want(name or "array")
        wanted.refuse_window()
        wanted.check_page(1)
        return _from_array(source, wanted)
    if _is_pillow(source):
        wanted = want(str(name or getattr(source, "filename", "") or "image"))
        wanted.refuse_window()
        _seek(source, wanted)
        return _from_pillow(source, wanted)
    stream, label = open_stream(source, name)
    wanted = want(label)
    with stream:
        start = stream.read(HEAD)
        if (kind := medical_kind(start)) is not None:
            return _read_medical(stream, kind, wanted, _path_of(source))
        wanted.refuse_window()
        start = start[:4]
        if start[:3] == b"\xff\xd8\xff":
            wanted.check_page(1)
            stream.seek(0)
            return _read_jpeg(stream.read(), wanted)
        if start in TIFF_STARTS:
            from imago.files.tiff import TiffBands

            opened = _open_tiff(stream, wanted)
            return _from_bands(opened, wanted) if isinstance(opened, TiffBands) else _from_pillow(opened, wanted)
        header = open_header(stream, label)
        _seek(header, wanted)
        return _from_pillow(header, wanted)


def _path_of(source: object) -> Path | None:
    return Path(source) if isinstance(source, (str, os.PathLike)) else None


def _read_medical(stream: BinaryIO, kind: MedicalKind, wanted: _Wanted, path: Path | None) -> Photo:
    """A slice or frame, and the note that there are more."""
    from imago.files.medical import count_slices, read_slice, slice_size

    height, width = slice_size(stream, kind, wanted.label, path)
    wanted.check_size((width, height))
    count = count_slices(stream, kind, wanted.label, path)
    wanted.check_page(count)
    stored = read_slice(stream, kind, wanted.label, path, max(1, wanted.page), wanted.window)
    return _from_bands(replace(stored, more_pages=count > 1 and not wanted.page), wanted)


def page_label(label: str, page: int) -> str:
    """What a page is called, as in the addresses of PDFs."""
    return f"{label}#page={page}" if page else label


def count_pages(source: Path | str | bytes | BinaryIO) -> int:
    """How many images the file holds. Raises ImageError as ``read_image``."""
    stream, label = open_stream(source, None)
    with stream:
        start = stream.read(HEAD)
        if (kind := medical_kind(start)) is not None:
            from imago.files.medical import count_slices

            return count_slices(stream, kind, label, _path_of(source))
        start = start[:4]
        if start[:3] == b"\xff\xd8\xff":
            return 1
        if start in TIFF_STARTS:
            from imago.files.tiff import count_tiff_pages

            return count_tiff_pages(stream, label)
        return _count_frames(open_header(stream, label), label)


def _count_frames(header: Image.Image, label: str) -> int:
    try:
        return int(getattr(header, "n_frames", 1))
    except BROKEN as error:
        raise ImageError(f"{label}: its pages cannot be counted ({format_reason(error)})") from error


def _seek(header: Image.Image, wanted: _Wanted) -> None:
    """To the page that is wanted."""
    if not wanted.page:
        return
    if wanted.page > 1:
        wanted.check_page(_count_frames(header, wanted.label))
    try:
        header.seek(wanted.page - 1)
    except BROKEN as error:
        raise ImageError(f"{wanted.label}: the page is damaged or cut off ({format_reason(error)})") from error


def read_values(path: Path, channels: int, page: int = 0) -> tuple[np.ndarray, float | None]:
    """(H, W, channels) as it is stored, 8 bits or deeper, and the value that marks no data. Ranges are found from them.
    Raises ImageError as ``read_image``."""
    from imago.files.pixels import DEEP_MODES, choose_bands
    from imago.files.tiff import TiffBands

    stream, label = open_stream(path, None)
    with stream:
        start = stream.read(HEAD)
        if (kind := medical_kind(start)) is not None:
            from imago.files.medical import read_slice

            slice_ = read_slice(stream, kind, label, path, max(1, page), None)
            return choose_bands(slice_, channels, label)[0], slice_.no_data
        if start[:4] in TIFF_STARTS:
            opened = _open_tiff(stream, _Wanted(channels, ((0, 1),), MAX_PIXELS, label, None))
            if isinstance(opened, TiffBands):
                return choose_bands(opened, channels, label)[0], opened.no_data
        image = open_header(stream, label)
        if image.mode in DEEP_MODES and channels in (1, 3):
            return np.repeat(np.asarray(image)[:, :, None], channels, axis=2), None
    return read_image(path, channels=channels).pixels, None


def image_size(source: Path | str | bytes | BinaryIO) -> tuple[int, int]:
    """(height, width) of the upright image, of several pages the first, from the header alone. Raises ImageError like
    ``read_image``."""
    stream, label = open_stream(source, None)
    with stream:
        start = stream.read(HEAD)
        if (kind := medical_kind(start)) is not None:
            from imago.files.medical import slice_size

            return slice_size(stream, kind, label, _path_of(source))
        if start[:4] in TIFF_STARTS:
            return _tiff_size(stream, label)
        return _upright_size(open_header(stream, label))


def _tiff_size(stream: BinaryIO, label: str) -> tuple[int, int]:
    from imago.files.tiff import suits_pillow, tiff_size

    try:
        header = open_header(stream, label)
    except ImageError:  # more bands than Pillow knows
        return tiff_size(stream, label)
    if not suits_pillow(header, 3, False):
        return tiff_size(stream, label)
    return _upright_size(header)  # upright already


def _open_tiff(stream: BinaryIO, wanted: _Wanted) -> Image.Image | TiffBands:
    """Pillow's image where that is what is meant, else the bands."""
    from imago.files.tiff import count_tiff_pages, read_tiff, suits_pillow

    page = 0
    if wanted.page:
        count = count_tiff_pages(stream, wanted.label)
        wanted.check_page(count)
        page = wanted.page if count > 1 else 0
    try:
        header = open_header(stream, wanted.label)
        if page:
            _seek(header, wanted)
        if suits_pillow(header, wanted.channels, bool(wanted.ranges)):
            return header
    except ImageError:  # more bands than Pillow knows, or damaged: then the next line says so
        pass
    return read_tiff(stream, wanted.label, wanted.channels, wanted.check_size, page)


def _is_pillow(source: object) -> TypeGuard[Image.Image]:
    return any(base.__module__ == "PIL.Image" and base.__name__ == "Image" for base in type(source).__mro__)


def _read_jpeg(data: bytes, wanted: _Wanted) -> Photo:
    import cv2

    channels, label, damaged = wanted.channels, wanted.label, wanted.damaged

    header = open_header(io.BytesIO(data), label)
    wanted.check_size(header.size)
    notes = []
    if not _jpeg_is_whole(data):
        fault = f"the JPEG is cut off (no end marker after {len(data)} bytes)"
        if damaged != "use":
            raise ImageError(f"{label}: {fault}; copy it again, or {USE_DAMAGED}")
        notes.append(f"{fault}; what could be read is used")
        data += b"\xff\xd9"  # OpenCV decodes nothing without it
        header = open_header(io.BytesIO(data), label)
    plain = header.mode == "RGB" or (header.mode == "L" and not _gray_profile(header))
    if not plain or channels not in (1, 3) or header.size[0] * header.size[1] >= 1 << 30:
        return _from_pillow(header, wanted, tuple(notes))
    how = cv2.IMREAD_COLOR if channels == 3 else cv2.IMREAD_GRAYSCALE
    direct = getattr(cv2, "IMREAD_COLOR_RGB", None)  # OpenCV 4.11 and later
    if channels == 3 and direct is not None:
        how = direct
    coded = np.frombuffer(data, np.uint8)
    try:
        pixels, warnings = decode_listening(lambda: cv2.imdecode(coded, how | cv2.IMREAD_IGNORE_ORIENTATION))
    except cv2.error as error:
        if is_out_of_memory(error):
            size_wh = header.size
            raise ImageError(f"{label}: not enough memory for {size_wh[0]} x {size_wh[1]} pixels") from error
        raise ImageError(f"{label}: the JPEG cannot be decoded ({format_reason(error)})") from error
    if pixels is None or pixels.shape[:2] != header.size[::-1]:
        raise ImageError(f"{label}: the JPEG is damaged and cannot be decoded; copy it again")
    if not notes:
        notes += _judge(warnings, damaged, label)
    if channels == 3 and direct is None:
        cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    pixels = turn_upright(pixels, orientation(header)).reshape(*_upright_size(header), channels)
    return _with_metadata(Photo(pixels, tuple(notes), None, _rgb_profile(header, channels), label), header)


def _judge(warnings: list[str], damaged: Damaged | None, label: str) -> list[str]:
    """Notes of what libjpeg mended. Raises ImageError where it must not be used."""
    if not warnings:
        return []
    extra = re.match(r"Corrupt JPEG data: (\d+) extraneous", warnings[0])
    harmless = warnings[0].startswith(("Warning", "Unknown")) or (extra and int(extra[1]) < _PADDING)
    if harmless:
        return [f"the decoder says: {warnings[0]}"]
    fault = f"the JPEG is damaged ({warnings[0]})"
    if damaged == "skip":
        raise ImageError(f"{label}: {fault}; copy it again, or {USE_DAMAGED}")
    return [f"{fault}; what could be read is used"]


def _jpeg_is_whole(data: bytes) -> bool:
    """Whether the end marker stands behind the first scan; one inside the thumbnail of the EXIF block does not count.

    In the coded data every byte 255 is followed by 0 or a restart marker, so the pair (255, 217) ends the picture.
    """
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return data.find(b"\xff\xd9", at) >= 0  # not laid out as usual: take the decoder's word
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:  # start of scan
            return data.find(b"\xff\xd9", at) >= 0
    return False


def read_orientation(path: Path) -> int:
    """EXIF's orientation of a photo, 1..8; 1 is upright. Raises ImageError."""
    stream, label = open_stream(path, None)
    with stream:
        return 1 if stream.read(4) in TIFF_STARTS else orientation(open_header(stream, label))


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W) or (H, W, C) -> the same upright; a copy only where it turns."""
    if orientation == 1:
        return pixels
    turned = pixels
    if orientation >= 5:
        turned = turned.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)


def _upright_size(header: Image.Image) -> tuple[int, int]:
    width, height = header.size
    return (width, height) if orientation(header) >= 5 else (height, width)


def _with_metadata(photo: Photo, image: Image.Image) -> Photo:
    exif, dpi, note = read_metadata(image)
    if dpi is not None and orientation(image) >= 5:
        dpi = dpi[::-1]
    return replace(photo, exif=exif, dpi=dpi, notes=photo.notes + ((note,) if note else ()))


def _rgb_profile(image: Image.Image, channels: int) -> bytes | None:
    profile = image.info.get("icc_profile")
    usable = isinstance(profile, bytes) and channels >= 3 and profile[16:20] == b"RGB "
    return profile if usable else None


def _gray_profile(image: Image.Image) -> bool:
    profile = image.info.get("icc_profile")
    return isinstance(profile, bytes) and profile[16:20] == b"GRAY"


def _from_pillow(image: Image.Image, wanted: _Wanted, known: tuple[str, ...] = ()) -> Photo:
    """``known``: notes of faults that were found already."""
    from imago.files.pixels import read_pillow

    label, damaged = wanted.label, wanted.damaged
    wanted.check_size(image.size)
    from_file = bool(image.format)
    tiff = read_metadata(image) if image.format == "TIFF" else None  # its file is closed when the pixels are loaded
    notes = list(known)
    try:
        fault = _load(image, damaged)
        if fault and not known:
            notes.append(f"the image is damaged or cut off ({fault}); what could be read is used")
        pixels, opacity, told = read_pillow(image, wanted.channels, label, wanted.ranges)
    except MemoryError as error:
        raise ImageError(f"{label}: not enough memory for {image.size[0]} x {image.size[1]} pixels") from error
    except BROKEN as error:
        way_on = "" if damaged == "use" else f", or {USE_DAMAGED}"
        fault = format_reason(error)
        raise ImageError(f"{label}: the image is damaged or cut off ({fault}); copy it again{way_on}") from error
    notes += told
    if from_file and not wanted.page and image.format not in ("JPEG", "MPO") and _has_more(image):
        page = image.tell()
        used = "the first" if not page else f"number {page + 1}"
        notes.append(f"more than one frame or page: {used} is used (--pages, or page= in Python, says which)")
    way = orientation(image)  # Pillow turns TIFFs itself while it loads them, and they carry no such block
    if opacity is not None:
        opacity = turn_upright(opacity, way)
    photo = Photo(turn_upright(pixels, way), tuple(notes), opacity, _rgb_profile(image, wanted.channels), label)
    if tiff is None:
        return _with_metadata(photo, image)
    exif, dpi, note = tiff
    return replace(photo, exif=exif, dpi=dpi, notes=photo.notes + ((note,) if note else ()))


def _load(image: Image.Image, damaged: Damaged | None) -> str:
    """Decodes all of it; with ``use`` as much as there is. Answers what was in the way."""
    try:
        if image.format == "TIFF":
            decode_listening(image.load)  # libtiff writes its faults to the standard error
        else:
            image.load()
    except BROKEN as error:
        begun = getattr(image, "_im", None) is not None
        if damaged != "use" or not begun:
            raise
        image.tile = []  # type: ignore[attr-defined]  # nothing is left to decode: the rows so far are the image
        image.load()
        return format_reason(error)
    return ""


def _has_more(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except BROKEN:  # a damaged second frame: the first is whole
        return True


def _from_bands(stored: TiffBands, wanted: _Wanted) -> Photo:
    from imago.files.pixels import read_stored

    ranges = stored.window or wanted.ranges
    told: tuple[str, ...] = ()
    if not ranges and stored.usual:
        ranges = stored.usual
        if wanted.page <= 1:
            shown = ", ".join(f"{low:g} to {high:g}" for low, high in ranges)
            told = (f"the volume's values from {shown} are spread over 0..255 (--window says which)",)
    if len(ranges) == 1:
        ranges *= wanted.channels
    pixels, opacity, notes = read_stored(stored, wanted.channels, wanted.label, ranges)
    if stored.inverted:
        pixels = np.uint8(255) - pixels
    way = stored.orientation
    icc = stored.icc if stored.colors == 3 and stored.icc and stored.icc[16:20] == b"RGB " else None
    opacity = None if opacity is None else turn_upright(opacity, way)
    return Photo(turn_upright(pixels, way), (*notes, *told), opacity, icc, wanted.label)


def _from_array(array: np.ndarray, wanted: _Wanted) -> Photo:
    from imago.files.pixels import read_array

    if array.ndim >= 2:
        wanted.check_size((array.shape[1], array.shape[0]))
    pixels, opacity, notes = read_array(array, wanted.channels, wanted.label, wanted.ranges)
    return Photo(pixels, tuple(notes), opacity, None, wanted.label)
