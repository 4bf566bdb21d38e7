"""Augmentation that moves image and mask together. NumPy and OpenCV; the same seed gives the same picture.

The order: choose a window of the photo (scale, place, aspect, flip) -> bring it to the network's frame -> rotate ->
another background -> a second subject -> light and colour -> blur -> grain -> JPEG.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from imago.core.labels import IGNORE
from imago.core.spec import resize_image


def how_far(default: float, help: str) -> float:
    """A field with its remark, which is also its help text on the command line."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Augmentation:
    """How far the training photos are changed. Everything at 0 leaves only the resize to the frame."""

    flip: float = how_far(0.5, "Share of photos mirrored left to right.")
    zoom_min: float = how_far(0.7, "Window's side relative to the photo's; below 1 zooms in.")
    zoom_max: float = how_far(1.25, "Above 1 shows the photo smaller, with its border repeated.")
    focus: float = how_far(0.5, "Share of windows that are laid around a point of the subject (any class but 0).")
    close_up: float = how_far(
        0.0, "Share of windows that zoom in on a part of the subject, down to a fifth of the photo."
    )
    stretch: float = how_far(0.15, "Largest change of aspect, as a share.")
    rotate_deg: float = how_far(10.0, "Largest turn to either side, in degrees.")
    colour: float = how_far(0.3, "Strength of brightness, contrast, saturation and tint, 0 to 1.")
    grey: float = how_far(0.05, "Share of photos without colour.")
    blur: float = how_far(0.15, "Share of photos blurred.")
    grain: float = how_far(0.15, "Share of photos with noise.")
    jpeg: float = how_far(0.2, "Share of photos with JPEG artefacts.")
    background: float = how_far(
        0.0, "Share of photos whose background is replaced (cut-out models: class 0 is background)."
    )
    second: float = how_far(0.0, "Share of photos that get another photo's subject pasted in.")
    border_px: float = how_far(
        0.0, "Width of the band along outlines that counts --border-weight, in pixels of the frame."
    )
    border_weight: float = how_far(1.0, "What a pixel along an outline counts (below 1 where outlines are sloppy).")

    def __post_init__(self) -> None:
        if not 0 < self.zoom_min <= self.zoom_max:
            raise ValueError(f"zoom must satisfy 0 < zoom_min <= zoom_max; got {self.zoom_min} and {self.zoom_max}")
        if self.zoom_max > 10:
            raise ValueError(f"zoom_max is at most 10 (the photo a tenth of the window); got {self.zoom_max}")
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} lies from 0 to 1; got {getattr(self, name)}")
        if not 0 <= self.rotate_deg <= 180:
            raise ValueError(f"rotate_deg lies from 0 to 180; got {self.rotate_deg}")
        for name in ("border_px", "border_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more; got {getattr(self, name)}")


SHARES = ("flip", "focus", "close_up", "stretch", "colour", "grey", "blur", "grain", "jpeg", "background", "second")
CLOSEST = 1 / 5  # the closest close-up's side relative to the photo's

NO_AUGMENTATION = Augmentation(
    flip=0, zoom_min=1, zoom_max=1, focus=0, stretch=0, rotate_deg=0, colour=0, grey=0, blur=0, grain=0, jpeg=0
)

Pair = tuple[np.ndarray, np.ndarray]  # image uint8 (H, W, C), label uint8 (H, W)


