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

from imago.core.labels import IGNORE
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


def count_pixels(dataset: Dataset, counts: dict[str, int]) -> None:
    """Pixels of the classes of ``counts`` in all label maps."""
    found: Counter[str] = Counter()
    for sample in dataset.split("all"):
        values, numbers = np.unique(sample.label_map(), return_counts=True)
        names = ["" if value == IGNORE else dataset.labels.names[value] for value in values]
        found.update(dict(zip(names, numbers.tolist(), strict=True)))
    assert {name: found[name] for name in counts} == counts
    assert sum(found.values()) == sum(counts.values()) or "" not in counts


def city_pixels(dataset: Dataset, truth: Truth) -> None:
    for sample in dataset.split("all"):
        expected = truth["files"][sample.name.rpartition("/")[2]]["labelTrainIds"]
        values, numbers = np.unique(sample.label_map(), return_counts=True)
        assert dict(zip(map(str, values.tolist()), numbers.tolist(), strict=True)) == expected


def city_things(dataset: Dataset, truth: Truth) -> None:
    found: Counter[int] = Counter()
    for sample in dataset.split("all"):
        expected = truth["files"][sample.name.rpartition("/")[2]]["instanceIds"]
        things = sorted(count for number, count in expected.items() if int(number) >= 24_000)
        instances = sample.instances()
        crowd = instances.crowd if instances.crowd is not None else np.zeros(len(instances), bool)
        assert sorted(instances.areas[~crowd].tolist()) == things
        assert sorted(instances.areas[crowd].tolist()) == [n for v, n in expected.items() if v == "26"]
        found.update(instances.classes.tolist())
    assert len(found) == 2


def coded_pixels(step: int) -> Check:
    """Cityscapes' ids times ``step``: wall 12, truck 27, train 31; 3 counts for nothing."""

    def check(dataset: Dataset, truth: Truth) -> None:
        total: Counter[str] = Counter()
        names = {3: "", 12: "wall", 24: "person", 27: "truck", 31: "train"}
        for mask in truth["masks"].values():
            for value, count in mask["pixels"].items():
                number = int(value)
                kind = number // step if number >= step else number
                total[names.get(kind, "")] += count
        count_pixels(dataset, dict(total))

    return check


def vistas_pixels(dataset: Dataset, truth: Truth) -> None:
    total: Counter[str] = Counter()
    for path in ("val/v2.0/labels/0.png", "val/v2.0/labels/1.png", "train/v2.0/labels/2.png"):
        for value, count in truth["masks"][path]["pixels"].items():
            total[truth["labels"][int(value)]] += count
    count_pixels(dataset, dict(total))


def vistas_things(dataset: Dataset, truth: Truth) -> None:
    for sample in dataset.split("all"):
        part, name = sample.name.split("/")
        expected = truth["masks"][f"{part}/v2.0/instances/{name}.png"]["pixels"]
        instances = sample.instances()
        found = zip((instances.classes - 1).tolist(), instances.areas.tolist(), strict=True)
        assert sorted(found) == sorted((int(value) // 256, count) for value, count in expected.items())


def ade_objects(dataset: Dataset, truth: Truth) -> None:
    counts = [
        sum(count for kind, count in mask["class_index"].items() if kind != "0")
        for path, mask in truth["decoded"].items()
        if path.endswith("_seg.png")
    ]
    assert sorted(int(sample.instances().areas.sum()) for sample in dataset.split("all")) == sorted(counts)
    assert count_classes(dataset) == {"sky": 2}


def roboflow_pixels(dataset: Dataset, truth: Truth) -> None:
    names = [line.split(", ")[1] for line in truth["classes_csv"].splitlines()[1:]]
    assert list(dataset.labels.names) == names
    total: Counter[str] = Counter()
    for mask in truth["masks"].values():
        total.update({names[int(value)]: count for value, count in mask["pixels"].items()})
    count_pixels(dataset, dict(total))


def cell_areas(dataset: Dataset, truth: Truth) -> None:
    found = {tuple(sample.instances().areas.tolist()) for sample in dataset.split("all")}
    assert found == {tuple(truth["pixels"].values())}


def voc_pixels(dataset: Dataset, truth: Truth) -> None:
    sample = dataset.split("all")[0]
    found = np.bincount(sample.label_map().ravel())[[0, 4]].tolist()
    assert sorted(found) == sorted(truth["class_pixels_rgb"].values())


def stuff_pixels(dataset: Dataset, truth: Truth) -> None:
    for split in ("train", "val"):
        ((_, value, count),) = truth[split]["objects"]
        assert int((dataset.split(split)[0].label_map() == value).sum()) == count


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
    Row("cityscapes", "cityscapes", (photos, coded_pixels(1000)), "semantic"),
    Row("cityscapes", "cityscapes", (photos,)),
    Row("cityscapes_from_docs", "cityscapes", (photos, city_pixels), "semantic"),
    Row("cityscapes_from_docs", "cityscapes", (photos, city_things)),
    Row("kitti_semantic", "kitti_semantic", (photos, coded_pixels(256)), "semantic"),
    Row("kitti_semantic", "kitti_semantic", (photos,)),
    Row("mapillary_vistas", "mapillary", (photos, vistas_pixels), "semantic"),
    Row("mapillary_vistas", "mapillary", (photos, vistas_things)),
    Row("ade20k", "ade20k", (photos, ade_objects)),
    Row("ade20k", "ade20k", (photos,), "semantic"),
    Row("roboflow_png_mask", "label_maps", (photos, roboflow_pixels), "semantic"),
    Row("cellpose_from_docs", "cellpose", (cell_areas,)),
    Row("cellpose_from_docs", "cellpose", (), "semantic"),
    Row("voc_segmentation", "voc", (voc_pixels,), "semantic"),
    Row("coco_stuff", "coco", (stuff_pixels,), "semantic"),
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
