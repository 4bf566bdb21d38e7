"""Every task reads every format, one place finds the splits, classes are called as the user calls them, and whatever
stands in COCO's file is a photo, an object or one line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.tool_files import TOOLS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from imago.core.errors import DataError
from imago.core.labels import IGNORE
from imago.data.check import check_samples
from imago.data.formats.catalog import FORMATS
from imago.data.grouping import parse_grouping
from imago.data.open_dataset import OpenOptions, guess_task, open_dataset, survey_dataset
from imago.data.splits import find_splits, parse_split

SIZE_HW = (10, 12)
NAMES = ("a", "b", "c")
# Two objects: class 1 in rows 1 to 4 of columns 2 to 7, class 2 in rows 6 to 8 of columns 1 to 3.
LABEL = np.zeros(SIZE_HW, np.uint8)
LABEL[1:5, 2:8], LABEL[6:9, 1:4] = 1, 2
CORNERS = ([2, 1, 8, 1, 8, 5, 2, 5], [1, 6, 4, 6, 4, 9, 1, 9])
BOXES = [[2, 1, 8, 5], [1, 6, 4, 9]]


def photo(path: Path, size_hw: tuple[int, int] = SIZE_HW) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size_hw, 3), 90, np.uint8)).save(path)


def mask(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def coco_content(names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    return {
        "images": [
            {"id": number, "file_name": f"{name}.png", "height": 10, "width": 12} for number, name in enumerate(names)
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {
                "id": 10 * number + value, "image_id": number, "category_id": value, "segmentation": [corners],
                "bbox": [min(corners[::2]), min(corners[1::2]), max(corners[::2]) - min(corners[::2]),
                         max(corners[1::2]) - min(corners[1::2])], "area": 24 if value == 1 else 9, "iscrowd": 0,
            }
            for number in range(len(names))
            for value, corners in enumerate(CORNERS, 1)
        ],
    }  # fmt: skip


def write_coco(root: Path, change: Callable[[dict[str, Any]], object] = lambda content: None) -> None:
    for name in NAMES:
        photo(root / "images" / f"{name}.png")
    content = coco_content()
    change(content)
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))


def write_yolo(root: Path) -> None:
    lines = [
        f"{value} " + " ".join(f"{number / (12 if index % 2 == 0 else 10):.6f}" for index, number in enumerate(corners))
        for value, corners in enumerate(CORNERS)
    ]
    for name in NAMES:
        photo(root / "images" / f"{name}.png")
        (root / "labels").mkdir(exist_ok=True)
        (root / "labels" / f"{name}.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text("names: [cat, dog]\n")


def write_voc(root: Path) -> None:
    for name in NAMES:
        photo(root / "JPEGImages" / f"{name}.png")
        mask(root / "SegmentationClass" / f"{name}.png", LABEL)
        mask(root / "SegmentationObject" / f"{name}.png", LABEL)
    (root / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:1,1,1::\ndog:2,2,2::\n"
    )


def write_mask_files(root: Path) -> None:
    for name in NAMES:
        photo(root / name / "images" / f"{name}.png")
        for value in (1, 2):
            mask(root / name / "masks" / f"{value}.png", (value == LABEL).astype(np.uint8) * 255)


def write_label_maps(root: Path) -> None:
    for name in NAMES:
        photo(root / "images" / f"{name}.png")
        mask(root / "masks" / f"{name}.png", LABEL)
    (root / "classes.txt").write_text("background\ncat\ndog\n")


def write_label_images(root: Path) -> None:
    write_label_maps(root)
    (root / "classes.txt").unlink()


CLASSES = ("cat", "dog")
PAIRS = [list(zip(corners[::2], corners[1::2], strict=True)) for corners in CORNERS]


def write_geojson(root: Path) -> None:
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[*map(list, points), list(points[0])]]},
         "properties": {"objectType": "annotation", "classification": {"name": name}}}
        for name, points in zip(CLASSES, PAIRS, strict=True)
    ]  # fmt: skip
    for name in NAMES:
        photo(root / f"{name}.png")
        (root / f"{name}.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def numbered(step: int, *kinds: int) -> np.ndarray:
    """uint16: 0, or of each object class * step + its number."""
    table = np.array([0, *(kind * step + number for number, kind in enumerate(kinds, 1))], np.uint16)
    return table[LABEL]


def write_cityscapes(root: Path) -> None:
    for name in NAMES:
        photo(root / "leftImg8bit" / "train" / "town" / f"{name}_leftImg8bit.png")
        mask(root / "gtFine" / "train" / "town" / f"{name}_gtFine_instanceIds.png", numbered(1000, 24, 26))


def write_kitti(root: Path) -> None:
    for name in NAMES:
        photo(root / "training" / "image_2" / f"{name}.png")
        mask(root / "training" / "instance" / f"{name}.png", numbered(256, 24, 26))


def write_mapillary(root: Path) -> None:
    for name in NAMES:
        photo(root / "training" / "images" / f"{name}.png")
        mask(root / "training" / "v2.0" / "instances" / f"{name}.png", np.where(LABEL == 0, 512, numbered(256, 0, 1)))
    kinds = [{"name": name, "instances": True, "color": [9, number, 0]} for number, name in enumerate(("cat", "dog"))]
    void = {"name": "void--unlabeled", "instances": False, "color": [0, 0, 0]}
    (root / "config_v2.0.json").write_text(json.dumps({"labels": [*kinds, void]}))


def write_ade20k(root: Path) -> None:
    table = np.array(((0, 0, 0), (10, 44, 1), (20, 7, 2)), np.uint8)  # classes 300 and 519
    for name in NAMES:
        photo(root / "training" / "street" / f"{name}.jpg")
        mask(root / "training" / "street" / f"{name}_seg.png", table[LABEL])
        mask(root / "training" / "street" / f"{name}_parts_1.png", table[LABEL // 2])
        (root / "training" / "street" / f"{name}_atr.txt").write_text(
            '001 # 0 # 0 # cat, true cat # cat # ""\n002 # 0 # 1 # dog # dog # ""\n001 # 1 # 0 # paw # paw # ""\n'
        )


def write_panoptic(root: Path) -> None:
    table = np.array(((0, 0, 0), (44, 1, 0), (7, 0, 2)), np.uint8)
    numbers = (44 + 256, 7 + 2 * 65536)
    entries = []
    for number, name in enumerate(NAMES):
        photo(root / "train2017" / f"{name}.jpg")
        mask(root / "annotations" / "panoptic_train2017" / f"{name}.png", table[LABEL])
        segments = [{"id": one, "category_id": kind, "iscrowd": 0} for one, kind in zip(numbers, (3, 9), strict=True)]
        entries.append({"image_id": number, "file_name": f"{name}.png", "segments_info": segments})
    content = {
        "images": [{"id": number, "file_name": f"{name}.jpg"} for number, name in enumerate(NAMES)],
        "annotations": entries,
        "categories": [{"id": 9, "name": "dog", "isthing": 1}, {"id": 3, "name": "cat", "isthing": 1}],
    }
    (root / "annotations" / "panoptic_train2017.json").write_text(json.dumps(content))


def write_cellpose(root: Path) -> None:
    for name in NAMES:
        photo(root / f"{name}.png")
        mask(root / f"{name}_cp_masks.png", LABEL.astype(np.uint16))


SEGMENTS = ("coco_panoptic", "cityscapes", "kitti_semantic", "mapillary", "ade20k")
VOID = np.array([IGNORE, 0, 1], np.uint8)[LABEL]
STREET = np.array([IGNORE, 11, 13], np.uint8)[LABEL]  # person, car

# Format, what a semantic net learns of it, how objects are asked for, classes of objects
WRITERS: dict[str, tuple[Callable[[Path], None], np.ndarray, OpenOptions, list[int]]] = {
    "coco": (write_coco, LABEL, OpenOptions("detection"), [1, 2]),
    "yolo": (write_yolo, LABEL, OpenOptions("detection"), [1, 2]),
    "voc": (write_voc, LABEL, OpenOptions("detection"), [1, 2]),
    "mask_files": (write_mask_files, np.minimum(LABEL, 1), OpenOptions("detection"), [1, 1]),
    "label_maps": (
        write_label_maps, LABEL,
        OpenOptions("detection", grouping=parse_grouping("background=background; cat=cat; dog=dog"), regions="parts"),
        [1, 2],
    ),
    **{name: (write, LABEL, OpenOptions("detection"), [1, 2]) for name, write in TOOLS.items()},
    "sa1b": (TOOLS["sa1b"], np.minimum(LABEL, 1), OpenOptions("detection"), [1, 1]),
    "label_images": (write_label_images, LABEL, OpenOptions("detection"), [1, 1]),
    "geojson": (write_geojson, LABEL, OpenOptions("detection"), [1, 2]),
    "coco_panoptic": (write_panoptic, VOID, OpenOptions("detection"), [1, 2]),
    "cityscapes": (write_cityscapes, STREET, OpenOptions("detection"), [1, 3]),
    "kitti_semantic": (write_kitti, STREET, OpenOptions("detection"), [1, 3]),
    "mapillary": (write_mapillary, VOID, OpenOptions("detection"), [1, 2]),
    "ade20k": (write_ade20k, LABEL, OpenOptions("detection"), [1, 2]),
    "cellpose": (write_cellpose, np.minimum(LABEL, 1), OpenOptions("detection"), [1, 1]),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_task_reads_every_format(name: str, tmp_path: Path) -> None:
    write, label, options, classes = WRITERS[name]
    write(tmp_path)
    assert FORMATS[name].recognize(tmp_path)
    maps = open_dataset(tmp_path)
    assert len({sample.name for sample in maps.split("all")}) == 3
    for sample in maps.split("all"):
        assert np.array_equal(sample.label_map(), label)
    if name not in ("mask_files", "label_images", "sa1b", "cellpose", *SEGMENTS) or name == "ade20k":
        assert maps.labels.names == ("background", "cat", "dog")
    objects, faults = survey_dataset(tmp_path, options)
    assert faults == ()
    assert len({sample.name for sample in objects.split("all")}) == 3
    for sample in objects.split("all"):
        instances = sample.instances()
        assert instances.boxes.tolist() == BOXES
        assert instances.classes.tolist() == classes
        assert instances.areas.tolist() == [24, 9]
    for dataset in (maps, objects):
        assert check_samples(dataset.split("all"), dataset.labels).faults == ()


def test_every_format_says_what_it_cannot_hold() -> None:
    for one in FORMATS.values():
        assert one.cannot_hold
        assert one.layout
        assert one.read_maps or one.read_objects


def test_boxes_are_no_label_map(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    for name in NAMES:
        (tmp_path / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    with pytest.raises(DataError, match="has boxes alone; a label map needs polygons or masks of the objects"):
        open_dataset(tmp_path)


def test_a_sample_says_what_it_lacks(tmp_path: Path) -> None:
    write_label_maps(tmp_path)
    with pytest.raises(DataError, match=r"\.png: has a label map, no objects; open the folder with task='detection'"):
        open_dataset(tmp_path).split("all")[0].instances()
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(DataError, match=r"\.png: has objects, no label map; open the folder with task='semantic'"):
        open_dataset(tmp_path, "detection").split("all")[0].label_map()


# Splits


def members(root: Path, task: Any = "semantic") -> dict[str, list[str]]:
    dataset = open_dataset(root, task)
    return {split: [sample.name.split("/")[-1] for sample in found] for split, found in dataset.splits.items()}


PARTED = {"train": ["c"], "val": ["a", "b"]}  # a hash would not part them so


def parted_by_folders(root: Path, folders: dict[str, str]) -> None:
    """Moves ``images/a.png`` to ``images/val/a.png``, and so on."""
    for folder, suffix in folders.items():
        for split, names in PARTED.items():
            (root / folder / split).mkdir()
            for name in names:
                (root / folder / f"{name}{suffix}").rename(root / folder / split / f"{name}{suffix}")


@pytest.mark.parametrize("name", ["coco", "yolo", "voc", "label_maps", "label_images", "mask_files"])
@pytest.mark.parametrize("task", ["semantic", "detection"])
def test_lists_of_names_part_every_format(name: str, task: str, tmp_path: Path) -> None:
    if (name, task) == ("label_maps", "detection"):
        pytest.skip("its objects are read by regions, from the label maps of the other row")
    WRITERS[name][0](tmp_path)
    for split, names in PARTED.items():
        (tmp_path / f"{split}.txt").write_text("\n".join(names))
    assert members(tmp_path, task) == PARTED


@pytest.mark.parametrize("task", ["semantic", "detection"])
def test_folders_part_label_maps_and_yolo(task: str, tmp_path: Path) -> None:
    write_label_images(tmp_path / "maps")
    parted_by_folders(tmp_path / "maps", {"images": ".png", "masks": ".png"})
    assert members(tmp_path / "maps", task) == PARTED
    write_yolo(tmp_path / "yolo")
    parted_by_folders(tmp_path / "yolo", {"images": ".png", "labels": ".txt"})
    assert members(tmp_path / "yolo", task) == PARTED
    for split, names in PARTED.items():
        for name in names:
            photo(tmp_path / "other" / split / "images" / f"{name}.png")
            mask(tmp_path / "other" / split / "masks" / f"{name}.png", LABEL)
    if task == "semantic":
        assert members(tmp_path / "other") == PARTED


@pytest.mark.parametrize("task", ["semantic", "detection"])
@pytest.mark.parametrize("lists", ["Segmentation", "Main"])
def test_vocs_lists(task: str, lists: str, tmp_path: Path) -> None:
    write_voc(tmp_path)
    (tmp_path / "ImageSets" / lists).mkdir(parents=True)
    for split, names in PARTED.items():
        (tmp_path / "ImageSets" / lists / f"{split}.txt").write_text("\n".join(names))
    assert members(tmp_path, task) == PARTED


@pytest.mark.parametrize("task", ["semantic", "detection"])
def test_data_yaml_parts_both_tasks(task: str, tmp_path: Path) -> None:
    write_yolo(tmp_path)
    for folder, suffix in (("images", ".png"), ("labels", ".txt")):
        for place, names in (("one", "c"), ("two", "ab")):
            (tmp_path / folder / place).mkdir()
            for name in names:
                (tmp_path / folder / f"{name}{suffix}").rename(tmp_path / folder / place / f"{name}{suffix}")
    (tmp_path / "data.yaml").write_text("train: images/one\nval: images/two\nnames: [cat, dog]\n")
    assert members(tmp_path, task) == PARTED


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("train2017", "train"), ("valid", "val"), ("instances_val2017", "val"), ("Test", "test"), ("validation", "val"),
        ("trains", None), ("valley", None), ("instances_default", None), ("testimony", None),
    ],
)  # fmt: skip
def test_which_words_are_splits(word: str, split: str | None) -> None:
    assert parse_split(word) == split


def test_photos_beside_split_folders_are_said(tmp_path: Path) -> None:
    found = find_splits(tmp_path, ["train/a", "val/b", "c"])
    assert found.members == {"train": ("train/a",), "val": ("val/b",)}
    assert found.notes == ("1 photo lies in no folder of a split; not used",)
    (tmp_path / "train.txt").write_text("./images/train/a.jpg\nval/b\n")  # as YOLO's programs write lists
    assert set(find_splits(tmp_path, ["train/a", "val/b", "c"]).members["train"]) <= {"train/a", "val/b"}


# Names of VOC's classes

XML = """<annotation><size><width>12</width><height>10</height></size>
<object><name>{0}</name><bndbox><xmin>3</xmin><ymin>2</ymin><xmax>8</xmax><ymax>5</ymax></bndbox></object>
<object><name>{1}</name><bndbox><xmin>2</xmin><ymin>7</ymin><xmax>4</xmax><ymax>9</ymax></bndbox></object></annotation>"""


@pytest.mark.parametrize("task", ["semantic", "detection"])
@pytest.mark.parametrize(
    ("names", "files", "expected"),
    [
        (("bolt", "nut"), {}, ("background", "bolt", "nut")),  # as most boxes hold them
        (("nut", "bolt"), {}, ("background", "nut", "bolt")),
        (("bolt", "nut"), {"classes.txt": "background\nx\ny\n"}, ("background", "x", "y")),
        (("bolt", "nut"), {"class_names.txt": "__ignore__\n_background_\nx\ny\n"}, ("background", "x", "y")),
    ],
)
def test_names_are_the_users(
    names: tuple[str, str], files: dict[str, str], expected: tuple[str, ...], task: Any, tmp_path: Path
) -> None:
    write_voc(tmp_path)
    (tmp_path / "labelmap.txt").unlink()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for name in NAMES:
        (tmp_path / "Annotations").mkdir(exist_ok=True)
        (tmp_path / "Annotations" / f"{name}.xml").write_text(XML.format(*names))
    assert open_dataset(tmp_path, task).labels.names == expected


def test_vocs_own_names_where_the_xml_names_no_other(tmp_path: Path) -> None:
    write_voc(tmp_path)
    (tmp_path / "labelmap.txt").unlink()
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(XML.format("aeroplane", "bicycle"))
    assert len(open_dataset(tmp_path).labels) == 21


def test_colours_of_labelmap(tmp_path: Path) -> None:
    """CVAT writes RGB masks; an object is a colour there, and (224, 224, 192) is void."""
    for name in NAMES:
        photo(tmp_path / "JPEGImages" / f"{name}.png")
        colors = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0), (224, 224, 192)], np.uint8)
        with_void = np.where(np.arange(12) == 11, 3, LABEL)
        mask(tmp_path / "SegmentationClass" / f"{name}.png", colors[with_void])
        mask(tmp_path / "SegmentationObject" / f"{name}.png", colors[LABEL])
    (tmp_path / "labelmap.txt").write_text("dog:0,128,0::\nbackground:0,0,0::\ncat:128,0,0::\n")
    (tmp_path / "JPEGImages" / "d.png").write_bytes((tmp_path / "JPEGImages" / "a.png").read_bytes())
    dataset = open_dataset(tmp_path)
    assert dataset.labels.names == ("background", "dog", "cat")
    assert dataset.notes[-1] == "1 photo has no mask in SegmentationClass/; not used"
    label = dataset.split("train")[0].label_map()
    assert (label[:, 11] == IGNORE).all()
    assert np.array_equal(label[:, :11], np.array([0, 2, 1])[LABEL[:, :11]])
    instances = open_dataset(tmp_path, "detection").split("train")[0].instances()
    assert sorted(zip(instances.classes.tolist(), instances.areas.tolist(), strict=True)) == [(1, 9), (2, 24)]


# COCO's odd values


@pytest.mark.parametrize("task", ["semantic", "detection"])
@pytest.mark.parametrize(
    ("place", "values", "words"),
    [
        ("images", {"width": 96.5}, "image 0 of the list (a.png): width is 96.5"),
        ("images", {"width": math.nan}, "image 0 of the list (a.png): width is nan"),
        ("images", {"width": math.inf}, "image 0 of the list (a.png): width is inf"),
        ("images", {"height": 0}, "image 0 of the list (a.png): height is 0"),
        ("annotations", {"segmentation": []}, "annotation 1 of photo a: has no outline"),
        ("annotations", {"segmentation": [[]]}, "annotation 1 of photo a: a polygon is no list of x and y"),
        ("annotations", {"segmentation": [[1, 2, 3, 4]]}, "annotation 1 of photo a: a polygon is no list of x and y"),
        ("annotations", {"segmentation": [1, 2, 3, 4, 5]}, "annotation 1 of photo a: a polygon is no list of x"),
        (
            "annotations",
            {"segmentation": [[1, 2, 3, 4, math.nan, 6]]},
            "photo a: a polygon has a coordinate that is no",
        ),
        ("annotations", {"segmentation": [["x"] * 6]}, "annotation 1 of photo a: could not convert"),
        ("annotations", {"segmentation": "abc"}, "photo a: segmentation is 'abc'; expected polygons or run lengths"),
        ("annotations", {"bbox": [1, 2, 3, 10**400]}, "annotation 1 of photo a: int too large"),
        ("annotations", {"image_id": [1]}, "annotation 1 belongs to photo '[1]', which is not listed"),
        ("images", {"file_name": "a\0b.png"}, "is missing"),
    ],
)
def test_an_odd_value_is_one_line(place: str, values: dict[str, Any], words: str, task: Any, tmp_path: Path) -> None:
    write_coco(tmp_path, lambda content: content[place][0].update(values))
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path, task)
    (fault,) = caught.value.faults
    assert words in fault
    assert "\n" not in fault


def test_ids_as_text_and_sizes_as_floats(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        for image in content["images"]:
            image.update(id=str(image["id"]), width=12.0, height="10")
        for category in content["categories"]:
            category.update(id=float(category["id"]))
        content["annotations"][1].update(iscrowd="0")

    write_coco(tmp_path, change)
    dataset = open_dataset(tmp_path, "detection")
    assert all(len(sample.instances()) == 2 for sample in dataset.split("all"))
    assert not any(bool(sample.instances().crowd.any()) for sample in dataset.split("all"))  # type: ignore[union-attr]


def test_equal_stems_in_sub_folders_are_two_photos(tmp_path: Path) -> None:
    content = coco_content(("x/1", "y/1", "y/2"))
    for name in ("x/1", "y/1", "y/2"):
        photo(tmp_path / "images" / f"{name}.png")
    (tmp_path / "instances.json").write_text(json.dumps(content))
    for task in ("semantic", "detection"):
        assert {sample.name for sample in open_dataset(tmp_path, task).split("all")} == {"x/1", "y/1", "y/2"}  # type: ignore[arg-type]


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 40), st.floats(), st.text(max_size=3), st.just(10**400),
    st.lists(st.one_of(st.floats(-5, 20), st.none(), st.text(max_size=1)), max_size=8),
    st.lists(st.lists(st.floats(), max_size=8), max_size=2),
    st.dictionaries(st.sampled_from(["counts", "size"]), st.none()),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.sampled_from(["images", "annotations", "categories"]),
    key=st.sampled_from(
        [
            "id", "width", "height", "file_name", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd",
            "name",
        ]
    ),
    value=ODD,
)  # fmt: skip  # fmt: skip
def test_whatever_stands_there_is_no_traceback(place: str, key: str, value: Any, tmp_path: Path) -> None:
    if not (tmp_path / "images").is_dir():
        write_coco(tmp_path)
    content = coco_content()
    content[place][0][key] = value
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(content))
    for task in ("semantic", "detection"):
        try:
            dataset, faults = survey_dataset(tmp_path, OpenOptions(task))  # type: ignore[arg-type]
        except DataError as error:
            faults = (str(error),)
        else:
            faults += check_samples(dataset.split("all"), dataset.labels).faults
        assert not any("\n" in fault.rstrip() or "unforeseen" in fault for fault in faults)


# What a folder is for


@pytest.mark.parametrize("name", FORMATS)
def test_the_check_looks_at_any_data_set(name: str, tmp_path: Path) -> None:
    WRITERS[name][0](tmp_path)
    task = guess_task(tmp_path)
    maps = name in ("label_maps", "label_images", *SEGMENTS)
    assert task == ("semantic" if maps else "detection")
    dataset = open_dataset(tmp_path, task)
    checked = check_samples(dataset.split("all"), dataset.labels)
    assert checked.faults == ()
    counts = checked.pixels if task == "semantic" else checked.objects
    subjects = np.arange(len(counts)) != dataset.labels.background
    assert counts[subjects].sum() == len(dataset.split("all")) * (33 if task == "semantic" else 2)


def test_many_objects_are_no_classes(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "a.png", (20, 20))
    mask(tmp_path / "masks" / "a.png", np.arange(400, dtype=np.uint16).reshape(20, 20))
    assert guess_task(tmp_path) == "detection"


# COCO's files of strangers


def rename_all(content: dict[str, Any]) -> None:
    for entry in content["images"]:
        entry["file_name"] = f"C:\\photos\\{entry['file_name']}"


def ids_as_text(content: dict[str, Any]) -> None:
    for entry in (*content["images"], *content["annotations"], *content["categories"]):
        entry["id"] = str(entry["id"])
    for entry in content["annotations"]:
        entry["image_id"] = str(entry["image_id"])


def flat_segmentation(content: dict[str, Any]) -> None:
    for entry in content["annotations"]:
        entry["segmentation"] = entry["segmentation"][0]


def name_of_the_set(content: dict[str, Any]) -> None:
    for entry in content["categories"]:
        entry["supercategory"] = "pets"
    content["categories"].insert(0, {"id": 0, "name": "pets", "supercategory": "none"})


def keypoints(content: dict[str, Any]) -> None:
    for entry in content["annotations"]:
        entry |= {"keypoints": [1, 2, 2], "num_keypoints": 1}


@pytest.mark.parametrize("change", [rename_all, ids_as_text, flat_segmentation, name_of_the_set, keypoints])
@pytest.mark.parametrize(
    "name", ["result.json", "_annotations.coco.json", "annotations/labels.json", "a/train/any name.json"]
)
def test_coco_by_any_name(name: str, change: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    write_coco(tmp_path, change)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "annotations" / "instances_train.json").rename(tmp_path / name)
    dataset = open_dataset(tmp_path, "detection")
    assert dataset.labels.names == ("background", "cat", "dog")
    assert len(dataset.split("all")) == 3
    for sample in dataset.split("all"):
        assert sample.instances().boxes.tolist() == BOXES
