"""Augmentation that moves image and objects together. NumPy and OpenCV; the same seed gives the same picture.

One matrix a picture takes the photo's pixels to the frame's: a window of it (scale, place, aspect), mirrored, turned by
quarters, turned a little. Then light and colour, blur, grain, JPEG, as for label maps (photometric.py).

Differs from pipeline.py: what lies outside of the photo is the mean colour, not its mirror image, for a mirrored object
without a box would be taught as background; small turns are for objects with masks alone, for a turned box says little
of the object in it; no elastic pull, no other background. Objects of another photo can be pasted in:
see paste_instances.py.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from imago.core.boxes import area, clip
from imago.core.input_spec import resize_image
from imago.core.instances import CroppedMask, Instances, masks_to_boxes
from imago.data.augment.crop import crop_size
from imago.data.augment.paste_instances import paste_instances
from imago.data.augment.photometric import photometric_distort
from imago.data.augment.settings import CLOSEST, Augmentation

LEAST_VISIBLE = 0.25  # of an object's pixels; with less it is neither object nor background
LEAST_SIDE_PX = 1.0  # smaller ones cannot be seen


class AugmentedSample(NamedTuple):
    """One training picture."""

    image: np.ndarray  # uint8 (h, w, C)
    instances: Instances  # in pixels of the frame
    matrix: np.ndarray  # float64 (3, 3), from the photo to the frame: for what else lies on the photo, see warp_boxes


def augment_instances(
    image: np.ndarray,
    instances: Instances,
    frame_hw: tuple[int, int],
    how: Augmentation,
    rng: np.random.Generator,
    fill: tuple[int, ...],
    own_scale: bool = False,
    lent: tuple[np.ndarray, Instances] | None = None,
) -> AugmentedSample:
    """A picture of the frame's size.

    ``image`` is uint8 (H, W, C); ``fill``: the colour outside of the photo, C values. ``own_scale``: windows show the
    photo's own pixels (rule "pad"). Objects of which less than ``LEAST_VISIBLE`` is seen are crowd in the answer.
    ``lent``: another photo and its objects, some of which are pasted in.
    """
    matrix = draw_matrix(instances, frame_hw, how, rng, own_scale)
    picture, moved = warp_image(image, matrix, frame_hw, fill), warp_instances(instances, matrix, frame_hw)
    if lent is not None:
        other = draw_matrix(lent[1], frame_hw, how, rng, own_scale)
        picture, moved = paste_instances(
            picture, moved, warp_image(lent[0], other, frame_hw, fill), warp_instances(lent[1], other, frame_hw), rng
        )
    return AugmentedSample(np.ascontiguousarray(photometric_distort(picture, how, rng)), moved, matrix)


def draw_matrix(
    instances: Instances,
    frame_hw: tuple[int, int],
    how: Augmentation,
    rng: np.random.Generator,
    own_scale: bool = False,
) -> np.ndarray:
    """float64 (3, 3): from (x, y, 1) in the photo to the frame. Corners at whole numbers, as of boxes."""
    upside_down = rng.random() < how.flip_vertical
    quarters = int(rng.integers(1, 4)) if rng.random() < how.rot90 else 0
    turned_frame = frame_hw if quarters % 2 == 0 else (frame_hw[1], frame_hw[0])
    y, x, window_h, window_w = draw_crop(instances, turned_frame, how, rng, own_scale)
    mirrored = rng.random() < how.flip
    angle = math.radians(rng.uniform(-how.rotate_deg, how.rotate_deg)) if instances.cropped is not None else 0.0
    # Around the window's middle: mirror, turn by quarters, bring to the frame's size, turn a little; photo to frame.
    to_middle = _shift(-(x + window_w / 2), -(y + window_h / 2))
    scale = _scale(turned_frame[1] / window_w, turned_frame[0] / window_h)
    mirror = _scale(-1.0 if mirrored else 1.0, -1.0 if upside_down else 1.0)
    turn = _turn(angle + quarters * math.pi / 2)
    to_frame = _shift(frame_hw[1] / 2, frame_hw[0] / 2)
    matrix: np.ndarray = to_frame @ turn @ mirror @ scale @ to_middle
    return matrix


def draw_crop(
    instances: Instances, frame_hw: tuple[int, int], how: Augmentation, rng: np.random.Generator, own_scale: bool
) -> tuple[float, float, float, float]:
    """y, x, height, width of what the frame shows, in pixels of the photo; it may reach past it. As random_crop."""
    height, width = instances.size_hw
    if how.close_up and rng.random() < how.close_up:
        zoom = math.exp(rng.uniform(math.log(CLOSEST), math.log(max(how.zoom_min, CLOSEST))))
        focused = True
    else:
        zoom = math.exp(rng.uniform(math.log(how.zoom_min), math.log(how.zoom_max)))
        focused = rng.random() < how.focus
    window_h, window_w = crop_size((height, width), frame_hw, zoom, how, rng, own_scale)
    if focused and len(instances):
        x1, y1, x2, y2 = instances.boxes[int(rng.integers(len(instances)))]
        y = _inside((y1 + y2) / 2 - window_h * rng.uniform(0.2, 0.8), window_h, height)
        x = _inside((x1 + x2) / 2 - window_w * rng.uniform(0.2, 0.8), window_w, width)
    else:
        y = rng.uniform(min(0, height - window_h), max(0, height - window_h))
        x = rng.uniform(min(0, width - window_w), max(0, width - window_w))
    if own_scale:
        y, x = round(y), round(x)  # at zoom 1 pixel for pixel, not blurred by half of one
    return float(y), float(x), float(window_h), float(window_w)


def _inside(start: float, length: float, limit: int) -> float:
    """Moves a window that fits into the photo inside it; one that does not is centred."""
    return (limit - length) / 2 if length >= limit else min(max(start, 0.0), limit - length)


def _shift(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def _scale(x: float, y: float) -> np.ndarray:
    return np.diag([x, y, 1.0])


def _turn(angle: float) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]], np.float64)


def warp_image(image: np.ndarray, matrix: np.ndarray, frame_hw: tuple[int, int], fill: tuple[int, ...]) -> np.ndarray:
    """uint8 (H, W, C) -> uint8 (h, w, C), ``fill`` where the photo is not.

    Where the photo gets smaller it is shrunk by averaging first: bilinear lookup alone would pass over pixels.
    """
    image, matrix = _shrink(image, matrix)
    centerd = _to_pixel_centers(matrix)
    channels = image.shape[2]
    # OpenCV fills and looks up at most four channels at a time.
    parts = [
        cv2.warpAffine(
            np.ascontiguousarray(image[:, :, first : first + 4]), centerd, frame_hw[::-1], flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT, borderValue=tuple(fill[first : first + 4]),
        ).reshape(*frame_hw, -1)
        for first in range(0, channels, 4)
    ]  # fmt: skip
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)


def _shrink(image: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image at the scale of the frame where that is smaller, and the matrix for it."""
    # What one pixel to the right, and one down, is in the frame.
    scale_x, scale_y = np.hypot(matrix[0, 0], matrix[1, 0]), np.hypot(matrix[0, 1], matrix[1, 1])
    size_hw = (
        max(1, round(image.shape[0] * min(1.0, scale_y))),
        max(1, round(image.shape[1] * min(1.0, scale_x))),
    )
    if size_hw == image.shape[:2]:
        return image, matrix
    small = resize_image(image, size_hw)
    back = _scale(image.shape[1] / size_hw[1], image.shape[0] / size_hw[0])
    return small, matrix @ back


