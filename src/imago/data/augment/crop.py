"""The geometry of augmentation: which part of a photo a training picture shows, and how it is turned."""

from __future__ import annotations

import math

import cv2
import numpy as np

from imago.core.input_spec import resize_image
from imago.core.labels import IGNORE
from imago.data.augment.settings import CLOSEST, Augmentation, Pair


def flip_and_rot90(image: np.ndarray, label: np.ndarray, how: Augmentation, rng: np.random.Generator) -> Pair:
    """Top to bottom and by quarters, where nothing stands upright: uint8 (h, w, C) and labels (h, w). Views: no pixel
    is copied."""
    # Nothing is drawn where nothing is asked for: older recipes see the pictures that they saw.
    if how.flip_vertical and rng.random() < how.flip_vertical:
        image, label = image[::-1], label[::-1]
    if how.rot90 and rng.random() < how.rot90:
        quarters = int(rng.integers(1, 4))
        image, label = np.rot90(image, quarters), np.rot90(label, quarters)
    return image, label


def random_crop(
    image: np.ndarray,
    label: np.ndarray,
    frame_hw: tuple[int, int],
    how: Augmentation,
    rng: np.random.Generator,
    own_scale: bool = False,
) -> Pair:
    """A part of the photo, uint8 (H, W, C) and labels (H, W), in the frame. ``own_scale``: at zoom 1 a pixel of the
    photo is one of the frame; else the window at zoom 1 covers the photo."""
    height, width = label.shape
    if how.close_up and rng.random() < how.close_up:
        zoom = math.exp(rng.uniform(math.log(CLOSEST), math.log(max(how.zoom_min, CLOSEST))))
        focused, top = True, rng.random() < 0.6  # heads are at the top of what stands upright
    else:
        zoom = math.exp(rng.uniform(math.log(how.zoom_min), math.log(how.zoom_max)))
        focused, top = rng.random() < how.focus, False
    window_h, window_w = crop_size((height, width), frame_hw, zoom, how, rng, own_scale)
    y, x = _place(label, (window_h, window_w), focused, top, rng)
    for _ in range(2):  # a window of nothing but cloth teaches nothing: look for one with an outline
        inner = label[max(0, int(y)) : int(y + window_h) : 8, max(0, int(x)) : int(x + window_w) : 8]
        if not focused or not inner.size or 0.02 < np.count_nonzero(inner) / inner.size < 0.93:
            break
        y, x = _place(label, (window_h, window_w), focused, top, rng)
    if own_scale:
        y, x = round(y), round(x)  # at zoom 1 pixel for pixel, not blurred by half of one
    flip = rng.random() < how.flip
    return crop_and_resize(image, label, (y, x, window_h, window_w), frame_hw, flip)


def crop_size(
    image_hw: tuple[int, int],
    frame_hw: tuple[int, int],
    zoom: float,
    how: Augmentation,
    rng: np.random.Generator,
    own_scale: bool,
) -> tuple[float, float]:
    """Height and width, in pixels of the photo, of a window with the frame's aspect, stretched a little; it would cover
    the photo at zoom 1, or with ``own_scale`` have the frame's own size."""
    height, width = image_hw
    aspect = frame_hw[1] / frame_hw[0] * math.exp(rng.uniform(-how.aspect_jitter, how.aspect_jitter))
    if own_scale:
        window_h = math.sqrt(frame_hw[0] * frame_hw[1] / aspect) * zoom
    elif zoom == 1 and not how.aspect_jitter:  # nothing but the resize was asked for
        return float(height), float(width)
    else:
        window_h = max(height, width / aspect) * zoom if zoom >= 1 else math.sqrt(height * width / aspect) * zoom
    return window_h, window_h * aspect


def _place(
    label: np.ndarray, window: tuple[float, float], focused: bool, top: bool, rng: np.random.Generator
) -> tuple[float, float]:
    """Upper left corner of the window; with ``focused`` around a point of the subject, with ``top`` of its top."""
    height, width = label.shape
    if focused:
        # A coarse grid is enough to find a point of the subject, and 64 times cheaper.
        ys, xs = np.nonzero((label[::8, ::8] > 0) & (label[::8, ::8] != IGNORE))
        if len(ys):
            pick = rng.integers(max(1, len(ys) // 8) if top else len(ys))  # nonzero counts from the top down
            y = ys[pick] * 8 - window[0] * rng.uniform(0.2, 0.8)
            x = xs[pick] * 8 - window[1] * rng.uniform(0.2, 0.8)
            return _inside(y, window[0], height), _inside(x, window[1], width)
    return (
        rng.uniform(min(0, height - window[0]), max(0, height - window[0])),
        rng.uniform(min(0, width - window[1]), max(0, width - window[1])),
    )


def _inside(start: float, length: float, limit: int) -> float:
    """Moves a window that fits into the photo inside it; one that does not is centred."""
    if length >= limit:
        return (limit - length) / 2
    return min(max(start, 0.0), limit - length)


def crop_and_resize(
    image: np.ndarray,
    label: np.ndarray,
    window: tuple[float, float, float, float],
    frame_hw: tuple[int, int],
    flip: bool = False,
) -> Pair:
    """The ``window`` (y, x, height, width, may reach past the photo) resampled to the frame.

    What lies outside mirrors the photo, and its label with it: a mirrored subject is still a subject to look at.
    """
    y, x, window_h, window_w = window
    top, left = math.floor(y), math.floor(x)
    bottom, right = math.ceil(y + window_h), math.ceil(x + window_w)
    inner = (max(0, top), max(0, left), min(label.shape[0], bottom), min(label.shape[1], right))
    part = image[inner[0] : inner[2], inner[1] : inner[3]]
    part_label = label[inner[0] : inner[2], inner[1] : inner[3]]
    scale = (frame_hw[0] / (bottom - top), frame_hw[1] / (right - left))
    size = (
        min(frame_hw[0], max(1, round(part.shape[0] * scale[0]))),
        min(frame_hw[1], max(1, round(part.shape[1] * scale[1]))),
    )
    small = resize_image(part, size)
    small_label = cv2.resize(part_label, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    if size != tuple(frame_hw):
        before = (
            min(frame_hw[0] - size[0], max(0, round(-top * scale[0]))),
            min(frame_hw[1] - size[1], max(0, round(-left * scale[1]))),
        )
        edges = (before[0], frame_hw[0] - size[0] - before[0], before[1], frame_hw[1] - size[1] - before[1])
        border = cv2.BORDER_REFLECT_101 if min(size) > 1 else cv2.BORDER_REPLICATE  # one pixel has no mirror image
        padded = cv2.copyMakeBorder(small, *edges, borderType=border)
        small = padded[:, :, None] if padded.ndim == 2 else padded
        small_label = cv2.copyMakeBorder(small_label, *edges, borderType=border)
    if flip:
        small, small_label = small[:, ::-1], small_label[:, ::-1]
    return np.ascontiguousarray(small), np.ascontiguousarray(small_label)


def rotate(image: np.ndarray, label: np.ndarray, angle_deg: float) -> Pair:
    """uint8 (h, w, C) and labels (h, w) about the middle, what comes in mirrored."""
    height, width = label.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, 1.0)
    turned = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    turned_label = cv2.warpAffine(
        label, matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101
    )
    return (turned[:, :, None] if turned.ndim == 2 else turned), turned_label
