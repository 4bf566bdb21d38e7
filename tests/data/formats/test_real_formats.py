"""Data sets as their tools write them, held against what their own files say (``formats/*/truth.json``)."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imago.core.errors import DataError
from imago.core.read_settings import ReadSettings
from imago.data.check import check_samples
from imago.data.dataset import Dataset
from imago.data.open_dataset import OpenOptions, open_dataset, survey_dataset

pytestmark = pytest.mark.data


@pytest.fixture
def formats(data_root: Path) -> Path:
    if not (data_root / "formats").is_dir():
        pytest.skip("no formats/ among the data")
    return data_root / "formats"


def truth_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "truth.json").read_text("utf-8"))


def count_classes(dataset: Dataset, split: str = "all") -> dict[str, int]:
    """Objects by name, crowds too."""
    values = Counter(int(v) for sample in dataset.split(split) for v in sample.instances().classes)
    return {dataset.labels.names[value]: count for value, count in values.items()}


def check_whole(dataset: Dataset) -> None:
    faults = check_samples(dataset.split("all"), dataset.labels).faults
    assert [fault for fault in faults if "no pixel of any mask" not in fault] == []


def test_cocos_polygons_and_run_lengths(formats: Path, tmp_path: Path) -> None:
    folder = formats / "coco_rle"
    truth = truth_of(folder)
    (tmp_path / "images").symlink_to(folder / "images")  # its JSON has a name of its author's
    (tmp_path / "instances.json").symlink_to(folder / "instances_with_binary_mask.json")
    dataset = open_dataset(tmp_path, "detection")
    assert count_classes(dataset) == truth["by_class"]
    by_name = {sample.name: sample.instances() for sample in dataset.split("all")}
    (crowd,) = [one for one in by_name.values() if one.crowd is not None and one.crowd.any()]
    assert int(crowd.areas[0]) == truth["first_rle_object"]["pixels"]
    elephant = by_name[Path(truth["first_polygon_object"]["image"]).stem]
    assert abs(int(elephant.areas[0]) / truth["first_polygon_object"]["raster_pixels"] - 1) < 0.02
    check_whole(dataset)
    check_whole(open_dataset(tmp_path))


def test_roboflows_coco(formats: Path) -> None:
    folder = formats / "roboflow_coco"
    truth = truth_of(folder)
    dataset = open_dataset(folder, "detection")
    for split, name in (("train", "train"), ("val", "valid")):
        assert len(dataset.split(split)) == truth[name]["images"]
        assert count_classes(dataset, split) == truth[name]["by_class"]
    check_whole(dataset)
    maps = open_dataset(folder)
    assert maps.labels.names == ("background", "Mushroom")  # and not the name of the whole set, which is listed too
    assert all(set(np.unique(sample.label_map())) <= {0, 1} for sample in maps.split("all"))


def test_cvats_coco_mixes_boxes_and_outlines(formats: Path) -> None:
    folder = formats / "cvat_coco"
    truth = truth_of(folder)
    assert count_classes(open_dataset(folder, "detection", masks=False)) == truth["by_class"]
    with pytest.raises(DataError) as caught:
        open_dataset(folder, "detection")
    assert len(caught.value.faults) == truth["empty_segmentation"]
    assert all("take boxes alone" in fault for fault in caught.value.faults)
    kept = open_dataset(folder, "detection", reading=ReadSettings(faulty="skip"))
    # Their boxes stay, as regions that count for nothing.
    crowds, marked = (
        sum(int(np.sum(sample.instances().crowd)) for sample in dataset.split("all"))
        for dataset in (kept, open_dataset(folder, "detection", masks=False))
    )
    assert crowds - marked == truth["empty_segmentation"]


def test_cocos_stuff(formats: Path) -> None:
    folder = formats / "coco_stuff"
    truth = truth_of(folder)
    dataset = open_dataset(folder)
    for split in ("train", "val"):
        (sample,) = dataset.split(split)
        ((_, value, pixels),) = truth[split]["objects"]
        instances = sample.instances()
        assert (instances.classes.tolist(), instances.areas.tolist()) == ([value], [pixels])
        assert int((sample.label_map() == value).sum()) == pixels  # though its tool calls all run lengths crowds


def test_roboflows_yolo(formats: Path) -> None:
    folder = formats / "roboflow_yolov8seg"
    truth = truth_of(folder)
    dataset = open_dataset(folder, "detection")
    assert list(dataset.labels.names[1:]) == truth["data_yaml"]["names"]
    for split, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        assert len(dataset.split(split)) == truth[name]["images"]
        assert count_classes(dataset, split) == truth[name]["by_class"]
        first = truth[name]["first_object"]
        sample = next(s for s in dataset.split(split) if s.name.endswith(first["file"].removesuffix(".txt")))
        assert abs(sample.instances().areas[first["line"]] / first["raster_pixels"] - 1) < 0.02
    check_whole(dataset)
    maps = open_dataset(folder)
    assert {split: len(found) for split, found in maps.splits.items()} == {"train": 4, "val": 2, "test": 1}
    check_whole(maps)


def test_ultralytics_yolo(formats: Path) -> None:
    folder = formats / "yolo_seg_coco8"
    truth = truth_of(folder)
    dataset = open_dataset(folder, "detection")
    assert list(dataset.labels.names[1:]) == [truth["names"][str(number)] for number in range(4)]
    for sample in dataset.split("all"):
        expected = truth["files_class_points_pixels"][sample.name.split("/")[-1]]
        instances = sample.instances()
        assert [value - 1 for value in instances.classes] == [number for number, _, _ in expected["objects"]]
        for area, (_, _, pixels) in zip(instances.areas, expected["objects"], strict=True):
            assert abs(area / pixels - 1) < 0.02


def test_cvats_voc(formats: Path) -> None:
    folder = formats / "voc_segmentation"
    truth = truth_of(folder)
    names = tuple(name for name, _ in truth["labelmap"])
    maps = open_dataset(folder)
    assert maps.labels.names == names
    assert {sample.name for sample in maps.split("all")} == {"shapes"}
    pixels = np.bincount(maps.split("val")[0].label_map().ravel(), minlength=len(names))
    assert sorted(int(v) for v in pixels if v) == sorted(truth["class_pixels_rgb"].values())
    boxes, faults = survey_dataset(folder, OpenOptions("detection"))
    assert faults == ()
    assert boxes.labels.names == names
    found = {sample.name: len(sample.instances()) for sample in boxes.split("all")}
    assert found == {name.removesuffix(".xml"): count for name, count in truth["xml_objects"].items()}
    masks = open_dataset(folder, "detection", masks=True).split("all")[0].instances()
    objects = [count for color, count in truth["object_pixels_rgb"].items() if color != "(0, 0, 0)"]
    assert sorted(int(area) for area in masks.areas) == sorted(objects)


@pytest.mark.parametrize("task", ["semantic", "detection"])
def test_whatever_lies_there_opens_or_says_why(formats: Path, task: Any) -> None:
    for folder in sorted(path for path in formats.iterdir() if path.is_dir()):
        try:
            dataset, faults = survey_dataset(folder, OpenOptions(task))
        except DataError as error:
            faults = (str(error),)
        else:
            faults += check_samples(dataset.split("all"), dataset.labels).faults
        assert not any("\n" in fault or "unforeseen" in fault for fault in faults), (folder, faults)
