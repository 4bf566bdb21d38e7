"""A photo within a photo: a framed print, a screen, a page that someone took a picture of."""

from __future__ import annotations

import cv2
import numpy as np

from imago.data.augment.background import make_background
from imago.data.augment.settings import Pair
from imago.data.augment.shadow import REDUCED, darken

LARGE = (0.55, 0.95)  # sides of a rectangle that is what the picture shows, as shares of the frame's
SMALL = (0.15, 0.4)  # of one that is an object on the wall


def make_collage(image: np.ndarray, label: np.ndarray, others: list[Pair], rng: np.random.Generator) -> Pair:
    """The whole picture, uint8 (h, w, C) with labels (h, w), as a rectangle, somewhat turned, before another photo's
    background.

    A large rectangle (seven of ten) is what the picture shows: its subject stays the subject. A small one always has a
    border and belongs to the room, as a print on the wall does: all of it is class 0.
    """
    large = rng.random() < 0.7
    share = rng.uniform(*(LARGE if large else SMALL))
    if not large or rng.random() < 0.6:
        image, label = _add_border(image, label, rng)
    corners = _place_corners(label.shape, share, rng)
    height, width = label.shape
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    frame_wh = (width, height)
    if share < 0.5:  # averaged first: the warp alone would skip pixels
        image = cv2.resize(image, frame_wh, interpolation=cv2.INTER_LINEAR)
        image = cv2.blur(image, (2, 2)) if share > 0.3 else cv2.blur(image, (4, 4))
        image = image.reshape(height, width, -1)
    matrix = cv2.getPerspectiveTransform(source, corners)
    front = cv2.warpPerspective(image, matrix, frame_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    front = front.reshape(image.shape)
    inside = cv2.warpPerspective(np.ones((height, width), np.float32), matrix, frame_wh, flags=cv2.INTER_LINEAR)
    backdrop = make_background(label.shape, image.shape[2], others, rng)
    backdrop = darken(backdrop, _shadow_of(inside, rng))
    out = cv2.blendLinear(front, backdrop, inside, 1 - inside).reshape(front.shape)
    if not large:
        return out, np.zeros_like(label)
    return out, cv2.warpPerspective(label, matrix, frame_wh, flags=cv2.INTER_NEAREST)


def _add_border(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> Pair:
    """A frame, a white margin or a screen's rim, laid over the picture's edge."""
    width = max(1, round(min(label.shape) * rng.uniform(0.02, 0.08)))
    channels = image.shape[2]
    kind = rng.random()
    if kind < 0.45:
        color: np.ndarray = np.full(channels, rng.uniform(215, 255))  # paper
    elif kind < 0.75:
        color = np.full(channels, rng.uniform(5, 50))  # a screen, a black frame
    else:
        color = np.asarray(rng.uniform(30, 220) + rng.uniform(-40, 40, channels))
    inner = (slice(width, -width), slice(width, -width))
    framed = np.empty_like(image)
    framed[:] = np.clip(color, 0, 255).astype(np.uint8)
    framed[inner] = image[inner]
    framed_label = np.zeros_like(label)
    framed_label[inner] = label[inner]
    return framed, framed_label


def _place_corners(frame_hw: tuple[int, int], share: float, rng: np.random.Generator) -> np.ndarray:
    """float32 (4, 2), x and y, from the upper left on clockwise: a rectangle turned, and seen a little from aside."""
    size = np.array(frame_hw[::-1], np.float32)
    half = size * share / 2
    angle = np.deg2rad(rng.uniform(-8, 8))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    shape = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (1 + rng.uniform(-0.04, 0.04, (4, 2)))
    center = size / 2 + rng.uniform(-1, 1, 2) * (size / 2 - half)
    return (shape * half @ turn + center).astype(np.float32)


def _shadow_of(inside: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float32, a quarter of the size: the soft edge under a sheet or a frame."""
    height, width = inside.shape
    small_wh = (max(1, width // REDUCED), max(1, height // REDUCED))
    mask = cv2.resize(inside, small_wh, interpolation=cv2.INTER_AREA)
    side = max(small_wh)
    x, y = rng.uniform(-0.02, 0.02) * side, rng.uniform(0, 0.03) * side
    mask = cv2.warpAffine(mask, np.array([[1, 0, x], [0, 1, y]]), small_wh, flags=cv2.INTER_LINEAR)
    return cv2.GaussianBlur(mask, (0, 0), max(0.3, side * rng.uniform(0.005, 0.03))) * np.float32(rng.uniform(0.1, 0.5))
