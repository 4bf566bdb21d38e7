"""Label Studio's run lengths of brushed masks: a stream of bits over RGBA pixels, row by row.

    32 bits   how many values there are, 4 a pixel
     5 bits   bits of a value, less 1 (8)
    4 x 4     bits of a run's length in each of four sizes, less 1
    then runs: 1 bit  whether one value is repeated, 2 bits  which size, the length less 1, and the value or the values

(The format is thi.ng's rle-pack.) An object is where alpha is not 0.
"""

from __future__ import annotations

import numpy as np

_SIZES = (3, 4, 8, 16)  # bits of a length, as Label Studio writes them
_VALUE = 8  # bits


def decode_brush(data: object, size_hw: tuple[int, int]) -> np.ndarray:
    """List of bytes -> bool (H, W). Raises ValueError where they are none or count other pixels."""
    try:
        raw = np.asarray(data, np.uint8) if isinstance(data, list) else np.zeros(0, np.uint8)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError("its rle is no list of bytes") from error
    bits = np.unpackbits(raw.ravel())
    text = (bits + ord("0")).tobytes().decode("ascii")
    place = 0

    def read(count: int) -> int:
        nonlocal place
        if place + count > len(text):
            raise ValueError("its rle ends in the midst of a run; the file is cut short")
        place += count
        return int(text[place - count : place], 2)

    total, height, width = read(32), *size_hw
    if total != height * width * 4:
        raise ValueError(f"its rle counts {total} values; a photo of {height} x {width} has {height * width * 4}")
    if read(5) + 1 != _VALUE:
        raise ValueError("its rle has values of other than 8 bits")
    sizes = [read(4) + 1 for _ in range(4)]
    values = np.zeros(total, np.uint8)
    filled = 0
    while filled < total:
        repeats = read(1)
        length = read(sizes[read(2)]) + 1
        end = min(filled + length, total)
        if repeats:
            values[filled:end] = read(_VALUE)
        else:
            stop = place + length * _VALUE
            if stop > len(bits):
                raise ValueError("its rle ends in the midst of a run; the file is cut short")
            values[filled:end] = np.packbits(bits[place:stop])[: end - filled]
            place = stop
        filled = end
    return values.reshape(height, width, 4)[..., 3] > 0


def encode_brush(mask: np.ndarray) -> list[int]:
    """bool (H, W) -> list of bytes."""
    flat = np.repeat(np.asarray(mask, bool).ravel(), 4)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], changes, [flat.size]])
    parts = [f"{flat.size:032b}{_VALUE - 1:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        value = "1" * _VALUE if flat[start] else "0" * _VALUE
        left = stop - start
        while left:
            length = min(left, 1 << _SIZES[-1])
            which = next(i for i, size in enumerate(_SIZES) if length <= 1 << size)
            parts.append(f"1{which:02b}{length - 1:0{_SIZES[which]}b}{value}")
            left -= length
    text = "".join(parts)
    bits = np.frombuffer(text.encode("ascii"), np.uint8) - ord("0")
    return np.packbits(bits).tolist()
