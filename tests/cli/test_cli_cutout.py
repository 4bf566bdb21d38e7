"""``imago cutout`` and ``imago segment`` on files of every kind: what is written, what is said, the exit code."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw_scene
from PIL import Image
from tiny_onnx import write_tiny

from imago.cli.main import run


@pytest.fixture
def model(tmp_path: Path) -> str:
    """The redder, the more subject."""
    return str(write_tiny(tmp_path / "net.onnx"))


@pytest.fixture
def colors(tmp_path: Path) -> str:
    """Three classes: red, green, blue."""
    return str(write_tiny(tmp_path / "colours.onnx", 3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photos of the same name in two sub-folders, and one above."""
    for index, name in enumerate(("top.png", "a/x.jpg", "b/x.jpg")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_scene(index)[0]).save(path)
    return tmp_path / "photos"


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def red_square(path: Path) -> Path:
    """60 x 100, black, a red square of 30 x 30 at row 10, column 40."""
    image = np.zeros((60, 100, 3), np.uint8)
    image[10:40, 40:70, 0] = 255
    Image.fromarray(image).save(path)
    return path


# --- what is written --------------------------------------------------------------------------------------------------


def test_a_photo_becomes_a_cutout_beside_it(photo_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cutout", str(photo_path), "--model", model]) == 0
    target = photo_path.with_name("photo.cutout.png")
    with Image.open(target) as image:
        assert (image.mode, image.size) == ("RGBA", Image.open(photo_path).size)
        alpha = np.asarray(image)[:, :, 3]
        assert alpha.min() < 30
        assert alpha.max() == 255
    said = capsys.readouterr()
    assert said.out == ""
    assert str(target) in said.err
    assert "written in" in said.err


def test_folders_keep_their_tree_and_lose_no_namesake(
    folder: Path, tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["cutout", str(folder), "--model", model, "--out", str(tmp_path / "out")]) == 0
    assert names(tmp_path / "out") == ["a/x.cutout.png", "b/x.cutout.png", "top.cutout.png"]
    assert (tmp_path / "out/a/x.cutout.png").read_bytes() != (tmp_path / "out/b/x.cutout.png").read_bytes()
    assert "3 of 3 images done" in capsys.readouterr().err


def test_crop_trims_to_the_subject(tmp_path: Path, model: str) -> None:
    path = red_square(tmp_path / "square.png")
    assert run(["cutout", str(path), "--model", model, "--crop"]) == 0
    with Image.open(tmp_path / "square.cutout.png") as image:
        assert 30 <= image.width <= 36
        assert 30 <= image.height <= 36


@pytest.mark.parametrize("background", ["#0080ff", "blur", "image"])
def test_backgrounds_stand_behind(tmp_path: Path, model: str, background: str) -> None:
    path = red_square(tmp_path / "square.png")
    Image.new("RGB", (30, 40), (0, 128, 255)).save(tmp_path / "sky.png")
    where = str(tmp_path / "sky.png") if background == "image" else background
    assert run(["cutout", str(path), "--model", model, "--background", where]) == 0
    with Image.open(tmp_path / "square.cutout.png") as image:
        assert image.mode == "RGB"
        assert image.getpixel((55, 25)) == (255, 0, 0)
        expected = (0, 0, 0) if background == "blur" else (0, 128, 255)
        assert np.allclose(np.asarray(image)[55, 5], expected, atol=3)


def test_matting_runs(photo_path: Path, model: str) -> None:
    assert run(["cutout", str(photo_path), "--model", model, "--matting"]) == 0
    assert photo_path.with_name("photo.cutout.png").is_file()


def test_segment_writes_mask_overlay_and_areas(photo_path: Path, colors: str, photo: np.ndarray) -> None:
    assert run(["segment", str(photo_path), "--model", colors, "--save", "mask,overlay", "--save", "json"]) == 0
    with Image.open(photo_path.with_name("photo.mask.png")) as mask:
        assert mask.mode == "P"
        labels = np.asarray(mask)
    with Image.open(photo_path) as decoded:
        assert np.mean(labels == np.asarray(decoded).argmax(axis=2)) > 0.95
    areas = json.loads(photo_path.with_name("photo.json").read_text())["areas"]
    assert areas["red"]["pixels"] == int((labels == 0).sum())
    assert sum(area["fraction"] for area in areas.values()) == pytest.approx(1)
    with Image.open(photo_path.with_name("photo.overlay.jpg")) as overlay:
        assert overlay.height > photo.shape[0]  # the legend


def test_segment_s_usual_files(photo_path: Path, model: str) -> None:
    assert run(["segment", str(photo_path), "--model", model]) == 0
    assert names(photo_path.parent) == ["net.onnx", "photo.jpg", "photo.mask.png", "photo.overlay.jpg"]


def test_segment_json_is_one_line_a_photo_and_no_files(
    folder: Path, colors: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = names(folder)
    assert run(["segment", str(folder), "--model", colors, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = sorted(Path(line["image"]).relative_to(folder).as_posix() for line in lines)  # each as it is done
    assert told == ["a/x.jpg", "b/x.jpg", "top.png"]
    assert set(lines[0]["areas"]) == {"red", "green", "blue"}
    assert names(folder) == before


# --- pipes ------------------------------------------------------------------------------------------------------------


def imago(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", "from imago.cli.main import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, **options)


def test_a_pipe_takes_a_photo_and_gives_a_png(photo_path: Path, model: str) -> None:
    answer = imago("cutout", "-", "--model", model, input=photo_path.read_bytes())
    assert (answer.returncode, answer.stderr) == (0, b"")
    with Image.open(io.BytesIO(answer.stdout)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (128, 96))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "standard input: is empty (0 bytes)"), (b"no photo", "standard input: is not an image")],
)
def test_a_pipe_with_rubbish_gives_nothing_and_says_why(model: str, content: bytes, message: str) -> None:
    answer = imago("cutout", "-", "--model", model, input=content)
    assert (answer.returncode, answer.stdout) == (1, b"")
    assert answer.stderr.decode().startswith(f"imago: {message}")


def test_a_pipe_that_is_a_keyboard_is_said(model: str) -> None:
    ours, theirs = pty.openpty()
    answer = imago("cutout", "-", "--model", model, stdin=theirs)
    os.close(ours)
    os.close(theirs)
    assert answer.returncode == 2
    assert b"imago cutout - < photo.jpg" in answer.stderr


def test_a_bar_on_a_terminal_and_none_in_a_pipe(folder: Path, tmp_path: Path, model: str) -> None:
    for index in range(3):
        Image.fromarray(draw_scene(index)[0]).save(folder / f"more{index}.png")
    ours, theirs = pty.openpty()
    code = "from imago.cli.main import main; main()"
    command = [sys.executable, "-c", code, "cutout", str(folder), "--model", model, "--out"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([*command, str(tmp_path / "one")], stderr=theirs, check=True, timeout=60, env=environment)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "6/6" in shown
    assert "images/s" in shown
    piped = subprocess.run([*command, str(tmp_path / "two")], capture_output=True, check=True, timeout=60)
    assert len(piped.stderr.splitlines()) == 1
    assert b"6 of 6 images done" in piped.stderr


# --- failures ---------------------------------------------------------------------------------------------------------


def test_bad_photos_are_named_and_the_rest_is_done(
    folder: Path, tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (folder / "a" / "x.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("hello")
    assert run(["cutout", str(folder), "--model", model, "--out", str(tmp_path / "out")]) == 1
    assert names(tmp_path / "out") == ["a/x.cutout.png", "b/x.cutout.png", "top.cutout.png"]
    lines = capsys.readouterr().err.splitlines()
    for name in ("cut.jpg", "empty.png", "text.png"):
        assert sum(line.startswith(f"imago: {folder / name}: ") for line in lines) == 1
    assert lines[-1].startswith("3 of 6 images done")
    assert lines[-1].endswith("; 3 failed")


def test_a_limit_on_size_can_be_set_and_raised(
    photo_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["cutout", str(photo_path), "--model", model, "--max-megapixels"]
    assert run([*arguments, "0.01"]) == 1
    assert "raise it with --max-megapixels" in capsys.readouterr().err
    assert run([*arguments, "0.02"]) == 0


def test_nothing_is_replaced_without_being_told(
    photo_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = photo_path.with_name("photo.cutout.png")
    target.write_text("mine")
    arguments = ["cutout", str(photo_path), "--model", model]
    assert run(arguments) == 1
    assert "photo.cutout.png: is there already (--overwrite replaces it, --skip-existing" in capsys.readouterr().err
    assert target.read_text() == "mine"
    assert run([*arguments, "--overwrite"]) == 0
    assert target.read_bytes().startswith(b"\x89PNG")


def test_two_inputs_for_one_output_stop_everything(
    folder: Path, tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(folder / "a" / "x.jpg"), str(folder / "b" / "x.jpg")]
    assert run(["cutout", *paths, "--model", model, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "x.cutout.png: would be written for" in said
    assert paths[0] in said
    assert paths[1] in said
    assert not (tmp_path / "out").exists()


def test_an_animation_s_first_frame_is_said(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [Image.new("RGB", (30, 20), (value, 0, 0)) for value in (200, 0)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert run(["cutout", str(tmp_path / "film.gif"), "--model", model]) == 0
    said = capsys.readouterr().err
    assert said.count("the first is used") == 1
    assert f"{tmp_path / 'film.gif'}: more than one frame" in said


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["cutout", "PHOTO", "--background", "purpel"], 1, "background 'purpel' is neither"),
        (["cutout", "PHOTO", "--max-megapixels", "0"], 2, "--max-megapixels must be above 0; got 0"),
        (["cutout", "-", "PHOTO"], 2, "'-' reads one photo"),
        (["cutout", "-", "--out", "there"], 2, "'-' reads one photo"),
        (["cutout", "PHOTO", "-o", "x.jpg", "--model", "nobody"], 1, "x.jpg: a JPEG has no transparency"),
        (["cutout", "PHOTO", "-o", "x.jpg", "--background", "#ffffff80"], 1, "x.jpg: a JPEG has no transparency"),
        (["segment", "PHOTO", "-o", "x.jpg", "--save", "cutout"], 1, "x.jpg: a JPEG has no transparency"),
        (["cutout", "PHOTO", "--max-megapixels", "0.001"], 1, "0.012288 megapixels, above the limit of 0.001;"),
        (["cutout", "PHOTO", "--model", "nobody"], 1, "there is no model 'nobody'"),
        (["cutout", "PHOTO", "--model", "gone.onnx"], 1, "gone.onnx: there is no such model file"),
        (
            ["segment", "PHOTO", "--save", "film"],
            2,
            "'film' is not one of 'mask', 'overlay', 'cutout', 'alpha', 'json'",
        ),
        (["segment", "gone.jpg"], 1, "gone.jpg: there is no such file or folder"),
    ],
)
def test_misuse_is_said_before_anything_runs(
    arguments: list[str],
    code: int,
    message: str,
    photo_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IMAGO_HOME", str(photo_path.parent / "home"))
    before = names(photo_path.parent)
    assert run([str(photo_path) if word == "PHOTO" else word for word in arguments]) == code
    said = capsys.readouterr()
    assert message in " ".join(said.err.split())
    assert said.out == ""
    assert names(photo_path.parent) == before


def test_a_model_without_background_cuts_nothing_out(
    photo_path: Path, colors: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["cutout", str(photo_path), "--model", colors]) == 1
    assert "no class 'background'" in capsys.readouterr().err
    assert names(photo_path.parent) == ["colours.onnx", "photo.jpg"]