def _to_pixel_centers(matrix: np.ndarray) -> np.ndarray:
    """float64 (2, 3) for OpenCV, which counts from the middle of the first pixel, not from its corner."""
    return (_shift(-0.5, -0.5) @ matrix @ _shift(0.5, 0.5))[:2]


def warp_instances(instances: Instances, matrix: np.ndarray, frame_hw: tuple[int, int]) -> Instances:
    """The objects in the frame, by ``matrix`` (3, 3) from photo to frame. What leaves it goes, what is hardly seen
    becomes crowd; boxes are those of the masks, where there are masks."""
    whole = _warp_corners(instances.boxes, matrix)
    full = np.abs(np.linalg.det(matrix[:2, :2])) * instances.areas  # areas in the frame, if it had no end
    crowd = np.zeros(len(instances), bool) if instances.crowd is None else instances.crowd.copy()
    masks: list[CroppedMask] | None = None
    if instances.cropped is not None:
        masks = [_warp_mask(mask, matrix, frame_hw) for mask in instances.cropped]
        boxes = masks_to_boxes(masks)
        seen = np.array([mask.area for mask in masks], np.float64)
    else:
        boxes = clip(whole, frame_hw)
        seen, full = area(boxes).astype(np.float64), area(whole).astype(np.float64)
    crowd |= seen < LEAST_VISIBLE * full
    stays = np.flatnonzero(np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) >= LEAST_SIDE_PX)
    return replace(
        instances[stays],
        size_hw=frame_hw,
        boxes=boxes[stays],
        cropped=None if masks is None else tuple(masks[index] for index in stays),
        crowd=crowd[stays],
        stated_areas=None,
    )


def warp_boxes(boxes: np.ndarray, matrix: np.ndarray, frame_hw: tuple[int, int]) -> np.ndarray:
    """float32 (K, 4) on the photo, proposals say -> (k, 4) in the frame, cut to it as the objects are. Those of which
    less than ``LEAST_VISIBLE`` is seen, or nothing worth a pixel, go."""
    whole = _warp_corners(boxes, matrix)
    seen = clip(whole, frame_hw)
    stays = (area(seen) >= LEAST_VISIBLE * area(whole)) & ((seen[:, 2:] - seen[:, :2]) >= LEAST_SIDE_PX).all(axis=1)
    return seen[stays]


def _warp_corners(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """float32 (K, 4): around the four corners of each."""
    if not len(boxes):
        return boxes
    corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]].astype(np.float64)  # (K, 4, 2)
    moved = corners @ matrix[:2, :2].T + matrix[:2, 2]
    return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1).astype(np.float32)


def _warp_mask(mask: CroppedMask, matrix: np.ndarray, frame_hw: tuple[int, int]) -> CroppedMask:
    """Of its own rectangle only: a thousand cells in a large photo take no longer than their pixels."""
    around = _warp_corners(np.array([mask.box], np.float32), matrix)
    x1, y1 = np.floor(clip(around, frame_hw)[0, :2] - 1).astype(int).clip(0)
    x2, y2 = np.ceil(clip(around, frame_hw)[0, 2:] + 1).astype(int)
    x2, y2 = min(int(x2), frame_hw[1]), min(int(y2), frame_hw[0])
    if x2 <= x1 or y2 <= y1 or not mask.bits:
        return CroppedMask(0, 0, (0, 0), b"")
    own = _shift(-x1, -y1) @ matrix @ _shift(mask.left, mask.top)  # from the crop to its place in the frame
    crop, own = _shrink((mask.crop * np.uint8(255))[:, :, None], own)
    moved = cv2.warpAffine(np.ascontiguousarray(crop[:, :, 0]), _to_pixel_centers(own), (int(x2 - x1), int(y2 - y1)))
    return CroppedMask.from_mask(moved >= 128, int(x1), int(y1))
