"""One data folder of a run, opened as its settings say. No torch: comparisons of finished models open data so too."""

from __future__ import annotations

from pathlib import Path

from imago.core.errors import DataError
from imago.data.borders import border_dataset
from imago.data.dataset import Dataset
from imago.data.grouping import parse_grouping
from imago.data.open_dataset import OpenOptions, survey_dataset
from imago.training.config import DataSource, TrainConfig


def open_folder(entry: DataSource, root: Path, config: TrainConfig) -> tuple[Dataset, tuple[str, ...]]:
    """One folder of photos with label maps, in its groups, and its faults. Raises DataError."""
    path, channels = root / entry.path, config.input.channels
    if config.net.objects:
        if entry.group or entry.val or entry.only or entry.regions or entry.min_area or config.classes:
            raise DataError(
                f"{path}: group, val, only, regions, min_area and classes do not go with --objects; leave them out"
            )
        options = OpenOptions(
            "detection", channels=channels, licenses=entry.licenses, masks=True, reading=config.reading_of(entry)
        )
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
            reading=config.reading_of(entry),
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
            reading=config.reading_of(entry),
            classes=config.classes,
            only=entry.only,
        ),
    )
