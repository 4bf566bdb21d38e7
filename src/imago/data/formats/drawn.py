"""Photos with drawn objects, as annotation tools write them, into a data set. A format's own file reads its entries
into ``Page`` and ``Drawn``; what they have in common is here: photos are found, outlines checked, classes numbered,
splits made, masks drawn when they are asked for.

Where all objects are upright boxes the data set has boxes alone. Boxes among outlines are outlines themselves, as the
tools' own exports have it, which a note counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imago.core import boxes
from imago.core.errors import DataError, ImageError
from imago.core.instances import CroppedMask, Instances
from imago.core.text import plural
from imago.data.dataset import Dataset, Sample
from imago.data.formats.checks import (
    LARGEST_SIDE,
    NO_OUTLINES,
    Outside,
    find_box_fault,
    instance_labels,
    read_class_list,
)
from imago.data.formats.find_files import PhotoFinder
from imago.data.formats.format import Found, ReadOptions
from imago.data.formats.shapes import Polygon, Shape, unite
from imago.data.splits import Splits, find_splits, parse_split, parse_split_folder
from imago.files.images import image_size

UNNAMED = "object"  # the class of objects that nobody named
EVERY = ""  # the class of regions that count for nothing, whatever is in them
# What shapes of the wrong kind raise, wherever they are read.
WRONG = (ValueError, KeyError, TypeError, OverflowError, IndexError, AttributeError)


@dataclass(frozen=True)
class Drawn:
    """One object: the union of its shapes, without its holes."""

    name: str  # of the class; EVERY: a region that counts for nothing
    shapes: tuple[Shape, ...] = field(repr=False)
    where: str  # "region 3", for messages
    holes: tuple[Shape, ...] = field(default=(), repr=False)
    crowd: bool = False
    z_order: int = 0  # of two in one place the higher one is seen

    @property
    def is_box(self) -> bool:
        return not self.holes and all(shape.is_box for shape in self.shapes)

    def bounds(self) -> tuple[float, float, float, float] | None:
        """x1 y1 x2 y2; None where a shape must be drawn to know."""
        every = [shape.bounds for shape in self.shapes]
        known = [one for one in every if one is not None]
        if len(known) < len(every):
            return None
        low, high = np.min(known, axis=0), np.max(known, axis=0)
        return float(low[0]), float(low[1]), float(high[2]), float(high[3])

    def draw(self, size_hw: tuple[int, int]) -> CroppedMask:
        return unite([s.draw(size_hw) for s in self.shapes], [s.draw(size_hw) for s in self.holes])


@dataclass(frozen=True)
class Page:
    """One photo and its objects."""

    file_name: str  # as the annotation file calls it
    source: Path  # the annotation file
    objects: tuple[Drawn, ...]
    size_hw: tuple[int, int] | None = None  # as the file says; None: the photo's own
    split: str | None = None  # as the file says
    image_path: Path | None = None  # where it is known
    aliases: tuple[str, ...] = ()  # what it may be called else


@dataclass(frozen=True)
class DrawnReader:
    """Reads one photo's objects."""

    where: str
    size_hw: tuple[int, int]
    objects: tuple[Drawn, ...]
    values: dict[str, int]  # class -> value
    has_masks: bool

    def polygons(self) -> list[tuple[int, np.ndarray]]:
        """The number of the object, from 0, and the corners (n, 2) of each rim as the file has it."""
        return [
            (index, shape.rings[0])
            for index, drawn in enumerate(self.objects)
            for shape in drawn.shapes
            if isinstance(shape, Polygon)
        ]

    def __call__(self) -> Instances:
        rows = list(self._rows())
        return Instances.make(
            self.size_hw,
            boxes.clip(boxes.as_boxes([box for _, box, _, _ in rows]), self.size_hw),
            [value for value, *_ in rows],
            cropped=[mask for *_, mask, _ in rows] if self.has_masks else None,  # type: ignore[misc]
            crowd=[crowd for *_, crowd in rows],
        )

    def _rows(self) -> Iterable[tuple[int, tuple[float, ...], CroppedMask | None, bool]]:
        """Class, box, mask and whether it is a crowd region; a region that counts for nothing is one of every class."""
        for drawn in self.objects:
            bounds = drawn.bounds()
            mask = None
            if self.has_masks or bounds is None:
                try:
                    mask = drawn.draw(self.size_hw)
                except WRONG as error:
                    raise DataError(f"{self.where}, {drawn.where}: damaged outline ({describe(error)})") from error
            is_cut = mask is not None and mask.area > 0 and not (drawn.is_box and bounds)
            box = tuple(map(float, mask.box)) if is_cut and mask else bounds or (0.0, 0.0, 0.0, 0.0)
            named = [self.values[drawn.name]] if drawn.name != EVERY else list(self.values.values())
            for value in named:
                yield value, box, mask, drawn.crowd or drawn.name == EVERY

    def paint_order(self) -> np.ndarray | None:
        """int (K,): layers of the objects, the higher ones over the lower; None where the file has none."""
        layers = [d.z_order for d in self.objects for _ in (range(len(self.values)) if d.name == EVERY else (0,))]
        return np.array(layers, np.int64) if len(set(layers)) > 1 else None


def describe(error: Exception) -> str:
    """In words, what is wrong with an entry of a file."""
    if isinstance(error, KeyError):
        return f"lacks {error}"
    if isinstance(error, AttributeError | TypeError):
        return "holds a value of another kind than expected"
    return str(error)


