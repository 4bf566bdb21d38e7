"""Files for many photos: names that stay different, and further runs that add to them."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from tiny_onnx import PLAIN, write_tiny

from imago.cli.main import run
from imago.core.labels import Labels
from imago.data.formats.joint import name_photo

LABELS = Labels(("background", "border", "cell"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders with photos of the same names, and a model: red is background, blue an object."""
    write_tiny(tmp_path / "cells.onnx", 3, labels=LABELS, objects=True, input=PLAIN)
    for folder in ("A", "B"):
        (tmp_path / folder).mkdir()
        for name in ("x.png", "y.png"):
            photo = Image.new("RGB", (40, 30), (255, 0, 0))
            photo.paste((0, 0, 255), (5, 5, 15, 15 if folder == "A" else 25))
            photo.save(tmp_path / folder / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def segment(*words: str) -> int:
    return run(["segment", *words, "--model", "cells.onnx", "--save", "counts,coco"])


def read(folder: Path) -> tuple[list[str], list[str]]:
    """The photos in counts.csv, and those in objects.coco.json, whose annotations are held against it."""
    rows = [row for row in csv.DictReader((folder / "counts.csv").open()) if row["class"] == "all"]
    coco = json.loads((folder / "objects.coco.json").read_text("utf-8"))
    ids = {image["id"]: image["file_name"] for image in coco["images"]}
    assert len(ids) == len(coco["images"])
    assert len({entry["id"] for entry in coco["annotations"]}) == len(coco["annotations"])
    areas = {name: 0.0 for name in ids.values()}
    for entry in coco["annotations"]:
        areas[ids[entry["image_id"]]] += entry["area"]
    assert areas == {row["photo"]: float(row["area_px"]) for row in rows}
    return [row["photo"] for row in rows], list(ids.values())


@pytest.mark.parametrize(
    ("paths", "out", "names"),
    [
        (["A/x.png", "B/x.png"], "out", ["../A/x.png", "../B/x.png"]),
        (["A", "B"], "out", ["../A/x.png", "../A/y.png", "../B/x.png", "../B/y.png"]),
        (["A"], "A", ["x.png", "y.png"]),
        (["."], ".", ["A/x.png", "A/y.png", "B/x.png", "B/y.png"]),
    ],
)
def test_names_stay_different(place: Path, paths: list[str], out: str, names: list[str]) -> None:
    assert segment(*paths, "--out", out) == 0
    assert read(place / out) == (names, names)
    assert all((place / out / name).is_file() for name in names)


def test_a_further_run_adds_what_is_missing(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert segment("A/x.png", "--out", "out") == 0
    first = (place / "out" / "counts.csv").read_text(), read(place / "out")
    capfd.readouterr()
    assert segment("B", "--out", "out") == 1
    assert "objects.coco.json: is there already; --append adds to it, --overwrite replaces it" in capfd.readouterr().err
    assert ((place / "out" / "counts.csv").read_text(), read(place / "out")) == first
    assert segment("B", "--out", "out", "--append") == 0
    assert read(place / "out")[0] == ["../A/x.png", "../B/x.png", "../B/y.png"]
    capfd.readouterr()
    # The same ones again, called otherwise, and one that is new.
    assert segment(str(place / "B"), "./A/../A/x.png", "A/y.png", "--out", str(place / "out"), "--append") == 0
    assert "3 of 4 photos stand in objects.coco.json and counts.csv already and are left out" in capfd.readouterr().err
    assert read(place / "out")[1] == ["../A/x.png", "../B/x.png", "../B/y.png", "../A/y.png"]
    before = (place / "out" / "objects.coco.json").read_bytes()
    assert segment("A", "B", "--out", "out", "--append") == 0
    assert (place / "out" / "objects.coco.json").read_bytes() == before


def test_what_is_asked_for_besides_is_written(place: Path) -> None:
    """A photo that stands in the table gets its mask, and no second row."""
    assert segment("A", "--out", "out") == 0
    words = ["segment", "A", "--model", "cells.onnx", "--save", "mask,counts", "--out", "out", "--append"]
    assert run(words) == 0
    assert (place / "out" / "x.mask.png").is_file()
    assert read(place / "out")[0] == ["../A/x.png", "../A/y.png"]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("counts.csv", "a,b\n1,2\n", "counts.csv: is no table of --save counts"),
        ("counts.csv", b"\xff", "counts.csv: cannot be read"),
        ("counts.csv", "", "counts.csv: is no table"),
        ("objects.coco.json", "[]", "objects.coco.json: is not of --save coco"),
        ("objects.coco.json", "{", "objects.coco.json: cannot be read"),
        ("objects.coco.json", '{"images": [{"id": 1}], "annotations": [], "categories": []}', "is not of --save coco"),
        (
            "objects.coco.json",
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}',
            r"holds other classes (cat)",
        ),
    ],
)
def test_other_files_are_left_alone(
    place: Path, file: str, content: str | bytes, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    target = place / "out" / file
    target.parent.mkdir()
    target.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = target.read_bytes()
    assert segment("A", "--out", "out", "--append") == 1
    err = capfd.readouterr().err
    assert words in err
    assert "unforeseen" not in err
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--append"], "it adds to the files of --save coco and counts"),
        (["--append", "--save", "counts", "--overwrite"], "give one of them"),
    ],
)
def test_append_goes_with_joint_files(
    place: Path, words: list[str], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["segment", "A", "--model", "cells.onnx", *words]) == 2
    assert told in capfd.readouterr().err


def test_a_copy_of_both_still_fits(place: Path) -> None:
    """Names are relative: a folder with photos and table can be moved."""
    assert segment("A", "--out", "A") == 0
    shutil.move(place / "A", place / "moved")
    assert segment("moved", "--out", "moved", "--append") == 0
    assert read(place / "moved")[0] == ["x.png", "y.png"]


def test_another_drive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", refuse)
    assert name_photo(tmp_path / "a.png", tmp_path / "counts.csv") == (tmp_path / "a.png").as_posix()
