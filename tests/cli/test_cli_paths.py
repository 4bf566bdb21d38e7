"""Paths of every kind, names that are taken, and what is left out, as a user of the command line meets them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import draw_scene
from PIL import Image
from tiny_onnx import PLAIN, write_tiny

from imago.cli.main import run
from imago.core.labels import Labels

MAIN = f"{sys.executable} -c 'from imago.cli.main import main; main()'"


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_tiny(tmp_path / "models" / "net.onnx"))


@pytest.fixture
def cells(tmp_path: Path) -> str:
    """Finds objects: blue discs with green rims on red."""
    labels = Labels(("background", "border", "cell"))
    return str(write_tiny(tmp_path / "models" / "cells.onnx", 3, labels=labels, objects=True, input=PLAIN))


def draw_cells(path: Path, count: int) -> None:
    pixels = np.full((40, 120, 3), (255, 0, 0), np.uint8)
    for index in range(count):
        cv2.circle(pixels, (20 + 40 * index, 20), 12, (0, 255, 0), -1)
        cv2.circle(pixels, (20 + 40 * index, 20), 10, (0, 0, 255), -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def photos_in(folder: Path, *names: str) -> Path:
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_scene(index)[0]).save(folder / name, "PNG" if name.endswith("HEIC") else None)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def shell(command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, **options
    )


# --- file, folder or pipe ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_one_photo_into_one_file(tmp_path: Path, model: str, ending: str) -> None:
    photos_in(tmp_path, "x.jpg")
    target = tmp_path / f"out.{ending}"
    assert run(["cutout", str(tmp_path / "x.jpg"), "--model", model, "-o", str(target)]) == 0
    assert target.is_file()
    assert names(tmp_path) == ["models/net.onnx", f"out.{ending}", "x.jpg"]


def test_a_jpeg_wants_a_background(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    photos_in(tmp_path, "x.png")
    arguments = ["cutout", str(tmp_path / "x.png"), "--model", model, "-o", str(tmp_path / "out.jpg")]
    assert run(arguments) == 1
    assert "a JPEG has no transparency; lay the cut-out on a background" in capsys.readouterr().err
    assert run([*arguments, "--background", "#ff000080"]) == 1
    assert run([*arguments, "--background", "rebeccapurple"]) == 0


@pytest.mark.parametrize(
    "source", ["<(cat x.png)", "/dev/stdin < x.png", "<(cat x.png) <(cat x.png)", "fifo.png", "- < x.png"]
)
def test_pipes_work(tmp_path: Path, model: str, source: str) -> None:
    photos_in(tmp_path, "x.png")
    os.mkfifo(tmp_path / "fifo.png")
    if "fifo" in source:
        source += " & cat x.png > fifo.png; wait $!"
    many = source.count("(") > 1
    command, _, behind = source.partition(" &")
    place = "out" if many else "out.png"
    answer = shell(f"{MAIN} cutout {command} --model {model} -o {place} {'&' + behind if behind else ''}", cwd=tmp_path)
    assert "Traceback" not in answer.stderr
    made = sorted((tmp_path / "out").iterdir()) if many else [tmp_path / "out.png"]
    assert len(made) == 1 + many
    assert all(Image.open(path).mode == "RGBA" for path in made)


def test_a_pipe_without_a_place_is_refused(tmp_path: Path, model: str) -> None:
    photos_in(tmp_path, "x.png")
    for command in ("<(cat x.png)", "/dev/stdin < x.png"):
        answer = shell(f"{MAIN} cutout {command} --model {model}", cwd=tmp_path)
        assert answer.returncode == 1
        assert answer.stderr.count("\n") == 1
        assert "has no folder to write to; name a file or a folder with -o" in answer.stderr


def test_a_fifo_in_a_folder_is_passed_by(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = photos_in(tmp_path / "photos", "x.png")
    os.mkfifo(folder / "y.png")
    assert run(["cutout", str(folder), "--model", model]) == 0
    assert "y.png: is no file but a pipe" in capsys.readouterr().err
    assert (folder / "x.cutout.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cutout", ""], "an empty path"),
        (["cutout", "*.gif"], "*.gif: no file or folder has such a name"),
        (["cutout", "photos", "-o", "x.png"], "x.png: is one file, and there are 2 photos"),
        (["segment", "photos/a.png", "-o", "x.png"], "one file cannot hold 2 outputs"),
        (["segment", "photos/a.png", "-o", "x.webp", "--save", "mask"], "mask is written as .png"),
        (["cutout", "photos/a.png", "-o", "/dev/null"], "is a device"),
        (["cutout", "photos/a.png", "-o", ""], "an empty path; '.' is"),
        (["cutout", "/dev/zero"], "/dev/zero: is a device"),
    ],
)
def test_what_is_refused_is_said_in_one_line(
    tmp_path: Path,
    model: str,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photos_in(tmp_path / "photos", "a.png", "b.png")
    monkeypatch.chdir(tmp_path)
    assert run([*arguments, "--model", model]) in (1, 2)
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("Usage:") or said.count("\n") == 1
    assert names(tmp_path) == ["models/net.onnx", "photos/a.png", "photos/b.png"]


def test_patterns_are_expanded(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    photos_in(tmp_path, "a.jpg", "b.jpg", "c.png")
    monkeypatch.chdir(tmp_path)
    assert run(["cutout", "*.jpg", "--model", model, "-o", "out"]) == 0
    assert names(tmp_path / "out") == ["a.cutout.png", "b.cutout.png"]


# --- names that are taken ---------------------------------------------------------------------------------------------


def test_a_pair_of_one_stem_stops_nothing(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = photos_in(tmp_path / "photos", "IMG_1.HEIC", "IMG_1.JPG", "b.png")
    arguments = ["cutout", str(folder), "--model", model, "-o"]
    assert run([*arguments, str(tmp_path / "both")]) == 0
    assert names(tmp_path / "both") == ["IMG_1.JPG.cutout.png", "IMG_1.cutout.png", "b.cutout.png"]
    capsys.readouterr()
    assert run([*arguments, str(tmp_path / "one"), "--same-name", "skip"]) == 0
    assert names(tmp_path / "one") == ["IMG_1.cutout.png", "b.cutout.png"]
    assert "IMG_1.JPG: is left out" in capsys.readouterr().err


def test_objects_of_another_photo_are_never_deleted(
    tmp_path: Path, cells: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """All pairs of photos whose names could be those of each other's objects, in every order, again and again."""
    folder = tmp_path / "photos"
    counts = {"a": 3, "a.001-cell": 2, "a.002-cell.001-cell": 1, "a.b": 1}
    for stem, count in counts.items():
        draw_cells(folder / f"{stem}.png", count)
    arguments = ["--model", cells, "--instances", "--overwrite"]
    for stem in (*counts, *reversed(counts)):
        assert run(["cutout", str(folder / f"{stem}.png"), *arguments]) == 0
    made = {name for name in names(folder) if name.endswith(".cutout.png")}
    assert made == {f"{stem}.{n:03}-cell.cutout.png" for stem, count in counts.items() for n in range(1, count + 1)}
    draw_cells(folder / "a.png", 1)  # fewer than before: what is too many goes, and nothing else
    assert run(["cutout", str(folder / "a.png"), *arguments]) == 0
    left = {name for name in names(folder) if name.endswith(".cutout.png")}
    assert made - left == {"a.002-cell.cutout.png", "a.003-cell.cutout.png"}


