"""``imago data``: info, convert, from-edges, as a user calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from PIL import Image
from yolo_folder import write_yolo

from imago.cli.main import run
from imago.data.formats.catalog import FORMATS
from imago.data.open_dataset import open_dataset
from imago.data.stats import measure_dataset

POLYGON = "0 0.1 0.1 0.9 0.1 0.9 0.8 0.1 0.8\n"
WRITTEN = sorted(name for name, one in FORMATS.items() if one.writer)


class Said(NamedTuple):
    code: int
    output: str  # both streams
    stdout: str


@pytest.fixture
def imago_data(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def call(*words: object) -> Said:
        code = run(["data", *map(str, words)])
        out, err = capsys.readouterr()
        return Said(code, out + err, out)

    return call


def write_maps(root: Path) -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number in range(3):
        mask = np.zeros((20, 30), np.uint8)
        mask[2:8, 2:8] = 1
        mask[12:18, 3:20] = 1 + number % 2
        mask[0] = 255
        Image.fromarray(mask).save(root / "masks" / f"p{number}.png")
        Image.fromarray(np.full((20, 30, 3), 90 * number, np.uint8)).save(root / "images" / f"p{number}.png")
    (root / "classes.txt").write_text("background\ncat\ndog\n")
    return root


def test_info(tmp_path: Path, imago_data: Callable[..., Said]) -> None:
    said = imago_data("info", write_maps(tmp_path / "maps"))
    assert said.code == 0
    assert "format   photos and label maps: label maps" in said.output
    assert "classes  3: background, cat, dog" in said.output
    found = json.loads(imago_data("info", write_yolo(tmp_path / "yolo", POLYGON), "--json").stdout)
    assert (found["task"], found["truth"], found["faults"]) == ("detection", "objects with masks", 0)


@pytest.mark.parametrize("source", ["maps", "yolo"])
@pytest.mark.parametrize("name", WRITTEN)
def test_any_format_becomes_any_other(name: str, source: str, tmp_path: Path, imago_data: Callable[..., Said]) -> None:
    """Label maps to objects, objects to label maps; what comes out is opened, by the task that it is for."""
    data = write_maps(tmp_path / "in") if source == "maps" else write_yolo(tmp_path / "in", POLYGON)
    said = imago_data("convert", data, "--to", name, "--out", tmp_path / "out")
    assert said.code == 0, said.output
    task = "semantic" if FORMATS[name].writer.truth == "label maps" else "detection"  # type: ignore[union-attr]
    back = open_dataset(tmp_path / "out", task)
    before = open_dataset(data, "semantic")
    assert {split: len(members) for split, members in back.splits.items()} == {
        split: len(members) for split, members in before.splits.items()
    }
    for one, other in zip(before.split("train"), back.split("train"), strict=True):
        label = one.label_map()
        if task == "semantic":
            np.testing.assert_array_equal(other.label_map(), label)
        else:
            masks = other.instances().masks
            np.testing.assert_array_equal(masks.any(axis=0), (label > 0) & (label < 255))
    assert ("pixels that count for nothing" in said.output) == (source == "maps" and task == "detection")


def test_convert_says_what_is_wrong(tmp_path: Path, imago_data: Callable[..., Said]) -> None:
    data = write_yolo(tmp_path / "in", POLYGON)
    said = imago_data("convert", data, "--to", "paint", "--out", tmp_path / "out")
    assert said.code == 2
    assert "'paint' is no format that is written; choose from" in said.output
    photo = next((data / "images").rglob("*.*"))
    photo.write_bytes(photo.read_bytes()[:40])
    said = imago_data("convert", data, "--to", "coco", "--out", tmp_path / "out")
    assert said.code == 1
    assert photo.name in said.output
    said = imago_data("convert", data, "--to", "coco", "--out", tmp_path / "out")
    assert "is there already and is not empty" in said.output


def test_from_edges(tmp_path: Path, imago_data: Callable[..., Said]) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        image = np.full((90, 120, 3), 230, np.uint8)
        if number < 2:
            cv2.circle(image, (60, 45), 25 + number, (40, 60, 200), -1)
        cv2.imwrite(str(tmp_path / "in" / f"p{number}.png"), image)
    said = imago_data("from-edges", tmp_path / "in", "--out", tmp_path / "out", "--name", "ball", "--close", "0.05")
    assert said.code == 1
    assert "p2.png: no outline was found" in said.output
    with Image.open(tmp_path / "out" / "sheet.jpg") as sheet:
        assert sheet.width > 400
    for task in ("semantic", "detection"):
        made = open_dataset(tmp_path / "out", task)  # type: ignore[arg-type]
        assert made.labels.names == ("background", "ball")
        assert len({sample.image_path for sample in made.split("all")}) == 2


def test_split_and_its_folds(tmp_path: Path, imago_data: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_maps(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    before = sorted(data.rglob("*"))
    said = imago_data("split", data, "--folds", 3, "--no-duplicates")
    assert said.code == 0, said.output
    assert "in.split: fold1 1, fold2 1, fold3 1" in said.output
    assert sorted(data.rglob("*")) == before
    found = json.loads(imago_data("info", data, "--fold", 2, "--json").stdout)
    assert found["photos"] == {"train": 2, "val": 1}
    assert imago_data("info", data, "--fold", 4).code == 1
    assert imago_data("split", data, "--val", "0.6", "--test", "0.5").code == 2
    assert "3 groups of photos cannot be divided in 4" in imago_data("split", data, "--folds", 4).output


@pytest.mark.parametrize("ending", ["jpg", "png", "html"])
@pytest.mark.parametrize("source", ["maps", "yolo"])
def test_show(source: str, ending: str, tmp_path: Path, imago_data: Callable[..., Said]) -> None:
    data = write_maps(tmp_path / "in") if source == "maps" else write_yolo(tmp_path / "in", POLYGON)
    out = tmp_path / f"sheet.{ending}"
    said = imago_data("show", data, "--out", out, "--count", 2, "--seed", 1)
    assert said.code == 0, said.output
    if ending == "html":
        text = out.read_text("utf-8")
        assert text.count("<figure>") == 2
        assert "annotation" in text
    else:
        with Image.open(out) as sheet:
            assert sheet.format == {"jpg": "JPEG", "png": "PNG"}[ending]
    assert "is there already" in imago_data("show", data, "--out", out).output
    assert imago_data("show", data, "--out", out, "--overwrite").code == 0
    assert imago_data("show", data, "--out", tmp_path / "x.jpg", "--split", "middle").code == 1


def test_stats(tmp_path: Path, imago_data: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_maps(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    assert "in.stats.html: 3 photos, 3 classes seen" in imago_data("stats", data).output
    text = Path("in.stats.html").read_text("utf-8")
    assert all(words in text for words in ("Photos by size", "20 x 30", "Seen together", "mean colour"))
    assert imago_data("stats", data).code == 1
    (data / "images" / "p2.png").write_bytes(b"torn")
    said = imago_data("stats", data, "--overwrite")
    assert said.code == 1
    assert "p2.png" in said.output
    assert "2 photos, 3 classes seen" in said.output


def test_numbers_of_stats(tmp_path: Path) -> None:
    found = measure_dataset(open_dataset(write_maps(tmp_path / "in")))
    assert found.sizes_hw.tolist() == [[20, 30]] * 3
    assert found.shown.sum(axis=0).tolist() == [3, 3, 1]
    assert found.pixels[2] == pytest.approx(6 * 17 / 600 / 3)
    np.testing.assert_allclose(found.together[2], [1, 1, 1])
    np.testing.assert_allclose(found.together[1], [1, 1, 1 / 3])
    np.testing.assert_allclose(found.class_colors[2], [90] * 3)
    objects = measure_dataset(open_dataset(write_yolo(tmp_path / "yolo", POLYGON), "detection"))
    assert objects.objects.sum() == len(objects.shares) > 0
    np.testing.assert_allclose(objects.shares, 0.8 * 0.7, atol=0.02)
