"""Other backgrounds for training pictures of cut-out models."""

from __future__ import annotations

import cv2
import numpy as np

from imago.core.input_spec import resize_image
from imago.data.augment.settings import Pair
from imago.data.augment.shadow import cast_shadow


def blend(front: np.ndarray, back: np.ndarray, label: np.ndarray, softness_px: float) -> np.ndarray:
    """uint8 (h, w, C): ``front`` where ``label`` is any class but 0, with an edge about ``softness_px`` wide."""
    mask = cv2.GaussianBlur((label > 0).astype(np.float32), (0, 0), softness_px)
    return cv2.blendLinear(front, back, mask, 1 - mask).reshape(front.shape)


def replace_background(
    image: np.ndarray, label: np.ndarray, others: list[Pair], rng: np.random.Generator, shadow: float = 0.0
) -> Pair:
    """The subject (every class but 0) of uint8 (h, w, C) before something else. Pixels that count for nothing stay so.

    ``shadow``: share of the pictures in which it throws a shadow there.
    """
    backdrop = make_background(label.shape, image.shape[2], others, rng)
    subject = label > 0
    if rng.random() < 0.5 and subject.any():  # half of them brought nearer to the new place's light
        shift = 0.25 * (backdrop.mean(axis=(0, 1)) - image[subject].mean(axis=0))
        image = np.clip(image + shift.astype(np.float32), 0, 255).astype(np.uint8)
    if shadow and rng.random() < shadow:
        backdrop = cast_shadow(backdrop, subject, rng)
    return blend(image, backdrop, label, rng.uniform(0.3, 1.0)), label


def make_background(
    frame_hw: tuple[int, int], channels: int, others: list[Pair], rng: np.random.Generator
) -> np.ndarray:
    """uint8 (h, w, C): a subject-free part of another photo, or a wall of soft colours."""
    if rng.random() < 0.7:
        order = rng.permutation(len(others))
        for index in order:
            part = cut_free_part(others[index][0], others[index][1], rng)
            if part is not None and part.shape[2] == channels:
                backdrop = resize_image(part, frame_hw)
                if rng.random() < 0.4:  # out of focus, as behind a portrait
                    backdrop = cv2.GaussianBlur(backdrop, (0, 0), rng.uniform(1, 8))
                return backdrop.reshape(*frame_hw, channels)
    corners = rng.uniform(0, 255, (1, 1, channels)) + rng.uniform(-1, 1, (2, 2, channels)) * rng.uniform(5, 70)
    wall: np.ndarray = cv2.resize(
        np.clip(corners, 0, 255).astype(np.float32), frame_hw[::-1], interpolation=cv2.INTER_LINEAR
    )
    wall = wall.reshape(*frame_hw, channels)
    if rng.random() < 0.3:  # a table: the lower part in another colour
        line = int(frame_hw[0] * rng.uniform(0.4, 0.9))
        wall[line:] = np.clip(wall[line:] + rng.uniform(-80, 80, (1, 1, channels)), 0, 255)
    if rng.random() < 0.5:
        coarse = rng.standard_normal((frame_hw[0] // 4 + 1, frame_hw[1] // 4 + 1, 1)).astype(np.float32)
        grain = cv2.resize(coarse, frame_hw[::-1], interpolation=cv2.INTER_CUBIC)
        wall = wall + grain.reshape(*frame_hw, 1) * rng.uniform(2, 12)
    return np.clip(wall, 0, 255).astype(np.uint8)


def find_empty_scene(
    frame_hw: tuple[int, int], channels: int, others: list[Pair], rng: np.random.Generator
) -> np.ndarray | None:
    """uint8 (h, w, C): a part of another photo without any subject, of the frame's aspect; None where none has one."""
    aspect = frame_hw[1] / frame_hw[0]
    for index in rng.permutation(len(others)):
        image, label = others[index]
        if image.shape[2] != channels:
            continue
        tallest = min(label.shape[0], label.shape[1] / aspect)
        for _ in range(8):
            height = tallest * rng.uniform(0.3, 1.0)
            h, w = int(height), int(height * aspect)
            if min(h, w) < 64:
                continue
            y, x = int(rng.integers(0, label.shape[0] - h + 1)), int(rng.integers(0, label.shape[1] - w + 1))
            if not label[y : y + h : 4, x : x + w : 4].any():
                return resize_image(image[y : y + h, x : x + w], frame_hw).reshape(*frame_hw, channels)
    return None


def cut_free_part(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """A random subject-free rectangle of the photo, uint8 (h, w, C); None where none of 64 pixels a side is found."""
    height, width = label.shape
    for _ in range(6):
        h = int(rng.uniform(0.25, 1.0) * height)
        w = int(rng.uniform(0.15, 1.0) * width)
        if min(h, w) < 64:
            continue
        y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        if not label[y : y + h : 4, x : x + w : 4].any():
            return image[y : y + h, x : x + w]
    return None
