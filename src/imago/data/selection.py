"""The photos of a data set that a model is measured on, each looked at before any is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imago.core.read_settings import ReadSettings
from imago.data.check import check_samples
from imago.data.dataset import Dataset, Sample
from imago.data.faults import resolve_faults
from imago.data.open_dataset import OpenOptions, survey_dataset


@dataclass(frozen=True)
class Selection:
    """Photos of a data set to measure on."""

    dataset: Dataset
    samples: tuple[Sample, ...]


def open_samples(
    root: Path,
    options: OpenOptions,
    split: str,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Selection:
    """The first ``limit`` photos of ``split``, each looked at, with its annotation, before any is used.

    ``progress`` is told how many are done of how many. Raises DataError with all faults; with ``--faulty`` skip or clip
    those photos are missing, and the data set's notes say so.
    """
    return select_samples(*survey_dataset(root, options), options.reading, split, limit, progress)


def select_samples(
    dataset: Dataset,
    faults: Sequence[str],
    reading: ReadSettings,
    split: str,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Selection:
    """The same of a data set that was opened, with the faults of it."""
    chosen = dataset.split(split)[:limit]
    checked = check_samples(chosen, dataset.labels, progress)
    dataset = resolve_faults(dataset, (*faults, *checked.faults), reading, checked.damaged)
    return Selection(dataset, tuple(sample for sample in chosen if sample.image_path not in checked.damaged))
