"""Photos that show the same: perceptual hashes (64 bits of a cosine transform, as imagehash's phash), and for those
that are alike a look at small copies of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from imago.data.mask_pixels import UNREADABLE
from imago.data.read_ahead import read_ahead

SIDE = 32  # pixels of the small copies
BANDS = 4  # of 16 bits: hashes that differ by fewer bits than bands are equal in one of them at least
DIFFERENT = 5.0  # mean difference of grey values (0..255) of small copies, past which photos are not the same
FLAT = 2.0  # spread of grey values below which a photo shows nothing that could be compared
THREADS = 4


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of a photo."""

    bits: int  # 64
    small: np.ndarray = field(repr=False)  # uint8 (SIDE, SIDE)


def fingerprint(path: Path) -> Fingerprint | None:
    """None for a photo that cannot be read, or that is flat."""
    try:
        with Image.open(path) as image:
            image.draft("L", (4 * SIDE, 4 * SIDE))
            upright = ImageOps.exif_transpose(image)
            small = np.asarray(upright.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))
    except UNREADABLE:
        return None
    if small.std() < FLAT:
        return None
    low = cv2.dct(small.astype(np.float32))[:8, :8].ravel()
    bits = low > np.median(low)
    return Fingerprint(int.from_bytes(np.packbits(bits).tobytes(), "big"), small)


def find_duplicates(paths: Sequence[Path], progress: Callable[[], None] = lambda: None) -> list[list[int]]:
    """Indices of photos that show the same, a list for each set of two and more, in their order."""
    prints = []
    for found in read_ahead(paths, fingerprint, THREADS):
        prints.append(found)
        progress()
    groups = Groups(len(paths))
    for band in range(BANDS):
        buckets: dict[int, list[int]] = {}
        for index, found in enumerate(prints):
            if found is None:
                continue
            bucket = buckets.setdefault(found.bits >> 16 * band & 0xFFFF, [])
            # One of each group is compared: a thousand copies are a thousand comparisons.
            heads: dict[int, int] = {}
            for other in bucket:
                heads.setdefault(groups.find(other), other)
            same = [
                other for root, other in heads.items() if root != groups.find(index) and _alike(prints, index, other)
            ]
            for other in same:
                groups.join(index, other)
            if not any(prints[other].bits == found.bits for other in same):  # type: ignore[union-attr]
                bucket.append(index)
    return [members for members in groups.members() if len(members) > 1]


def _alike(prints: Sequence[Fingerprint | None], one: int, other: int) -> bool:
    first, second = prints[one], prints[other]
    assert first is not None
    assert second is not None
    if (first.bits ^ second.bits).bit_count() >= BANDS:
        return False
    return float(np.abs(first.small.astype(np.int16) - second.small).mean()) <= DIFFERENT


class Groups:
    """Numbers 0 .. count - 1, which are joined into groups."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def find(self, index: int) -> int:
        """The first of the group."""
        while self._above[index] != index:
            self._above[index] = self._above[self._above[index]]
            index = self._above[index]
        return index

    def join(self, one: int, other: int) -> None:
        """Makes one group of two."""
        low, high = sorted((self.find(one), self.find(other)))
        self._above[high] = low

    def members(self) -> list[list[int]]:
        """Every group, in the order of their first."""
        found: dict[int, list[int]] = {}
        for index in range(len(self._above)):
            found.setdefault(self.find(index), []).append(index)
        return list(found.values())
