"""The data of a run: folders opened, groups applied, labels agreed on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from imago.core.errors import DataError
from imago.core.labels import Labels
from imago.data.coco import open_coco
from imago.data.dataset import Dataset, Sample, open_dataset
from imago.data.grouping import parse_grouping
from imago.training.config import DataSource, TrainConfig
from imago.training.pictures import Source


@dataclass(frozen=True)
class RunData:
    """What a run learns from and is judged by."""

    labels: Labels
    train: tuple[Source, ...]
    val: dict[str, tuple[Sample, ...]]  # by folder
    datasets: tuple[Dataset, ...]
    notes: tuple[str, ...]

    @property
    def val_samples(self) -> list[Sample]:
        return [sample for samples in self.val.values() for sample in samples]


def open_sources(config: TrainConfig, root: Path) -> RunData:
    """Opens every folder. Raises DataError, with the faults of all folders at once."""
    datasets: list[Dataset] = []
    faults: list[str] = []
    for entry in config.data:
        try:
            datasets.append(_open(entry, root, config.channels))
        except DataError as error:
            faults += list(error.faults) or [str(error)]
    if faults:
        raise DataError(f"{len(faults)} faults in the data", tuple(faults))
    if not datasets:
        raise DataError("no data: name a folder with images/ and masks/, or a recipe with [[data]]")
    labels = datasets[0].labels
    for entry, dataset in zip(config.data, datasets, strict=True):
        if len(dataset.labels) != len(labels):
            raise DataError(
                f"{entry.path} has {len(dataset.labels)} classes ({', '.join(dataset.labels.names)}) but "
                f"{config.data[0].path} has {len(labels)} ({', '.join(labels.names)}); group both to the same ones"
            )
    train = tuple(
        Source(dataset.split("train"), entry.weight, replace(config.augment, **entry.augment))
        for entry, dataset in zip(config.data, datasets, strict=True)
    )
    val: dict[str, tuple[Sample, ...]] = {}
    for entry, dataset in zip(config.data, datasets, strict=True):
        if entry.validate and dataset.splits.get("val"):
            name = Path(entry.path).name
            val[name if name not in val else entry.path] = dataset.split("val")
    if not val:
        raise DataError("no validation photos: give val.txt to a folder, or leave validate = true on one")
    notes = tuple(
        f"{entry.path}: {note}" for entry, dataset in zip(config.data, datasets, strict=True) for note in dataset.notes
    )
    return RunData(labels, train, val, tuple(datasets), notes)


def _open(entry: DataSource, root: Path, channels: int) -> Dataset:
    path = root / entry.path
    if entry.licences:
        return open_coco(path, entry.licences)
    return open_dataset(path, parse_grouping(entry.group) if entry.group else None, channels)
