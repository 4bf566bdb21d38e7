"""Masks that are stored as arrays: NumPy's ``.npy``, MATLAB's ``.mat``, slices of DICOM and NIfTI. Nothing in a file is
ever run."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from imago.core.errors import ImageError
from imago.files.images import count_pages, read_values

SLICES = (".dcm", ".nii")
ARRAY_SUFFIXES = (".npy", ".mat", *SLICES)
_LARGEST = 2**30  # bytes of an array
# How the sets that are published so call theirs; else the only array of two dimensions is meant.
_MAT_NAMES = ("mask", "label", "labels", "LabelMap", "inst_map", "gt", "groundTruth", "S", "annot")


def read_array(path: Path) -> np.ndarray:
    """Whole numbers (H, W), 0 and more, or colours uint8 (H, W, 3). Raises ImageError."""
    try:
        loaders = {".npy": _load_npy, ".mat": _load_mat}
        stored = np.asarray(loaders.get(path.suffix.lower(), _load_slice)(path))
    except FileNotFoundError as error:
        raise ImageError(f"{path}: mask is missing") from error
    except ImageError:
        raise
    except (OSError, ValueError, TypeError, SyntaxError, EOFError, MemoryError, struct.error, zlib.error) as error:
        raise ImageError(f"{path}: cannot be read as an array ({error})") from error
    while stored.ndim > 2 and 1 in (stored.shape[0], stored.shape[-1]):
        stored = stored[0] if stored.shape[0] == 1 else stored[..., 0]
    if stored.dtype.kind not in "biuf" or not stored.size:
        raise ImageError(f"{path}: holds {stored.dtype} of shape {stored.shape}; expected the numbers of a mask")
    if stored.dtype == np.uint8 and stored.ndim == 3 and stored.shape[2] == 3:
        return stored
    if stored.ndim != 2:
        raise ImageError(f"{path}: has the shape {stored.shape}; a mask is height x width, or height x width x 3")
    return _to_whole(path, stored)


def _to_whole(path: Path, stored: np.ndarray) -> np.ndarray:
    if stored.dtype.kind == "b":
        return stored.astype(np.uint8)
    if stored.dtype.kind == "f" and not (np.isfinite(stored).all() and (stored == np.round(stored)).all()):
        raise ImageError(f"{path}: holds fractions; a mask holds whole numbers (round it, or cut it at 0.5)")
    least, largest = float(stored.min()), float(stored.max())
    if least < 0 or largest >= 2**31:
        raise ImageError(f"{path}: holds numbers from {least:g} to {largest:g}; a mask's are 0 and more")
    return stored.astype(np.uint8 if largest < 256 else np.int32)


def _load_npy(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise ImageError(
                f"{path}: holds Python objects, which may run code when they are read; save the mask alone, "
                "np.save(path, mask)"
            ) from error
        raise


def _load_slice(path: Path) -> np.ndarray:
    """DICOM and NIfTI of one slice: the values as the modality's rule gives them."""
    count = count_pages(path)
    if count > 1:
        raise ImageError(f"{path}: has {count} slices; a mask is one picture, so store each slice by itself")
    return read_values(path, 1)[0]


def _load_mat(path: Path) -> np.ndarray:
    arrays = dict(read_mat(path.read_bytes()))
    masks = {name: value for name, value in arrays.items() if value.ndim >= 2 and min(value.shape[:2]) > 1}
    chosen = next((masks[name] for name in _MAT_NAMES if name in masks), None)
    if chosen is None and len(masks) == 1:
        (chosen,) = masks.values()
    if chosen is None:
        shown = ", ".join(arrays) or "no array of numbers"
        raise ValueError(f"cannot tell which array is the mask among: {shown}; call it mask")
    return chosen


# MATLAB's MAT-file format, level 5 (versions 5 to 7): https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_NUMERIC = range(6, 16)  # classes of arrays; below are cells, structures, texts and sparse ones


def read_mat(content: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """The names and arrays of numbers, of any shape (N, ...), in a MAT-file of versions 5 to 7; all else is left out.
    Raises ValueError."""
    if content[:10] != b"MATLAB 5.0" or content[126:128] not in (b"IM", b"MI"):
        newer = content[:10] == b"MATLAB 7.3" or content[512:516] == b"\x89HDF" or content[:4] == b"\x89HDF"
        told = (
            "of MATLAB 7.3; save it with '-v7', or its mask as a PNG" if newer else "no MATLAB file of version 5 to 7"
        )
        raise ValueError(told)
    order = "<" if content[126:128] == b"IM" else ">"
    for kind, data in _elements(content[128:], order):
        if kind == _COMPRESSED:
            unpacked = zlib.decompressobj().decompress(data, _LARGEST)
            found = [part for inner, part in _elements(unpacked, order) if inner == _MATRIX]
        else:
            found = [data] if kind == _MATRIX else []
        for part in found:
            if (array := _read_matrix(part, order)) is not None:
                yield array


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Kind and bytes of each element; small ones stand in the second half of their tag."""
    place = 0
    while place + 8 <= len(content):
        kind, count = struct.unpack_from(f"{order}II", content, place)
        if kind >> 16:
            yield kind & 0xFFFF, content[place + 4 : place + 4 + (kind >> 16)]
            place += 8
            continue
        if place + 8 + count > len(content):
            raise ValueError("ends in the middle of an array; copy it again")
        yield kind, content[place + 8 : place + 8 + count]
        place += 8 + count + (-count % 8 if kind != _COMPRESSED else 0)


def _read_matrix(content: bytes, order: str) -> tuple[str, np.ndarray] | None:
    parts = list(_elements(content, order))
    if len(parts) < 4 or len(parts[0][1]) < 4:
        return None
    if int(np.frombuffer(parts[0][1], f"{order}u4")[0]) & 0xFF not in _NUMERIC or parts[3][0] not in _NUMBERS:
        return None
    shape = tuple(int(side) for side in np.frombuffer(parts[1][1], f"{order}i4"))
    values = np.frombuffer(parts[3][1], order + _NUMBERS[parts[3][0]])
    return parts[2][1].decode("ascii", "replace"), values.reshape(shape, order="F")
