"""COCO's run lengths: how many pixels are 0, then 1, then 0, ... column by column; as a list, or packed into text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def encode_rle(mask: np.ndarray) -> list[int]:
    """bool (H, W) -> run lengths; the first counts zeros and may be 0."""
    flat = np.asarray(mask, bool).ravel(order="F")
    if not flat.size:
        return []
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs


def decode_rle(runs: Sequence[int], size_hw: tuple[int, int]) -> np.ndarray:
    """Run lengths -> bool (H, W). Raises ValueError where they do not count H * W pixels."""
    height, width = size_hw
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise ValueError(f"run lengths count {sum(runs)} pixels; an image of {height} x {width} has {height * width}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def pack_rle(runs: Sequence[int]) -> str:
    """Run lengths -> COCO's text: five bits a character and a sixth for "more follows", each run as the difference to
    the last but one."""
    out = bytearray()
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            out.append((bits | 0x20 if more else bits) + 48)
    return out.decode("ascii")


def unpack_rle(text: str | bytes) -> list[int]:
    """What ``pack`` makes -> run lengths. Raises ValueError for text that ends in the midst of a number."""
    data = text.encode() if isinstance(text, str) else text
    runs: list[int] = []
    position = 0
    while position < len(data):
        value = shift = 0
        more = True
        while more:
            if position >= len(data):
                raise ValueError("packed run lengths end in the midst of a number; the file is cut short")
            bits = data[position] - 48
            value |= (bits & 0x1F) << shift
            more = bool(bits & 0x20)
            position += 1
            shift += 5
            if not more and bits & 0x10:
                value |= -1 << shift
        if len(runs) > 2:
            value += runs[-2]
        runs.append(value)
    return runs
