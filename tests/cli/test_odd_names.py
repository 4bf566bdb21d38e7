"""Names that are no text, or that the terminal cannot write: every photo is done, whatever the others are called."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, TINY_NAMES, write_tiny_dataset
from PIL import Image
from tiny_finders import write_finder, write_squares
from tiny_onnx import write_tiny

from imago.core.labels import Labels
from imago.core.text import escape, unescape

NAMES = [
    os.fsdecode(b"caf\xe9"),  # Latin-1, as old archives unpack it
    os.fsdecode("日本".encode("shift-jis")),
    "日本",
    "😀",
    "two\nlines",
    "\x1b[31mred",
    "-dash",
    "--help",
    "a'b\"c,d;e",
    "back\\xE9slash",
    " space ",
    "[bold]markup",
    "%s{0}",
    "plain",
]
PHOTOS = f"{NAMES[0]}/images"  # below a folder whose name is no text
ENCODINGS = ("utf-8", "cp1252", "ascii")
pytestmark = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="a file system that takes every byte")


def imago(folder: Path, encoding: str, *words: str, code: int = 0) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", "from imago.cli.main import main; main()", *words]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": f"{ROOT / 'src'}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=300)
    told = done.stderr.decode(encoding)  # what it says can be read in that encoding
    done.stdout.decode(encoding)
    assert "Traceback" not in told
    assert "unforeseen" not in told
    assert done.returncode == code, told
    return done


def renamed(folder: Path) -> Path:
    """A data set whose photos and masks are called as in NAMES."""
    for place in ("images", "masks"):
        files = sorted((folder / place).iterdir())
        for path, name in zip(files, NAMES, strict=True):
            path.rename(path.with_name(name + path.suffix))
    for split in folder.glob("*.txt"):
        if split.stem in ("train", "val"):
            split.unlink()
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and data, the folders too with a name that is no text."""
    folder = tmp_path_factory.mktemp("odd")
    write_tiny(folder / "red.onnx")
    for name in ("three", "plain"):
        write_tiny(folder / f"{name}.onnx", 3, labels=Labels(TINY_NAMES))
    write_finder(folder / "finder.onnx")
    shutil.copy(folder / "red.onnx", folder / (NAMES[0] + ".onnx"))
    renamed(write_tiny_dataset(folder / NAMES[0], len(NAMES)))
    renamed(write_squares(folder / "squares", len(NAMES)))
    return folder


def images(place: Path) -> list[str]:
    return sorted(f"{name}.jpg" for name in NAMES)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_cutout(place: Path, tmp_path: Path, encoding: str) -> None:
    done = imago(place, encoding, "cutout", PHOTOS, "--model", NAMES[0] + ".onnx", "--out", str(tmp_path / "cut"))
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == sorted(f"{name}.cutout.png" for name in NAMES)
    told = done.stderr.decode(encoding)
    assert f"{len(NAMES)} of {len(NAMES)} images done" in told
    assert "\x1b" not in told


@pytest.mark.parametrize(("encoding", "name"), zip(ENCODINGS * 2, NAMES[:6], strict=True))
def test_a_photo_named_by_itself(place: Path, tmp_path: Path, encoding: str, name: str) -> None:
    folder = place / NAMES[0] / "images"
    imago(folder, encoding, "cutout", f"{name}.jpg", "--model", str(place / "red.onnx"), "--out", str(tmp_path))
    assert (tmp_path / f"{name}.cutout.png").is_file()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_segment_of_objects_and_its_tables(place: Path, tmp_path: Path, encoding: str) -> None:
    kinds = "mask,overlay,json,objects,yolo,coco,counts"
    imago(
        place, encoding, "segment", "squares/images", "--model", "finder.onnx", "--out", str(tmp_path), "--save", kinds
    )
    wanted = sorted(f"{name}.png" for name in NAMES)
    for name in NAMES:
        alone = json.loads((tmp_path / f"{name}.json").read_bytes().decode("utf-8"))
        assert Path(unescape(alone["image"])).name == f"{name}.png"
        for finished in (".mask.png", ".overlay.jpg", ".objects.png", ".txt"):
            assert (tmp_path / (name + finished)).is_file()
    joint = [f"{os.path.relpath(place / 'squares' / 'images', tmp_path)}/{name}" for name in wanted]
    coco = json.loads((tmp_path / "objects.coco.json").read_bytes().decode("utf-8"))
    assert sorted(unescape(image["file_name"]) for image in coco["images"]) == joint
    rows = list(csv.DictReader(io.StringIO((tmp_path / "counts.csv").read_bytes().decode("utf-8"), newline="")))
    assert sorted({unescape(row["photo"]) for row in rows}) == joint

    photos = shutil.copytree(place / "squares" / "images", tmp_path / "set" / "images")
    annotations = tmp_path / "set" / "annotations"
    words = ["set/images", "--model", str(place / "finder.onnx"), "--out", "set/annotations", "--save", "coco"]
    imago(tmp_path, encoding, "segment", *words)
    (annotations / "objects.coco.json").rename(annotations / "instances_val.json")
    told = imago(tmp_path, encoding, "data", "check", "set", "--json")  # our own reader finds them again
    assert json.loads(told.stdout.decode(encoding))["photos"]["val"] == len(list(photos.iterdir()))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_object(place: Path, tmp_path: Path, encoding: str) -> None:
    words = ["cutout", "squares/images", "--model", "finder.onnx", "--instances", "--out", str(tmp_path)]
    for _ in range(2):  # the second time over the first: names are patterns of nothing
        imago(place, encoding, *words, "--overwrite")
        written = {
            path.name.removesuffix(f".{number:03}-object.cutout.png")
            for path in tmp_path.iterdir()
            for number in (1, 2)
        }
        assert set(NAMES) <= written
        assert len(list(tmp_path.iterdir())) == 2 * len(NAMES)