def test_a_cutout_in_an_object_s_place_is_kept(tmp_path: Path, cells: str, capsys: pytest.CaptureFixture[str]) -> None:
    draw_cells(tmp_path / "a.png", 2)
    mine = tmp_path / "a.001-cell.cutout.png"  # of a photo a.001-cell.png, say
    Image.new("RGB", (3, 3)).save(mine)
    before = mine.read_bytes()
    assert run(["cutout", str(tmp_path / "a.png"), "--model", cells, "--instances", "--overwrite"]) == 1
    assert "a.001-cell.cutout.png: is there already and is no object of" in capsys.readouterr().err
    assert mine.read_bytes() == before
    assert not (tmp_path / "a.002-cell.cutout.png").exists()


@pytest.mark.parametrize("command", [["cutout"], ["segment", "--save", "cutout"]])
def test_an_object_in_a_cutout_s_place_is_kept(
    tmp_path: Path, cells: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "a.001-cell"):
        draw_cells(tmp_path / f"{name}.png", 1)
    assert run(["cutout", str(tmp_path / "a.png"), "--model", cells, "--instances"]) == 0
    before = (tmp_path / "a.001-cell.cutout.png").read_bytes()
    assert run([*command, str(tmp_path / "a.001-cell.png"), "--model", cells, "--overwrite"]) == 1
    assert "a.001-cell.cutout.png: holds an object of another photo" in capsys.readouterr().err
    assert (tmp_path / "a.001-cell.cutout.png").read_bytes() == before


