"""``segment`` and ``cutout --instances`` with a model that finds single objects."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_onnx import PLAIN, write_tiny

import imago
from imago.cli.main import run
from imago.core.labels import Labels

LABELS = Labels(("background", "border", "cell"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Red is background, green border, blue inside."""
    return write_tiny(tmp_path / "cells.onnx", 3, labels=LABELS, objects=True, input=PLAIN)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Two discs of radius 12 that touch, and a small one of radius 5, with green rims."""
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[:, :] = (255, 0, 0)
    for x, radius in ((20, 12), (46, 12), (80, 5)):
        cv2.circle(pixels, (x, 30), radius, (0, 255, 0), -1)
        cv2.circle(pixels, (x, 30), radius - 2, (0, 0, 255), -1)
    path = tmp_path / "photos" / "cells.png"
    path.parent.mkdir()
    Image.fromarray(pixels).save(path)
    return path


def test_a_loaded_model_finds_them(model: Path, photo: Path) -> None:
    found = imago.load(model)(photo)
    assert found.instances is not None
    assert len(found.instances) == 3
    assert found.labels.names == ("background", "cell")
    assert np.sort(found.instances.areas)[-2:].min() > 380  # of 441 and 441 pixels


def test_segment_writes_them(model: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    kinds = "mask,overlay,json,objects,yolo,coco,counts"
    assert run(["segment", str(photo.parent), "--model", str(model), "--out", str(out), "--save", kinds]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "cells.json", "cells.mask.png", "cells.objects.png", "cells.overlay.jpg", "cells.txt", "counts.csv",
        "objects.coco.json",
    ]  # fmt: skip
    numbers = np.array(Image.open(out / "cells.objects.png"))
    assert numbers.max() == 3
    assert np.array_equal(numbers > 0, np.array(Image.open(out / "cells.mask.png")) > 0)
    assert len((out / "cells.txt").read_text().splitlines()) == 3
    coco = json.loads((out / "objects.coco.json").read_text())
    assert len(coco["annotations"]) == 3
    rows = list(csv.DictReader((out / "counts.csv").open()))
    assert (rows[0]["photo"], rows[0]["class"], rows[0]["objects"]) == ("../photos/cells.png", "all", "3")
    assert len(json.loads((out / "cells.json").read_text())["objects"]) == 3
    assert coco["images"][0]["file_name"] == "../photos/cells.png"  # the path from the file to the photo
    # Nothing is written over, and that is said before any work.
    assert run(["segment", str(photo.parent), "--model", str(model), "--out", str(out), "--save", "counts"]) == 1


def test_only_the_wanted_ones(model: Path, photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def count(*options: str) -> int:
        assert run(["segment", str(photo), "--model", str(model), "--json", *options]) == 0
        return len(json.loads(capfd.readouterr().out)["objects"])

    assert count() == 3
    assert count("--detections-per-img", "2") == 2
    assert count("--classes", "cell") == 3
    assert count("--score-thresh", "1") in (0, 3)  # this net is quite sure
    assert run(["segment", str(photo), "--model", str(model), "--json", "--classes", "cat"]) == 1
    assert "the model has no class 'cat'; it finds cell" in capfd.readouterr().err
    assert run(["segment", str(photo), "--model", str(model), "--score-thresh", "2"]) == 2


def test_each_by_itself(model: Path, photo: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["cutout", str(photo), "--model", str(model), "--instances"]) == 0
    names = sorted(path.name for path in photo.parent.glob("*.cutout.png"))
    assert names == ["cells.001-cell.cutout.png", "cells.002-cell.cutout.png", "cells.003-cell.cutout.png"]
    sizes = sorted(Image.open(photo.parent / name).size for name in names)
    assert sizes[0] < (20, 20) < sizes[1]
    assert Image.open(photo.parent / names[0]).mode == "RGBA"
    assert run(["cutout", str(photo), "--model", str(model), "--instances"]) == 1
    assert "cells.001-cell.cutout.png" in capfd.readouterr().err
    assert (
        run(["cutout", str(photo), "--model", str(model), "--instances", "--detections-per-img", "1", "--overwrite"])
        == 0
    )
    assert len(list(photo.parent.glob("*.cutout.png"))) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["cutout", "--instances"], "it finds no single objects; leave it out"),
     (["segment", "--save", "coco"], "finds no single objects, which --save coco asks for")],
)  # fmt: skip
def test_models_that_find_none(
    arguments: list[str], words: str, photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = write_tiny(tmp_path / "plain.onnx", 3)
    assert run([arguments[0], str(photo), "--model", str(plain), *arguments[1:]]) == 1
    assert words in capfd.readouterr().err


def test_a_card_that_does_not_fit(tmp_path: Path) -> None:
    from imago.core.errors import ModelError

    with pytest.raises(ModelError, match="objects are made of background, border and insides; got task semantic, lab"):
        write_tiny(tmp_path / "x.onnx", 3, objects=True)
