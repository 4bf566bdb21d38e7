"""Light, colour and the camera: changes of a training picture that leave its mask as it is."""

from __future__ import annotations

import math

import cv2
import numpy as np

from imago.data.augmentation import Augmentation


def photograph(image: np.ndarray, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """uint8 (h, w, C): light and colour, then blur, grain and JPEG, each as often as ``how`` says."""
    image = relight(image, how, rng)
    if rng.random() < how.blur:
        image = blur(image, rng)
    if rng.random() < how.grain:
        image = add_grain(image, rng)
    if rng.random() < how.jpeg and image.shape[2] in (1, 3):
        image = compress_jpeg(image, int(rng.integers(30, 90)))
    return image


def relight(image: np.ndarray, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Saturation, contrast, brightness and tint are one matrix on the colours (one pass), gamma a table."""
    channels = image.shape[2]
    if how.colour:
        s = how.colour
        contrast, brightness = rng.uniform(1 - s, 1 + s), rng.uniform(-s, s) * 100
        matrix: np.ndarray = np.eye(channels)
        if channels == 3:
            saturation = rng.uniform(1 - s, 1 + s)
            matrix = saturation * matrix + (1 - saturation) * np.array([[0.299, 0.587, 0.114]])
        shift = np.asarray(128 * (1 - contrast) + brightness + rng.uniform(-s, s, channels) * 40)
        curve = (255 * (np.arange(256) / 255) ** math.exp(rng.uniform(-s, s))).astype(np.uint8)
        if channels <= 4:  # OpenCV's limit
            image = cv2.transform(image, np.column_stack([matrix * contrast, shift]))
        else:
            image = np.clip(image * np.float32(contrast) + shift.astype(np.float32), 0, 255).astype(np.uint8)
        image = cv2.LUT(image, curve).reshape(*image.shape[:2], channels)
    if channels == 3 and rng.random() < how.grey:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return image


def blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 2.0)).reshape(image.shape)


def add_grain(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = np.round(rng.standard_normal(image.shape[:2], np.float32) * rng.uniform(2, 14)).astype(np.int16)
    return cv2.add(image, np.repeat(noise[:, :, None], image.shape[2], axis=2), dtype=cv2.CV_8U).reshape(image.shape)


def compress_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    done, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"JPEG encoding of a {image.shape} image failed")
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_UNCHANGED)).reshape(image.shape)
