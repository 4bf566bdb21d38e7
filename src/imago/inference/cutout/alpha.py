"""From the network's small soft mask to an alpha of the photo's size that follows the photo's edges, strip by strip.

A guided filter with the photo's colours as the guide (He, Sun, Tang 2013), by the fast way: the coefficients are found
at the network's size and stretched, the photo itself brings the detail (He, Sun 2015, arXiv:1505.00996).

Measured with the true masks of 12 ``people`` and 12 ``scenes`` photos brought to 320 x 320 pixels, blurred by one pixel
and their outlines shifted by 0.7 pixels (what a network of 0.95 IoU does):

                                  IoU, boundary F (2 pixels), error of alpha near the outline; with noise of 12 / 255
    stretched, contrast 2         0.956  0.877  0.062                                          0.957  0.881  0.062
    guided, epsilon 1e-3          0.965  0.912  0.055                                          0.962  0.911  0.059
    guided, epsilon 1e-4          0.965  0.914  0.054                                          0.957  0.894  0.064

A small epsilon trusts differences of colour that noise makes as well. Guides that are sampled instead of averaged, or
whose spread inside a cell counts, gained less. Contrast 2 halves the error of alpha (0.100 without). Radius 4 rounds
off thin parts; a grey guide is worse. A perfect small mask loses 0.8 points of IoU on ``people`` by the guide; with
shifts of one pixel it wins 1.0. 12 megapixels take 0.25 s on one core.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import cv2
import numpy as np

from imago.core.input_spec import resize_image

STRIP_ROWS = 128  # rows that are worked on at a time; what one strip needs stays in the cores' caches


SMALL_SIDE = 1024  # pixels of the longer side of the small copy of a photo, where colours and edges are looked at


def small_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    """The size of the small copy of a photo: ``SMALL_SIDE`` at most."""
    ratio = min(1.0, SMALL_SIDE / max(size_hw))
    return max(1, round(size_hw[0] * ratio)), max(1, round(size_hw[1] * ratio))


class AlphaRows(Protocol):
    """An alpha of the photo's size that is made a strip at a time."""

    @property
    def size_hw(self) -> tuple[int, int]: ...

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """float32 (bottom - top, W), 0..1."""
        ...

    def reduce(self, size_hw: tuple[int, int]) -> np.ndarray:
        """float32 (h, w) of ``size_hw``, not larger than the photo, 0..1: the whole alpha at a small size."""
        ...


def compute_full_alpha(alpha: AlphaRows) -> np.ndarray:
    """The whole alpha at once, float32 (H, W)."""
    height, width = alpha.size_hw
    whole = np.empty((height, width), np.float32)
    for top in range(0, height, STRIP_ROWS):
        bottom = min(height, top + STRIP_ROWS)
        whole[top:bottom] = alpha.rows(top, bottom)
    return whole


@dataclass(frozen=True, eq=False)
class ArrayAlpha:
    """An alpha that is in memory already: float32 0..1, or uint8 0..255, (H, W)."""

    values: np.ndarray

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    def rows(self, top: int, bottom: int) -> np.ndarray:
        part = self.values[top:bottom]
        return part.astype(np.float32) / np.float32(255) if part.dtype == np.uint8 else part

    def reduce(self, size_hw: tuple[int, int]) -> np.ndarray:
        if size_hw == self.size_hw:
            return self.rows(0, size_hw[0])
        small = cv2.resize(self.values, size_hw[::-1], interpolation=cv2.INTER_AREA)
        return ArrayAlpha(small).rows(0, size_hw[0])


