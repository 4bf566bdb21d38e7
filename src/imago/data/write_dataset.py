"""A data set as another folder, in whatever format: photos are put in place and handed to the format's writer one by
one, so that a set of any size is written in little memory. The folder is new, and is there whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from imago.core.errors import DataError, ImageError, fault_line
from imago.core.instances import Instances
from imago.core.labels import IGNORE
from imago.core.text import plural
from imago.data.check import check_photo
from imago.data.dataset import Dataset, Sample
from imago.data.formats.format import Annotated, Format, Losses, WriteOptions, Writer
from imago.data.read_ahead import read_ahead
from imago.data.splits import parse_split_folder
from imago.files.writing import atomic_folder, explain_failure

Photos = Literal["copy", "link"]
THREADS = 4


@dataclass
class Written:
    """What was written, what was lost, and what could not be read."""

    photos: dict[str, int]  # by split
    objects: int = 0
    losses: Losses = field(default_factory=Losses)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # photos that are left out, a line each


@dataclass(frozen=True)
class _Planned:
    split: str
    name: str
    sample: Sample


def write_dataset(
    dataset: Dataset,
    format: Format,
    folder: Path,
    *,
    photos: Photos = "copy",
    options: WriteOptions | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Written:
    """Writes ``dataset``, whose samples hold what ``format.writer.truth`` says, to the new ``folder``; splits are kept.

    ``photos``: copied, or linked (symbolic links to where they lie). A photo that cannot be read is left out and is a
    fault of what comes back. Raises DataError where the format cannot be written or needs masks that there are not, and
    ImagoError where the folder is there already.
    """
    writer = format.writer
    if writer is None:
        raise DataError(f"{format.name} can be read, not written")
    if writer.needs_masks and not dataset.has_masks:
        raise DataError(f"{dataset.root}: has boxes alone; {format.name} needs outlines or masks of the objects")
    written = Written({split: 0 for split in dataset.splits})
    plan = _plan(dataset, writer, written)
    painted = Losses()
    with atomic_folder(folder) as part:

        def prepare(planned: _Planned) -> Annotated | str:
            return _prepare(planned, writer, part, photos)

        def hand_over() -> Iterator[Annotated]:
            for planned, found in zip(plan, read_ahead(plan, prepare, THREADS), strict=True):
                progress()
                if isinstance(found, str):
                    written.faults.append(found)
                    continue
                written.photos[found.split] += 1
                if writer.truth == "label maps":
                    if planned.sample.has_instances:
                        _count_painted(planned.sample.instances(), found.label_map, painted)
                else:
                    if planned.sample.has_label_map:
                        painted.count("ignored", int((planned.sample.label_map() == IGNORE).sum()))
                    found = replace(found, instances=_without_empty(found.instances, painted))
                    written.objects += len(found.instances)
                yield found

        written.losses = writer.write(part, dataset.labels, hand_over(), options or WriteOptions())
        if not any(written.photos.values()):
            raise DataError(f"{dataset.root}: no photo could be written", tuple(written.faults))
    written.losses.counts.update(painted.counts)
    return written


def _plan(dataset: Dataset, writer: Writer, written: Written) -> list[_Planned]:
    """The photos, split by split, with names that are unique where they must be."""
    plan: list[_Planned] = []
    taken: set[str] = set()
    seen: set[Path] = set()
    renamed = twice = 0
    for split, samples in dataset.splits.items():
        for sample in samples:
            if sample.image_path in seen:
                twice += 1
                continue
            seen.add(sample.image_path)
            first, slash, rest = sample.name.partition("/")
            name = rest if slash and parse_split_folder(first) == split else sample.name
            name = name.replace("/", "_") if writer.flat else name
            place = f"{split}/" if "{split}" in writer.photo else ""
            wanted, number = name, 1
            while f"{place}{name}".casefold() in taken:
                number += 1
                name = f"{split}_{wanted}" if number == 2 and not place else f"{wanted}_{number}"
            renamed += name != wanted
            taken.add(f"{place}{name}".casefold())
            plan.append(_Planned(split, name, sample))
    if renamed:
        written.notes.append(f"{plural(renamed, 'photo')} renamed, as others have the same name")
    if twice:
        written.notes.append(f"{plural(twice, 'photo', 'stand')} in two splits and is kept in the first")
    return plan


def _prepare(planned: _Planned, writer: Writer, folder: Path, photos: Photos) -> Annotated | str:
    """The photo put in place, and its truth; or the fault why not."""
    sample = planned.sample
    file_name = f"{planned.name}{sample.image_path.suffix}"
    photo = writer.photo.format(split=planned.split, name=file_name, stem=planned.name)
    try:
        size_hw = check_photo(sample)
        truth = sample.label_map() if writer.truth == "label maps" else sample.instances()
        found_hw = truth.size_hw if isinstance(truth, Instances) else truth.shape
        if tuple(found_hw) != tuple(size_hw):
            raise ImageError(
                f"{sample.image_path}: is {size_hw[0]} x {size_hw[1]} (height x width), but was annotated on "
                f"{found_hw[0]} x {found_hw[1]}"
            )
    except Exception as error:  # whatever it is, it is this photo's
        return fault_line(error, sample.image_path)
    _place(sample.image_path, folder / photo, photos)
    if isinstance(truth, Instances):
        return Annotated(planned.split, planned.name, photo, size_hw, instances=truth)
    return Annotated(planned.split, planned.name, photo, size_hw, label_map=truth)


def _place(source: Path, target: Path, photos: Photos) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if photos == "link":
            os.symlink(source.resolve(), target)
        else:
            shutil.copyfile(source, target)
    except OSError as error:
        raise explain_failure(target, error) from error


def _without_empty(instances: Instances, losses: Losses) -> Instances:
    """Without objects that have no pixel: slivers between the pixels' centres."""
    whole = instances.areas > 0
    losses.count("empty", int((~whole).sum()))
    return instances if whole.all() else instances[whole]


def _count_painted(instances: Instances, label_map: np.ndarray, losses: Losses) -> None:
    """What a label map does not tell of its objects."""
    instances = _without_empty(instances, losses)
    times = np.zeros(instances.size_hw, np.uint16)
    classes: dict[int, np.ndarray] = {}
    counts: dict[int, int] = {}
    for index in range(len(instances)):
        where, crop = instances.region(index)
        if instances.crowd is not None and instances.crowd[index]:
            losses.count("painted crowds")
            continue
        times[where] += crop
        value = int(instances.classes[index])
        counts[value] = counts.get(value, 0) + 1
        classes.setdefault(value, np.zeros(instances.size_hw, np.uint8))[where] |= crop
    losses.count("overlaps", int(((times > 1) & (label_map != IGNORE)).sum()))
    for value, mask in classes.items():
        parts = cv2.connectedComponents(mask, connectivity=8)[0] - 1
        losses.count("merged", max(0, counts[value] - parts))
