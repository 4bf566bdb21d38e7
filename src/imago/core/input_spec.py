"""What a model wants to be fed: the rule for sizes, the channels, mean and spread.

The same NumPy code prepares images for training, ONNX Runtime and torch, so a model answers alike wherever it runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from imago.core.bands import Ranges, check_ranges, check_shown
from imago.core.boxes import clip

SizeRule = Literal["resize", "letterbox", "area", "pad"]

Scale = Literal["255", "max"]

MAX_CHANNELS = 32
MAX_SIDE = 1 << 15  # pixels; what is larger is no frame that anybody's memory holds
LEAST_STD = 1e-6  # what is smaller runs over when it is divided by
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Fit:
    """How one image was brought to the network's size; ``InputSpec.undo`` needs it to go back."""

    image_hw: tuple[int, int]  # size of the original image, pixels
    content_hw: tuple[int, int]  # size of the resized image inside the network's frame
    offset_yx: tuple[int, int]  # where its upper left corner lies in the frame
    frame_hw: tuple[int, int]  # what the network sees

    @classmethod
    def none(cls, image_hw: tuple[int, int]) -> Fit:
        """The image as it is."""
        return cls(image_hw, image_hw, (0, 0), image_hw)

    def boxes_to_image(self, boxes: np.ndarray, cut: bool = True) -> np.ndarray:
        """float32 (K, 4) x1 y1 x2 y2 in the network's frame -> in pixels of the image, cut to it unless ``cut`` is
        False (a mask is stretched over the whole of its box, also where that lies in the padding)."""
        ratio = np.array(self.image_hw, np.float32) / np.array(self.content_hw, np.float32)  # y, x
        shift = np.array([self.offset_yx[1], self.offset_yx[0]] * 2, np.float32)
        moved = (boxes - shift) * np.array([ratio[1], ratio[0]] * 2, np.float32)
        return clip(moved.astype(np.float32), self.image_hw) if cut else moved.astype(np.float32)

    def boxes_to_frame(self, boxes: np.ndarray) -> np.ndarray:
        """The way there: float32 (K, 4) in pixels of the image -> in the network's frame."""
        ratio = np.array(self.content_hw, np.float32) / np.array(self.image_hw, np.float32)
        shift = np.array([self.offset_yx[1], self.offset_yx[0]] * 2, np.float32)
        return (boxes * np.array([ratio[1], ratio[0]] * 2, np.float32) + shift).astype(np.float32)


