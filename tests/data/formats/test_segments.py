"""Sets in which every pixel belongs to a segment: what counts for nothing, crowds, the files that will do, and what a
damaged one says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imago.core.errors import DataError
from imago.core.instances import CroppedMask, Instances, masks_to_boxes
from imago.core.labels import IGNORE, Labels
from imago.data.check import check_samples
from imago.data.formats.coco_panoptic import write_panoptic
from imago.data.formats.format import ImageDetections
from imago.data.grouping import parse_grouping
from imago.data.open_dataset import OpenOptions, open_dataset, survey_dataset

IDS = np.zeros((8, 10), np.uint8)
IDS[:4], IDS[5:, :4], IDS[5:, 6:] = 23, 26, 29  # sky, car, caravan (which is not scored)


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def city(root: Path, **files: np.ndarray) -> Path:
    save(root / "leftImg8bit" / "val" / "town" / "a_leftImg8bit.png", np.zeros((8, 10, 3), np.uint8))
    for kind, values in files.items():
        save(root / "gtFine" / "val" / "town" / f"a_gtFine_{kind}.png", values)
    return root


def polygons(root: Path, content: Any) -> Path:
    city(root)
    path = root / "gtFine" / "val" / "town" / "a_gtFine_polygons.json"
    path.parent.mkdir(parents=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return root


TRAIN_IDS = np.full((256,), IGNORE, np.uint8)
TRAIN_IDS[23], TRAIN_IDS[26] = 10, 13


def test_every_file_of_cityscapes_says_the_same(tmp_path: Path) -> None:
    expected = TRAIN_IDS[IDS]
    boxes = {23: (0, 0, 9, 3), 26: (0, 5, 3, 7), 29: (6, 5, 9, 7)}
    names = {23: "sky", 26: "cargroup", 29: "caravan"}
    drawn = [
        {"label": names[kind], "polygon": [[x1, y1], [x2 + 0.6, y1], [x2 + 0.6, y2 + 0.6], [x1, y2 + 0.6]]}
        for kind, (x1, y1, x2, y2) in boxes.items()
    ]
    roots = [
        city(tmp_path / "a", labelIds=IDS),
        city(tmp_path / "b", labelTrainIds=expected),
        city(tmp_path / "c", instanceIds=np.where(IDS == 26, 26_003, IDS.astype(np.uint16))),
        polygons(tmp_path / "d", {"imgHeight": 8, "imgWidth": 10, "objects": drawn}),
    ]
    for root in roots:
        (sample,) = open_dataset(root).split("val")
        assert np.array_equal(sample.label_map(), expected), root
    crowds = [open_dataset(root, "detection").split("val")[0].instances() for root in roots[2:]]
    assert [one.crowd.tolist() for one in crowds if one.crowd is not None] == [[False], [True]]
    assert [one.areas.tolist() for one in crowds] == [[12], [12]]


@pytest.mark.parametrize("content", ["", "{", "[]", {"imgHeight": 8}, {"imgHeight": -8, "imgWidth": 10, "objects": []},
                                     {"imgHeight": 8, "imgWidth": 9, "objects": [{"label": "car", "polygon": [[1]]}]},
                                     {"imgHeight": 1e300, "imgWidth": 10, "objects": []}])  # fmt: skip
def test_damaged_polygons_are_one_line(content: Any, tmp_path: Path) -> None:
    dataset, faults = survey_dataset(polygons(tmp_path, content), OpenOptions())
    (fault,) = (*faults, *check_samples(dataset.split("all"), dataset.labels).faults)
    assert "a_gtFine_polygons.json: cannot be read as Cityscapes' polygons" in fault
    assert "\n" not in fault


def test_groups_of_segments(tmp_path: Path) -> None:
    grouping = parse_grouping("background=rest; vehicle=car")
    dataset = open_dataset(city(tmp_path, labelIds=IDS), grouping=grouping)
    assert np.bincount(dataset.split("val")[0].label_map().ravel())[:2].tolist() == [40, 12]


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    city(tmp_path, labelIds=IDS)
    save(tmp_path / "leftImg8bit" / "val" / "town" / "b_leftImg8bit.png", np.zeros((8, 10, 3), np.uint8))
    save(tmp_path / "gtFine" / "val" / "town" / "c_gtFine_labelIds.png", IDS)
    _, faults = survey_dataset(tmp_path, OpenOptions())
    assert [fault.split(": ")[1] for fault in faults] == [
        "no gtFine/val/town/b_gtFine_labelIds.png", "no photo leftImg8bit/val/town/c_leftImg8bit.png",
    ]  # fmt: skip


# COCO panoptic

LABELS = Labels(("background", "cat", "dog", "sky", "grass"))


@st.composite
def annotated(draw: st.DrawFn) -> tuple[Instances, np.ndarray]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    label = rng.choice(np.array([0, 3, 4, IGNORE], np.uint8), (2, 3)).repeat(4, axis=0).repeat(5, axis=1)
    masks, classes = [], []
    for _ in range(draw(st.integers(0, 4))):
        whole = np.zeros(label.shape, bool)
        top, left = rng.integers(0, 6), rng.integers(0, 12)
        whole[top : top + rng.integers(1, 6), left : left + rng.integers(1, 8)] = True
        masks.append(CroppedMask.from_mask(whole))
        classes.append(int(rng.integers(1, 3)))
    return Instances.make(label.shape, masks_to_boxes(masks), classes, cropped=masks), label


@settings(max_examples=25, deadline=None)
@given(found=annotated())
def test_panoptic_files_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, found: tuple[Instances, np.ndarray]
) -> None:
    root = tmp_path_factory.mktemp("panoptic")
    instances, label = found
    save(root / "images" / "a.png", np.zeros((*label.shape, 3), np.uint8))
    path = root / "annotations" / "panoptic_train.json"
    path.parent.mkdir()
    write_panoptic(path, [(ImageDetections("a.png", instances), label)], LABELS, (1, 2))
    numbers = np.zeros(label.shape, int)
    for index in reversed(range(len(instances))):
        where, crop = instances.region(index)
        numbers[where][crop] = index + 1
    painted = np.array([0, *instances.classes])[numbers]
    expected = np.where(numbers > 0, painted - 1, np.where((label == 3) | (label == 4), label.astype(int) - 1, IGNORE))
    sample = open_dataset(root).split("train")[0]
    assert np.array_equal(sample.label_map(), expected)
    back = open_dataset(root, "detection").split("train")[0].instances()
    shown = [number for number in range(1, len(instances) + 1) if (numbers == number).any()]
    assert back.areas.tolist() == [int((numbers == number).sum()) for number in shown]
    assert back.classes.tolist() == [int(instances.classes[number - 1]) for number in shown]
    again = root / "again.json"
    write_panoptic(again, [(ImageDetections("a.png", instances), label)], LABELS, (1, 2))
    assert again.read_bytes() == path.read_bytes()


def panoptic(root: Path) -> dict[str, Any]:
    save(root / "images" / "a.jpg", np.zeros((8, 10, 3), np.uint8))
    pixels = np.zeros((8, 10, 3), np.uint8)
    pixels[:4, :, 0], pixels[4:6, :, 2] = 7, 1  # 7, 65536
    save(root / "panoptic_val" / "a.png", pixels)
    return {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [
            {
                "image_id": 1, "file_name": "a.png",
                "segments_info": [
                    {"id": 7, "category_id": 1, "iscrowd": 1}, {"id": 65_536, "category_id": 2, "iscrowd": 0},
                ],
            }
        ],
        "categories": [{"id": 1, "name": "person", "isthing": 1}, {"id": 2, "name": "sky", "isthing": 0}],
    }  # fmt: skip


def test_crowds_and_stuff(tmp_path: Path) -> None:
    (tmp_path / "panoptic_val.json").write_text(json.dumps(panoptic(tmp_path)))
    label = open_dataset(tmp_path).split("val")[0].label_map()
    assert np.bincount(label.ravel(), minlength=256)[[0, 1, IGNORE]].tolist() == [0, 20, 60]
    instances = open_dataset(tmp_path, "detection").split("val")[0].instances()
    assert (instances.areas.tolist(), instances.crowd.tolist()) == ([40], [True])  # type: ignore[union-attr]


JUNK: list[Any] = [None, -1, 0, 2**70, 1.5, float("nan"), "", "x", "../a", [], {}, [[]], True, [300, 0, 0], "sky"]


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(["images", "annotations", "categories", "segments"]), st.sampled_from(
    ["id", "file_name", "image_id", "segments_info", "category_id", "iscrowd", "name", "isthing", "color", ""]
), st.sampled_from(JUNK))  # fmt: skip
def test_whatever_stands_in_a_panoptic_file(
    tmp_path_factory: pytest.TempPathFactory, place: str, key: str, value: Any
) -> None:
    root = tmp_path_factory.mktemp("panoptic")
    content = panoptic(root)
    entries = content["annotations"][0]["segments_info"] if place == "segments" else content[place]
    if key:
        entries[0][key] = value
    else:
        content[place if place in content else "annotations"] = value
    (root / "panoptic_val.json").write_text(json.dumps(content))
    for task in ("semantic", "detection"):
        try:
            dataset, faults = survey_dataset(root, OpenOptions(task))  # type: ignore[arg-type]
            faults += check_samples(dataset.split("all"), dataset.labels).faults
        except DataError as error:
            faults = (str(error),)
        assert not any("\n" in fault or "unforeseen" in fault for fault in faults), faults
