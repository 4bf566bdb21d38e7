"""Looks at a whole data set before anything is trained on it, and tells all faults at once, with file names."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from imago.core.errors import ImageError, fault_line
from imago.core.labels import IGNORE, Labels
from imago.core.text import plural
from imago.data.dataset import Sample
from imago.data.formats.checks import UnknownValues
from imago.data.mask_pixels import UNKNOWN, UNREADABLE, LabelReader, colors_in
from imago.data.turned import needs_turn
from imago.files.arrays import SLICES
from imago.files.images import count_pages, image_size, read_image

TINY_PX = 16  # of which an object has fewer
SHOWN = 8  # unknown values or colours that one line names
DRAFTED = 50_000_000  # pixels; past Pillow's own limit photos are read as they will be


@dataclass(frozen=True)
class CheckReport:
    """What is in the photos. Counts of objects are 0 where there are label maps, those of pixels where there are
    objects."""

    photos: int
    empty: int  # photos without an object, or with no pixel but the first class's
    crowds: int  # regions that are marked as crowd or difficult; counted nowhere else
    objects: np.ndarray  # int64 (classes,): objects a class; the background's 0 first
    pixels: np.ndarray  # int64 (classes,): pixels a class
    ignored: int = 0  # pixels of label maps that count for nothing
    # int64 (classes,): photos that show a class
    images: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    shown: tuple[frozenset[int], ...] = ()  # of each photo: the classes in it
    sizes_hw: tuple[tuple[int, int], ...] = ()  # of the photos that could be read
    faults: tuple[str, ...] = field(default=())
    damaged: frozenset[Path] = frozenset()  # photos that have a fault
    tiny: str = ""  # a line on objects of a few pixels
    unseen: tuple[str, ...] = ()  # where there are label maps: classes that no pixel has


def pick_shown(samples: Sequence[Sample], checked: CheckReport, count: int) -> list[Sample]:
    """Up to ``count`` of the samples that were checked, without faulty ones, in their order: first those that show
    classes that no other has shown yet, then evenly from first to last."""
    whole = [i for i, sample in enumerate(samples) if sample.image_path not in checked.damaged]
    chosen: list[int] = []
    seen: set[int] = set()
    while whole and len(chosen) < count:
        best = max(whole, key=lambda i: len(checked.shown[i] - seen))
        if not checked.shown[best] - seen:
            break
        chosen.append(best)
        seen |= checked.shown[best]
    rest = [i for i in whole if i not in chosen]
    step = max(1.0, len(rest) / max(1, count - len(chosen)))
    chosen += [rest[int(k * step)] for k in range(count - len(chosen)) if int(k * step) < len(rest)]
    return [samples[i] for i in sorted(chosen)]


def unseen_fault(names: Sequence[str], faulty: bool) -> str:
    """A line on classes that no pixel has, "" where there are none; ``faulty``: some masks could not be read."""
    if not names:
        return ""
    readable = "readable " if faulty else ""
    return (
        f"no pixel of any {readable}mask belongs to: {', '.join(names)}; leave these classes out of the list, or group "
        "them (--group)"
    )


@dataclass
class _Seen:
    """What was found in one photo."""

    faults: list[str]
    objects: np.ndarray
    pixels: np.ndarray
    crowds: int = 0
    ignored: int = 0
    empty: bool = False
    tiny: tuple[str, ...] = ()  # objects of a few pixels
    size_hw: tuple[int, int] | None = None


def check_samples(
    samples: Sequence[Sample], labels: Labels, progress: Callable[[int, int], None] | None = None
) -> CheckReport:
    """Reads all, label maps where there are any, else objects. Every fault is one line: photos that are damaged, photos
    of another size than their annotation, unknown values, outlines and masks that cannot be read or are empty, classes
    out of range. Classes of label maps that no pixel has are told apart from them: whether that is a fault the caller
    knows."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        every = []
        for done, seen in enumerate(pool.map(lambda sample: _check_one(sample, labels), samples), 1):
            every.append(seen)
            if progress:
                progress(done, len(samples))
    none = np.zeros(len(labels), np.int64)
    pixels = sum((seen.pixels for seen in every), none)
    are_maps = any(sample.has_label_map for sample in samples)
    # Two folders of a recipe may share their photos, so a fault may be found twice.
    return CheckReport(
        photos=len(samples),
        empty=sum(seen.empty for seen in every),
        crowds=sum(seen.crowds for seen in every),
        objects=sum((seen.objects for seen in every), none),
        pixels=pixels,
        ignored=sum(seen.ignored for seen in every),
        images=sum(((seen.objects > 0) | (seen.pixels > 0) for seen in every), none),
        shown=tuple(frozenset(np.flatnonzero(seen.objects + seen.pixels).tolist()) for seen in every),
        sizes_hw=tuple(seen.size_hw for seen in every if seen.size_hw),
        faults=tuple(dict.fromkeys(fault for seen in every for fault in seen.faults)),
        tiny=_tell_tiny([line for seen in every for line in seen.tiny]),
        damaged=frozenset(sample.image_path for sample, seen in zip(samples, every, strict=True) if seen.faults),
        unseen=tuple(name for value, name in enumerate(labels.names) if are_maps and not pixels[value]),
    )


def _tell_tiny(lines: Sequence[str]) -> str:
    return f"{plural(len(lines), 'object', 'have')} fewer than {TINY_PX} pixels, the first: {lines[0]}" if lines else ""


