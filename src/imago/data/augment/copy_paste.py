"""Subjects of other photos pasted in front: one, as older recipes have it, or several of all sizes."""

from __future__ import annotations

import math

import cv2
import numpy as np

from imago.core.input_spec import resize_image
from imago.core.labels import IGNORE
from imago.data.augment.background import blend
from imago.data.augment.settings import Augmentation, Pair
from imago.data.augment.shadow import cast_shadow

SMALLEST, LARGEST = 0.15, 1.1  # the longer side of one of several pasted subjects, as a share of the frame's


def copy_paste(
    image: np.ndarray, label: np.ndarray, others: list[Pair], how: Augmentation, rng: np.random.Generator
) -> Pair:
    """Another photo's subject in front of this one (a group, or a person with an animal)."""
    part, part_label, _ = cut_subject(others[int(rng.integers(len(others)))])
    if not part_label.size or part.shape[2] != image.shape[2]:
        return image, label
    share = rng.uniform(0.4, 1.1)  # of the frame's height
    height = max(8, int(label.shape[0] * share))
    # A strip would become thousands of pixels wide; past four frames nothing of it could be seen anyway.
    width = min(max(8, int(part.shape[1] * height / part.shape[0])), 4 * label.shape[1] + 8)
    part, part_label = _resize(part, part_label, (height, width))
    if rng.random() < how.flip:
        part, part_label = part[:, ::-1], part_label[:, ::-1]
    y = int(rng.integers(label.shape[0] - int(0.9 * height), label.shape[0])) - int(0.1 * height)
    y = min(max(y, -height // 3), label.shape[0] - 8)
    x = int(rng.integers(-width // 2, label.shape[1] - width // 2))
    return _place(image, label, (part, part_label), (y, x), how, rng)


def paste_several(
    image: np.ndarray, label: np.ndarray, others: list[Pair], how: Augmentation, rng: np.random.Generator
) -> Pair:
    """One to ``how.pasted_max`` subjects of other photos, each in front of those before it, small and large: uint8 (h,
    w, C) and labels (h, w).

    A side that its own photo cuts off lies at the frame's border or past it: no straight cut stands in the open.
    """
    for _ in range(int(rng.integers(1, how.pasted_max + 1))):
        image, label = _paste_one(image, label, others, how, rng)
    return image, label


def _paste_one(
    image: np.ndarray, label: np.ndarray, others: list[Pair], how: Augmentation, rng: np.random.Generator
) -> Pair:
    for index in rng.permutation(len(others)):
        part, part_label, (top, bottom, left, right) = cut_subject(others[index])
        # What fills its photo from side to side could only be pasted over the whole frame.
        if part_label.size and part.shape[2] == image.shape[2] and not (top and bottom) and not (left and right):
            break
    else:
        return image, label
    frame_h, frame_w = label.shape
    share = math.exp(rng.uniform(math.log(SMALLEST), math.log(LARGEST)))
    scale = share * min(frame_h / part.shape[0], frame_w / part.shape[1])
    height, width = max(8, round(part.shape[0] * scale)), max(8, round(part.shape[1] * scale))
    part, part_label = _resize(part, part_label, (height, width))
    if rng.random() < how.flip:
        part, part_label, left, right = part[:, ::-1], part_label[:, ::-1], right, left
    if rng.random() < 0.5:
        part = match_light(np.ascontiguousarray(part), part_label > 0, image, rng.uniform(0.2, 0.7))
    # The middle lies in the frame: what reaches past the border is cut off there.
    y = round(rng.uniform(0.1, 1) * frame_h - height / 2)
    x = round(rng.uniform(0, 1) * frame_w - width / 2)
    y = max(y, frame_h - height) if bottom else min(y, 0) if top else y
    x = max(x, frame_w - width) if right else min(x, 0) if left else x
    return _place(image, label, (part, part_label), (y, x), how, rng)


def cut_subject(other: Pair) -> tuple[np.ndarray, np.ndarray, tuple[bool, bool, bool, bool]]:
    """The box around a photo's subject: image (h, w, C), label (h, w; 0 where it is not), and which sides (top, bottom,
    left, right) the photo's border cuts off. Empty where there is hardly a subject. Views, where they can be."""
    image, label = other
    keep = (label > 0) & (label != IGNORE)
    ys, xs = np.nonzero(keep[::4, ::4])
    if len(ys) < 16:
        return image[:0], label[:0], (False, False, False, False)
    top, bottom, left, right = ys.min() * 4, ys.max() * 4 + 4, xs.min() * 4, xs.max() * 4 + 4
    height, width = label.shape
    y_near, x_near = max(4, height // 50), max(4, width // 50)  # drawn outlines end a little before the border
    touching = (top < y_near, bottom > height - y_near, left < x_near, right > width - x_near)
    return image[top:bottom, left:right], np.where(keep, label, 0)[top:bottom, left:right], touching


def match_light(image: np.ndarray, subject: np.ndarray, scene: np.ndarray, part: float) -> np.ndarray:
    """uint8 (h, w, C): mean and spread of the subject's colours brought ``part`` (0..1) of the way to the scene's."""
    if not subject.any():
        return image
    inside, around = image[subject], scene[::4, ::4].reshape(-1, scene.shape[2])
    mean, spread = inside.mean(axis=0), inside.std(axis=0)
    ratio = np.clip((around.std(axis=0) + 1) / (spread + 1), 0.6, 1.6) ** part
    shift = np.clip(around.mean(axis=0) - mean, -90, 90) * part
    table = (np.arange(256)[:, None] - mean) * ratio + mean + shift
    return cv2.LUT(image, np.clip(np.round(table), 0, 255).astype(np.uint8)[None]).reshape(image.shape)


def _resize(part: np.ndarray, part_label: np.ndarray, size_hw: tuple[int, int]) -> Pair:
    label = cv2.resize(np.ascontiguousarray(part_label), size_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return resize_image(part, size_hw), label


def _place(
    image: np.ndarray,
    label: np.ndarray,
    pasted: Pair,
    corner: tuple[int, int],
    how: Augmentation,
    rng: np.random.Generator,
) -> Pair:
    """``pasted`` in front, its upper left corner (y, x) anywhere in or past the frame."""
    part, part_label = pasted
    (y, x), (height, width) = corner, part_label.shape
    image, label = image.copy(), label.copy()
    frame = (
        slice(max(0, y), max(0, min(label.shape[0], y + height))),
        slice(max(0, x), min(label.shape[1], x + width)),
    )
    inner = (slice(frame[0].start - y, frame[0].stop - y), slice(frame[1].start - x, frame[1].stop - x))
    if part_label[inner].size == 0:
        return image, label
    part, part_label = np.ascontiguousarray(part[inner]), np.ascontiguousarray(part_label[inner])
    if how.shadow and rng.random() < how.shadow:
        standing = np.zeros(label.shape, bool)
        standing[frame] = part_label > 0
        image = cast_shadow(image, standing, rng)
    image[frame] = blend(part, np.ascontiguousarray(image[frame]), part_label, rng.uniform(0.3, 1.0))
    label[frame] = np.where(part_label > 0, part_label, label[frame])
    return image, label
