"""TIFFs as other programs write them: any bands, planes, strips or tiles, packed by what libtiff packs, predictors."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

_COMPRESSION = {"": 1, "lzw": 5, "deflate": 8, "packbits": 32773, "zstd": 50000, "lzma": 34925}
_PILLOW = {"lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate", "packbits": "packbits", "zstd": "zstd", "lzma": "lzma"}


def pack(segment: np.ndarray, compression: str) -> bytes:
    """(rows, bytes) uint8 -> what libtiff makes of them, taken out of a grey TIFF of one strip."""
    if not compression:
        return segment.tobytes()
    stream = io.BytesIO()
    Image.fromarray(segment).save(stream, "TIFF", compression=_PILLOW[compression], tiffinfo={278: segment.shape[0]})
    with Image.open(stream) as image:
        (at,), (count,) = image.tag_v2[273], image.tag_v2[279]  # type: ignore[attr-defined]
    return stream.getvalue()[at : at + count]


def predict(segment: np.ndarray, predictor: int) -> np.ndarray:
    """(rows, pixels, samples) -> (rows, bytes) uint8, with differences to the left neighbour where asked for."""
    rows = len(segment)
    if predictor == 2:
        steps = segment.copy()
        steps[:, 1:] -= segment[:, :-1]
        segment = steps
    if predictor == 3:
        size = segment.dtype.itemsize
        flat = np.ascontiguousarray(segment.astype(segment.dtype.newbyteorder(">"))).view(np.uint8)
        planes = flat.reshape(rows, -1, size).transpose(0, 2, 1).reshape(rows, -1, segment.shape[2])
        steps = planes.copy()
        steps[:, 1:] -= planes[:, :-1]
        return np.ascontiguousarray(steps.reshape(rows, -1))
    return np.ascontiguousarray(segment).view(np.uint8).reshape(rows, -1)


def write_tiff(
    values: np.ndarray, *, compression: str = "", predictor: int = 1, planar: bool = False, tile: int = 0,
    rows: int = 7, photometric: int = 1, extra: int | None = 0, order: str = "<", tags: tuple = (),
) -> bytes:  # fmt: skip
    """``values`` (H, W, C); ``extra`` is what the bands beside the colours are said to be (0 unspecified, 2 alpha),
    None for no word; ``tags``: further (tag, type, count, bytes)."""
    height, width, bands = values.shape
    values = values.astype(values.dtype.newbyteorder(order))
    side_y, side_x = (tile, tile) if tile else (rows, width)
    segments = []
    for plane in [values[:, :, [b]] for b in range(bands)] if planar else [values]:
        for top in range(0, height, side_y):
            for left in range(0, width, side_x):
                part = plane[top : top + side_y, left : left + side_x]
                if tile:
                    part = np.pad(part, ((0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)), mode="edge")
                    part = part.astype(values.dtype)
                segments.append(pack(predict(part, predictor), compression))
    kinds = {"u": 1, "i": 2, "f": 3}
    count, bits = len(segments), values.dtype.itemsize * 8
    entries: list[tuple[int, int, int, bytes]] = []

    def add(tag: int, kind: int, *numbers: int) -> None:
        entries.append((tag, kind, len(numbers), struct.pack(f"{order}{len(numbers)}{'HI'[kind - 3]}", *numbers)))

    add(256, 4, width)
    add(257, 4, height)
    add(258, 3, *[bits] * bands)
    add(259, 3, _COMPRESSION[compression])
    add(262, 3, photometric)
    add(277, 3, bands)
    add(284, 3, 2 if planar else 1)
    add(317, 3, predictor)
    add(339, 3, *[kinds[values.dtype.kind]] * bands)
    colors = 3 if photometric == 2 else 1
    if bands > colors and extra is not None:
        add(338, 3, *[extra] * (bands - colors))
    at, offsets = 8, []
    for segment in segments:
        offsets.append(at)
        at += len(segment) + len(segment) % 2
    sizes = [len(segment) for segment in segments]
    if tile:
        add(322, 4, tile)
        add(323, 4, tile)
        add(324, 4, *offsets)
        add(325, 4, *sizes)
    else:
        add(278, 4, side_y)
        add(273, 4, *offsets)
        add(279, 4, *sizes)
    entries = sorted([*entries, *tags])
    body = b"".join(segment + b"\0" * (len(segment) % 2) for segment in segments)
    start, more, directory = 8 + len(body), b"", struct.pack(f"{order}H", len(entries))
    behind = start + 2 + 12 * len(entries) + 4
    for tag, kind, number, data in entries:
        directory += struct.pack(f"{order}HHI", tag, kind, number)
        if len(data) <= 4:
            directory += data.ljust(4, b"\0")
        else:
            directory += struct.pack(f"{order}I", behind + len(more))
            more += data + b"\0" * (len(data) % 2)
    assert count == len(offsets)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head + body + directory + struct.pack(f"{order}I", 0) + more