def _check_one(sample: Sample, labels: Labels) -> _Seen:
    """Faults of one photo and the classes in it."""
    seen = _Seen([], np.zeros(len(labels), np.int64), np.zeros(len(labels), np.int64))
    size_hw = None
    try:
        size_hw = seen.size_hw = check_photo(sample)
    except Exception as error:  # whatever it is, it is this photo's
        seen.faults.append(fault_line(error, sample.image_path))
    try:
        if sample.has_label_map:
            _check_label_map(sample, size_hw, seen, labels.background)
        elif sample.read_panoptic is not None:
            _check_segments(sample, size_hw, seen)
        else:
            _check_instances(sample, size_hw, seen)
    except Exception as error:
        line = fault_line(error, sample.label_path or sample.image_path)
        seen.faults += [] if line in seen.faults else [line]
    return seen


def _check_label_map(sample: Sample, size_hw: tuple[int, int] | None, seen: _Seen, background: int | None) -> None:
    reader = sample.read_label_map
    if isinstance(reader, LabelReader):
        stored = reader.read_raw()
        unknown = unknown_values(reader, stored)
        if unknown:
            seen.faults.append(UnknownValues(f"{reader.path}: {unknown}"))
        label = reader.to_classes(stored)
    else:
        label = sample.label_map()
    if size_hw and label.shape != tuple(size_hw):
        where = f"{sample.label_path}: mask" if sample.label_path else f"{sample.image_path}: its annotation"
        seen.faults.append(
            f"{where} is {label.shape[0]} x {label.shape[1]} but {sample.image_path.name} is "
            f"{size_hw[0]} x {size_hw[1]} (height x width){_tell_turn(sample, label.shape)}"
        )
    counts = np.bincount(label.ravel(), minlength=256)
    seen.pixels, seen.ignored = counts[: len(seen.pixels)], int(counts[IGNORE])
    others = [value for value in range(len(seen.pixels)) if value != background]
    seen.empty = not seen.pixels[others].any()


def _check_segments(sample: Sample, size_hw: tuple[int, int] | None, seen: _Seen) -> None:
    found = sample.panoptic()
    if size_hw and found.size_hw != tuple(size_hw):
        seen.faults.append(
            f"{sample.label_path}: is {found.size_hw[0]} x {found.size_hw[1]} but {sample.image_path.name} is "
            f"{size_hw[0]} x {size_hw[1]} (height x width)"
        )
    values = [segment.value for segment in found.segments if not segment.crowd]
    seen.objects = np.bincount(np.array(values, np.int64), minlength=len(seen.objects))
    seen.crowds, seen.empty = len(found.segments) - len(values), not found.segments


def _check_instances(sample: Sample, size_hw: tuple[int, int] | None, seen: _Seen) -> None:
    instances, classes = sample.instances(), len(seen.objects)
    if size_hw and instances.size_hw != tuple(size_hw):
        seen.faults.append(
            f"{sample.image_path}: is {size_hw[0]} x {size_hw[1]} (height x width), but its objects were annotated on "
            f"{instances.size_hw[0]} x {instances.size_hw[1]}{_tell_turn(sample, instances.size_hw)}"
        )
    wrong = (instances.classes < 1) | (instances.classes >= classes)
    if wrong.any():
        seen.faults.append(
            f"{sample.image_path}: class {instances.classes[wrong][0]} is out of range 1 to {classes - 1}"
        )
    for index in np.flatnonzero(instances.areas <= 0):
        box = " ".join(f"{v:g}" for v in instances.boxes[index])
        seen.faults.append(
            f"{sample.image_path}: object {index + 1} (box {box}) has no pixel; take it away or outline it"
        )
    crowd = np.zeros(len(instances), bool) if instances.crowd is None else instances.crowd
    tiny = np.flatnonzero((instances.areas > 0) & (instances.areas < TINY_PX) & ~crowd)
    seen.tiny = tuple(f"{sample.image_path}, object {index + 1}" for index in tiny)
    seen.objects = np.bincount(instances.classes[~crowd & ~wrong], minlength=classes)
    seen.crowds, seen.empty = int(crowd.sum()), not len(instances)


def _tell_turn(sample: Sample, found_hw: tuple[int, ...]) -> str:
    turned = needs_turn(sample, found_hw)
    return "; EXIF turns the photo, and its annotation was not turned: imago data check --fix DIR" if turned else ""


def check_photo(sample: Sample) -> tuple[int, int]:
    """(height, width) of the upright photo. Raises ImageError where it is not whole.

    A photo that was cut short shows only when its pixels are decoded; JPEGs are decoded at an eighth of their size,
    which takes a third of the time.
    """
    path = sample.image_path
    height, width = image_size(path)
    suffix = path.suffix.lower()
    if suffix in SLICES and (count := count_pages(path)) > 1:
        raise ImageError(f"{path}: has {count} slices; a photo of a data set is one picture, so store each by itself")
    if height * width > DRAFTED or sample.channels not in (1, 3) or suffix in (".tif", ".tiff", *SLICES):
        read_image(path, channels=sample.channels)  # bands are counted too
        return height, width
    try:
        with Image.open(path) as image:
            image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
    except UNREADABLE as error:
        raise ImageError(f"{path}: photo is damaged ({error}); take it out or copy it again") from error
    return height, width


def unknown_values(reader: LabelReader, stored: np.ndarray) -> str:
    """In words, which values (or colours) of a mask, integer (H, W), mean nothing; empty where all are known."""
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
