"""Readers of annotated objects: small data sets drawn here, the faults of each, and the real ones."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imago.core.errors import DataError, ImageError
from imago.core.read_settings import ReadSettings
from imago.data.check import check_samples
from imago.data.formats.label_images import split_label_image
from imago.data.open_dataset import OpenOptions, open_dataset, survey_dataset

SQUARE = [2, 1, 8, 1, 8, 5, 2, 5]  # 6 x 4 pixels
RUNS = {"size": [10, 12], "counts": [11, 3, 7, 3, 96]}  # rows 1 to 3 of columns 1 and 2


def photo(path: Path, size_hw: tuple[int, int] = (10, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size_hw, 3), 90, np.uint8)).save(path)


def faults_of(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_dataset(root, "detection")
    return "\n".join(caught.value.faults)


# COCO


def coco_content() -> dict[str, Any]:
    """Ids with gaps, out of order; a polygon, run lengths as a list, packed ones that are a crowd, an empty photo."""
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "height": 10, "width": 12, "license": 4},
            {"id": 3, "file_name": "b.png", "height": 10, "width": 12, "license": 1},
        ],
        "categories": [{"id": 90, "name": "brush"}, {"id": 2, "name": "cup"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 90, "bbox": [2, 1, 6, 4], "segmentation": [SQUARE], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [1, 1, 2, 3], "segmentation": dict(RUNS), "iscrowd": 0},
            {
                "id": 3, "image_id": 7, "category_id": 2, "bbox": [1, 1, 2, 3], "iscrowd": 1,
                "segmentation": {"size": [10, 12], "counts": ";370i2"},
            },
        ],
    }  # fmt: skip


def write_coco(root: Path, change: Callable[[dict[str, Any]], object] = lambda content: None) -> Path:
    for name in "ab":
        photo(root / "train2017" / f"{name}.png")
    content = coco_content()
    change(content)
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    return root


def test_coco(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    dataset = open_dataset(root, "detection")
    assert dataset.labels.names == ("background", "cup", "brush")  # in the order of their ids
    assert dataset.has_masks
    samples = {sample.name: sample for sample in dataset.split("all")}
    assert len(samples) == 2
    instances = samples["a"].instances()
    assert instances.classes.tolist() == [2, 1, 1]
    assert instances.boxes.tolist() == [[2, 1, 8, 5], [1, 1, 3, 4], [1, 1, 3, 4]]
    assert instances.areas.tolist() == [24, 6, 6]
    assert instances.crowd is not None
    assert instances.crowd.tolist() == [False, False, True]
    assert [mask.box for mask in instances.cropped or ()] == [(2, 1, 8, 5), (1, 1, 3, 4), (1, 1, 3, 4)]
    assert len(samples["b"].instances()) == 0
    assert samples["a"].image().shape == (10, 12, 3)
    assert [s.name for s in open_dataset(root, "detection", licenses=(4,)).split("train")] == ["a"]
    assert open_dataset(root, "detection", masks=False).split("train")[0].instances().cropped is None
    assert check_samples(dataset.split("train"), dataset.labels).faults == ()


def test_coco_boxes_alone(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        for instance in content["annotations"]:
            instance["segmentation"] = []

    root = write_coco(tmp_path, change)
    dataset = open_dataset(root, "detection")
    assert not dataset.has_masks
    by_name = {sample.name: sample for sample in dataset.split("all")}
    assert by_name["a"].instances().areas.tolist() == [24, 6, 6]
    with pytest.raises(DataError, match="no annotation has a segmentation"):
        open_dataset(root, "detection", masks=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["images"][0].update(file_name="gone.png"), "photo gone.png is missing"),
        (lambda c: c["images"][0].pop("height"), "image 0 of the list lacks something"),
        (lambda c: c["images"][1].update(id=7), "photo b.png has the id 7"),
        (lambda c: c["images"][1].update(file_name="a.jpg"), "photos a.png and a.jpg have the same name"),
        (lambda c: c["annotations"][1].update(image_id=8), "annotation 2 belongs to photo 8, which is not listed"),
        (lambda c: c["annotations"][1].update(category_id=5), "annotation 2 of photo a: class id 5 is not among"),
        (lambda c: c["annotations"][1].update(bbox=[1, 1, 0, 3]), "box 1 1 1 4 (x1 y1 x2 y2) is empty"),
        (lambda c: c["annotations"][1].update(bbox=[3, 1, -1, 3]), "box 3 1 2 4 (x1 y1 x2 y2) has a negative side"),
        (lambda c: c["annotations"][1].update(bbox=[8, 1, 6, 3]), "reaches outside of the photo of 10 x 12"),
        (lambda c: c["annotations"][1].update(bbox=[12.2, 1, 0.5, 3]), "lies outside of the photo of 10 x 12"),
        (lambda c: c["annotations"][1].update(bbox=[1, 1, float("nan"), 3]), "holds what is no number"),
        (lambda c: c["annotations"][1].update(bbox=[1, 1, 2]), "annotation 2 of photo a: not enough values"),
        (lambda c: c["annotations"][1].update(segmentation=[]), "annotation 2 of photo a: has no outline"),
        (lambda c: c["annotations"][1].update(segmentation=[[1, 2, 3, 4]]), "a polygon is no list of x and y"),
        (lambda c: c["annotations"][1].pop("category_id"), "annotation 2 of photo a: lacks 'category_id'"),
    ],
)
def test_cocos_faults(change: Callable[[dict[str, Any]], object], words: str, tmp_path: Path) -> None:
    assert words in faults_of(write_coco(tmp_path, change))


def test_all_faults_at_once_and_what_is_left(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"][0]["bbox"] = [0, 0, 99, 99]
        content["annotations"][1]["category_id"] = 5
        content["images"][1]["file_name"] = "gone.png"

    root = write_coco(tmp_path, change)
    assert len(faults_of(root).splitlines()) == 3
    dataset = open_dataset(root, "detection", reading=ReadSettings(faulty="skip"))
    assert len(dataset.split("train")[0].instances()) == 1
    assert "3 faults left out, the first:" in dataset.notes[-1]


@pytest.mark.parametrize(
    ("counts", "words"),
    [([11, 3], "run lengths count 14 pixels"), ("Q", "cut short"), ([130, -10], "run lengths count 120"), (5, "int")],
)
def test_cocos_damaged_run_lengths_are_named(counts: object, words: str, tmp_path: Path) -> None:
    root = write_coco(tmp_path, lambda c: c["annotations"][1]["segmentation"].update(counts=counts))
    dataset, faults = survey_dataset(root, OpenOptions("detection"))
    assert len(faults) == 0 or words == "int"
    found = check_samples(dataset.split("all"), dataset.labels).faults
    assert any("photo a.png, annotation 2: damaged outline" in fault and words in fault for fault in found)


def test_a_box_may_stick_out_by_a_pixel(tmp_path: Path) -> None:
    root = write_coco(tmp_path, lambda c: c["annotations"][0].update(bbox=[2, -0.5, 10.8, 5]))
    instances = next(s for s in open_dataset(root, "detection").split("all") if s.name == "a").instances()
    assert instances.boxes[0].tolist() == [2, 0, 12, 4.5]


def test_nuclei_layout_and_a_photo_in_two_splits(tmp_path: Path) -> None:
    for split in ("train", "val"):
        content = coco_content()
        for name in "ab":
            photo(tmp_path / split / f"{name}.png")
        (tmp_path / f"instances_{split}.json").write_text(json.dumps(content))
    dataset = open_dataset(tmp_path, "detection")
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 2, "val": 2}
    assert dataset.split("val")[0].image_path.parent.name == "val"
    for split in ("train", "val"):
        for name in "ab":
            (tmp_path / split / f"{name}.png").unlink()
            photo(tmp_path / f"{name}.png")
    assert "photo a.png stands in 'train' too" in faults_of(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "cannot be read as JSON"), ("[]", "expected a list of objects under 'images'"), ('{"images": []}', "'ann")],
)
def test_what_is_not_coco(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "instances_train.json").write_text(text)
    with pytest.raises(DataError, match=words):
        open_dataset(tmp_path, "detection")


# Pascal VOC

XML = """<annotation><size><width>12</width><height>10</height><depth>3</depth></size>
<object><name>dog</name><difficult>0</difficult><bndbox><xmin>3</xmin><ymin>2</ymin><xmax>8</xmax><ymax>5</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>
<object><name>cat</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>12</xmax><ymax>10</ymax>
</bndbox></object></annotation>"""


def write_voc(root: Path, names: str = "abc") -> Path:
    (root / "Annotations").mkdir(parents=True)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for name in names:
        photo(root / "JPEGImages" / f"{name}.jpg")
        (root / "Annotations" / f"{name}.xml").write_text(XML)
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nb\n")
    (root / "ImageSets" / "Main" / "val.txt").write_text("c\n")
    (root / "ImageSets" / "Main" / "dog_train.txt").write_text("a  1\nb -1\n")
    return root


def test_voc_boxes(tmp_path: Path) -> None:
    dataset = open_dataset(write_voc(tmp_path), "detection")
    assert len(dataset.labels) == 21
    assert [s.name for s in dataset.split("val")] == ["c"]
    instances = dataset.split("train")[0].instances()
    assert instances.boxes.tolist() == [[2, 1, 8, 5], [0, 0, 12, 10]]  # from 1 and with their last pixel
    assert [dataset.labels.names[v] for v in instances.classes] == ["dog", "cat"]
    assert instances.crowd is not None
    assert instances.crowd.tolist() == [False, True]  # difficult
    assert not dataset.has_masks


def write_voc_masks(root: Path, names: str) -> None:
    objects, classes = np.zeros((10, 12), np.uint8), np.zeros((10, 12), np.uint8)
    objects[1:5, 2:8], classes[1:5, 2:8] = 1, 12
    objects[6:9, 1:4], classes[6:9, 1:4] = 2, 8
    for array in (objects, classes):
        array[5] = 255
    for folder, array in (("SegmentationObject", objects), ("SegmentationClass", classes)):
        (root / folder).mkdir()
        for name in names:
            image = Image.fromarray(array)
            image.putpalette([v for value in range(256) for v in (value, 7 * value % 256, 255 - value)])
            image.save(root / folder / f"{name}.png")


def test_voc_masks(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    write_voc_masks(root, "ab")
    dataset = open_dataset(root, "detection")
    assert not dataset.has_masks  # one photo has boxes alone
    assert "masks of 2 photos are there as well" in dataset.notes[-1]
    (root / "ImageSets" / "Segmentation").mkdir()
    (root / "ImageSets" / "Segmentation" / "trainval.txt").write_text("a\nb\n")
    dataset = open_dataset(root, "detection", masks=True)
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 1, "val": 1}
    instances = dataset.split("train")[0].instances()
    assert instances.boxes.tolist() == [[2, 1, 8, 5], [1, 6, 4, 9]]
    assert [dataset.labels.names[v] for v in instances.classes] == ["dog", "cat"]
    assert instances.areas.tolist() == [24, 9]


def test_vocs_faults(tmp_path: Path) -> None:
    root = write_voc(tmp_path, "abcdefg")
    folder = root / "Annotations"
    (folder / "b.xml").write_text(XML.replace("<xmax>8</xmax>", "<xmax>80</xmax>"))
    (folder / "c.xml").write_text(XML.replace("<xmax>8</xmax>", "<xmax>2</xmax>"))
    (folder / "d.xml").write_text(XML.replace("<xmax>8</xmax>", "<xmax>eight</xmax>"))
    (folder / "e.xml").write_text(XML[:100])
    (folder / "f.xml").unlink()
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nb\nf\n")
    (folder / "x.xml").write_text(XML)
    photo(root / "JPEGImages" / "g.png")
    text = faults_of(root)
    for words in (
        "b.xml: object 1 (dog): box 2 1 80 5 (x1 y1 x2 y2) reaches outside", "c.xml: object 1 (dog): box 2 1 2 5",
        "d.xml: object 1 (dog) has no bndbox of four numbers", "e.xml: cannot be read as XML",
        "f.jpg: no annotation Annotations/f.xml", "x.xml: no photo JPEGImages/x.*", "g.png: same name as g.jpg",
    ):  # fmt: skip
        assert words in text


def test_photos_of_no_list_need_no_annotation(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    photo(root / "JPEGImages" / "spare.jpg")
    dataset = open_dataset(root, "detection")
    assert {split: [s.name for s in samples] for split, samples in dataset.splits.items()} == {
        "train": ["a", "b"], "val": ["c"],
    }  # fmt: skip
    assert dataset.notes == ("1 photo stands in no list and without an .xml; not used",)
    for path in (root / "ImageSets" / "Main").iterdir():
        path.unlink()
    assert "spare.jpg: no annotation Annotations/spare.xml" in faults_of(root)


# One file an object, and label images


def test_one_file_an_object(tmp_path: Path) -> None:
    for name in ("n1", "n2", "n3"):
        photo(tmp_path / name / "images" / f"{name}.png")
        (tmp_path / name / "masks").mkdir()
    for index, (x, width) in enumerate([(1, 4), (3, 6)]):  # they overlap
        mask = np.zeros((10, 12), np.uint8)
        mask[2:6, x : x + width] = 255
        Image.fromarray(mask).save(tmp_path / "n1" / "masks" / f"{index}.png")
    samples = {sample.name: sample for sample in open_dataset(tmp_path, "detection").split("all")}
    instances = samples["n1"].instances()
    assert instances.boxes.tolist() == [[1, 2, 5, 6], [3, 2, 9, 6]]
    assert instances.areas.tolist() == [16, 24]
    assert len(samples["n2"].instances()) == 0
    assert open_dataset(tmp_path, "detection", masks=False).split("all")[0].instances().cropped is None
    Image.fromarray(np.zeros((10, 12), np.uint8)).save(tmp_path / "n2" / "masks" / "empty.png")
    Image.fromarray(np.ones((9, 12), np.uint8)).save(tmp_path / "n3" / "masks" / "small.png")
    photo(tmp_path / "n4" / "images" / "one.png")
    (tmp_path / "n4" / "masks").mkdir()
    photo(tmp_path / "n4" / "images" / "two.png")
    photo(tmp_path / "n5" / "images" / "n5.png")
    dataset, faults = survey_dataset(tmp_path, OpenOptions("detection"))
    text = "\n".join([*faults, *check_samples(dataset.split("all"), dataset.labels).faults])
    for words in (
        "empty.png: mask is empty", "small.png: mask is 9 x 12 but n3.png is 10 x 12", "holds 2 photos; expected one",
        "n5: has images/ but no masks/",
    ):  # fmt: skip
        assert words in text


@pytest.mark.parametrize(
    ("suffix", "dtype"), [("png", np.uint8), ("png", np.uint16), ("tif", np.uint16), ("tif", np.int32)]
)
def test_label_images(suffix: str, dtype: type, tmp_path: Path) -> None:
    label = np.zeros((10, 12), dtype)
    label[1:3, 1:4], label[6:9, 5:12] = 1, np.iinfo(dtype).max // 2
    label[8, 0] = 1  # a second part
    (tmp_path / "masks").mkdir()
    for name in "abcd":
        photo(tmp_path / "images" / f"{name}.jpg")
        Image.fromarray(label).save(tmp_path / "masks" / f"{name}.{suffix}")
    (tmp_path / "train.txt").write_text("a\nb\nc\n")
    (tmp_path / "val.txt").write_text("d\n")
    dataset = open_dataset(tmp_path, "detection")
    assert dataset.labels.names == ("background", "object")
    instances = dataset.split("val")[0].instances()
    assert instances.boxes.tolist() == [[0, 1, 4, 9], [5, 6, 12, 9]]
    assert instances.areas.tolist() == [7, 21]


def test_what_is_no_label_image(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for name, array in {
        "a": np.eye(10, dtype=np.uint8), "b": np.zeros((10, 12, 3), np.uint8), "c": np.ones((4, 4), np.uint8)
    }.items():  # fmt: skip
        photo(tmp_path / "images" / f"{name}.jpg")
        Image.fromarray(array).save(tmp_path / "masks" / f"{name}.png")
    dataset, faults = survey_dataset(tmp_path, OpenOptions("detection"))
    assert faults == ()  # of naming
    with pytest.raises(ImageError, match="one channel"):
        next(s for s in dataset.split("all") if s.name == "b").instances()
    found = check_samples(dataset.split("all"), dataset.labels).faults
    assert any("b.png: is RGB; a label image has one channel" in f for f in found)
    assert any("c.jpg: is 10 x 12 (height x width), but its objects were annotated on 4 x 4" in f for f in found)
    for name in "abc":
        Image.fromarray(np.eye(10, 12, dtype=np.uint8) * 255).save(tmp_path / "masks" / f"{name}.png")
    with pytest.raises(DataError, match="one mask of everything"):
        open_dataset(tmp_path, "detection")
    (tmp_path / "classes.txt").write_text("background\ncat\n")
    with pytest.raises(DataError, match="the values in masks/ are classes"):
        open_dataset(tmp_path, "detection")


def test_many_objects_are_cut_out_as_by_hand() -> None:
    label = np.random.default_rng(0).integers(0, 30, (40, 50)).astype(np.uint16)
    found = dict(split_label_image(label))
    assert sorted(found) == list(range(1, 30))
    for value, mask in found.items():
        np.testing.assert_array_equal(mask.to_full((40, 50)), label == value)
    assert list(split_label_image(np.zeros((3, 3), np.uint8))) == []


# All


def test_damaged_photos_are_told(tmp_path: Path) -> None:
    root = write_coco(tmp_path)
    path = root / "train2017" / "a.png"
    path.write_bytes(path.read_bytes()[:45])
    photo(root / "train2017" / "b.png", (8, 12))
    dataset = open_dataset(root, "detection", masks=False)
    text = "\n".join(check_samples(dataset.split("all"), dataset.labels).faults)
    assert "a.png: photo is damaged" in text
    assert "b.png: is 8 x 12 (height x width), but its objects were annotated on 10 x 12" in text


def test_what_is_none_of_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        open_dataset(tmp_path / "gone", "detection")
    with pytest.raises(DataError, match=r"no annotated objects found.*; expected COCO"):
        open_dataset(tmp_path, "detection")
    with pytest.raises(DataError, match="licences are known of COCO's photos alone"):
        open_dataset(tmp_path, "detection", licenses=(4,))


def test_samples_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    sample = open_dataset(write_coco(tmp_path), "detection").split("train")[0]
    assert len(pickle.loads(pickle.dumps(sample)).instances()) == len(sample.instances())


@pytest.mark.data
def test_the_real_objects_are_whole(data_root: Path) -> None:
    coco = open_dataset(data_root / "coco128", "detection")
    samples = coco.split("all")
    assert len(samples) == 128
    checked = check_samples(samples[:40], coco.labels)
    assert checked.faults == ()
    assert int((checked.objects > 0).sum()) > 20
    assert len(coco.labels) == 81
    raw = open_dataset(data_root / "nuclei_raw", "detection")
    assert check_samples(raw.split("all"), raw.labels).objects.tolist() == [0, 143]


@pytest.mark.data
def test_the_same_nuclei_twice(data_root: Path) -> None:
    """Six photos come as run lengths and as one file an object: the masks are the same."""
    packed = {sample.name: sample for sample in open_dataset(data_root / "nuclei", "detection").split("val")}
    for sample in open_dataset(data_root / "nuclei_raw", "detection").split("all"):
        first, second = sample.instances(), packed[sample.name].instances()
        assert {mask.bits for mask in first.cropped or ()} == {mask.bits for mask in second.cropped or ()}
        assert sorted(first.boxes.tolist()) == sorted(second.boxes.tolist())
