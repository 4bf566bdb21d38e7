"""Objects in groups of classes, label maps as objects, objects pasted onto other photos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imago.core.errors import DataError
from imago.core.instances import CroppedMask, Instances, masks_to_boxes
from imago.core.labels import Labels
from imago.data.augment.paste_instances import paste_instances
from imago.data.grouping import class_table, common_labels, group_instances, parse_grouping
from imago.data.open_dataset import open_dataset
from imago.training.config import DataSource, TrainConfig
from imago.training.sources import open_detection_folder

OLD = Labels(("background", "car", "truck", "person", "tree"))


def squares(*places: tuple[int, int, int], classes: tuple[int, ...] = ()) -> Instances:
    """Squares at x, y of a side, in a photo of 40 x 60."""
    masks = [CroppedMask.from_mask(np.ones((side, side), bool), x, y) for x, y, side in places]
    return Instances.make((40, 60), masks_to_boxes(masks), classes or [1] * len(masks), cropped=masks)


# Groups


@pytest.mark.parametrize(
    ("group", "table"),
    [
        ("vehicle=car,truck; person=person; background=rest", (0, 2, 2, 1, 0)),
        ("vehicle=car,truck; person=person", (0, 2, 2, 1, -1)),  # what no group takes is ignored
        ("vehicle=car; ignore=truck; person=rest", (0, 2, -1, 1, 1)),
        ("person=; vehicle=truck; background=car,person,tree", (0, 0, 2, 0, 0)),
    ],
)
def test_new_classes(group: str, table: tuple[int, ...]) -> None:
    grouping = parse_grouping(group, least=1)
    labels = common_labels(grouping, ("person", "vehicle"), "x")
    assert tuple(class_table(grouping, OLD, labels, "x")) == table


def test_groups_that_do_not_fit() -> None:
    grouping = parse_grouping("vehicle=car,bus", least=1)
    with pytest.raises(DataError, match="x: the grouping makes 'vehicle', which classes does not list; it lists p"):
        common_labels(grouping, ("person",), "x")
    with pytest.raises(DataError, match=r"x: the grouping names classes that the data does not have: bus\. It has: c"):
        class_table(grouping, OLD, common_labels(grouping, (), "x"), "x")
    with pytest.raises(DataError, match="needs groups of different names; got none"):
        parse_grouping("ignore=rest", least=1)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Two photos in one instances.json, parted by lists: a car, a truck, a person and a tree in each."""
    (tmp_path / "images").mkdir()
    images, annotations = [], []
    for number in (1, 2):
        Image.new("RGB", (60, 40)).save(tmp_path / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 40, "width": 60})
        for category in (1, 2, 3, 4):
            x = 12 * (category - 1)
            corners = [x, 5, x + 8, 5, x + 8, 15, x, 15]
            annotations.append(
                {
                    "id": 10 * number + category, "image_id": number, "category_id": category,
                    "segmentation": [corners], "bbox": [x, 5, 8, 10], "iscrowd": 0,
                }
            )  # fmt: skip
    categories = [{"id": value, "name": name} for value, name in enumerate(OLD.names) if value]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    (tmp_path / "train.txt").write_text("2\n")
    (tmp_path / "val.txt").write_text("1\n")  # the hash of the names would part them the other way
    return tmp_path


def test_objects_of_a_folder_in_groups(coco: Path) -> None:
    dataset = open_dataset(coco, "detection")
    assert {split: [s.name for s in found] for split, found in dataset.splits.items()} == {"train": ["2"], "val": ["1"]}
    grouping = parse_grouping("vehicle=car,truck; ignore=person; background=tree", least=1)
    labels = common_labels(grouping, ("person", "vehicle", "bag"), coco)
    grouped = group_instances(dataset, grouping, labels)
    (sample,) = grouped.split("train")
    instances = sample.instances()
    assert instances.crowd is not None
    assert instances.classes.tolist() == [2, 2, 1]
    assert instances.crowd.tolist() == [False, False, True]
    assert instances.boxes[:, 0].tolist() == [0, 12, 24]
    assert sample.unannotated == (1, 3)
    (judged,) = grouped.split("val")  # scores know crowds by class: this one excuses any
    assert judged.instances().classes.tolist() == [2, 2, 1, 2, 3]
    assert grouped.notes[-1] == "not annotated there, and not taught as background: person, bag"


