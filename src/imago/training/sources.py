"""The data of a run: folders opened, groups applied, labels agreed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic

from imago.core.bands import Ranges
from imago.core.errors import DataError, ImageError
from imago.core.labels import Labels
from imago.core.text import plural
from imago.data.augment.settings import Augmentation
from imago.data.borders import border_dataset
from imago.data.check import check_samples
from imago.data.dataset import Dataset, Sample
from imago.data.formats.images_only import survey_empty
from imago.data.grouping import parse_grouping
from imago.data.open_dataset import OpenOptions, survey_dataset
from imago.training.config import DataSource, TrainConfig
from imago.training.dataset import AnySample, Source

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
    faults: list[str] = []
    opened: dict[int, Any] = {}
    # Photos without masks have the classes of the other folders, which are opened first.
    for index, entry in sorted(enumerate(config.data), key=lambda one: one[1].empty):
        try:
            if entry.empty:
                _refuse_empty(entry, root, config, open_one is open_folder)
                if not opened:
                    continue  # no other folder could be opened: their faults are told
                dataset, found = survey_empty(
                    root / entry.path, next(iter(opened.values())).labels, config.input.channels, entry.val
                )
            else:
                dataset, found = open_one(entry, root, config)
            opened[index] = dataset
            faults += found
        except (DataError, ImageError) as error:
            faults += list(getattr(error, "faults", ())) or [str(error)]
    datasets = [opened[index] for index in sorted(opened)]
    if checking is not None:
        faults += _check_pixels(datasets, checking)
    if faults:
        faults = list(dict.fromkeys(faults))
        told = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        raise DataError(f"{told} in the data; nothing was trained", tuple(faults))
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


def open_folder(entry: DataSource, root: Path, config: TrainConfig) -> tuple[Dataset, tuple[str, ...]]:
    """One folder of photos with label maps, in its groups, and its faults. Raises DataError."""
    path, channels = root / entry.path, config.input.channels
    if config.net.objects:
        if entry.group or entry.val or entry.only or entry.regions or entry.min_area or config.classes:
            raise DataError(
                f"{path}: group, val, only, regions, min_area and classes do not go with --objects; leave them out"
            )
        options = OpenOptions("detection", channels=channels, licenses=entry.licenses, masks=True)
        instances, faults = survey_dataset(path, options)
        return border_dataset(instances), faults
    if entry.only or entry.regions or config.classes:
        raise DataError(f"{path}: only, regions and classes are for nets that find objects; leave them out")
    return survey_dataset(
        path,
        OpenOptions(
            grouping=parse_grouping(entry.group) if entry.group else None,
            channels=channels,
            val=entry.val,
            licenses=entry.licenses,
            min_area=entry.min_area,
        ),
    )


def open_detection_folder(entry: DataSource, root: Path, config: TrainConfig) -> tuple[Dataset, tuple[str, ...]]:
    """One folder of photos and their objects, in its groups, and its faults. Raises DataError."""
    if entry.min_area:
        raise DataError(f"{root / entry.path}: min_area is for nets that label pixels; leave it out")
    return survey_dataset(
        root / entry.path,
        OpenOptions(
            "detection",
            grouping=parse_grouping(entry.group, least=1) if entry.group else None,
            channels=config.input.channels,
            val=entry.val,
            licenses=entry.licenses,
            regions=entry.regions,
            classes=config.classes,
            only=entry.only,
        ),
    )


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


def _check_pixels(datasets: Sequence[Dataset], checking: Checking) -> list[str]:
    """Faults of the pixels. Folders of the same classes are looked at together: what one lacks another may have."""
    alike: dict[tuple[str, ...], list[Dataset]] = {}
    for dataset in datasets:
        alike.setdefault(dataset.labels.names, []).append(dataset)
    total = sum(len(dataset.split("all")) for dataset in datasets)
    faults: list[str] = []
    before = 0
    for group in alike.values():
        samples = [sample for dataset in group for sample in dataset.split("all")]
        checked = check_samples(samples, group[0].labels, lambda done, _: checking(before + done, total))  # noqa: B023
        where = ", ".join(str(dataset.root) for dataset in group)
        faults += [f"{where}: {fault}" if fault.startswith("no pixel") else fault for fault in checked.faults]
        before += len(samples)
    return faults
