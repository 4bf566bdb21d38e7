"""YOLO's text files: their lines, where they lie, and the little YAML that names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from yolo_folder import BOX, label, photo, write_yolo

from imago.core.errors import DataError
from imago.data.formats.yolo_yaml import read_yolo_yaml
from imago.data.open_dataset import open_dataset

POLYGON = "1 0.25 0.1 0.75 0.1 0.75 0.5 0.25 0.5\n"  # 10 2 30 10


def test_boxes(tmp_path: Path) -> None:
    dataset = open_dataset(write_yolo(tmp_path, BOX + "1 0.1 0.5 0.2 0.1\n"), "detection")
    assert dataset.labels.names == ("background", "cat", "dog")
    assert {split: [s.name for s in samples] for split, samples in dataset.splits.items()} == {
        "train": ["train/a", "train/b", "train/c"], "val": ["val/d"],
    }  # fmt: skip
    instances = dataset.split("val")[0].instances()
    np.testing.assert_allclose(instances.boxes, [[10, 6, 30, 14], [0, 9, 8, 11]], atol=1e-4)
    assert instances.classes.tolist() == [1, 2]
    assert instances.cropped is None


def test_polygons_and_photos_without_objects(tmp_path: Path) -> None:
    root = write_yolo(tmp_path, POLYGON)
    (root / "labels" / "train" / "a.txt").unlink()
    (root / "labels" / "train" / "b.txt").write_text("\n")
    dataset = open_dataset(root, "detection")
    assert dataset.has_masks
    assert "1 photo has no label file" in dataset.notes[-1]
    assert [len(sample.instances()) for sample in dataset.split("train")] == [0, 0, 1]
    instances = dataset.split("val")[0].instances()
    assert instances.boxes.tolist() == [[10, 2, 30, 10]]
    assert instances.areas.tolist() == [160]
    boxes = open_dataset(root, "detection", masks=False).split("val")[0].instances()
    np.testing.assert_allclose(boxes.boxes, instances.boxes, atol=1e-5)
    assert boxes.cropped is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2 0.5 0.5 0.1 0.1", "class 2 is out of range; there are 0 to 1"),
        ("-1 0.5 0.5 0.1 0.1", "class -1 is out of range"),
        ("inf 0.5 0.5 0.1 0.1", "class inf is out of range"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5 is out of range"),
        ("0 0.5 0.5 0.1", "3 numbers after the class"),
        ("0 0.5 0.5 0.1 0.1 0.9", "5 numbers after the class"),
        ("cat 0.5 0.5 0.1 0.1", "expected numbers; got cat 0.5"),
        ("0 0.5 0.5 0 0.1", "is empty"),
        ("0 0.5 0.5 -0.2 0.1", "has a negative side"),
        ("0 0.95 0.5 0.2 0.1", "reaches outside of the photo"),
        ("0 20 8 4 4", "lies outside of the photo of 1 x 1 (height x width); in shares of the photo"),
        ("0 nan 0.5 0.2 0.1", "holds what is no number"),
        ("0 0.1 0.1 0.2 0.1 0.2 1.3", "reaches outside"),
    ],
)
def test_damaged_lines_are_named(line: str, words: str, tmp_path: Path) -> None:
    root = write_yolo(tmp_path)
    (root / "labels" / "train" / "b.txt").write_text(BOX + line + "\n")
    with pytest.raises(DataError) as caught:
        open_dataset(root, "detection")
    assert len(caught.value.faults) == 1
    assert "b.txt, line 2: " in caught.value.faults[0]
    assert words in caught.value.faults[0]


def test_other_faults(tmp_path: Path) -> None:
    root = write_yolo(tmp_path, POLYGON)
    (root / "labels" / "train" / "b.txt").write_text(BOX + POLYGON)
    (root / "labels" / "train" / "c.txt").write_bytes(b"\xff\xfe\x00")
    (root / "labels" / "val" / "x.txt").write_text(POLYGON)
    photo(root / "images" / "val" / "d.png")
    with pytest.raises(DataError) as caught:
        open_dataset(root, "detection")
    text = "\n".join(caught.value.faults)
    for words in (
        "b.txt: 1 of 2 objects are boxes, while the set has polygons", "c.txt: cannot be read as text",
        "x.txt: no photo images/val/x.*", "d.png: same name as d.jpg",
    ):  # fmt: skip
        assert words in text
    (root / "classes.txt").unlink()
    with pytest.raises(DataError, match="no names of classes"):
        open_dataset(root, "detection")


@pytest.mark.parametrize("kind", ["folders", "path", "lists", "roboflow", "darknet", "flat"])
def test_where_files_lie(kind: str, tmp_path: Path) -> None:
    train, val = ("a", "b", "c"), ("d",)
    root = tmp_path / "set"
    names = "names: [cat, 'dog']\n"
    if kind in ("folders", "path", "lists"):
        write_yolo(root)
        (root / "classes.txt").unlink()
        listed = {"train": "images/train", "val": "images/val"}
        if kind == "lists":
            for split, members in (("train", train), ("val", val)):
                (root / f"{split}.txt").write_text("".join(f"./images/{split}/{n}.jpg\n" for n in members))
            listed = {"train": "train.txt", "val": "val.txt"}
        path = "path: ../datasets/gone  # on its author's machine\n" if kind == "path" else ""
        text = path + "".join(f"{split}: {place}\n" for split, place in listed.items()) + names
        (root / "data.yaml").write_text(text)
    elif kind == "roboflow":
        for split, members in (("train", train), ("valid", val)):
            for name in members:
                photo(root / split / "images" / f"{name}.jpg")
                label(root / split / "labels" / f"{name}.txt", BOX)
        (root / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnc: 2\n" + names)
    elif kind == "darknet":
        for split, members in (("train", train), ("val", val)):
            for name in members:
                photo(root / "obj" / f"{name}.jpg")
                label(root / "obj" / f"{name}.txt", BOX)
            (root / f"{split}.txt").write_text("".join(f"obj/{n}.jpg\n" for n in members))
        (root / "obj.names").write_text("cat\ndog\n")
    else:
        for name in (*train, *val):
            photo(root / "images" / f"{name}.jpg")
            label(root / "labels" / f"{name}.txt", BOX)
        for split, members in (("train", train), ("val", val)):
            (root / f"{split}.txt").write_text("\n".join(members))
        (root / "labels" / "classes.txt").write_text("cat\ndog\n")
    dataset = open_dataset(root, "detection")
    assert dataset.labels.names == ("background", "cat", "dog")
    found = {s: tuple(sample.image_path.stem for sample in samples) for s, samples in dataset.splits.items()}
    assert found == {"train": train, "val": val}
    assert all(len(sample.instances()) == 1 for sample in dataset.split("all"))


def test_a_photo_in_both_splits(tmp_path: Path) -> None:
    root = write_yolo(tmp_path)
    (root / "data.yaml").write_text("train: images\nval: images/val\nnames: [cat, dog]\n")
    with pytest.raises(DataError) as caught:
        open_dataset(root, "detection")
    assert "d.jpg: stands in val and in an earlier split" in caught.value.faults[0]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [cat, dog]", ["cat", "dog"]),
        ("names: ['cat', \"dog\"]  # two", ["cat", "dog"]),
        ("names:\n  - cat\n  - big dog # one\n", ["cat", "big dog"]),
        ("names:\n- cat\n- dog\nnc: 2", ["cat", "dog"]),
        ("names: [\n  cat,\n  # and\n  dog,\n]\nnc: 2", ["cat", "dog"]),
        ("names:\n  0: cat\n  1: 'dog''s'\n\n# end", {"0": "cat", "1": "dog's"}),
        ("names: {0: cat, 1: dog}", {"0": "cat", "1": "dog"}),
        ("names: [dog's, 'a, b', \"x # y\"]", ["dog's", "a, b", "x # y"]),
        ("names: 5x5\n", "5x5"),
    ],
)
def test_yaml(text: str, names: object, tmp_path: Path) -> None:
    """As PyYAML reads it, where that is there (numbers come as text)."""
    path = tmp_path / "data.yaml"
    path.write_text("# a set\nroboflow:\n  project: x\n  names: none\ntrain: a/b\n" + text)
    found = read_yolo_yaml(path)
    assert found["names"] == names
    assert found["train"] == "a/b"
    yaml = pytest.importorskip("yaml")
    expected = yaml.safe_load(path.read_text())["names"]
    if isinstance(expected, dict):
        expected = {str(key): value for key, value in expected.items()}
    assert expected == names


@pytest.mark.parametrize(
    "text",
    [
        "names: &a [x]", "names: *a", "names: |\n  cat", "names: >\n cat", "names: [cat", "names: !!set {cat}",
        "names: [[a], b]", "names:\n  cat\n  dog", "names: cat\n  dog", "names:\n  - a: b", "names:\n  -cat",
        "names:\n  0: a\n  0: b", 'names: ["a\\n"]', "names: [a]\nnames: [b]",
    ],
)  # fmt: skip
def test_yaml_that_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_text("train: a\n" + text + "\n")
    with pytest.raises(DataError, match=r"data\.yaml, line [23]: names"):
        read_yolo_yaml(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("names: cat", "is one word"),
        ("names: {1: cat, 2: dog}", "must number the classes 0 to 1; got 1, 2"),
        ("names: [cat, dog]\nnc: 3", "lists 2 classes, nc: says 3"),
        ("names: []", "lists 0 classes"),
        ("names: [cat, cat]", "stand twice: cat"),
        ("names: [cat, dog]\ntrain: nowhere", "names 'nowhere' as train, but "),
    ],
)
def test_yaml_that_makes_no_sense(text: str, words: str, tmp_path: Path) -> None:
    root = write_yolo(tmp_path)
    (root / "data.yaml").write_text(text + "\n")
    with pytest.raises(DataError) as caught:
        open_dataset(root, "detection")
    assert words in "\n".join([str(caught.value), *caught.value.faults])
