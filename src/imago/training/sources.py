"""The data of a run: folders opened, groups applied, labels agreed on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic

from imago.core.bands import Ranges
from imago.core.errors import DataError, ImageError
from imago.core.labels import Labels
from imago.core.text import plural
from imago.data.augment.settings import Augmentation
from imago.data.check import CheckReport, check_samples, unseen_fault
from imago.data.classes import DoubtfulMasks
from imago.data.dataset import Sample
from imago.data.faults import advise, count_faults, resolve_faults
from imago.data.formats.images_only import survey_empty
from imago.training.config import DataSource, TrainConfig
from imago.training.dataset import AnySample, Source
from imago.training.folders import open_detection_folder, open_folder

Checking = Callable[[int, int], None]  # told how many photos are looked at, of how many


@dataclass(frozen=True)
class RunData(Generic[AnySample]):
    """What a run learns from and is judged by."""

    labels: Labels
    train: tuple[Source[AnySample], ...]
    val: dict[str, tuple[AnySample, ...]]  # by folder
    datasets: tuple[Any, ...]  # Dataset or Dataset, as the samples are
    notes: tuple[str, ...]

    def with_ranges(self, ranges: Ranges) -> RunData[AnySample]:
        """The same photos, deep values scaled by ``ranges``."""
        if not ranges:
            return self

        def ranged(samples: tuple[AnySample, ...]) -> tuple[AnySample, ...]:
            return tuple(replace(sample, ranges=ranges) for sample in samples)

        train = tuple(replace(source, samples=ranged(source.samples)) for source in self.train)
        val = {folder: ranged(samples) for folder, samples in self.val.items()}
        return replace(self, train=train, val=val)

    @property
    def val_samples(self) -> list[AnySample]:
        return [sample for samples in self.val.values() for sample in samples]


def open_sources(config: TrainConfig, root: Path, checking: Checking | None = None) -> RunData[Sample]:
    """Opens every folder of photos and label maps. Raises DataError, with the faults of all folders at once.

    Where ``checking`` is given every photo and mask is looked at too, and it is told how many are done of how many.
    """
    return _gather(config, root, checking, open_folder)


def open_detection_sources(config: TrainConfig, root: Path, checking: Checking | None = None) -> RunData[Sample]:
    """The same for photos and their objects, whatever there is of boxes and masks."""
    return _gather(config, root, checking, open_detection_folder)


def _gather(
    config: TrainConfig,
    root: Path,
    checking: Checking | None,
    open_one: Callable[[DataSource, Path, TrainConfig], tuple[Any, tuple[str, ...]]],
) -> RunData[Any]:
    opened, faults = _open_all(config, root, open_one)
    stopping = {index for index, entry in enumerate(config.data) if config.reading_of(entry).faulty == "stop"}
    # What is left out must be left out in every process, and again when a run goes on.
    if checking is not None or opened.keys() - stopping:
        _check_pixels(opened, stopping, checking or (lambda done, total: None))
    left = {
        index: resolve_faults(one.dataset, one.faults, config.reading_of(config.data[index]), one.damaged)
        for index, one in opened.items()
        if index not in stopping
    }
    inside = [fault for index in sorted(opened.keys() & stopping) for fault in opened[index].faults]
    if faults := list(dict.fromkeys([*faults, *inside])):
        way_on = advise(inside) if inside else "mend them"  # a folder that is not there cannot be left out
        raise DataError(f"{count_faults(len(faults))} in the data; nothing was trained; {way_on}", tuple(faults))
    datasets = [left.get(index) or opened[index].dataset for index in sorted(opened)]
    if not datasets:
        raise DataError("no data: name a folder with images/ and masks/, or a recipe with [[data]]")
    labels = datasets[0].labels
    for entry, dataset in zip(config.data, datasets, strict=True):
        if dataset.labels.names != labels.names:
            raise DataError(
                f"{entry.path} has {plural(len(dataset.labels), 'class')} ({', '.join(dataset.labels.names)}) but "
                f"{config.data[0].path} has {len(labels)} ({', '.join(labels.names)}); group both to the same ones"
                + (" (objects: list them all as classes)" if open_one is open_detection_folder else "")
            )
        if not dataset.splits.get("train"):
            raise DataError(f"{entry.path}: no photo to train on; put names into train.txt")
    train = tuple(
        Source(dataset.split("train"), entry.weight, _augmentation_of(entry, config), entry.lend)
        for entry, dataset in zip(config.data, datasets, strict=True)
    )
    val: dict[str, tuple[Any, ...]] = {}
    for entry, dataset in zip(config.data, datasets, strict=True):
        if entry.validate and dataset.splits.get("val"):
            name = entry.name(root)
            count = sum(other == name or other.startswith(f"{name} (") for other in val)
            val[f"{name} ({count + 1})" if count else name] = dataset.split("val")
    if not val:
        raise DataError("no validation photos: give val.txt to a folder, or leave validate = true on one")
    notes = tuple(
        f"{entry.path}: {note}" for entry, dataset in zip(config.data, datasets, strict=True) for note in dataset.notes
    )
    return RunData(labels, train, val, tuple(datasets), notes)


@dataclass
class _Opened:
    dataset: Any
    faults: list[str]
    damaged: frozenset[Path] = frozenset()


def _open_all(
    config: TrainConfig,
    root: Path,
    open_one: Callable[[DataSource, Path, TrainConfig], tuple[Any, tuple[str, ...]]],
) -> tuple[dict[int, _Opened], list[str]]:
    """The folders that can be opened, by their number, and why others cannot."""
    opened: dict[int, _Opened] = {}
    faults: list[str] = []
    # Photos without masks have the classes of the other folders, which are opened first.
    for index, entry in sorted(enumerate(config.data), key=lambda one: one[1].empty):
        try:
            if entry.empty:
                _refuse_empty(entry, root, config, open_one is open_folder)
                if not opened:
                    continue  # no other folder could be opened: their faults are told
                labels = next(iter(opened.values())).dataset.labels
                dataset, found = survey_empty(root / entry.path, labels, config.input.channels, entry.val)
            else:
                dataset, found = open_one(entry, root, config)
            opened[index] = _Opened(dataset, list(found))
        except DoubtfulMasks:
            raise  # a question, with its histogram and the ways out; nothing that could be left out
        except (DataError, ImageError) as error:
            faults += [str(error), *getattr(error, "faults", ())]
    return opened, faults


def _augmentation_of(entry: DataSource, config: TrainConfig) -> Augmentation:
    """A photo without a subject is there for its background: unless the folder asks for it, that is not replaced."""
    usual = replace(config.augment, background=0.0) if entry.empty else config.augment
    return replace(usual, **entry.augment)


def _refuse_empty(entry: DataSource, root: Path, config: TrainConfig, label_maps: bool) -> None:
    path = root / entry.path
    if config.net.objects or not label_maps:
        raise DataError(
            f"{path}: empty is for nets that label pixels; leave this folder out for a net that finds objects"
        )
    if all(other.empty for other in config.data):
        raise DataError(f"{path}: photos without a subject teach nothing alone; add a folder with images/ and masks/")


def _check_pixels(opened: Mapping[int, _Opened], stopping: Collection[int], checking: Checking) -> None:
    """Adds the faults of the pixels. Folders of the same classes are looked at together: what one lacks another may
    have."""
    total = sum(len(one.dataset.split("all")) for one in opened.values())
    before = 0
    unseen: dict[tuple[str, ...], tuple[set[str], list[int]]] = {}
    reports: dict[int, CheckReport] = {}
    for index, one in sorted(opened.items()):
        samples = one.dataset.split("all")
        checked = check_samples(samples, one.dataset.labels, lambda done, _: checking(before + done, total))  # noqa: B023
        before += len(samples)
        one.faults += checked.faults
        one.damaged = checked.damaged
        reports[index] = checked
        names = one.dataset.labels.names
        missing, indices = unseen.setdefault(names, (set(checked.unseen), []))
        missing &= set(checked.unseen)
        indices.append(index)
    for names, (missing, indices) in unseen.items():
        line = unseen_fault([name for name in names if name in missing], any(reports[i].faults for i in indices))
        refusing = [index for index in indices if index in stopping and not opened[index].dataset.has_own_list]
        if line and refusing:
            where = ", ".join(str(opened[index].dataset.root) for index in indices)
            opened[refusing[0]].faults.append(f"{where}: {line}")
        elif line:
            first = opened[indices[0]]
            first.dataset = replace(first.dataset, notes=(*first.dataset.notes, line))
