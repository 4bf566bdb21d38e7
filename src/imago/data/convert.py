"""Label maps of objects, and objects of label maps: what a format does not hold is made of what it does.

**Painted.** The largest object first, so that of two in one place the smaller stays on top. Crowd regions, and objects
below ``min_area`` of the photo, count for nothing, together with what is smaller and lies in them: they are "ignore".

**Regions.** ``whole``: all pixels of a class are one object (a garment on a bed). ``parts``: each connected part is one
(cats apart from each other); parts smaller than ``LEAST_PART`` of the largest of their class, a paw behind a leaf, are
crowd regions: neither object nor background. Objects that touch cannot be told apart so; leave such photos out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import cv2
import numpy as np

from imago.core.errors import DataError
from imago.core.instances import CroppedMask, Instances, masks_to_boxes
from imago.core.labels import IGNORE, Labels
from imago.core.text import plural
from imago.data.dataset import Dataset, Sample
from imago.data.formats.checks import instance_labels
from imago.data.grouping import BACKGROUND, DROPPED, Grouping, unannotated
from imago.data.mask_pixels import UNKNOWN, LabelReader


@runtime_checkable
class StatesAreas(Protocol):
    """A reader that knows how large its objects are without drawing them: COCO's."""

    def area_shares(self) -> tuple[np.ndarray, np.ndarray] | None:
        """float64 (K,), shares of the photo, and bool (K,), crowd regions; None where the file does not say."""
        ...


@runtime_checkable
class StatesOrder(Protocol):
    """A reader that knows which objects lie over which: CVAT's z-order."""

    def paint_order(self) -> np.ndarray | None:
        """int (K,): layers, the higher ones over the lower; None where there is one."""
        ...


@dataclass(frozen=True)
class PaintReader:
    """Reads one photo's objects as a label map."""

    read: Callable[[], Instances]
    table: tuple[int, ...]  # class -> value of the label map
    min_area: float = 0.0

    def __call__(self) -> np.ndarray:
        stated = self.read.area_shares() if isinstance(self.read, StatesAreas) else None
        sizes = None if stated is None else stated[0]
        layers = self.read.paint_order() if isinstance(self.read, StatesOrder) else None
        return paint_label_map(self.read(), np.array(self.table, np.uint8), self.min_area, sizes, layers)


def paint_label_map(
    instances: Instances,
    table: np.ndarray,
    min_area: float = 0.0,
    sizes: np.ndarray | None = None,
    layers: np.ndarray | None = None,
) -> np.ndarray:
    """uint8 (H, W): ``table[class]`` where an object is, 0 where none is; IGNORE for crowd regions and for objects that
    are smaller than ``min_area`` (0..1) of the photo, but not where a larger object lies over them.

    ``sizes``: float (K,), which of two objects is the larger one; by default their pixels. ``layers``: int (K,), the
    higher ones lie over the lower, whatever their size.
    """
    label = np.zeros(instances.size_hw, np.uint8)
    ignored = np.zeros(instances.size_hw, bool)
    none = instances.areas < min_area * label.size
    if instances.crowd is not None:
        none |= instances.crowd
    sizes = instances.areas if sizes is None else sizes
    rising = np.argsort(sizes, kind="stable") if layers is None else np.lexsort((sizes, -layers))
    for index in rising[::-1]:  # the small on top
        if not none[index]:
            where, crop = instances.region(index)
            label[where][crop] = table[instances.classes[index]]
    for index in rising:
        where, crop = instances.region(index)
        ignored[where][crop] = none[index]
    label[ignored] = IGNORE
    return label


def paint_dataset(dataset: Dataset, grouping: Grouping | None = None, min_area: float = 0.0) -> Dataset:
    """The same photos with label maps painted from their objects, in groups where there are any. Photos whose objects
    are all smaller than ``min_area`` are left out: what they are of is not among them. Raises DataError."""
    if not dataset.has_masks:
        raise DataError(f"{dataset.root}: has boxes alone; a label map needs polygons or masks of the objects")
    labels = Labels(dataset.labels.names) if len(dataset.labels) <= UNKNOWN else dataset.labels
    if grouping is not None:
        table, labels = grouping.table(labels), grouping.labels()
    elif len(labels) > UNKNOWN:
        raise DataError(f"{dataset.root}: {plural(len(labels), 'class')}; a label map holds {UNKNOWN}: group them")
    else:
        table = np.arange(len(labels))
    values = tuple(int(value) for value in table[: len(dataset.labels)])
    kept = {split: tuple(s for s in found if _has_large(s, min_area)) for split, found in dataset.splits.items()}
    painted = replace(dataset, labels=labels, splits=kept)
    notes = ["label maps are painted from objects: where two overlap the smaller is on top, crowd regions are ignored"]
    if min_area:
        count = len(dataset.split("all")) - len(painted.split("all"))
        notes.append(
            f"objects below {min_area:.1%} of the photo are ignored; "
            f"{plural(count, 'photo', 'have')} no other, left out"
        )

    def paint(split: str, sample: Sample) -> Sample:
        read = sample.read_instances or sample.instances  # the latter says what is missing
        return replace(sample, read_label_map=PaintReader(read, values, min_area))

    return replace(painted, splits=painted.map_samples(paint), notes=(*dataset.notes, *notes))