def build_dataset(
    root: Path,
    pages: Sequence[Page],
    options: ReadOptions,
    faults: Sequence[str] = (),
    notes: Sequence[str] = (),
    declared: Sequence[str] = (),
) -> Found:
    """The data set without what is damaged, and the faults. ``declared``: classes that the file lists, in order.

    Raises DataError where nothing can be opened, or masks are asked for and there are boxes alone.
    """
    if not pages:
        raise DataError(f"{root}: holds no annotated photo", tuple(faults))
    found = list(faults)
    placed = _place(root, pages, found)
    if not placed:
        raise DataError(
            f"{root}: {plural(len(pages), 'annotated photo', 'are')} named and none can be read, the first is "
            f"{pages[0].file_name} in {pages[0].source}; put the photos beside their annotations, in any folder",
            tuple(found),
        )
    checked = {path: _check(page, size_hw, options.clip, found) for path, (page, size_hw) in placed.items()}
    kept = [drawn for objects in checked.values() for drawn in objects]
    labels = instance_labels(_classes(root, kept, declared, found), root)
    values = {name: value for value, name in enumerate(labels.names) if value}
    outlined = sum(not drawn.is_box for drawn in kept)
    if options.masks and not outlined:
        raise DataError(f"{root}: no object has an outline; {NO_OUTLINES}")
    has_masks = options.masks is not False and outlined > 0
    if has_masks and outlined < len(kept):
        notes = (*notes, f"{plural(len(kept) - outlined, 'box', 'count')} as outlined too, since others are")
    samples: dict[str, Sample] = {}
    splits: dict[str, str] = {}
    for path, name in zip(placed, _name(list(placed)), strict=True):
        page, size_hw = placed[path]
        if name in samples:
            found.append(f"{page.source}: photos {samples[name].image_path} and {path} have the same name; rename one")
            continue
        objects = tuple(drawn for drawn in checked[path] if drawn.name in values or drawn.name == EVERY)
        reader = DrawnReader(f"{page.source}: photo {page.file_name}", size_hw, objects, values, has_masks)
        samples[name] = Sample(name, path, options.channels, read_instances=reader)
        splits[name] = page.split or parse_split(page.source.stem) or ""
    divided = _divide(root, splits)
    members = {split: tuple(samples[name] for name in names) for split, names in divided.members.items()}
    dataset = Dataset(root, labels, members, (*notes, *divided.notes), has_masks)
    return dataset, (*found, *divided.faults)


def _place(root: Path, pages: Iterable[Page], faults: list[str]) -> dict[Path, tuple[Page, tuple[int, int]]]:
    """Photo -> its page and size. Photos that are missing or damaged, and those that stand there twice, are faults."""
    finder = PhotoFinder(root)
    placed: dict[Path, tuple[Page, tuple[int, int]]] = {}
    for page in pages:
        found = (finder.find(name, page.source.parent) for name in (page.file_name, *page.aliases))
        path = page.image_path or next(filter(None, found), None)
        if path is None:
            faults.append(f"{page.source}: photo {page.file_name} is missing")
        elif page.size_hw is not None and not all(1 <= side <= LARGEST_SIDE for side in page.size_hw):
            sides = " x ".join(map(str, page.size_hw))
            faults.append(
                f"{page.source}: photo {page.file_name} is {sides} (height x width); each is 1 to {LARGEST_SIDE} pixels"
            )
        elif path in placed:
            faults.append(f"{page.source}: photo {page.file_name} is annotated in {placed[path][0].source} already")
        else:
            try:
                placed[path] = page, page.size_hw or image_size(path)
            except ImageError as error:
                faults.append(str(error))
    return placed


def _check(page: Page, size_hw: tuple[int, int], clip: bool, faults: list[str]) -> list[Drawn]:
    """The objects that lie in the photo; others are faults."""
    kept = []
    for drawn in page.objects:
        bounds = drawn.bounds()
        fault = find_box_fault(bounds, size_hw) if bounds else ""
        if fault:
            line = f"{page.source}: photo {page.file_name}, {drawn.where}: {fault}"
            faults.append(Outside(line) if isinstance(fault, Outside) else line)
        if not fault or (clip and isinstance(fault, Outside)):
            kept.append(drawn)
    return kept


def _classes(root: Path, objects: Iterable[Drawn], declared: Sequence[str], faults: list[str]) -> list[str]:
    """Those of classes.txt, else what the file declares, then the others by name."""
    used = {drawn.name for drawn in objects} - {EVERY}
    listed = root / "classes.txt"
    if listed.is_file():
        names = read_class_list(listed)
        names = names[1:] if names[0] == "background" else names
        faults += [f"{listed}: lacks the class {name!r}, which objects have" for name in sorted(used - set(names))]
        return names
    names = [name for name in dict.fromkeys(declared) if name]
    return [*names, *sorted(used - set(names))] or [UNNAMED]


def _name(paths: Sequence[Path]) -> list[str]:
    """What each photo is called: its path below the folder that holds all of them, without its suffix. That of a split
    is part of the name."""
    common = Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()
    common = common.parent if parse_split_folder(common.name) else common
    return [path.relative_to(common).with_suffix("").as_posix() for path in paths]


def _divide(root: Path, splits: dict[str, str]) -> Splits:
    """By lists, else by what the annotation files say of each photo (``splits``), else by folders or the hash."""
    said = set(splits.values())
    if "" in said or len(said) < 2 or "train" not in said or (root / "train.txt").is_file():
        return find_splits(root, list(splits))
    members = {split: tuple(name for name, one in splits.items() if one == split) for split in sorted(said)}
    return Splits(members).with_val_split("no annotations for validation")
