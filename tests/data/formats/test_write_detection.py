"""What is written is read back the same: COCO exactly, YOLO within its rounding, label images, tables by hand."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from imago.core.errors import DataError
from imago.core.instances import CroppedMask, Instances, masks_to_boxes
from imago.core.labels import Labels
from imago.core.rle import encode_rle
from imago.data.formats.coco import Outlines, to_coco
from imago.data.formats.counts import count_instances
from imago.data.formats.format import ImageDetections
from imago.data.formats.joint import write_joint
from imago.data.formats.yolo import to_yolo, to_yolo_yaml
from imago.data.open_dataset import open_dataset

LABELS = Labels(("background", "cat", "dog's"))
HEIGHT, WIDTH = SIZE_HW = (13, 17)


@st.composite
def instances(draw: st.DrawFn, masks: bool) -> Instances:
    """Up to four objects of 13 x 17: any mask that is not empty, or boxes at odd places."""
    count = draw(st.integers(0, 4))
    classes = draw(st.lists(st.integers(1, 2), min_size=count, max_size=count))
    scores = draw(st.lists(st.floats(0, 1, width=32), min_size=count, max_size=count))
    if masks:
        drawn = [draw(arrays.arrays(bool, SIZE_HW).filter(np.any)) for _ in range(count)]
        cropped = [CroppedMask.from_mask(mask) for mask in drawn]
        return Instances.make(SIZE_HW, masks_to_boxes(cropped), classes, scores, cropped)
    corners = draw(arrays.arrays(np.float32, (count, 4), elements=st.floats(0, 6, width=32)))
    corners[:, 2:] += corners[:, :2] + 0.5
    return Instances.make(SIZE_HW, corners, classes, scores)


def there_and_back(instances: Instances, folder: Path, outlines: Outlines) -> Instances:
    (folder / "val").mkdir()
    Image.fromarray(np.zeros((*SIZE_HW, 3), np.uint8)).save(folder / "val" / "a.png")
    content = to_coco([ImageDetections("a.png", instances)], LABELS, outlines)
    (folder / "instances_val.json").write_text(json.dumps(content), encoding="utf-8")
    dataset = open_dataset(folder, "detection")
    assert dataset.labels.names == LABELS.names
    return dataset.split("val")[0].instances()


def same_masks(first: Instances, second: Instances) -> bool:
    return [(m.box, m.bits) for m in first.cropped or ()] == [(m.box, m.bits) for m in second.cropped or ()]


@settings(deadline=None, max_examples=30)
@given(instances=instances(masks=True), outlines=st.sampled_from(["rle", "polygons", "auto"]))
def test_coco_masks_are_the_same(instances: Instances, outlines: Outlines) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = there_and_back(instances, Path(folder), outlines)
    assert same_masks(found, instances)
    np.testing.assert_array_equal(found.boxes, instances.boxes)
    np.testing.assert_array_equal(found.classes, instances.classes)


@settings(deadline=None, max_examples=30)
@given(instances=instances(masks=False))
def test_coco_boxes_are_the_same(instances: Instances) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = there_and_back(instances, Path(folder), "rle")
    np.testing.assert_allclose(found.boxes, instances.boxes, rtol=1e-6)
    np.testing.assert_array_equal(found.classes, instances.classes)


@settings(deadline=None, max_examples=30)
@given(instances=st.booleans().flatmap(lambda masks: instances(masks=masks)))
def test_yolo_is_the_same_within_its_rounding(instances: Instances) -> None:
    polygons = instances.cropped is not None
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "images" / "val").mkdir(parents=True)
        Image.fromarray(np.zeros((*SIZE_HW, 3), np.uint8)).save(root / "images" / "val" / "a.png")
        (root / "labels" / "val").mkdir(parents=True)
        (root / "labels" / "val" / "a.txt").write_text(to_yolo(instances, polygons), encoding="utf-8")
        (root / "data.yaml").write_text(to_yolo_yaml(LABELS, ["val"]), encoding="utf-8")
        dataset = open_dataset(root, "detection")
        found = dataset.split("val")[0].instances()
    assert dataset.labels.names == LABELS.names
    np.testing.assert_array_equal(found.classes, instances.classes)
    np.testing.assert_allclose(found.boxes, instances.boxes, atol=2e-5 * WIDTH)
    assert same_masks(found, instances)


def test_run_lengths_of_a_crop_are_those_of_the_whole() -> None:
    """All 512 masks of 3 x 3: also those that end in the last row, with columns to the right of it."""
    for bits in range(512):
        mask = np.array([bits >> place & 1 for place in range(9)], bool).reshape(3, 3)
        assert CroppedMask.from_mask(mask).to_rle((3, 3)) == encode_rle(mask)


def test_coco_by_hand() -> None:
    mask = CroppedMask.from_mask(np.array([[1, 1], [1, 0]], bool), left=3, top=5)
    instances = Instances.make(SIZE_HW, [[3, 5, 5, 7]], [2], [0.75], [mask])
    content = to_coco([ImageDetections("a.jpg", Instances.make(SIZE_HW)), ImageDetections("b.jpg", instances)], LABELS)
    assert content["images"][1] == {"id": 2, "file_name": "b.jpg", "height": 13, "width": 17}
    assert content["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog's"}]
    (entry,) = content["annotations"]
    counts = entry.pop("segmentation")["counts"]
    assert entry == {
        "id": 1, "image_id": 2, "category_id": 2, "iscrowd": 0, "bbox": [3, 5, 2, 2], "area": 3, "score": 0.75,
    }  # fmt: skip
    tool = pytest.importorskip("pycocotools.mask")
    np.testing.assert_array_equal(tool.decode({"size": [13, 17], "counts": counts}).astype(bool), mask.to_full(SIZE_HW))
    with pytest.raises(ValueError, match="'rle', 'polygons' or 'auto'; got 'dots'"):
        to_coco([], LABELS, "dots")  # type: ignore[arg-type]


def test_crowds_and_empty_masks_are_run_lengths(tmp_path: Path) -> None:
    masks = [CroppedMask.from_mask(np.ones((2, 2), bool)), CroppedMask.from_mask(np.zeros((2, 2), bool))]
    instances = Instances.make(SIZE_HW, [[0, 0, 2, 2], [0, 0, 1, 1]], [1, 1], None, masks, [True, False])
    content = to_coco([ImageDetections("a.jpg", instances)], LABELS, "polygons")
    assert all(isinstance(entry["segmentation"], dict) for entry in content["annotations"])
    found = there_and_back(instances, tmp_path, "polygons")
    assert same_masks(found, instances)
    assert found.crowd is not None
    assert found.crowd.tolist() == [True, False]


def test_yolo_by_hand() -> None:
    instances = Instances.make((20, 40), [[10, 6, 30, 14], [0, 0, 4, 2]], [2, 1], [0.5, 1], crowd=[False, True])
    assert to_yolo(instances) == "1 0.500000 0.500000 0.500000 0.400000\n"  # the crowd has no line
    assert to_yolo(instances, scores=True) == "1 0.500000 0.500000 0.500000 0.400000 0.500000\n"
    with pytest.raises(DataError, match="boxes alone"):
        to_yolo(instances, polygons=True)
    empty = Instances.make(SIZE_HW, [[0, 0, 1, 1]], [1], None, [CroppedMask.from_mask(np.zeros((1, 1), bool))])
    with pytest.raises(DataError, match="object 1 has an empty mask"):
        to_yolo(empty, polygons=True)


def test_counts_by_hand(tmp_path: Path) -> None:
    instances = Instances.make(
        (10, 10), [[0, 0, 2, 5], [0, 0, 1, 1], [5, 5, 9, 9], [0, 0, 9, 9]], [1, 2, 1, 1], crowd=[0, 0, 0, 1]
    )
    photos = [ImageDetections("a.jpg", instances), ImageDetections("b, c.jpg", Instances.make((10, 10)))]
    assert count_instances(photos, LABELS) == [
        ("a.jpg", "all", 3, 27, "9", "1", "16", 0.27),
        ("a.jpg", "cat", 2, 26, "13", "10", "16", 0.26),
        ("a.jpg", "dog's", 1, 1, "1", "1", "1", 0.01),
        ("b, c.jpg", "all", 0, 0, "", "", "", 0.0),
    ]
    write_joint("counts", tmp_path / "counts.csv", photos, LABELS)
    rows = list(csv.DictReader((tmp_path / "counts.csv").open()))
    assert rows[0]["mean_area_px"] == "9"
    assert rows[3]["photo"] == "b, c.jpg"
    json.dumps(to_coco(photos, LABELS))
