"""Folders as the field's tools write them: every reader finds what their truth.json says.

One row a folder: the format that it must be taken for, how it is opened, and what of the truth is compared. To add a
folder, add a row. The folders lie in formats/ of the annotated photos.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imago.core.read_settings import ReadSettings
from imago.data.dataset import Dataset
from imago.data.formats.catalog import FORMATS
from imago.data.formats.format import Task
from imago.data.open_dataset import open_dataset

Truth = dict[str, Any]
Check = Callable[[Dataset, Truth], None]


@dataclass(frozen=True)
class Row:
    """What is looked at in one folder. ``checks`` get the opened data set and the truth."""

    folder: str
    format: str  # key of FORMATS
    checks: tuple[Check, ...]
    task: Task = "detection"
    reading: ReadSettings = ReadSettings()


# What is compared


def photos(dataset: Dataset, truth: Truth) -> None:
    assert len(dataset.split("all")) == truth["images"]


def classes(dataset: Dataset, truth: Truth) -> None:
    """Objects by class, crowds included."""
    assert count_classes(dataset) == truth["by_class"]


def count_classes(dataset: Dataset) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for sample in dataset.split("all"):
        counts.update(dataset.labels.names[value] for value in sample.instances().classes.tolist())
    return dict(counts)


def areas(dataset: Dataset, file: str) -> list[tuple[str, float]]:
    """Class and pixels of each object of the photo whose file is called ``file``."""
    sample = next(sample for sample in dataset.split("all") if sample.image_path.name == file)
    found = sample.instances()
    return [(dataset.labels.names[value], area) for value, area in zip(found.classes, found.areas, strict=True)]


def near(found: float, truth: float, share: float = 0.01) -> bool:
    """Pixels of an outline against another program's count of them, or the polygon's area."""
    return abs(found - truth) <= max(2.0, share * truth)


ROWS: list[Row] = []


@pytest.mark.data
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.folder}-{row.task}")
def test_a_strangers_folder_is_read_as_its_truth_says(row: Row, data_root: Path) -> None:
    root = data_root / "formats" / row.folder
    if not root.is_dir():
        pytest.skip(f"no {root}; it holds annotations as another program wrote them")
    truth = json.loads((root / "truth.json").read_text())
    dataset = open_dataset(root, row.task, reading=row.reading)
    assert dataset.format == FORMATS[row.format].name
    for check in row.checks:
        check(dataset, truth)
    for sample in dataset.split("all"):  # all of it can be read
        label = sample.label_map() if row.task == "semantic" else sample.instances().to_label_image()
        assert label.shape == sample.image().shape[:2]
        assert label.dtype != np.float64
