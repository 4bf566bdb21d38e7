"""Cellpose: ``NAME.png`` with ``NAME_masks.png`` or ``NAME_cp_masks.png`` beside it, every value an object; or its own
``NAME_seg.npy`` of the same.

What a person made (``_masks``, then ``_seg.npy``) counts before what Cellpose found (``_cp_masks``). ``_seg.npy`` is a
pickle: of it only NumPy's arrays, texts and numbers are made, and nothing else in it is run.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from imago.core.errors import DataError, ImageError
from imago.core.instances import Instances, masks_to_boxes
from imago.core.text import plural
from imago.data.dataset import Dataset, Sample
from imago.data.formats.checks import instance_labels
from imago.data.formats.format import Format, Found, ReadOptions, Truth
from imago.data.formats.label_images import CLASS, LabelImageReader, split_label_image
from imago.data.splits import find_splits
from imago.files.clutter import glob_files
from imago.files.images import SUFFIXES

# The best first.
_TAILS = ("_masks.png", "_masks.tif", "_masks.tiff", "_seg.npy", "_cp_masks.png", "_cp_masks.tif", "_cp_masks.tiff")
_SURE = ("_seg.npy", "_cp_masks.png", "_cp_masks.tif", "_cp_masks.tiff")
_FLAT = ("_flows", "_cp_output", "_outlines")  # other files that Cellpose leaves there
# What NumPy's own pickles of arrays are made with, in NumPy 1 and 2.
_HARMLESS = {
    ("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"), ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"), ("_codecs", "encode"), ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
}  # fmt: skip


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no array")
        return super().find_class(module, name)


def read_seg(path: Path) -> np.ndarray:
    """Whole numbers (H, W): the masks in a ``_seg.npy``. Raises ImageError."""
    try:
        stream = io.BytesIO(path.read_bytes())
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(stream)
        content = _ArraysOnly(stream).load() if dtype.hasobject and shape == () else None
        masks = np.asarray((content.item() if isinstance(content, np.ndarray) else content)["masks"])  # type: ignore[index]
    except FileNotFoundError as error:
        raise ImageError(f"{path}: label image is missing") from error
    except (OSError, pickle.UnpicklingError, ValueError, KeyError, TypeError, IndexError, AttributeError, EOFError,
            ImportError, MemoryError, OverflowError) as error:  # fmt: skip
        raise ImageError(f"{path}: cannot be read as Cellpose's masks ({error}); save them as PNG there") from error
    masks = masks[0] if masks.ndim == 3 and len(masks) == 1 else masks
    if masks.ndim != 2 or masks.dtype.kind not in "iu" or masks.size == 0 or masks.min() < 0:
        raise ImageError(f"{path}: its masks are {masks.dtype} of shape {masks.shape}; expected whole numbers, 2-D")
    return masks


@dataclass(frozen=True)
class ReadSeg:
    """Reads one photo's objects out of a ``_seg.npy``."""

    path: Path

    def __call__(self) -> Instances:
        label = read_seg(self.path)
        masks = [mask for _, mask in split_label_image(label)]
        return Instances.make(label.shape, masks_to_boxes(masks), [1] * len(masks), cropped=masks)


def recognize(root: Path) -> tuple[Truth, ...]:
    if not root.is_dir():
        return ()
    if any(next(glob_files(root, f"**/*{tail}"), None) for tail in _SURE):
        return ("objects",) if _find_masks(root) else ()
    return ()


def _find_masks(root: Path) -> dict[str, Path]:
    """Name -> the best file of its masks."""
    found: dict[str, Path] = {}
    for tail in _TAILS:
        for path in glob_files(root, f"**/*{tail}"):
            if tail.startswith("_masks") and path.name.endswith(f"_cp{tail}"):
                continue
            found.setdefault(path.relative_to(root).as_posix().removesuffix(tail), path)
    return found


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The objects, all of one class, and the faults."""
    masks = _find_masks(root)
    photos: dict[str, Path] = {}
    for path in glob_files(root, "**/*"):
        name = path.relative_to(root).with_suffix("").as_posix()
        ours = path in masks.values() or any(path.name.endswith(tail) for tail in _TAILS) or name.endswith(_FLAT)
        if path.suffix.lower() in SUFFIXES and not ours:
            photos.setdefault(name, path)
    names = sorted(photos.keys() & masks.keys())
    if not names:
        raise DataError(f"{root}: no photo beside {plural(len(masks), 'file')} of masks; expected {FORMAT.layout}")
    faults = [f"{photos[n]}: no masks {n}_masks.png or {n}_seg.npy" for n in sorted(photos.keys() - masks.keys())]
    faults += [f"{masks[n]}: no photo {n}.*" for n in sorted(masks.keys() - photos.keys())]
    divided = find_splits(root, names)
    samples = {
        name: Sample(name, photos[name], options.channels, read_instances=_reader(masks[name])) for name in names
    }
    splits = {split: tuple(samples[name] for name in members) for split, members in divided.members.items()}
    machine = sum("_cp_masks" in masks[name].name for name in names)
    notes = (f"{plural(machine, 'photo', 'have')} Cellpose's own masks, which nobody corrected",) if machine else ()
    return Dataset(root, instance_labels([CLASS], root), splits, (*notes, *divided.notes)), (*faults, *divided.faults)


def _reader(path: Path) -> LabelImageReader | ReadSeg:
    return ReadSeg(path) if path.suffix == ".npy" else LabelImageReader(path)


FORMAT = Format(
    name="Cellpose",
    layout="Cellpose's NAME_masks.png, NAME_cp_masks.png or NAME_seg.npy beside NAME.png",
    recognize=recognize,
    read_objects=read_objects,
    excludes_maps=True,
    cannot_hold="classes (there is one), objects that overlap, crowd regions",
)
