"""How a net looks at a photo before it answers: once, or mirrored too, at several sizes, through a sliding window.

The answers of all views are brought to one size and averaged (test-time augmentation); what was found may then be
looked at once more by itself (``zoom``). Every view is one run of the
net with one image: as fast as a batch, and its memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import cv2
import numpy as np

from imago.core.errors import ImagoError
from imago.core.input_spec import InputSpec, resize_image
from imago.core.tta import TTA
from imago.inference.zoom import zoom_in

OVERLAP = 1 / 3  # of a window with the next one, as a share of its side
MOST_BYTES = 1_000_000_000  # of class scores at the photo's own size; past it they are gathered on a coarser grid

Run = Callable[[np.ndarray], np.ndarray]  # float32 (1, C, h, w) -> float32 (1, K, h, w)


def predict_tta(
    run: Run, spec: InputSpec, image: np.ndarray, tta: TTA, name: str = "", background: int | None = 0
) -> np.ndarray:
    """uint8 (H, W, C) -> what all views say together, float32 (K, h, w), the photo without padding. ``background``: the
    class of several that is not found.

    h and w are the largest view's, up to twice as many with ``zoom``; H and W with ``slide`` (less where they would
    take more than ``MOST_BYTES``). Raises ImagoError for a model that cannot be looked through so; ``name`` stands in
    it.
    """
    check_tta(spec, tta, name, background)

    def look(part: np.ndarray) -> np.ndarray:
        return average_views(run, spec, part, tta)

    scores = look(image)
    return zoom_in(scores, image, look, background) if tta.zoom and background is not None else scores


def average_views(run: Run, spec: InputSpec, image: np.ndarray, tta: TTA) -> np.ndarray:
    """uint8 (H, W, C) -> the mean over mirror image, sizes and windows, float32 (K, h, w)."""
    found: list[np.ndarray] = []
    for scale in tta.scales or (1.0,):
        for mirrored in (False, True) if tta.flip else (False,):
            seen = np.ascontiguousarray(image[:, ::-1]) if mirrored else image
            if tta.slide:
                scores = slide(run, spec, rescale(seen, scale))
            else:
                prepared, fit = resize_spec(spec, scale).fit(rescale(seen, scale) if spec.rule == "pad" else seen)
                scores = spec.crop(run(prepared[None])[0], fit)
            found.append(scores[:, :, ::-1] if mirrored else scores)
    if len(found) == 1:
        return np.ascontiguousarray(found[0])
    largest = max((scores.shape[1:] for scores in found), key=lambda size: size[0] * size[1])
    total = np.zeros((len(found[0]), *largest), np.float32)
    for scores in found:
        for sum_, plane in zip(total, scores, strict=True):
            sum_ += resize_plane(plane, largest)
    total /= np.float32(len(found))
    return total


def check_tta(spec: InputSpec, tta: TTA, name: str = "", background: int | None = 0) -> None:
    """Raises ImagoError for a way of looking that a model cannot be looked through."""
    if tta.zoom and background is None:
        raise ImagoError(
            f"{name or 'this model'} has no class of the background, so all of a photo is found; leave --tta-zoom out"
        )
    for given, option in ((tta.slide, "--slide"), (tta.zoom, "--tta-zoom")):
        if given and spec.rule == "pad":
            raise ImagoError(f"{name or 'this model'} sees every photo at its own size already; leave {option} out")
    if spec.fixed_size and not tta.slide and set(tta.scales) - {1.0}:
        raise ImagoError(
            f"{name or 'this model'} sees every photo at {spec.size_hw[0]} x {spec.size_hw[1]} alone; "
            "leave --tta-scales out, or use --slide with it"
        )


def resize_spec(spec: InputSpec, scale: float) -> InputSpec:
    """``spec`` for a frame of ``scale`` times its sides, rounded to what the net takes."""
    if scale == 1 or spec.rule == "pad":
        return spec
    height, width = (max(1, round(side * scale / spec.multiple)) * spec.multiple for side in spec.size_hw)
    return replace(spec, size_hw=(height, width))


def rescale(image: np.ndarray, scale: float) -> np.ndarray:
    """uint8 (H, W, C), ``scale`` times as high and wide."""
    if scale == 1:
        return image
    return resize_image(image, (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))))


def resize_plane(plane: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """float32 (H, W) -> (h, w), bilinear."""
    if plane.shape == size_hw:
        return plane
    return cv2.resize(np.ascontiguousarray(plane), (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR)


def slide(run: Run, spec: InputSpec, image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, C) -> float32 (K, H, W), or a coarser grid of whole pixels: windows of ``spec.size_hw`` that lie
    over one another by a third or more, weighed down towards their borders, where a net knows the least."""
    window_hw = spec.size_hw
    framed = pad_to(image, window_hw, spec)
    weight = np.outer(ramp(window_hw[0]), ramp(window_hw[1]))
    total, count, step = None, np.zeros(0, np.float32), 1
    for top, left in window_corners((framed.shape[0], framed.shape[1]), window_hw):
        part = framed[top : top + window_hw[0], left : left + window_hw[1]]
        scores = run(spec.normalize(part)[None])[0]  # (K, wh, ww)
        if total is None:
            step = grid_step((framed.shape[0], framed.shape[1]), len(scores))
            grid = (-(-framed.shape[0] // step), -(-framed.shape[1] // step))
            total, count = np.zeros((len(scores), *grid), np.float32), np.zeros(grid, np.float32)
        place = np.s_[top // step : top // step + -(-window_hw[0] // step),
                      left // step : left // step + -(-window_hw[1] // step)]  # fmt: skip
        thin = resize_plane(weight, count[place].shape)
        count[place] += thin
        for sum_, plane in zip(total, scores, strict=True):
            sum_[place] += thin * resize_plane(plane, thin.shape)
    assert total is not None  # every image has a corner
    total /= count
    return total[:, : -(-image.shape[0] // step), : -(-image.shape[1] // step)]


def pad_to(image: np.ndarray, least_hw: tuple[int, int], spec: InputSpec) -> np.ndarray:
    """uint8 (H, W, C), at least a window large: the mean colour at right and bottom."""
    height, width = (max(side, least) for side, least in zip(image.shape[:2], least_hw, strict=True))
    if (height, width) == image.shape[:2]:
        return image
    frame = np.empty((height, width, image.shape[2]), np.uint8)
    frame[:] = np.round(np.array(spec.mean) * 255).astype(np.uint8)
    frame[: image.shape[0], : image.shape[1]] = image
    return frame


def window_corners(size_hw: tuple[int, int], window_hw: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Upper left corners of windows that cover all, evenly spread, row by row."""
    tops, lefts = (window_starts(side, window) for side, window in zip(size_hw, window_hw, strict=True))
    return ((top, left) for top in tops for left in lefts)


def window_starts(side: int, window: int) -> list[int]:
    """Where windows begin along one side: the fewest whose overlap is ``OVERLAP`` or more."""
    stride = max(1, int(window * (1 - OVERLAP)))
    count = -(-(side - window) // stride) + 1
    return [round(index * (side - window) / max(1, count - 1)) for index in range(count)]


def ramp(side: int) -> np.ndarray:
    """float32 (side,): 1 in the middle, falling over the outer third to almost nothing, never 0."""
    from_border = np.minimum(np.arange(side), np.arange(side)[::-1]) + 1.0
    return np.minimum(1, from_border / max(1.0, side * OVERLAP)).astype(np.float32)


def grid_step(size_hw: tuple[int, int], classes: int) -> int:
    """Pixels of the photo for one of the grid that scores are gathered on, along each side."""
    step = 1
    while classes * 4 * size_hw[0] * size_hw[1] / step**2 > MOST_BYTES:
        step += 1
    return step
