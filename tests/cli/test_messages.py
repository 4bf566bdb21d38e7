"""What is said is so: files that were written, one photo as one photo, addresses as typed, memory in words."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from tiny_finders import write_separator, write_squares
from tiny_onnx import write_tiny

from imago.cli.main import error_line, run
from imago.core.errors import OUT_OF_MEMORY, fault_line


def test_instances_name_the_files_that_were_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    photo = write_squares(tmp_path / "squares", 2) / "images" / "squares0.png"
    model = write_separator(tmp_path / "finder.onnx")
    assert run(["cutout", str(photo), "--model", str(model), "--instances"]) == 0
    said = capfd.readouterr().err
    assert "2 objects: squares0.001-object.cutout.png ..." in said
    assert "1 of 1 image done" in said
    named = set(re.findall(r"[\w.-]+\.cutout\.png", said))
    assert named <= {path.name for path in photo.parent.iterdir()}


def test_other_files_of_a_folder_are_counted_in_a_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("notes.csv", "video.mp4", "a.json"):
        (tmp_path / name).touch()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    model = write_tiny(tmp_path / "models" / "m.onnx")
    assert run(["cutout", str(tmp_path), "--model", str(model), "--no-recursive"]) == 0
    said = capfd.readouterr().err
    assert "2 files of no image's ending left out (notes.csv, video.mp4)" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["cutout", "https://example.org/a//b.png"],
        ["segment", "s3://bucket/photos"],
        ["cutout", "a.png", "--model", "https://example.org/m.onnx"],
        ["cutout", "a.png", "-o", "s3://bucket/out"],
        ["evaluate", "https://example.org/m.onnx", "data"],
    ],
)
def test_addresses_are_echoed_as_they_were_typed(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("a.png")
    assert run(arguments) == 1
    said = capfd.readouterr().err
    address = next(part for part in arguments if "://" in part)
    assert f"{address}: is a web address" in said
    assert len(said.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def allocations() -> list[Exception]:
    """What the libraries say where memory is short."""
    try:
        cv2.resize(np.zeros((8, 8, 3), np.uint8), (1 << 30, 1 << 14))
    except cv2.error as error:
        found: list[Exception] = [error]
    return [
        *found,
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("bad allocation"),
    ]


def test_too_little_memory_is_said_in_words() -> None:
    for error in allocations():
        assert error_line(error) == OUT_OF_MEMORY, error
        assert fault_line(error, Path("a.png")) == f"a.png: {OUT_OF_MEMORY}"


# A count in front of a noun in the plural is untrue for one; ``core.text.plural`` is not.
COUNTED = re.compile(
    r"(?<! of )(?<!to )\{len\([^{}]*\)\} (?:images|photos|objects|files|classes|outputs|models|names|boxes|labels)\b"
)


def test_no_message_says_1_photos() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted((ROOT / "src").rglob("*.py"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if COUNTED.search(line)
    ]
    assert not found, "\n".join(found)
