"""``segment -``: a photo from standard input, one answer to standard output; ``--json`` line by line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_onnx import write_tiny

MAIN = [sys.executable, "-c", "from imago.cli.main import main; main()"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_tiny(tmp_path / "net.onnx", 3)
    Image.new("RGB", (40, 30), (0, 0, 255)).save(tmp_path / "x.png")
    return tmp_path


def segment(place: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    command = [*MAIN, "segment", "-", "--model", "net.onnx", *words]
    return subprocess.run(command, input=(place / "x.png").read_bytes(), capture_output=True, cwd=place, timeout=120)


def test_the_mask_goes_to_standard_output(place: Path) -> None:
    answer = segment(place)
    assert (answer.returncode, answer.stderr) == (0, b"")
    with Image.open(io.BytesIO(answer.stdout)) as mask:
        assert (mask.format, mask.mode, mask.size) == ("PNG", "P", (40, 30))
        assert np.unique(np.asarray(mask)).tolist() == [2]
    assert sorted(path.name for path in place.iterdir()) == ["net.onnx", "x.png"]


def test_json_and_a_file_beside_it(place: Path) -> None:
    answer = segment(place, "--json", "--save", "overlay", "-o", "over.webp")
    assert answer.returncode == 0, answer.stderr
    (line,) = answer.stdout.splitlines()
    told = json.loads(line)
    assert told["image"] == "standard input"
    assert told["areas"]["blue"]["fraction"] == 1
    assert Image.open(place / "over.webp").format == "WEBP"
    again = segment(place, "--save", "overlay", "-o", "over.webp", "--skip-existing")
    assert (again.returncode, again.stdout) == (0, b"")
    assert again.stderr.decode().strip() == "over.webp: is written already and is skipped"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--save", "mask,overlay"], 2, "'-' writes one file of one photo"),
        (["--save", "counts"], 2, "'-' writes one file of one photo"),
        (["x.png"], 2, "'-' reads one photo"),
        (["-o", "folder"], 2, "'-' reads one photo"),
        (["--json", "--save", "mask"], 1, "both write to standard output; name a file with -o"),
        (["--json", "-o", "x.json"], 2, "no file is written"),
        (["--save", "objects"], 1, "finds no single objects"),
        (["-o", "mask.jpg"], 1, "mask is written as .png or .tif or .tiff"),
        (["-o", "x.png"], 1, "x.png: is there already"),
    ],
)
def test_what_does_not_go_with_a_pipe(place: Path, words: list[str], code: int, told: str) -> None:
    answer = segment(place, *words)
    assert (answer.returncode, answer.stdout) == (code, b"")
    assert told in answer.stderr.decode()
    assert b"Traceback" not in answer.stderr


def test_json_comes_line_by_line(place: Path) -> None:
    """The first photo's line is there while the second, a pipe that nobody has filled yet, is waited for."""
    os.mkfifo(place / "slow.png")
    command = [*MAIN, "segment", "x.png", "slow.png", "--model", "net.onnx", "--json"]
    environment = {**os.environ, "IMAGO_THREADS": "2"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=place, env=environment)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["image"] == "x.png"
    (place / "slow.png").write_bytes((place / "x.png").read_bytes())
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert [json.loads(line)["image"] for line in out.splitlines()] == ["slow.png"]


@pytest.mark.parametrize(("bits", "mode", "most"), [("8", "L", 255), ("16", "I;16", 65_535)])
def test_soft_masks_of_both_depths(place: Path, bits: str, mode: str, most: int) -> None:
    write_tiny(place / "net.onnx")  # the redder, the more subject
    Image.new("RGB", (40, 30), (255, 0, 0)).save(place / "x.png")
    answer = segment(place, "--save", "alpha", "--alpha-bits", bits, "-o", "a.png")
    assert answer.returncode == 0, answer.stderr
    with Image.open(place / "a.png") as alpha:
        assert alpha.mode == mode
        assert int(np.asarray(alpha).max()) == most
