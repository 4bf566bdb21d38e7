"""What is in a data set, in numbers: classes, sizes of photos and objects, colours, which classes are seen together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from imago.core.bands import to_rgb
from imago.core.errors import ImagoError
from imago.core.labels import IGNORE
from imago.data.dataset import Dataset, Sample
from imago.data.read_ahead import read_ahead

SIDE = 128  # pixels of the longer side, at which colours are measured
THREADS = 4
Color = tuple[float, float, float]


@dataclass(frozen=True)
class DatasetStats:
    """Of the photos that could be read. C classes, N photos, K objects (0 where there are label maps)."""

    sizes_hw: np.ndarray  # int64 (N, 2)
    shown: np.ndarray  # bool (N, C): the classes in each photo
    pixels: np.ndarray  # float64 (C,): mean share of the photos, 0..1
    objects: np.ndarray  # int64 (C,)
    shares: np.ndarray  # float64 (K,): of the photo that each object fills, 0..1; crowd regions left out
    classes: np.ndarray  # int64 (K,): of the objects
    colors: np.ndarray  # float64 (N, 3): mean RGB of each photo, 0..255
    class_colors: np.ndarray  # float64 (C, 3): mean RGB of the pixels of each class; nan where there are none
    faults: tuple[str, ...]  # photos that could not be read

    @property
    def together(self) -> np.ndarray:
        """float64 (C, C): of the photos that show the class of the row, the share that shows that of the column; nan
        where there are none."""
        both = self.shown.T.astype(np.float64) @ self.shown
        with np.errstate(invalid="ignore"):
            return np.asarray(both / self.shown.sum(axis=0)[:, None])


@dataclass(frozen=True)
class _Photo:
    size_hw: tuple[int, int]
    pixels: np.ndarray  # float64 (C,): shares
    shares: np.ndarray
    classes: np.ndarray
    color: np.ndarray  # float64 (3,)
    sums: np.ndarray  # float64 (C, 4): sums of R, G, B and the pixels, in the small photo


def measure_dataset(dataset: Dataset, progress: Callable[[], None] = lambda: None) -> DatasetStats:
    """Reads every photo and its annotation."""
    count = len(dataset.labels)

    def read(sample: Sample) -> _Photo | str:
        try:
            return _measure(sample, count)
        except (ImagoError, ValueError) as error:
            return str(error)

    photos: list[_Photo] = []
    faults = []
    for found in read_ahead(dataset.split("all"), read, THREADS):
        progress()
        if isinstance(found, str):
            faults.append(found)
        else:
            photos.append(found)
    classes = np.concatenate([np.zeros(0, np.int64), *(one.classes for one in photos)])
    sums = np.sum([np.zeros((count, 4)), *(one.sums for one in photos)], axis=0)
    pixels = np.array([one.pixels for one in photos]).reshape(len(photos), count)
    with np.errstate(invalid="ignore"):
        class_colors = sums[:, :3] / sums[:, 3:]
    return DatasetStats(
        sizes_hw=np.array([one.size_hw for one in photos], np.int64).reshape(-1, 2),
        shown=pixels > 0,
        pixels=pixels.mean(axis=0) if len(photos) else np.zeros(count),
        objects=np.bincount(classes, minlength=count),
        shares=np.concatenate([np.zeros(0), *(one.shares for one in photos)]),
        classes=classes,
        colors=np.array([one.color for one in photos]).reshape(-1, 3),
        class_colors=class_colors,
        faults=tuple(faults),
    )


def _measure(sample: Sample, count: int) -> _Photo:
    image = to_rgb(sample.image())
    height, width = image.shape[:2]
    ratio = min(1.0, SIDE / max(height, width))
    size_wh = max(1, round(width * ratio)), max(1, round(height * ratio))
    small = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.float64)
    shares, classes = np.zeros(0), np.zeros(0, np.int64)
    if sample.has_label_map:
        label = sample.label_map()
        counts = np.bincount(label[label != IGNORE].ravel(), minlength=count)[:count]
        pixels = counts.astype(np.float64) / label.size
    else:
        found = sample.instances()
        found = found if found.crowd is None else found[~found.crowd]
        shares, classes = found.areas / (height * width), found.classes
        pixels = np.bincount(classes, weights=shares, minlength=count)[:count].astype(np.float64)
        label = np.zeros((height, width), np.uint16)
        for index in np.argsort(-found.areas, kind="stable"):
            where, crop = found.region(int(index))
            label[where][crop] = found.classes[index]
    flat = cv2.resize(label, size_wh, interpolation=cv2.INTER_NEAREST).ravel()
    known = flat < count
    columns = [np.bincount(flat[known], weights=small[known, band], minlength=count) for band in range(3)]
    sums = np.stack([*columns, np.bincount(flat[known], minlength=count)], axis=1)
    return _Photo((height, width), pixels, shares, classes, small.mean(axis=0), sums)
