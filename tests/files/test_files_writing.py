"""Files are there whole or not at all; PNGs are what other readers read."""

from __future__ import annotations

import errno
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imago.core.errors import ImagoError
from imago.files import writing
from imago.files.png import strip_rows, write_png
from imago.files.writing import atomic_write


def test_written_whole_with_folders_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.bin"
    with atomic_write(path) as stream:
        stream.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert [each.name for each in path.parent.iterdir()] == ["c.bin"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError, ImagoError])
@pytest.mark.parametrize("there", [False, True])
def test_nothing_is_left_after_a_failure(tmp_path: Path, failure: type[BaseException], there: bool) -> None:
    path = tmp_path / "c.bin"
    if there:
        path.write_bytes(b"old")

    def fail() -> None:
        with atomic_write(path, overwrite=True) as stream:
            stream.write(b"half" * 1_000_000)
            raise failure

    with pytest.raises(failure):
        fail()
    assert [each.read_bytes() for each in tmp_path.iterdir()] == ([b"old"] if there else [])


def test_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "c.bin"
    path.write_bytes(b"old")
    with pytest.raises(ImagoError, match=r"c\.bin: is there already; give --overwrite"), atomic_write(path):
        pytest.fail("must not come here")
    with atomic_write(path, overwrite=True) as stream:
        stream.write(b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    if not links:
        monkeypatch.setattr(writing.os, "link", no_links)
    path = tmp_path / "c.bin"

    def race() -> None:
        with atomic_write(path) as stream:
            stream.write(b"mine")
            path.write_bytes(b"theirs")

    with pytest.raises(ImagoError, match="is there already"):
        race()
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"theirs"]
    with atomic_write(tmp_path / "d.bin") as stream:
        stream.write(b"mine")
    assert (tmp_path / "d.bin").read_bytes() == b"mine"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
@pytest.mark.parametrize("size", [10, 5_000_000])  # fails when the buffer is emptied at the end, and in the middle
def test_full_disk_is_one_clear_line(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(writing.TargetFile):
        def __init__(self, path: Path, part: Path) -> None:
            io.FileIO.__init__(self, "/dev/full", "w")
            self.path = path

    monkeypatch.setattr(writing, "TargetFile", Full)
    with pytest.raises(ImagoError, match=r"c\.bin: the disk is full"), atomic_write(tmp_path / "c.bin") as stream:
        stream.write(b"x" * size)
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ImagoError, match="cannot be written"), atomic_write(tmp_path / "file" / "x.png"):
        pass
    with pytest.raises(ImagoError, match="is a folder"), atomic_write(tmp_path):
        pass
    with pytest.raises(ImagoError, match="cannot be written"), atomic_write(tmp_path / ("n" * 300)):
        pass


def strips(image: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    return (image[top : top + rows] for top in range(0, len(image), rows))


def packed_rows(data: bytes) -> bytes:
    """The zlib stream of a PNG: its IDAT chunks laid end to end, each held against its CRC."""
    at, found = 8, b""
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + body) == int.from_bytes(data[at + 8 + length : at + 12 + length], "big")
        found += body if kind == b"IDAT" else b""
        at += 12 + length
    return found


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(["L", "RGB", "RGBA", "P"]),
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 80),
    st.sampled_from([1, 2, 3]),
    st.integers(0, 2**32 - 1),
)
def test_png_is_read_back_bit_by_bit(mode: str, height: int, width: int, rows: int, threads: int, seed: int) -> None:
    shape = (height, width, *{"RGB": (3,), "RGBA": (4,)}.get(mode, ()))
    image = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    image[: height // 2] //= 64  # runs as well as noise
    palette = [(value, 255 - value, value // 2) for value in range(256)]
    stream = io.BytesIO()
    write_png(stream, (height, width), mode, strips(image, rows), palette=palette, threads=threads)  # type: ignore[arg-type]
    data = stream.getvalue()
    zlib.decompress(packed_rows(data))  # checks the sum, which neither reader does
    with Image.open(io.BytesIO(data)) as back:
        assert back.mode == mode
        assert np.array_equal(np.asarray(back), image)
    back_cv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if mode == "P":
        image = np.array(palette, np.uint8)[image]
    order = {2: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[image.shape[2] if image.ndim == 3 else 2]
    assert np.array_equal(back_cv, image[:, :, order] if image.ndim == 3 else image)


def test_png_of_many_strips_sums_right() -> None:
    image = np.random.default_rng(1).integers(0, 256, (700, 1000, 3), np.uint8)  # long sums: Adler-32 wraps around
    stream = io.BytesIO()
    write_png(stream, (700, 1000), "RGB", strips(image, strip_rows(1000, 3)), icc=b"profile" * 50)
    assert len(zlib.decompress(packed_rows(stream.getvalue()))) == 700 * 3001
    with Image.open(io.BytesIO(stream.getvalue())) as back:
        assert np.array_equal(np.asarray(back), image)
        assert back.info["icc_profile"] == b"profile" * 50


@pytest.mark.parametrize(
    ("size_hw", "mode", "image", "words"),
    [
        ((4, 5), "RGB", np.zeros((3, 5, 3), np.uint8), "3 rows came; the image has 4"),
        ((4, 5), "RGB", np.zeros((5, 5, 3), np.uint8), "does not fit"),
        ((4, 5), "RGBA", np.zeros((4, 5, 3), np.uint8), "does not fit"),
        ((4, 5), "L", np.zeros((4, 5), np.float32), "float32"),
        ((0, 5), "L", np.zeros((0, 5), np.uint8), "at least one pixel"),
        ((4, 5), "P", np.zeros((4, 5), np.uint8), "1 to 256 colours"),
    ],
)
def test_png_refuses_what_does_not_fit(size_hw: tuple[int, int], mode: str, image: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        write_png(io.BytesIO(), size_hw, mode, [image], threads=1)  # type: ignore[arg-type]
