"""What becomes of faults in a data set: all are told at once, or what is faulty is left out, as ``--faulty`` says."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from imago.core.errors import DataError
from imago.core.read_settings import ReadSettings
from imago.data.dataset import Dataset
from imago.data.formats.checks import Outside, UnknownValues


def count_faults(count: int) -> str:
    return f"{count} fault{'s' if count != 1 else ''}"


def advise(faults: Sequence[str]) -> str:
    """The ways to go on in spite of them."""
    cut = ", --faulty clip to cut what sticks out of its photo" if any(isinstance(f, Outside) for f in faults) else ""
    values = (
        ", --mask-snap (or --mask-threshold 128, of two classes) to give values that are no class to the nearest one"
        if any(isinstance(f, UnknownValues) for f in faults)
        else ""
    )
    return f"mend them, or add --faulty skip to leave out what is faulty{cut}{values}"


def resolve_faults(
    dataset: Dataset, faults: Sequence[str], reading: ReadSettings, damaged: Collection[Path] = ()
) -> Dataset:
    """``dataset`` was opened without what ``faults`` say; ``damaged`` are photos in it that have a fault too.

    Raises DataError with all of them, or with ``--faulty skip`` and ``clip`` gives the rest, with a note.
    """
    faults = tuple(dict.fromkeys(faults))
    if not faults:
        return dataset
    if reading.faulty == "stop":
        raise DataError(f"{dataset.root}: {count_faults(len(faults))} in the data set; {advise(faults)}", faults)
    cut = [fault for fault in faults if isinstance(fault, Outside)] if reading.faulty == "clip" else []
    rest = [fault for fault in faults if fault not in cut]
    notes = []
    if cut:
        notes.append(f"--faulty clip: {len(cut)} cut to the photo, the first: {cut[0]}")
    if rest:
        notes.append(f"--faulty {reading.faulty}: {count_faults(len(rest))} left out, the first: {rest[0]}")
    if damaged:
        kept = {
            split: tuple(sample for sample in samples if sample.image_path not in damaged)
            for split, samples in dataset.splits.items()
        }
        dataset = replace(dataset, splits=kept)
    return replace(dataset, notes=(*dataset.notes, *notes))
