"""Light, colour and the camera: changes of a training picture that leave its mask as it is."""

from __future__ import annotations

import math

import cv2
import numpy as np

from imago.data.augment.settings import Augmentation

DIMMEST = 30  # mean of 0..255 below which low light leaves nothing to be seen


def photometric_distort(image: np.ndarray, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """uint8 (h, w, C): light and colour, then blur, low light, grain and JPEG, each as often as ``how`` says."""
    image = jitter_colors(image, how, rng)
    if rng.random() < how.blur:
        image = blur(image, rng)
    if how.motion_blur and rng.random() < how.motion_blur:
        image = blur_along_line(image, rng)
    if how.low_light and rng.random() < how.low_light:
        image = dim(image, rng)
    if rng.random() < how.noise:
        image = add_noise(image, rng)
    if rng.random() < how.jpeg and image.shape[2] in (1, 3):
        image = compress_jpeg(image, int(rng.integers(30, 90)))
    return image


def jitter_colors(image: np.ndarray, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """uint8 (h, w, C) alike. Saturation, contrast, brightness and tint are one matrix on the colours (one pass), gamma
    a table."""
    channels = image.shape[2]
    if how.color:
        s = how.color
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
    if channels == 3 and rng.random() < how.to_gray:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return image


def blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (h, w, C) alike, by a Gaussian of 0.4 to 2 pixels."""
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 2.0)).reshape(image.shape)


def blur_along_line(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (h, w, C) alike: a hand that moved while the shutter was open, by 3 to 15 pixels, short ways more often."""
    length, angle = 3 + 12 * rng.random() ** 2, rng.uniform(0, math.pi)
    side = 2 * math.ceil(length / 2) + 1
    kernel = np.zeros((side, side), np.float32)
    middle = side // 2
    half = (length - 1) / 2 * np.array([math.cos(angle), math.sin(angle)])
    ends = np.round((np.array([middle - half, middle + half])) * 16).astype(int)  # in sixteenths of a pixel
    cv2.line(kernel, ends[0].tolist(), ends[1].tolist(), 1.0, lineType=cv2.LINE_8, shift=4)
    kernel += kernel[::-1, ::-1]  # as far to either side: the picture stays on its mask
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101).reshape(image.shape)


def dim(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (h, w, C) alike. Evening or a dark room: shadows close (gamma 1.5 to 3), a lamp's colour lies on all, and
    the sensor is noisy in each channel. Half of the noise is coarse, as a phone leaves it."""
    height, width, channels = image.shape
    gamma, gain = rng.uniform(1.5, 3.0), rng.uniform(0.7, 1.3)
    cast = np.linspace(1, rng.uniform(0.65, 1.0), channels)
    cast = cast[::-1] if rng.random() < 0.35 else cast  # a blue hour; else a warm lamp
    curve = 255 * (np.arange(256)[:, None] / 255) ** gamma
    seen = image[::8, ::8]
    least = min(DIMMEST, 0.8 * float(seen.mean()))  # darker no camera would expose it
    gain = max(gain, least / max(1.0, float(curve[seen].mean())))
    table = curve * gain * cast
    image = cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8)[None]).reshape(image.shape)
    coarse = 2 if rng.random() < 0.5 else 1
    noise = rng.standard_normal((-(-height // coarse), -(-width // coarse), channels), np.float32)
    steps: np.ndarray = np.round(noise * rng.uniform(3, 14)).astype(np.int16)
    if coarse > 1:
        steps = np.repeat(np.repeat(steps, coarse, axis=0), coarse, axis=1)[:height, :width]
        steps = cv2.blur(steps, (2, 2)).reshape(image.shape)
    return cv2.add(image, steps, dtype=cv2.CV_8U).reshape(image.shape)


def add_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (h, w, C) alike, with one Gaussian value a pixel."""
    noise = np.round(rng.standard_normal(image.shape[:2], np.float32) * rng.uniform(2, 14)).astype(np.int16)
    return cv2.add(image, np.repeat(noise[:, :, None], image.shape[2], axis=2), dtype=cv2.CV_8U).reshape(image.shape)


def compress_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """uint8 (h, w, C), C 1 or 3, alike, as JPEG of ``quality`` 0..100 gives it back."""
    done, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"JPEG encoding of a {image.shape} image failed")
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_UNCHANGED)).reshape(image.shape)
