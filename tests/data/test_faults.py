"""One small thing does not refuse a whole set: what is faulty is told once, or left out, as --faulty says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imago.core.errors import DataError
from imago.core.read_settings import ReadSettings
from imago.data.open_dataset import OpenOptions, open_dataset, survey_dataset
from imago.data.selection import open_samples
from imago.training.config import DataSource, TrainConfig
from imago.training.sources import open_detection_sources, open_sources

SKIP, CLIP = ReadSettings(faulty="skip"), ReadSettings(faulty="clip")
HW = (40, 60)


def photo(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*HW, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write_masks(root: Path, count: int = 6) -> Path:
    for index in range(count):
        photo(root / "images" / f"p{index}.png", index)
        (root / "masks").mkdir(exist_ok=True)
        mask = np.zeros(HW, np.uint8)
        mask[5:20, 5:30] = 255
        Image.fromarray(mask).save(root / "masks" / f"p{index}.png")
    return root


def write_yolo(root: Path, lines: dict[str, str]) -> Path:
    polygons = any(len(text.split("\n")[0].split()) > 5 for text in lines.values())
    val = "0 0.3 0.3 0.6 0.3 0.5 0.6\n" if polygons else "0 0.5 0.5 0.2 0.2\n"
    for index, (name, text) in enumerate(lines.items()):
        photo(root / "images" / "train" / f"{name}.png", index)
        photo(root / "images" / "val" / f"{name}v.png", 50 + index)
        for split, stem in (("train", name), ("val", f"{name}v")):
            path = root / "labels" / split / f"{stem}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text if split == "train" else val)
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat]\n")
    return root


def write_coco(root: Path, box: list[float]) -> Path:
    photo(root / "images" / "a.png")
    photo(root / "images" / "b.png")
    entries = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": box},
        {"id": 2, "image_id": 2, "category_id": 1, "bbox": [5, 5, 10, 10]},
    ]
    images = [{"id": k, "file_name": f"{n}.png", "height": HW[0], "width": HW[1]} for k, n in ((1, "a"), (2, "b"))]
    content = {"images": images, "annotations": entries, "categories": [{"id": 1, "name": "cat"}]}
    (root / "instances.json").write_text(json.dumps(content))
    return root


def write_voc(root: Path, box: list[float]) -> Path:
    for name, (x1, y1, x2, y2) in {"a": box, "b": [5.0, 5.0, 15.0, 15.0]}.items():
        photo(root / "JPEGImages" / f"{name}.png")
        (root / "Annotations").mkdir(exist_ok=True)
        corners = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        (root / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><size><width>{HW[1]}</width><height>{HW[0]}</height></size>"
            f"<object><name>cat</name><bndbox>{corners}</bndbox></object></annotation>"
        )
    return root


OUTSIDE: dict[str, Callable[[Path], Path]] = {
    "yolo": lambda root: write_yolo(root, {"a": "0 0.9 0.5 0.24 0.2\n", "b": "0 0.5 0.5 0.2 0.2\n"}),
    "yolo polygon": lambda root: write_yolo(
        root, {"a": "0 0.5 0.5 1.1 0.5 0.8 0.9\n", "b": "0 0.2 0.2 0.5 0.2 0.4 0.5\n"}
    ),
    "coco": lambda root: write_coco(root, [50, 10, 20, 10]),
    "voc": lambda root: write_voc(root, [50, 10, 70, 20]),
}


@pytest.mark.parametrize("kind", OUTSIDE)
def test_a_box_that_reaches_outside_is_refused_cut_or_left_out(kind: str, tmp_path: Path) -> None:
    root = OUTSIDE[kind](tmp_path)

    def counted(reading: ReadSettings) -> int:
        dataset = open_dataset(root, "detection", reading=reading)
        found = [sample.instances() for sample in dataset.split("all")]
        assert all((one.boxes[:, 2] <= HW[1]).all() for one in found)
        return sum(map(len, found))

    with pytest.raises(DataError, match=r"1 fault in the data set; .*--faulty skip.*--faulty clip") as caught:
        open_dataset(root, "detection")
    assert "reaches outside" in caught.value.faults[0]
    assert counted(CLIP) == counted(SKIP) + 1
    notes = open_dataset(root, "detection", reading=CLIP).notes
    assert any("--faulty clip: 1 cut to the photo, the first: " in note for note in notes)


def test_boxes_among_polygons(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"a": "0 0.2 0.2 0.5 0.2 0.4 0.5\n0 0.7 0.7 0.2 0.2\n"})
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path, "detection")
    assert all("--boxes-only" in fault and "--faulty skip" in fault for fault in caught.value.faults)
    (sample,) = open_dataset(tmp_path, "detection", reading=SKIP).split("train")
    instances = sample.instances()
    assert instances.cropped is not None
    assert np.asarray(instances.crowd).tolist() == [False, True]
    assert instances.cropped[1].to_full(HW)[24:32, 36:48].all()
    (sample,) = open_dataset(tmp_path, "detection", reading=ReadSettings(boxes_only=True)).split("train")
    assert (len(sample.instances()), sample.instances().cropped) == (2, None)


@pytest.mark.parametrize("there", ["nothing", "an empty folder"])
def test_a_test_folder_that_nobody_has(there: str, tmp_path: Path) -> None:
    write_yolo(tmp_path, {"a": "0 0.5 0.5 0.2 0.2\n"})
    text = (tmp_path / "data.yaml").read_text()
    (tmp_path / "data.yaml").write_text(text + "test: ../test/images\n")
    if there != "nothing":
        (tmp_path / "test" / "images").mkdir(parents=True)
    dataset = open_dataset(tmp_path, "detection")
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 1, "val": 1}
    assert any("'../test/images' as test" in note for note in dataset.notes)
    (tmp_path / "data.yaml").write_text(text.replace("images/val", "nowhere"))  # that one is needed
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path, "detection")
    assert "names 'nowhere' as val" in caught.value.faults[0]


@pytest.mark.parametrize(
    "clutter", ["images/.ipynb_checkpoints/p0-checkpoint.png", "images/__MACOSX/p0.png", "images/._p0.png",
                "images/@eaDir/p0.png", ".ipynb_checkpoints/images/p0.png", "masks/.thumbs/p9.png"],
)  # fmt: skip
def test_what_programs_leave_behind_is_no_photo(clutter: str, tmp_path: Path) -> None:
    write_masks(tmp_path)
    photo(tmp_path / clutter)
    assert len(open_dataset(tmp_path).split("all")) == 6


def test_clutter_is_no_annotation(tmp_path: Path) -> None:
    write_yolo(tmp_path / "yolo", {"a": "0 0.5 0.5 0.2 0.2\n"})
    hidden = tmp_path / "yolo" / "labels" / "train" / ".ipynb_checkpoints"
    hidden.mkdir()
    (hidden / "a-checkpoint.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    assert len(open_dataset(tmp_path / "yolo", "detection").split("all")) == 2
    write_coco(tmp_path / "coco", [5, 5, 10, 10])
    left = tmp_path / "coco" / ".ipynb_checkpoints"
    left.mkdir()
    (left / "_annotations.coco.json").write_text("{}")
    (tmp_path / "coco" / "instances.json").rename(tmp_path / "coco" / "_annotations.coco.json")
    assert len(open_dataset(tmp_path / "coco", "detection").split("all")) == 2


def test_fewer_masks_than_photos(tmp_path: Path) -> None:
    write_masks(tmp_path)
    for index in range(90, 93):
        photo(tmp_path / "images" / f"p{index}.png")
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path)
    assert len(caught.value.faults) == 3
    assert len(open_dataset(tmp_path, reading=SKIP).split("all")) == 6
    (tmp_path / "train.txt").write_text("p0\np1\np2\np3\n")
    (tmp_path / "val.txt").write_text("p4\np5\n")
    dataset = open_dataset(tmp_path)  # as VOC 2012 itself: lists say what is used
    assert len(dataset.split("all")) == 6
    assert "3 photos stand in no list and without a mask in masks/; not used" in dataset.notes
    (tmp_path / "train.txt").write_text("p0\np1\np2\np3\np90\n")
    with pytest.raises(DataError, match="1 fault"):
        open_dataset(tmp_path)


def test_very_many_photos_without_masks_are_one_line(tmp_path: Path) -> None:
    write_masks(tmp_path)
    for index in range(60):
        (tmp_path / "images" / f"x{index}.png").write_bytes(b"")
    _, faults = survey_dataset(tmp_path, OpenOptions())
    assert len(faults) == 1
    assert "60 of 66 photos have no mask in masks/ (x0.png, x1.png, x10.png ...)" in faults[0]


def spoil(root: Path) -> None:
    """Two photos that only their pixels show to be faulty."""
    whole = (root / "images" / "p1.png").read_bytes()
    (root / "images" / "p1.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((7, 9), np.uint8)).save(root / "masks" / "p2.png")


def test_pixels_are_looked_at_before_anything_is_measured(tmp_path: Path) -> None:
    spoil(write_masks(tmp_path))
    with pytest.raises(DataError, match="2 faults in the data set; mend them, or add --faulty skip") as caught:
        open_samples(tmp_path, OpenOptions(), "all")
    assert [("p1.png" in fault, "p2.png" in fault) for fault in caught.value.faults] == [(True, False), (False, True)]
    chosen = open_samples(tmp_path, OpenOptions(reading=SKIP), "all")
    assert sorted(sample.name for sample in chosen.samples) == ["p0", "p3", "p4", "p5"]
    assert any("2 faults left out, the first: " in note for note in chosen.dataset.notes)


@pytest.mark.parametrize("checking", [None, lambda done, total: None])  # a run that goes on is not checked again
def test_a_training_leaves_out_what_is_faulty(checking: Callable | None, tmp_path: Path) -> None:
    spoil(write_masks(tmp_path / "data"))
    config = TrainConfig.of(data=(DataSource("data"),), faulty="skip")
    data = open_sources(config, tmp_path, checking)
    names = {sample.name for source in data.train for sample in source.samples} | {s.name for s in data.val_samples}
    assert names == {"p0", "p3", "p4", "p5"}
    assert any("--faulty skip: 2 faults left out" in note for note in data.notes)
    with pytest.raises(DataError, match=r"2 faults in the data; nothing was trained; .*--faulty skip"):
        open_sources(TrainConfig.of(data=(DataSource("data"),)), tmp_path, lambda done, total: None)
    one = DataSource("data", reading={"faulty": "skip"})  # for this folder alone
    assert open_sources(TrainConfig.of(data=(one,)), tmp_path, lambda done, total: None).val_samples


def test_objects_of_a_training_are_cut(tmp_path: Path) -> None:
    OUTSIDE["yolo"](tmp_path / "data")
    config = TrainConfig.of(model="yolov3_tiny", data=(DataSource("data"),), faulty="clip")
    data = open_detection_sources(config, tmp_path, lambda done, total: None)
    assert sum(len(sample.instances()) for source in data.train for sample in source.samples) == 2


def test_a_recipe_says_how_its_folders_are_read() -> None:
    values = {
        "mask_threshold": 128,
        "data": [{"path": "a"}, {"path": "b", "reading": {"mask_threshold": 0, "ignore": "7"}}],
    }
    config = TrainConfig.from_values(values, "recipe.toml")
    first, second = (config.reading_of(entry) for entry in config.data)
    assert (first.mask_threshold, second.mask_threshold, second.ignored) == (128, 0, 7)
    with pytest.raises(DataError, match="two different values"):
        TrainConfig.from_values({"data": [{"path": "a", "reading": {"mask_values": [3]}}]}, "recipe.toml")
