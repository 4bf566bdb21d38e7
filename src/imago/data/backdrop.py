"""Other backgrounds, and further subjects, for training pictures of cut-out models."""

from __future__ import annotations

import cv2
import numpy as np

from imago.core.labels import IGNORE
from imago.core.spec import resize_image
from imago.data.augmentation import Augmentation, Pair


def blend(front: np.ndarray, back: np.ndarray, label: np.ndarray, softness_px: float) -> np.ndarray:
    """uint8 (h, w, C): ``front`` where ``label`` is any class but 0, with an edge about ``softness_px`` wide."""
    mask = cv2.GaussianBlur((label > 0).astype(np.float32), (0, 0), softness_px)
    return cv2.blendLinear(front, back, mask, 1 - mask).reshape(front.shape)


def replace_background(image: np.ndarray, label: np.ndarray, others: list[Pair], rng: np.random.Generator) -> Pair:
    """The subject (every class but 0) before something else. Pixels that count for nothing stay so."""
    backdrop = make_backdrop(label.shape, image.shape[2], others, rng)
    subject = label > 0
    if rng.random() < 0.5 and subject.any():  # half of them brought nearer to the new place's light
        shift = 0.25 * (backdrop.mean(axis=(0, 1)) - image[subject].mean(axis=0))
        image = np.clip(image + shift.astype(np.float32), 0, 255).astype(np.uint8)
    return blend(image, backdrop, label, rng.uniform(0.3, 1.0)), label


def make_backdrop(frame_hw: tuple[int, int], channels: int, others: list[Pair], rng: np.random.Generator) -> np.ndarray:
    """uint8 (h, w, C): a subject-free part of another photo, or a wall of soft colours."""
    if rng.random() < 0.7:
        order = rng.permutation(len(others))
        for index in order:
            part = free_part(others[index][0], others[index][1], rng)
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


def free_part(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
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


def paste_second(
    image: np.ndarray, label: np.ndarray, others: list[Pair], how: Augmentation, rng: np.random.Generator
) -> Pair:
    """Another photo's subject in front of this one (a group, or a person with an animal)."""
    other, other_label = others[int(rng.integers(len(others)))]
    keep = (other_label > 0) & (other_label != IGNORE)
    ys, xs = np.nonzero(keep[::4, ::4])
    if len(ys) < 16 or other.shape[2] != image.shape[2]:
        return image, label
    top, bottom, left, right = ys.min() * 4, ys.max() * 4 + 4, xs.min() * 4, xs.max() * 4 + 4
    part, part_label = other[top:bottom, left:right], np.where(keep, other_label, 0)[top:bottom, left:right]
    share = rng.uniform(0.4, 1.1)  # of the frame's height
    height = max(8, int(label.shape[0] * share))
    # A strip would become thousands of pixels wide; past four frames nothing of it could be seen anyway.
    width = min(max(8, int(part.shape[1] * height / part.shape[0])), 4 * label.shape[1] + 8)
    part = resize_image(part, (height, width))
    part_label = cv2.resize(np.ascontiguousarray(part_label), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    if rng.random() < how.flip:
        part, part_label = part[:, ::-1], part_label[:, ::-1]
    y = int(rng.integers(label.shape[0] - int(0.9 * height), label.shape[0])) - int(0.1 * height)
    y = min(max(y, -height // 3), label.shape[0] - 8)
    x = int(rng.integers(-width // 2, label.shape[1] - width // 2))
    image, label = image.copy(), label.copy()
    frame = (
        slice(max(0, y), max(0, min(label.shape[0], y + height))),
        slice(max(0, x), min(label.shape[1], x + width)),
    )
    inner = (slice(frame[0].start - y, frame[0].stop - y), slice(frame[1].start - x, frame[1].stop - x))
    if part_label[inner].size == 0:
        return image, label
    part, part_label = np.ascontiguousarray(part[inner]), np.ascontiguousarray(part_label[inner])
    image[frame] = blend(part, np.ascontiguousarray(image[frame]), part_label, rng.uniform(0.3, 1.0))
    label[frame] = np.where(part_label > 0, part_label, label[frame])
    return image, label