@dataclass(frozen=True, eq=False)
class AlphaMap:
    """The network's mask ``low`` float32 (h, w) 0..1, guided by the photo ``pixels`` uint8 (H, W, 3).

    ``radius`` in pixels of ``low``; ``epsilon`` is the variance, on the 0..1 scale, below which a patch counts as flat;
    ``contrast`` steepens the edge around one half, because the filter's averages widen it.
    """

    low: np.ndarray
    pixels: np.ndarray
    radius: int = 2
    epsilon: float = 1e-3
    contrast: float = 2.0
    guided: bool = True

    def __post_init__(self) -> None:
        if self.low.ndim != 2 or self.pixels.ndim != 3:
            raise ValueError(f"expected a mask (h, w) and a photo (H, W, C); got {self.low.shape}, {self.pixels.shape}")

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    def full(self) -> np.ndarray:
        """float32 (H, W), 0..1."""
        return compute_full_alpha(self)

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """float32 (bottom - top, W), 0..1."""
        planes, size_hw = self._coefficients, self.size_hw
        alpha = resize_rows(planes[-1], top, bottom, size_hw)
        upper, lower, _ = _neighbors(top, bottom, planes.shape[1], size_hw[0])
        factors = planes[:-1, upper[0] : lower[-1] + 1]
        if factors.size and np.abs(factors).max() > 1e-4:  # else no edge runs through this strip
            for channel, plane in enumerate(planes[:-1]):
                part = resize_rows(plane, top, bottom, size_hw)
                part *= self.pixels[top:bottom, :, channel]
                alpha += part
        alpha -= np.float32(0.5)
        alpha *= np.float32(self.contrast)
        alpha += np.float32(0.5)
        return np.clip(alpha, 0, 1, out=alpha)

    def reduce(self, size_hw: tuple[int, int]) -> np.ndarray:
        """float32 ``size_hw``: the same for the photo made smaller, without going through the large one."""
        if size_hw == self.size_hw:
            return self.full()
        return replace(self, pixels=self._photo_at(size_hw)).full()

    @cached_property
    def small(self) -> np.ndarray:
        """uint8 (h, w, C): the photo at ``small_size``."""
        return resize_image(self.pixels, small_size(self.size_hw))

    def _photo_at(self, size_hw: tuple[int, int]) -> np.ndarray:
        large_enough = size_hw[0] <= self.small.shape[0] and size_hw[1] <= self.small.shape[1]
        return resize_image(self.small if large_enough else self.pixels, size_hw)

    @cached_property
    def _coefficients(self) -> np.ndarray:
        """float32 (C + 1, h, w): alpha = sum of the first C times the photo's bytes, plus the last."""
        height, width = self.size_hw
        low = np.ascontiguousarray(self.low, np.float32)
        size_hw = min(height, low.shape[0]), min(width, low.shape[1])
        if low.shape != size_hw:  # the photo is smaller than the network's frame
            low = cv2.resize(low, size_hw[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
        if not self.guided:
            return low[None]
        guide = self._photo_at(size_hw)
        return guided_coefficients(guide.astype(np.float32) / 255, low, self.radius, self.epsilon)


def resize_rows(plane: np.ndarray, top: int, bottom: int, size_hw: tuple[int, int]) -> np.ndarray:
    """Rows ``top`` to ``bottom`` of float32 (h, w) or (h, w, C) stretched to ``size_hw``, bilinear, pixel centres kept.

    Down by hand, because a strip starts anywhere; across by OpenCV, because it starts where the image does.
    """
    upper, lower, share = _neighbors(top, bottom, plane.shape[0], size_hw[0])
    mixed = plane[upper]
    mixed += (plane[lower] - mixed) * share.reshape(-1, *[1] * (plane.ndim - 1))
    return cv2.resize(mixed, (size_hw[1], bottom - top), interpolation=cv2.INTER_LINEAR)


def _neighbors(top: int, bottom: int, rows: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For the rows of the photo: the small map's rows above and below, and how far towards the lower (0..1)."""
    at = (np.arange(top, bottom, dtype=np.float64) + 0.5) * rows / height - 0.5
    at = np.clip(at, 0, rows - 1)
    upper = at.astype(np.intp)
    return upper, np.minimum(upper + 1, rows - 1), (at - upper).astype(np.float32)


def guided_coefficients(guide: np.ndarray, mask: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """``guide`` float32 (h, w, C) 0..1, ``mask`` float32 (h, w) -> float32 (C + 1, h, w), for a guide in bytes.

    In each window the mask is fitted as a linear function of the colours (ridge regression); every pixel then takes
    the mean of the fits of all the windows it lies in.
    """
    side = (2 * radius + 1, 2 * radius + 1)

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(values, -1, side, borderType=cv2.BORDER_REFLECT)

    count = guide.shape[2]
    colors = [np.ascontiguousarray(guide[:, :, channel]) for channel in range(count)]
    means = [mean(color) for color in colors]
    mask_mean: np.ndarray = mean(mask)
    spread = [[mean(colors[i] * colors[j]) - means[i] * means[j] for j in range(count)] for i in range(count)]
    for channel in range(count):
        spread[channel][channel] += np.float32(epsilon)
    shared = [mean(colors[channel] * mask) - means[channel] * mask_mean for channel in range(count)]
    factors = _solve(spread, shared)
    planes = np.empty((count + 1, *mask.shape), np.float32)
    offset = mask_mean
    for channel, factor in enumerate(factors):
        offset = offset - factor * means[channel]
        planes[channel] = mean(factor) / 255
    planes[-1] = mean(offset)
    return planes


def _solve(matrix: list[list[np.ndarray]], right: list[np.ndarray]) -> list[np.ndarray]:
    """The small symmetric systems of all pixels at once, by elimination; every entry is a plane (h, w).

    Without exchange of rows: a covariance with ``epsilon`` on its diagonal needs none. Measured 20 times faster than
    ``np.linalg.solve`` on (h, w, 3, 3).
    """
    count = len(right)
    rows, values = [list(row) for row in matrix], list(right)
    for pivot in range(count):
        for below in range(pivot + 1, count):
            share = rows[below][pivot] / rows[pivot][pivot]
            for column in range(pivot + 1, count):
                rows[below][column] = rows[below][column] - share * rows[pivot][column]
            values[below] = values[below] - share * values[pivot]
    for pivot in reversed(range(count)):
        for column in range(pivot + 1, count):
            values[pivot] = values[pivot] - rows[pivot][column] * values[column]
        values[pivot] = values[pivot] / rows[pivot][pivot]
    return values
