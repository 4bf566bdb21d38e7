"""``imago panoptic`` and ``imago evaluate --stuff``, from photos to files and scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_finders import write_finder
from tiny_onnx import write_tiny

from imago.cli.main import run
from imago.core.labels import Labels
from imago.core.panoptic import rgb_to_ids


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two photos of a red object on green and blue, one of them in a sub-folder, and two models."""
    monkeypatch.chdir(tmp_path)
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :25, 1] = pixels[:, 25:, 2] = 200
    pixels[4:12, 4:14] = 220, 0, 0
    (tmp_path / "photos" / "trip").mkdir(parents=True)
    for name in ("one.png", "trip/two.png"):
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    write_finder(tmp_path / "finder.onnx", [(4, 4, 14, 12)], masks=True, labels=Labels(("background", "red")))
    write_tiny(tmp_path / "scene.onnx", 3)
    write_tiny(tmp_path / "subject.onnx")
    return tmp_path


PAIR = ("--things", "finder.onnx", "--stuff", "scene.onnx")


def test_a_folder_is_written_as_coco_has_it(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "photos" / "broken.png").write_bytes(b"no photo")
    assert run(["panoptic", "photos", *PAIR, "--out", "out"]) == 1  # the broken one
    said = capfd.readouterr().err
    assert "things: red; stuff: green, blue" in said
    assert "2 of 3 images done" in said
    assert "6 segments in 2 photos" in said
    written = sorted(path.relative_to(folder / "out").as_posix() for path in (folder / "out").rglob("*.*"))
    assert written == [
        "one.overlay.jpg", "one.panoptic.png", "panoptic.json", "trip/two.overlay.jpg", "trip/two.panoptic.png"
    ]  # fmt: skip
    content = json.loads((folder / "out" / "panoptic.json").read_text())
    assert [(each["id"], each["name"], each["isthing"]) for each in content["categories"]] == [
        (1, "red", 1), (2, "green", 0), (3, "blue", 0)
    ]  # fmt: skip
    assert [image["file_name"] for image in content["images"]] == ["one.png", "trip/two.png"]
    for annotation in content["annotations"]:
        with Image.open(folder / "out" / annotation["file_name"]) as stored:
            ids = rgb_to_ids(np.array(stored))
        for segment in annotation["segments_info"]:
            rows, columns = np.nonzero(ids == segment["id"])
            assert segment["area"] == len(rows)
            x, y, width, height = segment["bbox"]
            assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_nothing_is_overwritten_unasked(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither a PNG nor the one JSON, which is looked for before anything runs."""
    assert run(["panoptic", "photos", *PAIR, "-q"]) == 0
    before = (folder / "photos" / "panoptic.json").read_bytes()
    assert run(["panoptic", "photos", *PAIR]) == 1
    assert "one.panoptic.png: is there already" in capfd.readouterr().err
    for path in [*folder.rglob("*.panoptic.png"), *folder.rglob("*.overlay.jpg")]:
        path.unlink()
    assert run(["panoptic", "photos", *PAIR]) == 1
    assert "panoptic.json: is there already; give --overwrite" in capfd.readouterr().err
    assert not list(folder.rglob("*.panoptic.png"))
    assert (folder / "photos" / "panoptic.json").read_bytes() == before
    assert run(["panoptic", "photos", *PAIR, "-q", "--overwrite", "--stuff-classes", "blue"]) == 0
    assert (folder / "photos" / "panoptic.json").read_bytes() != before


def test_segments_on_standard_output(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["panoptic", "photos/one.png", *PAIR, "--json", "-q"]) == 0
    (line,) = capfd.readouterr().out.splitlines()
    assert [segment["class"] for segment in json.loads(line)["segments"]] == ["red", "green", "blue"]
    assert sorted(path.name for path in (folder / "photos").iterdir()) == ["one.png", "trip"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--things", "finder.onnx"), 2, "give --things MODEL and --stuff MODEL"),
        (("--things", "scene.onnx", "--stuff", "scene.onnx"), 1, "things: model 'tiny' finds no single objects"),
        (("--things", "finder.onnx", "--stuff", "finder.onnx"), 1, "stuff: model 'finder' finds objects"),
        (("--things", "finder.onnx", "--stuff", "none.onnx"), 1, "none.onnx"),
        ((*PAIR, "--stuff-classes", "sky"), 1, "has no stuff 'sky'; it has green, blue"),
        ((*PAIR, "--overlap-thresh", "2"), 2, "overlap_thresh lies from 0 to 1; got 2"),
        ((*PAIR, "--out", "x.png", "--save", "panoptic"), 1, "x.png: is one file, and panoptic.json is another"),
        ((*PAIR, "--skip-existing"), 2, "--skip-existing leaves photos out"),
    ],
)
def test_what_cannot_be_is_one_line(
    arguments: tuple[str, ...], code: int, message: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["panoptic", "photos", *arguments]) == code
    assert message in capfd.readouterr().err
    assert not list(folder.rglob("*.panoptic.png"))


def test_quality_of_the_models_own_answers(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What was written is read as truth: all is found, whatever the photo. With less stuff asked for some is missed."""
    assert run(["panoptic", "photos", *PAIR, "-q"]) == 0
    arguments = ["evaluate", "finder.onnx", "photos", "--stuff", "scene.onnx", "--split", "all"]
    assert run([*arguments, "--json", "all.json", "--report", "all.html"]) == 0
    said = capfd.readouterr().out
    assert "panoptic quality (PQ), mean over classes" in said
    scores = json.loads((folder / "all.json").read_text())
    assert scores["task"] == "panoptic"
    assert {name: value["mean"] for name, value in scores["summary"].items()} == dict.fromkeys(
        [f"{score}{part}" for part in ("", "_things", "_stuff") for score in ("pq", "sq", "rq")], 1.0
    )
    assert [(row["name"], row["segments"], row["matched"]) for row in scores["classes"]] == [
        ("red", 2, 2), ("green", 2, 2), ("blue", 2, 2)
    ]  # fmt: skip
    page = (folder / "all.html").read_text("utf-8")
    assert "recognition quality" in page
    assert "truth of one" in page
    assert run([*arguments, "--stuff-area-limit", "0.6", "--json", "less.json"]) == 0
    less = json.loads((folder / "less.json").read_text())["summary"]
    assert (less["pq_things"]["mean"], less["pq_stuff"]["mean"], less["pq"]["mean"]) == pytest.approx((1, 0, 1 / 3))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--stuff-area-limit", "0.1"), 2, "--stuff-area-limit would do nothing: it is for two models, with --stuff"),
        (("--stuff", "scene.onnx", "--max-found", "3"), 2, "--max-found would do nothing"),
        (("--stuff", "scene.onnx", "--mask-snap"), 2, "--mask-snap would do nothing"),
        (("--stuff", "scene.onnx"), 1, "photos: no segments of things and stuff found"),
        (("--stuff", "finder.onnx"), 1, "stuff: model 'finder' finds objects"),
    ],
)
def test_an_evaluation_that_cannot_be(
    arguments: tuple[str, ...], code: int, message: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", "finder.onnx", "photos", *arguments]) == code
    assert message in capfd.readouterr().err