@dataclass(frozen=True)
class InputSpec:
    """The preparation that travels inside the model file.

    ``rule`` is one of
    - ``resize``: exactly ``size_hw``, whatever the aspect (as the official U2-Net);
    - ``letterbox``: aspect kept, padded to exactly ``size_hw`` with the mean colour;
    - ``area``: aspect kept to the nearest ``multiple`` of each side, about ``size_hw[0] * size_hw[1]`` pixels in all;
    - ``pad``: the image's own size, padded at right and bottom to multiples of ``multiple``.
    """

    rule: SizeRule = "area"
    size_hw: tuple[int, int] = (320, 320)  # pixels; not used by "pad"
    multiple: int = 32  # sides are multiples of this (rules "area" and "pad")
    channels: int = 3
    mean: tuple[float, ...] = IMAGENET_MEAN  # on the 0..1 scale, one a channel
    std: tuple[float, ...] = IMAGENET_STD
    scale: Scale = "255"  # divide by 255, or by the image's own largest value (official U2-Net)
    ranges: Ranges = ()  # images of more than 8 bits: of each channel the values that become 0 and 255; empty: as
    # imago.files.images.read_image scales by itself
    show_bands: tuple[int, ...] = ()  # which are shown as red, green and blue, from 1; empty: the first

    def __post_init__(self) -> None:
        for name, known in (("rule", get_args(SizeRule)), ("scale", get_args(Scale))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r} is not known; choose from {', '.join(known)}")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ValueError(f"channels lie from 1 to {MAX_CHANNELS}; got {self.channels}")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(
                f"{self.channels} channels need as many means and spreads; got {len(self.mean)} and {len(self.std)}"
            )
        if not all(1 <= side <= MAX_SIDE for side in (*self.size_hw, self.multiple)):
            raise ValueError(
                f"sizes must lie from 1 to {MAX_SIDE} pixels; got size {self.size_hw}, multiple {self.multiple}"
            )
        check_ranges(self.ranges, self.channels)
        check_shown(self.show_bands, self.channels)
        if not all(0 <= value <= 1 for value in self.mean):
            raise ValueError(f"means lie from 0 to 1, as pixels do; got {self.mean}")
        if not all(LEAST_STD <= value <= 1 / LEAST_STD for value in self.std):
            raise ValueError(f"spread (std) must be above 0, from {LEAST_STD:g} to {1 / LEAST_STD:g}; got {self.std}")

    @property
    def fixed_size(self) -> bool:
        """True where every image comes out as exactly ``size_hw``."""
        return self.rule in ("resize", "letterbox")

    def plan(self, image_hw: tuple[int, int]) -> Fit:
        """The sizes for an image of ``image_hw`` pixels, without touching pixels."""
        height, width = image_hw
        if height < 1 or width < 1:
            raise ValueError(f"image is {height} x {width}; both sides must be at least 1 pixel")
        if self.rule == "resize":
            return Fit(image_hw, self.size_hw, (0, 0), self.size_hw)
        if self.rule == "letterbox":
            ratio = min(self.size_hw[0] / height, self.size_hw[1] / width)
            content = (
                min(self.size_hw[0], max(1, round(height * ratio))),
                min(self.size_hw[1], max(1, round(width * ratio))),
            )
            offset = ((self.size_hw[0] - content[0]) // 2, (self.size_hw[1] - content[1]) // 2)
            return Fit(image_hw, content, offset, self.size_hw)
        if self.rule == "area":
            ratio = math.sqrt(self.size_hw[0] * self.size_hw[1] / (height * width))
            # A strip of 5000 x 20 would become a frame without end: no side goes past four times the square's.
            longest = 4 * max(self.size_hw)
            frame = tuple(
                min(longest, max(self.multiple, round(side * ratio / self.multiple) * self.multiple))
                for side in image_hw
            )
            return Fit(image_hw, (frame[0], frame[1]), (0, 0), (frame[0], frame[1]))
        frame_hw = (
            math.ceil(height / self.multiple) * self.multiple,
            math.ceil(width / self.multiple) * self.multiple,
        )
        return Fit(image_hw, image_hw, (0, 0), frame_hw)

    def fit(self, image: np.ndarray) -> tuple[np.ndarray, Fit]:
        """``image`` uint8 (H, W, C) or (H, W) for one channel -> float32 (C, h, w) and the way back."""
        if image.ndim == 2:
            image = image[:, :, None]
        if image.ndim != 3 or image.shape[2] != self.channels:
            raise ValueError(f"the model takes (H, W, {self.channels}) images; got shape {image.shape}")
        plan = self.plan((image.shape[0], image.shape[1]))
        return self.normalize(self._frame(image, plan)), plan

    def _frame(self, image: np.ndarray, plan: Fit) -> np.ndarray:
        resized = resize_image(image, plan.content_hw)
        if plan.content_hw == plan.frame_hw:
            return resized
        frame = np.empty((*plan.frame_hw, self.channels), np.uint8)
        frame[:] = np.round(np.array(self.mean) * 255).astype(np.uint8)
        y, x = plan.offset_yx
        frame[y : y + plan.content_hw[0], x : x + plan.content_hw[1]] = resized
        return frame

    def normalize(self, frame: np.ndarray) -> np.ndarray:
        """uint8 (h, w, C) -> float32 (C, h, w), contiguous, mean and spread taken out."""
        top = 255.0 if self.scale == "255" else max(float(frame.max()), 1e-6)
        factor = (1.0 / (top * np.array(self.std, np.float64))).astype(np.float32)
        shift = (-np.array(self.mean, np.float64) / np.array(self.std, np.float64)).astype(np.float32)
        out = np.empty((self.channels, *frame.shape[:2]), np.float32)
        for channel in range(self.channels):
            np.multiply(frame[:, :, channel], factor[channel], out=out[channel])
            out[channel] += shift[channel]
        return out

    def undo(self, scores: np.ndarray, plan: Fit) -> np.ndarray:
        """float32 (C, h, w) in the network's frame -> float32 (C, H, W) in the original image's pixels (bilinear)."""
        content = self.crop(scores, plan)
        height, width = plan.image_hw
        if content.shape[1:] == (height, width):
            return np.ascontiguousarray(content)
        out = np.empty((content.shape[0], height, width), np.float32)
        for channel, plane in enumerate(content):
            cv2.resize(np.ascontiguousarray(plane), (width, height), dst=out[channel], interpolation=cv2.INTER_LINEAR)
        return out

    @staticmethod
    def crop(scores: np.ndarray, plan: Fit) -> np.ndarray:
        """The part (C, h', w') of the network's answer that shows the image, padding cut off."""
        if scores.ndim != 3 or scores.shape[1:] != plan.frame_hw:
            raise ValueError(f"scores must be (C, {plan.frame_hw[0]}, {plan.frame_hw[1]}); got {scores.shape}")
        y, x = plan.offset_yx
        return scores[:, y : y + plan.content_hw[0], x : x + plan.content_hw[1]]


def resize_image(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, C) -> uint8 (h, w, C): averaging where it shrinks, bilinear where it grows."""
    if image.shape[:2] == tuple(size_hw):
        return image
    shrinks = size_hw[0] * size_hw[1] < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    channels = 1 if image.ndim == 2 else image.shape[2]
    # OpenCV averages at most four channels at a time.
    parts = [image] if channels <= 4 else np.split(image, range(4, channels, 4), axis=2)
    small = [cv2.resize(part, (size_hw[1], size_hw[0]), interpolation=method) for part in parts]
    small = [part[:, :, None] if part.ndim == 2 else part for part in small]
    return small[0] if len(small) == 1 else np.concatenate(small, axis=2)
