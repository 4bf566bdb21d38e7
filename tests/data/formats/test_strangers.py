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
from imago.data.formats.format import USUAL, Task
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
    reading: ReadSettings = USUAL


# What is compared


def photos(dataset: Dataset, truth: Truth) -> None:
    found = {sample.image_path for sample in dataset.split("all")}  # a lone one stands in train and val
    assert len(found) == truth["images"]


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


def via_1(dataset: Dataset, truth: Truth) -> None:
    assert count_classes(dataset) == {"object": truth["objects"]}
    assert sum(len(areas(dataset, file)) for file in {one[0] for one in truth["polygons"]}) == truth["objects"]
    for file, number, *_, pixels in truth["polygons"]:
        assert near(areas(dataset, file)[int(number)][1], pixels)


def via_2(dataset: Dataset, truth: Truth) -> None:
    for file, kind, _, area in truth["polygons_file_points_shoelace_area"]:
        if kind == "polygon":
            assert any(near(pixels, area) for _, pixels in areas(dataset, file))


def via_3(dataset: Dataset, truth: Truth) -> None:
    assert count_classes(dataset) == {"object": truth["objects"]}
    first = dataset.split("all")[0].instances().boxes
    x, y = truth["first_point"]
    assert any(np.allclose((box[:2] + box[2:]) / 2, (x, y), atol=1) for box in first)


def via_types(dataset: Dataset, truth: Truth) -> None:
    assert count_classes(dataset) == truth["by_type"]


def polygons(dataset: Dataset, truth: Truth) -> None:
    for file, name, kind, _, area in truth["polygons"]:
        if kind == "polygon":
            assert any(found == name and near(pixels, area) for found, pixels in areas(dataset, file))


def labelme_xml(dataset: Dataset, truth: Truth) -> None:
    for file, by_class in truth["objects_per_xml"].items():
        sample = next(sample for sample in dataset.split("all") if sample.image_path.stem == Path(file).stem)
        found = Counter(dataset.labels.names[value] for value in sample.instances().classes.tolist())
        assert found == Counter(by_class)


def brushed(dataset: Dataset, truth: Truth) -> None:
    for file, one in truth["files"].items():
        assert areas(dataset, file) == [("cat", one["pixels"])]


def one_polygon(dataset: Dataset, truth: Truth) -> None:
    sample = dataset.split("all")[0]
    ((name, pixels),) = areas(dataset, sample.image_path.name)
    assert name == truth["cls"]
    assert near(pixels, truth["raster_pixels"], 0.002)


def rectangles(dataset: Dataset, truth: Truth) -> None:
    assert count_classes(dataset) == {name.partition("/")[2]: count for name, count in truth["results"].items()}


def cvat_masks(dataset: Dataset, truth: Truth) -> None:
    pixels = truth["pixels"]
    found = areas(dataset, "a.png")
    assert found[:3] == [("cell", pixels["cell_z0"]), ("cell", pixels["cell_z1"]), ("ring", pixels["ring"])]


ALL = (photos, classes)
ROWS = [
    Row("via1_json", "via", (photos, via_1)),
    Row("via2_csv", "via", ALL),
    Row("via2_json", "via", (*ALL, via_2)),
    Row("via3_project", "via", (photos, via_3)),
    Row("via_attributes", "via", (*ALL, via_2)),
    Row("via_attributes", "via", (photos, via_types), reading=ReadSettings(class_attribute="type")),
    Row("via_attributes", "via", (photos,), "semantic"),
    Row("labelme", "labelme", (*ALL, polygons)),
    Row("labelme", "labelme", (photos,), "semantic"),
    Row("labelme_xml", "labelme_xml", (photos, labelme_xml)),
    Row("labelstudio_brush", "label_studio", (*ALL, brushed)),
    Row("labelstudio_polygon", "label_studio", (photos, one_polygon)),
    Row("labelstudio_rect", "label_studio", (photos, rectangles)),
    Row("cvat_xml", "cvat", (*ALL, polygons)),
    Row("cvat_xml_from_docs", "cvat", (*ALL, cvat_masks)),
    Row("cvat_xml_from_docs", "cvat", (photos,), "semantic"),
]


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