def _has_large(sample: Sample, min_area: float) -> bool:
    """Whether an object reaches ``min_area`` of the photo, or there is none at all."""
    if not min_area:
        return True
    stated = sample.read_instances.area_shares() if isinstance(sample.read_instances, StatesAreas) else None
    if stated is None:
        instances = sample.instances()
        shares = instances.areas / (instances.size_hw[0] * instances.size_hw[1])
        stated = shares, np.zeros(len(shares), bool) if instances.crowd is None else instances.crowd
    shares, crowd = stated
    return not len(shares) or bool((~crowd & (shares >= min_area)).any())


def group_label_maps(dataset: Dataset, grouping: Grouping) -> Dataset:
    """The same mask files with the groups as classes. Raises DataError for labels that there are not."""
    groups = grouping.table(dataset.labels)

    def regroup_one(split: str, sample: Sample) -> Sample:
        reader = sample.read_label_map
        assert isinstance(reader, LabelReader)
        table = tuple(value if value in (IGNORE, UNKNOWN) else int(groups[value]) for value in reader.table)
        return replace(sample, read_label_map=replace(reader, table=table))

    return replace(dataset, labels=grouping.labels(), splits=dataset.map_samples(regroup_one))


def order_two(dataset: Dataset) -> Dataset:
    """Of two classes the background comes first: the second is what a model of one soft mask finds."""
    labels = dataset.labels
    if len(labels) != 2 or labels.background != 1:
        return dataset
    (first, second), colors = labels.names, labels.colors

    def swap(split: str, sample: Sample) -> Sample:
        reader = sample.read_label_map
        if isinstance(reader, LabelReader):
            table = tuple(1 - value if value < 2 else value for value in reader.table)
            return replace(sample, read_label_map=replace(reader, table=table))
        return replace(sample, read_label_map=SwapReader(sample.label_map))

    turned = Labels((second, first), (colors[1], colors[0]), labels.ignore, background=0)
    note = f"{second!r} is background and becomes value 0, {first!r} value 1"
    return replace(dataset, labels=turned, splits=dataset.map_samples(swap), notes=(*dataset.notes, note))


@dataclass(frozen=True)
class SwapReader:
    """Reads a label map of two classes with its values exchanged."""

    read: Callable[[], np.ndarray]

    def __call__(self) -> np.ndarray:
        label = self.read()
        return np.where(label < 2, 1 - label, label).astype(np.uint8)


How = Literal["whole", "parts"]
LEAST_PART = 0.1  # of the largest part's pixels


@dataclass(frozen=True)
class RegionReader:
    """Reads one photo's label map as objects. ``table``: value of the label map -> class, 0 for none."""

    sample: Sample
    table: tuple[int, ...]
    how: How
    crowd: tuple[int, ...]  # classes that an ignored part is a crowd of, as in group_instances
    least_part: float = LEAST_PART

    def __call__(self) -> Instances:
        label = self.sample.label_map()
        masks: list[CroppedMask] = []
        classes: list[int] = []
        crowd: list[bool] = []
        for value, kind in enumerate(self.table):
            if kind == DROPPED:
                continue
            for mask, is_small in regions(label == value, self.how, self.least_part):
                masks.append(mask)
                classes.append(kind)
                crowd.append(is_small)
        for mask, _ in regions(label == IGNORE, "parts"):
            masks += [mask] * len(self.crowd)
            classes += self.crowd
            crowd += [True] * len(self.crowd)
        return Instances.make(label.shape, masks_to_boxes(masks), classes, cropped=masks, crowd=crowd)


def regions(mask: np.ndarray, how: How, least_part: float = LEAST_PART) -> list[tuple[CroppedMask, bool]]:
    """bool (H, W) -> its objects, and whether each is too small to count as one."""
    if not mask.any():
        return []
    if how == "whole":
        return [(CroppedMask.from_mask(mask), False)]
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    found = []
    for number, area in enumerate(areas, 1):
        left, top, width, height = (int(v) for v in stats[number, :4])
        crop = numbers[top : top + height, left : left + width] == number
        found.append((CroppedMask.from_mask(crop, left, top), bool(area < least_part * areas.max())))
    return found


def read_regions(dataset: Dataset, grouping: Grouping, labels: Labels, how: How) -> Dataset:
    """``dataset`` was opened with ``grouping``; its groups but ``background`` are classes of ``labels``."""
    table = tuple(DROPPED if name == BACKGROUND else labels.names.index(name) for name in dataset.labels.names)
    missing = unannotated(grouping, labels)
    every = tuple(range(1, len(labels)))

    def to_instances(split: str, sample: Sample) -> Sample:
        reader = RegionReader(sample, table, how, every[:1] if split == "train" else every)
        return Sample(sample.name, sample.image_path, sample.channels, read_instances=reader, unannotated=missing)

    what = "each class of a photo" if how == "whole" else "each connected part"
    notes = (*dataset.notes, f"{what} is an object")
    return replace(dataset, labels=labels, splits=dataset.map_samples(to_instances), notes=notes, has_masks=True)


def find_objects(dataset: Dataset, how: How) -> Dataset:
    """Every class of label maps but the background as objects, all parts of them, however small. The label maps stay
    in the samples."""
    names, background = dataset.labels.names, dataset.labels.background
    labels = instance_labels([name for value, name in enumerate(names) if value != background], dataset.root)
    table = tuple(DROPPED if value == background else labels.names.index(name, 1) for value, name in enumerate(names))

    def add_objects(split: str, sample: Sample) -> Sample:
        return replace(sample, read_instances=RegionReader(sample, table, how, (), 0.0))

    what = "all pixels of a class in a photo" if how == "whole" else "each connected part of a class"
    notes = (*dataset.notes, f"{what} is an object (--regions)")
    return replace(dataset, labels=labels, splits=dataset.map_samples(add_objects), notes=notes, has_masks=True)
