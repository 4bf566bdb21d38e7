"""What is no fault but spoils what is learnt: copies across splits, crossed outlines, tiny objects, rare classes; and
annotations that EXIF did not turn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imago.cli.main import run
from imago.core.polygons import crosses_itself
from imago.data.check import CheckReport, check_samples
from imago.data.check_warnings import copies, crossings, imbalance
from imago.data.dataset import Dataset
from imago.data.open_dataset import OpenOptions, open_dataset, survey_dataset
from imago.data.turned import turn_annotations, turn_boxes
from imago.files.images import turn_upright


@pytest.mark.parametrize(
    ("ring", "crosses"),
    [
        ([0, 0, 4, 0, 4, 4, 0, 4], False),
        ([0, 0, 4, 4, 4, 0, 0, 4], True),  # a bow tie
        ([0, 0, 4, 0, 2, 0, 4, 4, 0, 4], False),  # an edge that is walked back
        ([0, 0, 9, 0, 9, 9, 0, 9, 0, 0, 3, 3, 3, 6, 6, 6, 6, 3, 3, 3], False),  # a bridge to a hole
        ([0, 0, 4, 0, 4, 4, 2, 2, 0, 4], False),
        ([0, 0, 4, 0, 4, 4, 2, -1, 0, 4], True),
    ],
)
def test_crossings(ring: list[float], crosses: bool) -> None:
    assert crosses_itself(ring) == crosses


def texture(seed: int, size_hw: tuple[int, int] = (60, 80)) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(small).resize(size_hw[::-1], Image.Resampling.BICUBIC)


def write_coco(root: Path, photos: dict[str, list[tuple[int, list[float]]]], seeds: dict[str, int]) -> Path:
    """Polygons by class; "train/a" is a photo of train."""
    for split in ("train", "val"):
        content: dict[str, list[dict]] = {"images": [], "annotations": [], "categories": []}
        content["categories"] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
        for number, (name, found) in enumerate(photos.items()):
            if not name.startswith(split):
                continue
            path = root / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            texture(seeds[name]).save(path)
            content["images"].append({"id": number, "file_name": path.name, "height": 60, "width": 80})
            for kind, ring in found:
                x, y = ring[::2], ring[1::2]
                content["annotations"].append(
                    {
                        "id": len(content["annotations"]), "image_id": number, "category_id": kind, "iscrowd": 0,
                        "bbox": [min(x), min(y), max(x) - min(x), max(y) - min(y)], "area": 1, "segmentation": [ring],
                    }
                )  # fmt: skip
        (root / f"instances_{split}.json").write_text(json.dumps(content))
    return root


SQUARE, BOW = [5.0, 5, 40, 5, 40, 40, 5, 40], [5.0, 5, 40, 40, 40, 5, 5, 40]
DOT = [50.0, 50, 53, 50, 53, 53, 50, 53]


def test_a_folder_with_each(tmp_path: Path) -> None:
    photos = {"train/a": [(1, SQUARE)], "train/b": [(1, BOW), (1, DOT)], "val/c": [(1, SQUARE)], "train/d": [(2, DOT)]}
    root = write_coco(tmp_path, photos, {"train/a": 1, "train/b": 2, "val/c": 1, "train/d": 3})
    dataset = open_dataset(root, "detection")
    (copy,) = copies(dataset)
    assert "a.png (train), c.png (val) show the same, in train and val" in copy
    (crossed,) = crossings(dataset.split("all"))
    assert crossed.endswith("b.png: the outline of object 1 crosses itself")
    checked = check_samples(dataset.split("all"), dataset.labels)
    assert checked.tiny.startswith("2 objects have fewer than 16 pixels, the first: ")
    assert not checked.faults


def test_rare_classes(tiny_dataset: Path) -> None:
    dataset = open_dataset(tiny_dataset)

    def told(objects: list[int], images: list[int]) -> list[str]:
        report = CheckReport(
            photos=100, empty=0, crowds=0, objects=np.array(objects), pixels=np.zeros(3, int), images=np.array(images)
        )
        return imbalance(Dataset(dataset.root, dataset.labels, {}), report)

    assert told([0, 500, 400], [0, 80, 80]) == []
    (line,) = told([0, 5000, 3], [0, 80, 80])
    assert line.endswith("3 objects, the median class has 2502")
    (line,) = told([0, 500, 30], [0, 80, 2])
    assert line.endswith("is in 2 photos of 100")


@pytest.mark.parametrize("way", range(1, 9))
def test_boxes_turn_as_pixels_do(way: int) -> None:
    mask = np.zeros((6, 9), bool)
    mask[1:3, 2:7] = True
    y, x = np.nonzero(turn_upright(mask, way))
    box = turn_boxes(np.array([[2, 1, 7, 3]], np.float32), (6, 9), way)[0]
    assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]


@pytest.mark.parametrize("way", [5, 6, 7, 8])
def test_what_exif_did_not_turn_is_told_and_mended(
    way: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mask was drawn on the pixels as they lie in the file; Imago, as every viewer, turns the photo."""
    for folder in ("images", "masks"):
        (tmp_path / "in" / folder).mkdir(parents=True)
    for name in "abc":
        mask = np.zeros((60, 80), np.uint8)
        mask[:20, :30] = 255
        exif = Image.Exif()
        exif[0x0112] = way if name == "a" else 1
        texture(ord(name)).save(tmp_path / "in" / "images" / f"{name}.jpg", exif=exif)
        Image.fromarray(mask).save(tmp_path / "in" / "masks" / f"{name}.png")
    assert run(["data", "check", str(tmp_path / "in"), "--no-sheet"]) == 1
    assert "EXIF turns the photo, and its annotation was not turned" in capsys.readouterr().err
    before = {path: path.read_bytes() for path in (tmp_path / "in").rglob("*") if path.is_file()}
    assert run(["data", "check", str(tmp_path / "in"), "--fix", str(tmp_path / "out")]) == 0
    assert before == {path: path.read_bytes() for path in (tmp_path / "in").rglob("*") if path.is_file()}
    assert run(["data", "check", str(tmp_path / "out"), "--no-sheet"]) == 0
    found = {sample.image_path.stem: sample for sample in open_dataset(tmp_path / "out").split("all")}
    expected = np.zeros((60, 80), np.uint8)
    expected[:20, :30] = 1
    np.testing.assert_array_equal(found["a"].label_map(), turn_upright(expected, way))
    np.testing.assert_array_equal(found["b"].label_map(), expected)


def test_objects_are_turned_too(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"train/a": [(1, SQUARE)], "val/b": [(2, SQUARE)]}, {"train/a": 1, "val/b": 2})
    exif = Image.Exif()
    exif[0x0112] = 6
    texture(1).save(root / "train" / "a.png", exif=exif)
    dataset, _ = survey_dataset(root, OpenOptions("detection"))
    checked = check_samples(dataset.split("all"), dataset.labels)
    assert any("EXIF turns the photo" in fault for fault in checked.faults)
    turned = turn_annotations(dataset).split("train")[0].instances()
    assert turned.size_hw == (80, 60)
    np.testing.assert_array_equal(turned.masks[0], turn_upright(dataset.split("train")[0].instances().masks[0], 6))
    assert not check_samples(turn_annotations(dataset).split("all"), dataset.labels).faults
