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
    for sample in {sample.image_path: sample for sample in dataset.split("all")}.values():
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


def coco_splits(dataset: Dataset, truth: Truth) -> None:
    found = {split: Counter[str]() for split in dataset.splits}
    for split, samples in dataset.splits.items():
        assert len(samples) == truth["valid" if split == "val" else split]["images"]
        for sample in samples:
            found[split].update(dataset.labels.names[value] for value in sample.instances().classes.tolist())
        assert found[split] == truth["valid" if split == "val" else split]["by_class"]
    assert dataset.labels.names == ("background", "Mushroom")


def coco_first(dataset: Dataset, truth: Truth) -> None:
    first = truth["first_polygon_object"]
    name, pixels = first["cls"], first["raster_pixels"]
    assert any(found == name and near(area, pixels, 0.02) for found, area in areas(dataset, first["image"]))


def supervisely(dataset: Dataset, truth: Truth) -> None:
    found = dict(areas(dataset, "a.png"))
    assert found == {**truth["bitmap_pixels"], "area": truth["polygon_area_minus_hole"], "box": 1200}


def segments_ai(dataset: Dataset, truth: Truth) -> None:
    assert [pixels for _, pixels in areas(dataset, "a.png")] == list(truth["pixels"].values())


def sa1b(dataset: Dataset, truth: Truth) -> None:
    for name, one in truth["files"].items():
        found = areas(dataset, name.replace(".json", ".jpg"))
        assert [pixels for _, pixels in found] == list(one["pixels_by_id"].values())


def datumaro(dataset: Dataset, truth: Truth) -> None:
    assert dataset.labels.names[1:] == tuple(truth["labels"])
    one = truth["mask"]
    assert areas(dataset, f"{one['item']}.jpg")[0][1] == one["pixels"]
    assert sum(count_classes(dataset).values()) == truth["by_type"]["mask"] + truth["by_type"]["polygon"]


def dota(dataset: Dataset, truth: Truth) -> None:
    """Three of four lie outside of the photo, which is a fault of each."""
    assert count_classes(dataset) == {"plane": truth["objects"] - 3}
    assert "3 faults left out" in dataset.notes[-1]
    assert "lies outside of the photo of 294 x 285" in dataset.notes[-1]


def labelbox(dataset: Dataset, truth: Truth) -> None:
    assert count_classes(dataset) == {name.partition("/")[0]: count for name, count in truth["by_class"].items()}
    first = truth["first_object"]["bounding_box"]
    assert any(
        np.allclose(box, (first["left"], first["top"], first["left"] + first["width"], first["top"] + first["height"]))
        for sample in dataset.split("all")
        for box in sample.instances().boxes
    )


def openimages(dataset: Dataset, truth: Truth) -> None:
    assert areas(dataset, "b.jpg") == [
        ("Generic label #0", truth["masks"]["v6/masks/train/b_m0_01234567.png"]["pixels"]["1"])
    ]
    crowd = next(sample for sample in dataset.split("all") if sample.name.endswith("c")).instances().crowd
    assert crowd is not None
    assert crowd.tolist() == [True]


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
    Row("coco_rle", "coco", (*ALL, coco_first)),
    Row("cvat_coco", "coco", ALL, reading=ReadSettings(boxes_only=True)),
    Row("roboflow_coco", "coco", (coco_splits,)),
    Row("supervisely_from_docs", "supervisely", (*ALL, supervisely)),
    Row("segments_ai_from_docs", "segments_ai", (*ALL, segments_ai)),
    Row("sa1b", "sa1b", (photos, sa1b)),
    Row("datumaro_json", "datumaro", (photos, datumaro)),
    Row("dota", "dota", (photos, dota), reading=ReadSettings(faulty="skip")),
    Row("labelbox", "labelbox", (photos, labelbox)),
    Row("openimages", "openimages", (photos, openimages)),
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