def test_a_bar_on_a_terminal(place: Path, tmp_path: Path) -> None:
    """In cp1252, as Windows may have it: the bar and the lines beside it."""
    import pty

    master, slave = pty.openpty()
    broken = shutil.copytree(place / NAMES[0] / "images", tmp_path / "some")
    for path in broken.glob("*.jpg"):
        path.write_bytes(b"")
    command = [sys.executable, "-c", "from imago.cli.main import main; main()", "cutout", str(broken)]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(ROOT / "src"), "TERM": "xterm"}
    process = subprocess.Popen(
        [*command, "--model", str(place / "red.onnx"), "--out", str(tmp_path / "out")],
        env=environment, stderr=slave, stdout=subprocess.PIPE,
    )  # fmt: skip
    os.close(slave)
    shown = b""
    try:
        while part := os.read(master, 1 << 16):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(master)
    assert process.wait(timeout=60) == 1
    told = shown.decode("cp1252")
    assert "Traceback" not in told
    assert told.count("is empty") == len(NAMES)
    assert "\\u65e5\\u672c" in told
    assert f"{len(NAMES)} failed" in told


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_lines(place: Path, encoding: str) -> None:
    done = imago(place, encoding, "segment", PHOTOS, "--model", "three.onnx", "--json")
    lines = [json.loads(line) for line in done.stdout.decode(encoding).splitlines()]
    assert sorted(Path(unescape(line["image"])).name for line in lines) == images(place)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_failures_are_named(place: Path, tmp_path: Path, encoding: str) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.png").write_bytes(b"")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "whole.png")
    done = imago(place, encoding, "cutout", str(folder), "--model", "red.onnx", code=1)
    lines = done.stderr.decode(encoding).splitlines()
    assert len(lines) == len(NAMES) + 2  # a line each, the note of the whole one, and the sum
    assert sum(line.startswith("imago: ") for line in lines) == len(NAMES)
    assert f"1 of {len(NAMES) + 1} images done" in lines[-1]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_evaluate(place: Path, tmp_path: Path, encoding: str) -> None:
    done = imago(place, encoding, "evaluate", "three.onnx", NAMES[0], "--split", "all", "--json", "-")
    told = json.loads(done.stdout.decode(encoding))
    assert unescape(told["data"]) == NAMES[0]
    assert sorted(unescape(image["name"]) for image in told["images"]) == sorted(NAMES)
    imago(
        place, encoding, "evaluate", "three.onnx", NAMES[0], "--split", "all", "--json", str(tmp_path / "pixels.json")
    )
    imago(place, encoding, "evaluate", "finder.onnx", "squares", "--split", "all", "--json", str(tmp_path / "o.json"))
    for name in ("pixels.json", "o.json"):
        found = json.loads((tmp_path / name).read_bytes().decode("utf-8"))
        assert sorted(unescape(image["name"]) for image in found["images"]) == sorted(NAMES)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_data(place: Path, encoding: str) -> None:
    imago(place, encoding, "data", "check", "squares")
    imago(place, encoding, "data", "anchors", "squares", "--count", "2")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_faults_of_a_data_set(place: Path, tmp_path: Path, encoding: str) -> None:
    """All of them, a line each."""
    folder = shutil.copytree(place / "squares", tmp_path / NAMES[0])
    for name in NAMES:
        (folder / "images" / f"{name}.png").write_bytes(b"")
    done = imago(tmp_path, encoding, "data", "check", NAMES[0], code=1)
    assert len(done.stderr.decode(encoding).splitlines()) == len(NAMES) + 1


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_training_and_its_reports(place: Path, tmp_path: Path, encoding: str) -> None:
    small = ["--epochs", "1", "--size", "32", "--batch-size", "2", "--workers", "0", "--device", "cpu"]
    out = tmp_path / "run"
    imago(place, encoding, "train", NAMES[0], "--model", "unet", "--option", "width=8", "--out", str(out), *small)
    report = (out / "report.html").read_bytes().decode("utf-8")
    assert escape(NAMES[0]) in report
    assert len(json.loads((out / "scores.json").read_bytes().decode("utf-8"))) == 1
    imago(
        place,
        encoding,
        "compare",
        NAMES[0],
        "--models",
        "three.onnx,plain.onnx",
        "--split",
        "all",
        "--out",
        str(tmp_path / "c"),
    )
    assert escape(NAMES[0]) in (tmp_path / "c" / "comparison.html").read_bytes().decode("utf-8")


@pytest.mark.parametrize("reads", ["image", "annotation"])
def test_what_nobody_foresaw_is_a_fault_of_its_photo(place: Path, monkeypatch: pytest.MonkeyPatch, reads: str) -> None:
    """When data are checked: all others are checked too, and the line says which it was."""
    from imago.data import check
    from imago.data.open_dataset import open_dataset

    def fail(*given: object, **more: object) -> None:
        raise ZeroDivisionError("oh")

    pixels, objects = open_dataset(place / NAMES[0]), open_dataset(place / "squares", "detection")
    if reads == "image":
        monkeypatch.setattr(check, "image_size", fail)
    else:
        monkeypatch.setattr(check.LabelReader, "read_raw", fail)
        monkeypatch.setattr(type(objects.split("all")[0]), "instances", fail)
    told = check.check_samples(pixels.split("all"), pixels.labels).faults
    assert sum("unforeseen fault: ZeroDivisionError at test_odd_names.py" in line for line in told) == len(NAMES)
    checked = check.check_samples(objects.split("all"), objects.labels)
    assert sum("unforeseen fault: ZeroDivisionError" in line for line in checked.faults) == len(NAMES)
    assert sum("plain" in line for line in (*told, *checked.faults)) == 2
