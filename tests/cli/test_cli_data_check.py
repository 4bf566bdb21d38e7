"""``imago data check`` on any data set: what it was taken for, what is in it, and the sheet that shows it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from helpers.cells import write_cells
from PIL import Image

from imago.cli.main import run
from imago.core.labels import Labels
from imago.core.plain_values import build
from imago.data.convert import order_two
from imago.data.open_dataset import open_dataset


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def check(*arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict]:
    code = run(["data", "check", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_label_maps(tiny_dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = check(tiny_dataset, capsys=capsys)
    dataset = open_dataset(tiny_dataset)
    labels = [sample.label_map() for sample in dataset.split("all")]
    pixels = sum(np.bincount(label.ravel(), minlength=256) for label in labels)
    assert code == 0
    assert (found["format"], found["task"]) == ("photos and label maps", "semantic")
    assert list(found["pixels"].values()) == pixels[: len(dataset.labels)].tolist()
    assert list(found["images"].values()) == [sum((label == v).any() for label in labels) for v in range(3)]
    assert found["photos"] == {"train": 9, "val": 3}
    assert found["sizes_hw"] == {"smallest": [48, 64], "median": [48, 64], "largest": [48, 64], "different": 1}
    sheet = Image.open(found["sheet"])
    assert found["sheet"] == f"{tiny_dataset.name}.check.jpg"
    assert sheet.width > 1500


def test_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = check(write_cells(tmp_path / "cells"), "--task", "detection", "--sheet", "s.png", capsys=capsys)
    assert (code, found["sheet"], Image.open("s.png").format) == (0, "s.png", "PNG")
    count = sum(len(sample.instances()) for sample in open_dataset(tmp_path / "cells", "detection").split("all"))
    assert (found["objects"], found["images"]) == ({"object": count}, {"object": 8})


def test_a_sheet_is_not_overwritten_unasked(tiny_dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path(f"{tiny_dataset.name}.check.jpg").write_text("mine")
    code, found = check(tiny_dataset, capsys=capsys)
    assert code == 0
    assert any("--overwrite replaces it" in note for note in found["notes"])
    assert Path(f"{tiny_dataset.name}.check.jpg").read_text() == "mine"
    assert run(["data", "check", str(tiny_dataset), "--sheet", f"{tiny_dataset.name}.check.jpg"]) == 1
    assert check(tiny_dataset, "--overwrite", capsys=capsys)[0] == 0
    assert Image.open(f"{tiny_dataset.name}.check.jpg").width > 1000
    before = set(Path().iterdir())
    assert check(tiny_dataset, "--no-sheet", capsys=capsys)[0] == 0
    assert set(Path().iterdir()) == before


def test_doubtful_masks_are_no_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("images", "masks"):
        (tmp_path / "soft" / name).mkdir(parents=True)
    for index in range(4):
        Image.new("RGB", (96, 96)).save(tmp_path / "soft" / "images" / f"{index}.png")
        ramp = np.clip(np.add.outer(np.zeros(96), np.arange(96.0) * 20 - 700), 0, 255).astype(np.uint8)
        Image.fromarray(ramp).save(tmp_path / "soft" / "masks" / f"{index}.png")
    assert run(["data", "check", str(tmp_path / "soft")]) == 1
    told = capsys.readouterr().err
    assert "cannot tell what the masks mean" in told
    assert "--mask-threshold 128" in told
    code, found = check(tmp_path / "soft", "--mask-threshold", 128, capsys=capsys)
    assert (code, list(found["pixels"])) == (0, ["background", "foreground"])


def test_faults_are_told_or_left_out(tiny_dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tiny_dataset / "masks" / "scene00.png").write_bytes(b"")
    code, found = check(tiny_dataset, capsys=capsys)
    assert (code, len(found["faults"])) == (1, 1)
    code, found = check(tiny_dataset, "--faulty", "skip", "--overwrite", capsys=capsys)
    assert (code, found["faults"], found["photos"]) == (0, [], {"train": 8, "val": 3})


# Background


@pytest.mark.parametrize(
    ("names", "said", "expected"),
    [
        ("pet\nbackground\noutline", None, 1),  # class 0 is no background by being first
        ("sky\nroad\ncar", None, None),
        ("sky\nroad\ncar", "sky", 0),
        ("background\nroad\ncar", "none", None),
        ("Background\nroad\ncar", None, 0),
    ],
)
def test_background_is_what_is_named_so_or_said(
    names: str, said: str | None, expected: int | None, tiny_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_dataset / "classes.txt").write_text(names)
    options = [] if said is None else ["--background-class", said]
    assert check(tiny_dataset, "--sheet", "s.png", *options, capsys=capsys)[0] == 0
    sheet = Image.open("s.png")
    left, right = (np.asarray(sheet.crop((x, 44, x + 250, 230))).astype(int) for x in (12, 12 + 256))
    label = open_dataset(tiny_dataset).split("all")[0].label_map()
    label = np.asarray(Image.fromarray(label).resize((250, 188), Image.Resampling.NEAREST))[:186]
    changed = np.abs(left - right).max(axis=2) > 8
    for value in np.unique(label):
        assert (changed[label == value].mean() > 0.5) == (value != expected), value


def test_a_background_that_is_no_class(tiny_dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", str(tiny_dataset), "--background-class", "sky"]) == 1
    assert "there is no class 'sky' to be the background; there are" in capsys.readouterr().err


def test_of_two_classes_the_background_comes_first(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for index in range(2):
        Image.new("RGB", (2, 1)).save(tmp_path / "images" / f"{index}.png")
        Image.fromarray(np.array([[0, 1]], np.uint8)).save(tmp_path / "masks" / f"{index}.png")
    (tmp_path / "classes.txt").write_text("cat\nbackground\n")
    dataset = open_dataset(tmp_path)
    assert (dataset.labels.names, dataset.labels.background) == (("background", "cat"), 0)
    assert dataset.split("all")[0].label_map().tolist() == [[1, 0]]
    assert "'background' is background and becomes value 0, 'cat' value 1" in dataset.notes
    assert order_two(dataset) is dataset


def test_labels_keep_their_background() -> None:
    for labels in (Labels(("a", "b")), Labels(("a", "b"), background=1), Labels(("bg", "b"), background=None)):
        assert build(Labels, json.loads(json.dumps(asdict(labels)))) == labels
    assert Labels(("a", "background")).colors[1] == (0, 0, 0)
    assert all(map(any, Labels(("a", "b")).colors))
