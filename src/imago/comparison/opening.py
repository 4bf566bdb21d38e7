"""The photos that a comparison is made on, of every folder that validates; all are looked at before any training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.comparison.task import Opened
from imago.core.errors import DataError
from imago.data.dataset import Dataset, Sample
from imago.data.selection import select_samples

if TYPE_CHECKING:
    from imago.training.config import DataSource, TrainConfig

OpenOne = Callable[["DataSource", Path, "TrainConfig"], tuple[Any, tuple[str, ...]]]


def open_entries(config: TrainConfig, root: Path, split: str, limit: int | None, open_one: OpenOne) -> Opened:
    """See ``ComparisonTask.open_data``. Raises DataError, for faults of one folder with all of them."""
    found: list[Sample] = []
    notes: list[str] = []
    first: Dataset | None = None
    entries = [entry for entry in config.data if entry.validate]
    for entry in entries:
        dataset, faults = open_one(entry, root, config)
        first = first or dataset
        _refuse_other(entry.path, dataset, first)
        chosen = select_samples(dataset, faults, config.reading_of(entry), split, limit)
        notes += [f"{entry.path}: {note}" for note in chosen.dataset.notes]
        for sample in chosen.samples:
            name = f"{entry.name(root)}/{sample.name}" if len(entries) > 1 else sample.name
            found.append(replace(sample, name=name))
    if first is None:
        raise DataError("no folder validates; leave validate = true on one")
    return Opened(tuple(found), first.labels, tuple(notes))


def _refuse_other(path: str, dataset: Dataset, first: Dataset) -> None:
    if dataset.labels.names != first.labels.names:
        raise DataError(f"{path}: has other classes than the folders before it; group all to the same ones")
    if dataset.has_masks != first.has_masks:
        raise DataError(
            f"{path}: has {'masks' if dataset.has_masks else 'boxes alone'}, the folders before it "
            f"{'masks' if first.has_masks else 'boxes alone'}; take boxes of all with --boxes-only"
        )