def augment(
    image: np.ndarray,
    label: np.ndarray,
    frame_hw: tuple[int, int],
    how: Augmentation,
    rng: np.random.Generator,
    others: list[Pair] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One training picture: image uint8 (h, w, C), label uint8 (h, w), weight float32 (h, w).

    ``others`` are further photos (image, label), for backgrounds and second subjects.
    """
    image, label = _window(image, label, frame_hw, how, rng)
    if how.rotate_deg:
        image, label = _rotate(image, label, rng.uniform(-how.rotate_deg, how.rotate_deg))
    if others and rng.random() < how.background:
        image, label = _replace_background(image, label, others, rng)
    if others and rng.random() < how.second:
        image, label = _paste_second(image, label, others, how, rng)
    image = _light(image, how, rng)
    if rng.random() < how.blur:
        image = _blur(image, rng)
    if rng.random() < how.grain:
        image = _grain(image, rng)
    if rng.random() < how.jpeg and image.shape[2] in (1, 3):
        image = _jpeg(image, int(rng.integers(30, 90)))
    return np.ascontiguousarray(image), label, border_weights(label, how.border_px, how.border_weight)


def border_weights(label: np.ndarray, width_px: float, weight: float) -> np.ndarray:
    """float32 (h, w): ``weight`` within ``width_px`` of an outline, 1 elsewhere."""
    weights = np.ones(label.shape, np.float32)
    if width_px > 0 and weight != 1:
        side = 2 * max(1, round(width_px)) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        weights[cv2.dilate(label, kernel) != cv2.erode(label, kernel)] = weight
    return weights


def _window(
    image: np.ndarray, label: np.ndarray, frame_hw: tuple[int, int], how: Augmentation, rng: np.random.Generator
) -> Pair:
    height, width = label.shape
    if how.close_up and rng.random() < how.close_up:
        zoom = math.exp(rng.uniform(math.log(CLOSEST), math.log(max(how.zoom_min, CLOSEST))))
        focused, top = True, rng.random() < 0.6  # heads are at the top of what stands upright
    else:
        zoom = math.exp(rng.uniform(math.log(how.zoom_min), math.log(how.zoom_max)))
        focused, top = rng.random() < how.focus, False
    # A window with the frame's aspect that would cover the photo at zoom 1, stretched a little.
    aspect = frame_hw[1] / frame_hw[0] * math.exp(rng.uniform(-how.stretch, how.stretch))
    window_h = max(height, width / aspect) * zoom if zoom >= 1 else math.sqrt(height * width / aspect) * zoom
    if zoom == 1 and not how.stretch:  # nothing but the resize was asked for
        window_h, window_w = float(height), float(width)
    else:
        window_w = window_h * aspect
    y, x = _place(label, (window_h, window_w), focused, top, rng)
    for _ in range(2):  # a window of nothing but cloth teaches nothing: look for one with an outline
        inner = label[max(0, int(y)) : int(y + window_h) : 8, max(0, int(x)) : int(x + window_w) : 8]
        if not focused or not inner.size or 0.02 < np.count_nonzero(inner) / inner.size < 0.93:
            break
        y, x = _place(label, (window_h, window_w), focused, top, rng)
    flip = rng.random() < how.flip
    return cut_window(image, label, (y, x, window_h, window_w), frame_hw, flip)


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


def cut_window(
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


def _rotate(image: np.ndarray, label: np.ndarray, angle_deg: float) -> Pair:
    height, width = label.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, 1.0)
    turned = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    turned_label = cv2.warpAffine(
        label, matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101
    )
    return (turned[:, :, None] if turned.ndim == 2 else turned), turned_label


def blend(front: np.ndarray, back: np.ndarray, label: np.ndarray, softness_px: float) -> np.ndarray:
    """uint8 (h, w, C): ``front`` where ``label`` is any class but 0, with an edge about ``softness_px`` wide."""
    mask = cv2.GaussianBlur((label > 0).astype(np.float32), (0, 0), softness_px)
    return cv2.blendLinear(front, back, mask, 1 - mask).reshape(front.shape)


def _replace_background(image: np.ndarray, label: np.ndarray, others: list[Pair], rng: np.random.Generator) -> Pair:
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


def _paste_second(
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


def _light(image: np.ndarray, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
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


def _blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 2.0)).reshape(image.shape)


def _grain(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = np.round(rng.standard_normal(image.shape[:2], np.float32) * rng.uniform(2, 14)).astype(np.int16)
    return cv2.add(image, np.repeat(noise[:, :, None], image.shape[2], axis=2), dtype=cv2.CV_8U).reshape(image.shape)


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    done, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"JPEG encoding of a {image.shape} image failed")
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_UNCHANGED)).reshape(image.shape)
