"""Looks at a whole data set before anything is trained on it, and tells all faults at once, with file names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from imago.core.errors import ImageError, fault_line
from imago.core.labels import IGNORE, Labels
from imago.data.dataset import LabelReader, Sample
from imago.data.detection import DetectionSample
from imago.data.formats.label_maps import UNKNOWN, UNREADABLE, colors_in
from imago.files.images import image_size, read_image

SHOWN = 8  # unknown values or colours that one line names
DRAFTED = 50_000_000  # pixels; past Pillow's own limit photos are read as they will be


def check_samples(
    samples: Sequence[Sample], labels: Labels, progress: Callable[[int, int], None] | None = None
) -> tuple[str, ...]:
    """Every fault, one line each: unreadable, other size, unknown value; and classes that no pixel has."""
    faults: list[str] = []
    seen = np.zeros(256, bool)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, (found, values) in enumerate(pool.map(lambda s: _check_one(s, labels), samples), 1):
            faults += found
            seen[values] = True
            if progress:
                progress(done, len(samples))
    empty = [name for value, name in enumerate(labels.names) if not seen[value]]
    if empty and samples:
        readable = "readable " if faults else ""
        faults.append(
            f"no pixel of any {readable}mask belongs to: {', '.join(empty)}; leave these classes out or group them"
        )
    return tuple(dict.fromkeys(faults))  # two folders of a recipe may share their photos


def _check_one(sample: Sample, labels: Labels) -> tuple[list[str], np.ndarray]:
    """Faults of one photo and the classes in its mask."""
    faults: list[str] = []
    size_hw = None
    try:
        size_hw = check_photo(sample)
    except Exception as error:  # whatever it is, it is this photo's
        faults.append(fault_line(error, sample.image_path))
    try:
        if isinstance(sample.read_label, LabelReader):
            stored = sample.read_label.read_raw()
            unknown = unknown_values(sample.read_label, stored)
            if unknown:
                faults.append(f"{sample.read_label.path}: {unknown}")
            label = sample.read_label.to_classes(stored)
        else:
            label = sample.label()
    except Exception as error:
        return [*faults, fault_line(error, sample.label_path or sample.image_path)], np.empty(0, np.int64)
    if size_hw and label.shape != tuple(size_hw):
        where = f"{sample.label_path}: mask" if sample.label_path else f"{sample.image_path}: its annotation"
        faults.append(
            f"{where} is {label.shape[0]} x {label.shape[1]} but {sample.image_path.name} is "
            f"{size_hw[0]} x {size_hw[1]} (height x width)"
        )
    values = np.nonzero(np.bincount(label.ravel(), minlength=256))[0]
    return faults, values[values < len(labels)]


def check_photo(sample: Sample | DetectionSample) -> tuple[int, int]:
    """(height, width) of the upright photo. Raises ImageError where it is not whole.

    A photo that was cut short shows only when its pixels are decoded; JPEGs are decoded at an eighth of their size,
    which takes a third of the time.
    """
    path = sample.image_path
    height, width = image_size(path)
    if height * width > DRAFTED:
        read_image(path, channels=sample.channels)
        return height, width
    try:
        with Image.open(path) as image:
            image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
    except UNREADABLE as error:
        raise ImageError(f"{path}: photo is damaged ({error}); take it out or copy it again") from error
    return height, width


def unknown_values(reader: LabelReader, stored: np.ndarray) -> str:
    """In words, which values (or colours) of a mask mean nothing; empty where all are known."""
    known = [value for value, meaning in enumerate(reader.table) if meaning != UNKNOWN]
    values = np.nonzero(np.bincount(stored.ravel(), minlength=256))[0]
    unknown = sorted({int(value) for value in values} - set(known))
    if not unknown:
        return ""
    if reader.codes is not None:
        colors = sorted((colors_in(reader.path) or set()) - reader.codes.keys())
        if colors:
            return f"holds colours that are no class: {_join_items([f'{r} {g} {b}' for r, g, b in colors])}"
    ignored = f", and {IGNORE} to ignore" if reader.table[IGNORE] == IGNORE else ""
    classes = [value for value in known if value != IGNORE or not ignored]
    return f"holds the values {_join_items(unknown)}; known are {_format_ranges(classes)}{ignored}"


def _join_items(items: Sequence[object]) -> str:
    more = len(items) - SHOWN
    return ", ".join(map(str, items[:SHOWN])) + (f" and {more} more" if more > 0 else "")


def _format_ranges(values: Sequence[int]) -> str:
    """[0, 1, 2, 7] -> "0 to 2, 7"."""
    parts: list[list[int]] = []
    for value in values:
        if parts and parts[-1][1] == value - 1:
            parts[-1][1] = value
        else:
            parts.append([value, value])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in parts)