# --- what is left out -------------------------------------------------------------------------------------------------


def test_a_stopped_run_goes_on(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = photos_in(tmp_path / "photos", *(f"{index}.png" for index in range(5)))
    arguments = ["segment", str(folder), "--model", model, "--save", "mask,alpha", "-o", str(tmp_path / "out")]
    assert run(arguments) == 0
    for name in ("1.mask.png", "2.mask.png", "2.alpha.png"):
        (tmp_path / "out" / name).unlink()
    kept = (tmp_path / "out" / "1.alpha.png").stat()
    capsys.readouterr()
    assert run([*arguments, "--skip-existing"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "3 of 5 photos are written already and are skipped"
    assert said[1].startswith("2 of 2 images done")
    assert len(names(tmp_path / "out")) == 10
    assert (tmp_path / "out" / "1.alpha.png").stat().st_mtime_ns == kept.st_mtime_ns  # what was there stays
    assert run([*arguments, "--skip-existing"]) == 0
    assert capsys.readouterr().err == "5 of 5 photos are written already and are skipped\n"


def test_objects_of_a_stopped_run(tmp_path: Path, cells: str, capsys: pytest.CaptureFixture[str]) -> None:
    for stem in "ab":
        draw_cells(tmp_path / f"{stem}.png", 2)
    arguments = ["cutout", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--model", cells, "--instances"]
    assert run([*arguments[:2], *arguments[3:]]) == 0
    capsys.readouterr()
    assert run([*arguments, "--skip-existing"]) == 0
    assert capsys.readouterr().err.startswith("1 of 2 photos are written already")
    assert len(names(tmp_path)) == 7


def test_quiet_and_flat(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = photos_in(tmp_path / "photos", "a.png", "sub/b.png", "c.HEIC")
    os.mkfifo(folder / "y.png")
    (folder / "bad.png").write_bytes(b"no photo")
    code = run(["cutout", str(folder), "--model", model, "-o", str(tmp_path / "out"), "--quiet", "--no-recursive"])
    assert code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"imago: {folder / 'bad.png'}: is not an image")
    assert said.err.count("\n") == 1
    assert names(tmp_path / "out") == ["a.cutout.png", "c.cutout.png"]


def test_metadata_is_kept_or_stripped(tmp_path: Path, model: str) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    Image.fromarray(draw_scene(0)[0]).save(tmp_path / "x.jpg", exif=exif, dpi=(300, 300))
    for options, kept in (([], True), (["--strip-metadata"], False)):
        for command in (["cutout"], ["segment", "--save", "overlay"]):
            target = tmp_path / f"{command[0]}{kept}.png"
            assert run([*command, str(tmp_path / "x.jpg"), "--model", model, "-o", str(target), *options]) == 0
            with Image.open(target) as image:
                assert (image.getexif().get(0x010F) == "Maker") == kept
                assert ("dpi" in image.info) == kept
                assert image.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 1, "cut off"),
        (["--damaged", "use"], 0, "x.jpg: the JPEG is cut off (no end marker"),
        (["--damaged", "skip"], 1, "--damaged use"),
    ],
)
def test_damaged(
    tmp_path: Path, model: str, options: list[str], code: int, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    photos_in(tmp_path, "x.jpg")
    (tmp_path / "x.jpg").write_bytes((tmp_path / "x.jpg").read_bytes()[:-60])
    assert run(["cutout", str(tmp_path / "x.jpg"), "--model", model, *options]) == code
    said = capfd.readouterr().err
    assert words in said
    assert "Premature" not in said
