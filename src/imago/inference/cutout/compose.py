"""The cut-out: the subject's own colours at soft edges, on nothing, on a colour, on the blurred photo or on an image.

A soft pixel of a photo is a mixture of subject and background. Laid on another background as it is, it shows a halo of
the old one. The colours of both are estimated by blur fusion (Forte 2021, arXiv:2006.14970): means of the subject
weighted by alpha and of the background weighted by what is left, twice, wide and narrow. The means are taken on a small
copy of the photo, since they are smooth; the mixture is undone in the pixels of the photo, strip by strip.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from imago.core.errors import ImagoError
from imago.core.input_spec import resize_image
from imago.files.images import Photo
from imago.files.png import Mode
from imago.inference.cutout.alpha import STRIP_ROWS, AlphaMap, AlphaRows, resize_rows, small_size
from imago.inference.cutout.background import Behind, is_opaque, make_backdrop, resolve_background

COLOR_SIDE = 512  # pixels of the longer side of the copy that colours are averaged on; the means are smooth anyway
MANY = 0.2  # share of soft pixels in a strip above which all of its pixels are worked on
MARGIN = 0.05  # what is kept around a trimmed subject, as a share of its longer side
_BARELY = 1 / 510  # below it an alpha is 0 in 8 bits

Box = tuple[int, int, int, int]  # top, left, bottom, right; pixels, the last two outside


@dataclass(frozen=True, eq=False)
class Cutout:
    """A photo and its alpha, ready to be made strip by strip: ``strips`` for writing, ``array`` for looking."""

    photo: Photo
    alpha: AlphaRows
    small: tuple[np.ndarray, np.ndarray]  # what ``make_small_copy`` makes of the two
    background: Behind = "transparent"
    backdrop: np.ndarray | None = None  # what ``make_backdrop`` makes of it
    box: Box | None = None  # what is kept, None: all
    notes: tuple[str, ...] = ()

    @property
    def mode(self) -> Mode:
        return "RGB" if is_opaque(self.background) else "RGBA"

    @property
    def size_hw(self) -> tuple[int, int]:
        top, left, bottom, right = self._kept
        return bottom - top, right - left

    @property
    def _kept(self) -> Box:
        return self.box or (0, 0, *self.photo.size_hw)

    def strips(self, rows: int = STRIP_ROWS) -> Iterator[np.ndarray]:
        """uint8 (rows, W, 4), or (rows, W, 3) on an opaque background, from the top. Clear pixels are all zero."""
        top, left, bottom, right = self._kept
        for start in range(top, bottom, rows):
            end = min(bottom, start + rows)
            alpha = self.alpha.rows(start, end)[:, left:right]
            if self.photo.opacity is not None:
                alpha = alpha * (self.photo.opacity[start:end, left:right] * np.float32(1 / 255))
            colors = self._subject_colors(start, end, alpha)
            if self.background == "transparent":
                yield _append_alpha(colors, alpha)
            elif self.backdrop is not None and self.backdrop.shape == (4,):
                yield _lay_over(colors, alpha, self.backdrop)
            else:
                yield _mix(colors, alpha, self._behind(start, end))

    def array(self) -> np.ndarray:
        """The whole at once, uint8 (H, W, 4 or 3)."""
        return np.concatenate(list(self.strips()))

    def _subject_colors(self, start: int, end: int, alpha: np.ndarray) -> np.ndarray:
        """uint8 (rows, W, 3): the photo, with the background taken out of soft pixels."""
        _, left, _, right = self._kept
        pixels = self.photo.pixels[start:end, left:right]
        soft = (alpha > _BARELY) & (alpha < 1 - _BARELY)
        count = np.count_nonzero(soft)
        if not count:
            return pixels
        subject, behind = self._means
        if count > MANY * soft.size:  # whole rows at once: a pixel costs a fifth of one that is picked out
            near, far = (resize_rows(means, start, end, self.photo.size_hw)[:, left:right] for means in self._means)
            return _unmix(pixels, near, far, alpha, soft)
        rows, columns = np.nonzero(soft)
        height, width = self.photo.size_hw
        y = (rows + (start + 0.5)) * (subject.shape[0] / height) - 0.5
        x = (columns + (left + 0.5)) * (subject.shape[1] / width) - 0.5
        share = alpha[rows, columns][:, None]
        near, far = _sample(subject, y, x), _sample(behind, y, x)
        pure = near + share * (pixels[rows, columns] - share * near - (1 - share) * far)
        out = pixels.copy()
        out[rows, columns] = np.clip(pure + 0.5, 0, 255).astype(np.uint8)
        return out

    @cached_property
    def _means(self) -> tuple[np.ndarray, np.ndarray]:
        small, share = self.small
        ratio = COLOR_SIDE / max(share.shape)
        if ratio >= 1:
            return edge_colors(small, share)
        size_wh = tuple(max(1, round(side * ratio)) for side in share.shape[::-1])
        return edge_colors(*(cv2.resize(plane, size_wh, interpolation=cv2.INTER_AREA) for plane in (small, share)))

    def _behind(self, start: int, end: int) -> np.ndarray:
        _, left, _, right = self._kept
        backdrop = self.backdrop
        assert backdrop is not None
        if backdrop.ndim == 1:
            return backdrop
        if backdrop.dtype == np.uint8:
            return backdrop[start:end, left:right]
        return resize_rows(backdrop, start, end, self.photo.size_hw)[:, left:right]


def compose(
    photo: Photo,
    alpha: AlphaRows,
    background: Any = "transparent",
    crop: bool = False,
    margin: float = MARGIN,
) -> Cutout:
    """``background``: as ``background.resolve_background`` takes it; an image is cut to cover the photo.

    ``crop`` keeps the subject and ``margin`` times its longer side all round. Raises ImagoError for a background that
    is none of these. Where nothing was found, ``notes`` of the answer says so, and nothing is cropped.
    """
    if alpha.size_hw != photo.size_hw:
        raise ValueError(f"the photo is {photo.size_hw}, its alpha {alpha.size_hw}; both must have one size")
    if photo.pixels.shape[2] != 3:
        raise ImagoError(
            f"{photo.name}: cut-outs are made of RGB photos; this one has {photo.pixels.shape[2]} channels"
        )
    background = resolve_background(background)
    small = make_small_copy(photo, alpha)
    found = subject_box(small[1], photo.size_hw, margin)
    notes = () if found else ("nothing was found; the cut-out is empty" + (", and not cropped" if crop else ""),)
    backdrop, told = make_backdrop(background, photo, small)
    box = found if crop else None
    return Cutout(photo, alpha, small, background, backdrop, box=box, notes=notes + told)


def make_small_copy(photo: Photo, alpha: AlphaRows) -> tuple[np.ndarray, np.ndarray]:
    """float32 (h, w, 3) 0..255 and float32 (h, w) 0..1: photo and alpha of ``alpha.small_size``."""
    size_hw = small_size(photo.size_hw)
    # An AlphaMap has shrunk the photo for itself; at 12 megapixels that is a tenth of a second.
    if isinstance(alpha, AlphaMap) and alpha.pixels is photo.pixels:
        small = alpha.small
    else:
        small = resize_image(photo.pixels, size_hw)
    share = alpha.reduce(size_hw)
    if photo.opacity is not None:
        share = share * (cv2.resize(photo.opacity, size_hw[::-1], interpolation=cv2.INTER_AREA) * np.float32(1 / 255))
    return small.astype(np.float32), share


def edge_colors(small: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The colours of subject and background around every pixel, float32 (h, w, 3) each, by two passes."""
    side = max(small.shape[:2])
    subject = background = small
    near = far = small
    weight = share[:, :, None]
    for radius in (max(3, side // 24), max(2, side // 160)):
        near = weighted_mean(subject, share, radius)
        far = weighted_mean(background, 1 - share, radius)
        subject = np.clip(near + weight * (small - weight * near - (1 - weight) * far), 0, 255)
        background = far
    return near, far


def weighted_mean(values: np.ndarray, weights: np.ndarray, radius: int) -> np.ndarray:
    """float32 (h, w, 3) averaged over boxes with the weights (h, w); far from all weight the values themselves."""
    side = (2 * radius + 1, 2 * radius + 1)
    total = cv2.blur(values * weights[:, :, None], side, borderType=cv2.BORDER_REPLICATE)
    weight = cv2.blur(weights, side, borderType=cv2.BORDER_REPLICATE)[:, :, None]
    least = np.float32(1e-4)
    return np.where(weight > least, total / np.maximum(weight, least), values)


def subject_box(share: np.ndarray, size_hw: tuple[int, int], margin: float) -> Box | None:
    """The box around the subject in pixels of the photo, found on the small alpha (h, w); None where nothing is.

    Parts of less than a hundredth of the largest one do not stretch it.
    """
    count, _, stats, _ = cv2.connectedComponentsWithStats((share >= 0.5).astype(np.uint8))
    if count < 2:
        return None
    areas = stats[1:, cv2.CC_STAT_AREA]
    parts = stats[1:][areas * 100 >= areas.max()]
    left, top = parts[:, cv2.CC_STAT_LEFT].min(), parts[:, cv2.CC_STAT_TOP].min()
    right = (parts[:, cv2.CC_STAT_LEFT] + parts[:, cv2.CC_STAT_WIDTH]).max()
    bottom = (parts[:, cv2.CC_STAT_TOP] + parts[:, cv2.CC_STAT_HEIGHT]).max()
    down, across = size_hw[0] / share.shape[0], size_hw[1] / share.shape[1]
    room = margin * max((bottom - top) * down, (right - left) * across)
    return (
        max(0, int(top * down - room)),
        max(0, int(left * across - room)),
        min(size_hw[0], int(np.ceil(bottom * down + room))),
        min(size_hw[1], int(np.ceil(right * across + room))),
    )


def _unmix(pixels: np.ndarray, near: np.ndarray, far: np.ndarray, alpha: np.ndarray, soft: np.ndarray) -> np.ndarray:
    """uint8 (rows, W, 3): ``near + alpha * (pixels - far - alpha * (near - far))`` where ``soft``, else ``pixels``."""
    share = cv2.merge([alpha, alpha, alpha])
    pure = cv2.multiply(cv2.subtract(near, far), share)
    cv2.subtract(cv2.subtract(pixels, far, dtype=cv2.CV_32F), pure, dst=pure)
    cv2.multiply(pure, share, dst=pure)
    out = cv2.add(pure, near, dtype=cv2.CV_8U)  # rounds, and stops at 0 and 255
    cv2.copyTo(np.ascontiguousarray(pixels), (~soft).astype(np.uint8), out)
    return out


def _sample(plane: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """float32 (h, w, 3) at N points, bilinear -> float32 (N, 3)."""
    wide = 1024  # OpenCV wants both sides of the result below 32768
    length = -(-len(y) // wide) * wide
    maps = [np.resize(at.astype(np.float32), length).reshape(-1, wide) for at in (x, y)]
    found = cv2.remap(plane, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(-1, 3)[: len(y)]


def _append_alpha(colors: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    opacity = (alpha * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    out = cv2.merge([*cv2.split(colors), opacity])
    whole = out.view(np.uint32)[:, :, 0]  # four bytes at once: 20 times faster than by a mask
    np.multiply(whole, opacity != 0, out=whole)
    return out


def _lay_over(colors: np.ndarray, alpha: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Over one colour uint8 (4,) that lets something through: uint8 (rows, W, 4)."""
    share = alpha[:, :, None]
    rest = (1 - share) * np.float32(behind[3] / 255)
    opacity = share + rest
    mixed = (colors * share + behind[:3] * rest) / np.maximum(opacity, np.float32(1e-6))
    return np.concatenate([mixed + np.float32(0.5), opacity * 255 + np.float32(0.5)], axis=2).astype(np.uint8)


def _mix(colors: np.ndarray, alpha: np.ndarray, behind: np.ndarray) -> np.ndarray:
    share = alpha[:, :, None]
    return (colors * share + behind * (1 - share) + np.float32(0.5)).astype(np.uint8)