def test_names_kept_for_validation(coco: Path) -> None:
    dataset, faults = open_dataset(coco, "detection").with_val(("2", "9"))
    assert [sample.name for sample in dataset.split("val")] == ["2"]
    assert [sample.name for sample in dataset.split("train")] == ["1"]
    assert faults == (f"{coco}: val names '9', of which there is no photo",)
    assert [sample.name for sample in open_dataset(coco, "detection").select("[2-9]").split("all")] == ["2"]
    with pytest.raises(DataError, match=r"no photo is named like 'a\*'; leave out only, or mend it"):
        open_dataset(coco, "detection").select("a*")


# Label maps


@pytest.fixture
def garments(tmp_path: Path) -> Path:
    """Values: 0 floor, 1 a shirt in two parts of 100 and 64 pixels and a crumb, 2 a hat; 255 unknown."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    label = np.zeros((40, 60), np.uint8)
    label[2:12, 2:12] = label[20:28, 2:10] = label[35:37, 2:4] = 1
    label[2:12, 30:40] = 2
    label[30:36, 50:56] = 255
    for name in ("a", "b"):
        Image.new("RGB", (60, 40)).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(label).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "classes.txt").write_text("floor\nshirt\nhat\n")
    (tmp_path / "train.txt").write_text("a\n")
    (tmp_path / "val.txt").write_text("b\n")
    return tmp_path


@pytest.mark.parametrize(
    ("how", "found"),
    [
        # class, pixels, crowd. Value 255 is neither.
        ("whole", [(1, 100, False), (2, 168, False), (1, 36, True)]),
        ("parts", [(1, 100, False), (2, 100, False), (2, 64, False), (2, 4, True), (1, 36, True)]),
    ],
)
def test_label_maps_as_objects(garments: Path, how: str, found: list[tuple[int, int, bool]]) -> None:
    entry = DataSource(garments.name, group="background=floor; garment=shirt; hat=hat", regions=how)  # type: ignore[arg-type]
    config = TrainConfig.of(data=(entry,), classes=("hat", "garment"))
    dataset, faults = open_detection_folder(entry, garments.parent, config)
    assert faults == ()
    (sample,) = dataset.split("train")
    instances = sample.instances()
    assert instances.crowd is not None
    told = list(zip(instances.classes.tolist(), instances.areas.tolist(), instances.crowd.tolist(), strict=True))
    assert sorted(told) == sorted(found)
    assert [int(mask.area) for mask in instances.cropped or ()] == instances.areas.tolist()
    (judged,) = dataset.split("val")
    assert len(judged.instances()) == len(found) + 1  # the unknown pixels are a crowd of either class


# Copy-paste


def test_pasted_objects_hide_what_is_below() -> None:
    below = squares((10, 10, 20), (30, 12, 6), (2, 2, 4), classes=(1, 2, 3))
    above = squares((20, 8, 22), classes=(4,))  # half of the first, all of the second
    dark, bright = np.zeros((40, 60, 3), np.uint8), np.full((40, 60, 3), 255, np.uint8)
    image, instances = paste_instances(dark, below, bright, above, np.random.default_rng(0))
    assert instances.classes.tolist() == [1, 3, 4]
    assert instances.boxes.tolist() == [[10, 10, 20, 30], [2, 2, 6, 6], [20, 8, 42, 30]]
    assert instances.areas.tolist() == [200, 16, 484]
    assert image[15, 30].tolist() == [255] * 3
    assert image[15, 12].tolist() == [0] * 3
    assert (dark.max(), bright.min()) == (0, 255)  # neither photo is painted on


def test_hardly_seen_objects_are_crowd() -> None:
    below, above = squares((10, 10, 10)), squares((10, 10, 9))
    zeros = np.zeros((40, 60, 3), np.uint8)
    _, instances = paste_instances(zeros, below, zeros, above, np.random.default_rng(0))
    assert instances.crowd is not None
    assert instances.areas.tolist() == [19, 81]  # of 100: less than a quarter
    assert instances.crowd.tolist() == [True, False]


def test_some_objects_are_pasted_and_crowds_never() -> None:
    zeros = np.zeros((40, 60, 3), np.uint8)
    above = squares((0, 0, 5), (10, 0, 5), (20, 0, 5), (30, 0, 5), classes=(1, 2, 3, 4))
    crowd = Instances.make(
        above.size_hw, above.boxes, above.classes, cropped=above.cropped, crowd=[False, False, False, True]
    )
    nothing = squares()
    seen = [
        tuple(paste_instances(zeros, nothing, zeros, crowd, np.random.default_rng(seed))[1].classes)
        for seed in range(40)
    ]
    assert {len(classes) for classes in seen} == {1, 2, 3}
    assert {value for classes in seen for value in classes} == {1, 2, 3}
    same, instances = paste_instances(zeros, above, zeros, crowd[np.array([3])], np.random.default_rng(0))
    assert same is zeros
    assert instances is above
