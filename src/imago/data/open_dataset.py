"""A data set on disk: its format is found by looking at the folder, and every task reads every format.

What a task needs (label maps, or objects) is read where the folder holds it, by the first of ``FORMATS`` that knows the
folder; else it is made of what there is (convert.py): polygons and masks of objects are painted, label maps become
objects where ``regions`` says how. ``val``, ``only`` and groups are the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from imago.core.errors import DataError, ImageError
from imago.core.instances import Instances
from imago.core.read_settings import ReadSettings, check_min_area
from imago.data.class_lists import find_class_list
from imago.data.classes import DoubtfulMasks
from imago.data.convert import find_objects, group_label_maps, order_two, paint_dataset, read_regions
from imago.data.dataset import Dataset, Sample
from imago.data.divide import apply_lists, default_folder
from imago.data.faults import resolve_faults
from imago.data.formats.catalog import FORMATS
from imago.data.formats.checks import require_folder
from imago.data.formats.find_files import describe_files
from imago.data.formats.format import USUAL, Format, Found, ReadOptions, Task, Truth, require_photos
from imago.data.grouping import Grouping, common_labels, group_instances, group_segments

GUESSED_BY = 8  # photos that tell label maps from images of many objects
WANTED: dict[Task, Truth] = {"semantic": "label maps", "detection": "objects", "panoptic": "segments"}


@dataclass(frozen=True)
class OpenOptions:
    """What is asked of a folder, whatever its format. ``channels``, ``licenses``, ``masks``: see ReadOptions."""

    task: Task = "semantic"
    grouping: Grouping | None = None
    channels: int = 3
    val: tuple[str, ...] = ()  # names of the photos that are kept for validation, in place of the folder's own split
    licenses: tuple[int, ...] = ()
    masks: bool | None = None
    min_area: float = 0.0  # semantic, of objects: smaller ones, as a share of the photo, are "ignore"
    regions: Literal["", "whole", "parts"] = ""  # detection, of label maps: what one object is
    classes: tuple[str, ...] = ()  # detection: what all folders are grouped to, in order
    reading: ReadSettings = USUAL
    only: str = ""  # photos whose names fit, such as "glass*"

    def __post_init__(self) -> None:
        if self.task not in WANTED:
            raise ValueError(f"task is {' or '.join(WANTED)}; got {self.task!r}")
        check_min_area(self.min_area)


def open_dataset(
    root: Path | str,
    task: Task = "semantic",
    *,
    grouping: Grouping | None = None,
    channels: int = 3,
    val: Sequence[str] = (),
    licenses: Sequence[int] = (),
    masks: bool | None = None,
    min_area: float = 0.0,
    reading: ReadSettings | None = None,
) -> Dataset:
    """Opens the data set in ``root`` with label maps ("semantic"), objects ("detection") or segments ("panoptic") in
    its samples.

    ``val``: photos kept for validation, in place of the folder's own split. ``licenses``: of COCO, only photos whose
    licence id is one of these. ``masks``: of objects, True demands masks, False takes boxes alone, None what there is.
    ``min_area``: where label maps are painted from objects, those below this share (0..1) of the photo are "ignore",
    and photos that have no larger one are left out. ``reading``: what the values of masks mean, and with
    ``ReadSettings(faulty="skip")`` to go on without what is damaged, and note how much that was (COCO's own file of
    2017 has two boxes of no width).

    Raises DataError that says what was expected and lists all faults: missing pairs, two files of one name, boxes that
    are none, classes that are not listed, wrong splits. Pixels are looked at by check.py.
    """
    reading = reading or USUAL
    options = OpenOptions(task, grouping, channels, tuple(val), tuple(licenses), masks=masks, min_area=min_area)
    dataset, faults = survey_dataset(Path(root), replace(options, reading=reading))
    return resolve_faults(dataset, faults, reading)


def survey_dataset(root: Path, options: OpenOptions) -> Found:
    """What can be opened in ``root``, without what is damaged, and the faults; so that the pixels of the rest can be
    looked at as well, and all faults be told at once. Raises DataError where nothing can be opened at all."""
    require_folder(root, "photos and their annotations")
    if options.licenses and "objects" not in FORMATS["coco"].recognize(root):
        raise DataError(f"{root}: licences are known of COCO's photos alone, and there is no instances_*.json")
    dataset, faults = _SURVEYS[options.task](root, options)
    if options.reading.split_dir or options.reading.fold:
        if options.val:
            raise DataError(f"{root}: val names photos, and --split-dir or --fold lists them; leave one out")
        lists = Path(options.reading.split_dir) if options.reading.split_dir else default_folder(root)
        dataset = apply_lists(dataset, lists, options.reading.fold)
    if options.val:
        dataset, unknown = dataset.with_val(options.val)
        faults += unknown
    return dataset.select(options.only) if options.only else dataset, faults


def _survey_label_maps(root: Path, options: OpenOptions) -> Found:
    dataset, faults = _find_label_maps(root, options)
    named = options.reading.background_class
    if named and named != "none" and named not in dataset.labels.names:
        raise DataError(
            f"{root}: there is no class {named!r} to be the background; there are {', '.join(dataset.labels.names)}"
        )
    if named:
        background = None if named == "none" else dataset.labels.names.index(named)
        dataset = replace(dataset, labels=dataset.labels.with_background(background))
    return order_two(dataset), faults


def _find_label_maps(root: Path, options: OpenOptions) -> Found:
    # Licences are COCO's: who asks for them means its photos, whatever else lies there.
    found = None if options.licenses else _find(root, "label maps")
    known = _find(root, "objects")
    if known is not None and known.excludes_maps:
        found = None
    if found is not None and found.read_maps is not None:
        dataset, faults = found.read_maps(root, _read_options(options))
        dataset = replace(dataset, format=found.name)
        if options.grouping:
            dataset = replace(group_label_maps(dataset, options.grouping), has_own_list=False)
        return dataset, faults
    found = _find(root, "objects")
    if found is None or found.read_objects is None:
        raise DataError(f"{root}: no photos and label maps found{_describe(root)}; {_expected('semantic')}")
    dataset, faults = _read_objects(root, found, options)
    return paint_dataset(dataset, options.grouping, options.min_area), faults


def _survey_objects(root: Path, options: OpenOptions) -> Found:
    grouping = options.grouping
    labels = common_labels(grouping, options.classes, root) if grouping else None
    if options.regions:
        if grouping is None or labels is None:
            raise DataError(f"{root}: regions reads label maps by their group; say which labels are objects")
        dataset, faults = _find_label_maps(root, options)
        return read_regions(dataset, grouping, labels, options.regions), faults
    found = _find(root, "objects")
    if found is None or found.read_objects is None:
        maps = "; its label maps become objects where regions says how" if _find(root, "label maps") else ""
        raise DataError(f"{root}: no annotated objects found{maps or _describe(root)}; {_expected('detection')}")
    dataset, faults = _read_objects(root, found, options)
    # Of a format whose boxes come from masks they are there all the same.
    if dataset.has_masks and (options.masks is False or options.reading.boxes_only):
        dataset = replace(dataset, splits=dataset.map_samples(_drop_masks), has_masks=False)
    if grouping and labels:
        dataset = group_instances(dataset, grouping, labels)
    return dataset, faults


def _survey_segments(root: Path, options: OpenOptions) -> Found:
    found = _find(root, "segments")
    if found is None or found.read_segments is None:
        layouts = "; or ".join(one.layout for one in FORMATS.values() if one.read_segments)
        raise DataError(f"{root}: no segments of things and stuff found; expected {layouts}")
    dataset, faults = require_photos(found.read_segments(root, _read_options(options)))
    dataset = replace(dataset, format=found.name)
    return (group_segments(dataset, options.grouping) if options.grouping else dataset), faults


def _read_objects(root: Path, found: Format, options: OpenOptions) -> Found:
    if options.reading.of_masks and not found.has_mask_values:
        raise DataError(
            f"{root}: {options.reading.of_masks} is about values of masks, and {found.name} has none; leave it out"
        )
    assert found.read_objects is not None
    dataset, faults = require_photos(found.read_objects(root, _read_options(options)))
    return replace(dataset, format=found.name), faults


_SURVEYS: dict[Task, Callable[[Path, OpenOptions], Found]] = {
    "semantic": _survey_label_maps,
    "detection": _survey_objects,
    "panoptic": _survey_segments,
}


def _find(root: Path, truth: Truth) -> Format | None:
    """The first format that knows the folder; None where one before it says that the masks in it are of objects."""
    for one in FORMATS.values():
        found = one.recognize(root)
        if truth in found or (found and one.lists_mask_files):
            return one if truth in found else None
    return None


def survey_for(root: Path, truth: Truth, how: Literal["whole", "parts"], reading: ReadSettings = USUAL) -> Found:
    """What can be opened with ``truth`` in its samples, and the faults: label maps are painted from objects, objects
    found in label maps (``how``: see convert.py). Raises DataError where nothing can be opened at all."""
    if truth == "label maps" or guess_task(root, reading) == "detection":
        task: Task = "semantic" if truth == "label maps" else "detection"
        return survey_dataset(root, OpenOptions(task, reading=reading))
    dataset, faults = survey_dataset(root, OpenOptions("semantic", reading=reading))
    return find_objects(dataset, how), faults


def find_truths(root: Path) -> set[Truth]:
    """What the folder holds by itself, in whatever format."""
    return {truth for one in FORMATS.values() for truth in one.recognize(root)} if root.is_dir() else set()


def guess_task(root: Path, reading: ReadSettings = USUAL) -> Literal["semantic", "detection"]:
    """What a folder is for, where nobody says so: objects where they are annotated as such. ``images/`` and ``masks/``
    are label maps, unless they cannot be read so (label images of many objects)."""
    reading = replace(reading, split_dir="", fold=0)
    annotated = [name for name, one in FORMATS.items() if root.is_dir() and "objects" in one.recognize(root)]
    if annotated and FORMATS[annotated[0]].parts_everything:
        return "semantic"
    if annotated != ["label_images"]:
        return "detection" if annotated else "semantic"
    if find_class_list(root) is not None:
        return "semantic"
    try:
        dataset, _ = survey_dataset(root, OpenOptions("semantic", reading=reading))
    except DoubtfulMasks as error:
        return "detection" if error.are_counted else "semantic"  # which says what is in doubt
    except DataError:
        return "detection"
    return "semantic" if any(map(_is_readable, dataset.split("all")[:GUESSED_BY])) else "detection"


def _is_readable(sample: Sample) -> bool:
    try:
        sample.label_map()
    except (DataError, ImageError):
        return False
    return True


def _read_options(options: OpenOptions) -> ReadOptions:
    masks = False if options.reading.boxes_only and options.masks is None else options.masks
    return ReadOptions(options.channels, options.licenses, masks, options.reading)


def _describe(root: Path) -> str:
    """In words, what lies there instead, and the command that goes on where there are photos alone."""
    found = describe_files(root)
    alone = found.endswith(("photo", "photos")) and "," not in found and not found.startswith("0 ")
    draw = f" (imago data from-edges {root} --out DIR outlines what stands on a plain background)" if alone else ""
    return f", but {found}{draw}"


def _expected(task: Task) -> str:
    """Every layout, those first that hold just what the task needs."""

    def rank(one: Format) -> int:
        wanted, other = (one.read_maps, one.read_objects) if task == "semantic" else (one.read_objects, one.read_maps)
        return 2 if wanted is None else int(other is not None)

    return "expected " + "; or ".join(one.layout for one in sorted(FORMATS.values(), key=rank))


@dataclass(frozen=True)
class BoxesOnly:
    """Reads the objects and drops their masks: their rectangles stay."""

    read: Callable[[], Instances]

    def __call__(self) -> Instances:
        return replace(self.read(), cropped=None)


def _drop_masks(split: str, sample: Sample) -> Sample:
    return replace(sample, read_instances=BoxesOnly(sample.instances))
