"""Files of several pages: each page can be read, and bands that lie in pages stay one image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from tiny_onnx import write_tiny

from imago.cli.main import run
from imago.core.errors import ImageError
from imago.files.images import count_pages, read_image
from imago.inference.load import load

COLORS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))


def pages_of(colors: tuple[tuple[int, int, int], ...] = COLORS) -> list[Image.Image]:
    """Each page of another color and size."""
    return [Image.new("RGB", (40 + 4 * index, 30), color) for index, color in enumerate(colors)]


def save_pages(path: Path, pages: list[Image.Image], **how: object) -> Path:
    pages[0].save(path, save_all=True, append_images=pages[1:], **how)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("suffix", [".tif", ".gif", ".webp"])
def test_each_page_is_read(tmp_path: Path, suffix: str) -> None:
    pages = pages_of() if suffix == ".tif" else [page.resize((40, 30)) for page in pages_of()]
    path = save_pages(tmp_path / f"x{suffix}", pages, **({"lossless": True} if suffix == ".webp" else {}))
    assert count_pages(path) == 4
    for number, (page, color) in enumerate(zip(pages, COLORS, strict=True), 1):
        photo = read_image(path, page=number)
        assert photo.size_hw == page.size[::-1]
        assert np.abs(photo.pixels[10, 10].astype(int) - color).max() <= 2
        assert photo.name == f"{path}#page={number}"
        assert not photo.notes
    with pytest.raises(ImageError, match=r"#page=5: the file has 4 pages"):
        read_image(path, page=5)
    assert "--pages" in read_image(path).notes[0]


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.uint8])
def test_pages_that_pillow_cannot_read(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "six.tif"
    values = np.random.default_rng(0).integers(0, 200, (3, 40, 50, 6)).astype(dtype)
    with tifffile.TiffWriter(path) as writer:
        for page in values:
            writer.write(page, photometric="minisblack", planarconfig="contig", metadata=None)
    assert count_pages(path) == 3
    ranges = ((0.0, 255.0),) * 6
    for number in (1, 2, 3):
        read = read_image(path, channels=6, ranges=ranges, page=number)
        assert np.array_equal(read.pixels, values[number - 1].astype(np.uint8))
        assert not read.notes
    with pytest.raises(ImageError, match="the file has 3 pages"):
        read_image(path, channels=6, page=4)


def test_bands_in_pages_are_one_image(tmp_path: Path) -> None:
    path = tmp_path / "channels.tif"
    values = np.random.default_rng(1).integers(0, 255, (5, 40, 50), dtype=np.uint8)
    tifffile.imwrite(path, values, imagej=True, metadata={"axes": "CYX"})
    assert count_pages(path) == 1
    assert np.array_equal(read_image(path, channels=5, page=1).pixels, values.transpose(1, 2, 0))
    with pytest.raises(ImageError, match="the file has 1 page;"):
        read_image(path, channels=5, page=2)


def test_plain_pages_are_bands_only_where_no_page_is_named(tmp_path: Path) -> None:
    path = tmp_path / "plain.tif"
    values = np.random.default_rng(2).integers(0, 255, (4, 40, 50), dtype=np.uint8)
    tifffile.imwrite(path, values, photometric="minisblack", metadata=None)
    assert count_pages(path) == 4
    assert read_image(path, channels=4).pixels.shape == (40, 50, 4)
    assert np.array_equal(read_image(path, channels=1, page=3).pixels[:, :, 0], values[2])


@pytest.mark.parametrize("source", ["array", "jpeg", "png", "pillow"])
def test_what_has_one_page(tmp_path: Path, source: str) -> None:
    image = pages_of()[0]
    path = tmp_path / ("x.jpg" if source == "jpeg" else "x.png")
    image.save(path)
    given = {"array": np.asarray(image), "pillow": image}.get(source, path)
    assert read_image(given, page=1).size_hw == (30, 40)
    with pytest.raises(ImageError, match="the file has 1 page;"):
        read_image(given, page=2)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_tiny(tmp_path / "net.onnx", 3)
    (tmp_path / "in" / "below").mkdir(parents=True)
    save_pages(tmp_path / "in" / "x.tif", pages_of())
    save_pages(tmp_path / "in" / "below" / "x.tif", pages_of(COLORS[2:]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_page_is_written_by_itself(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["segment", "in", "--model", "net.onnx", "--save", "mask", "--out", "out"]
    assert run([*words, "--pages", "1,3-4"]) == 1  # the second file has two
    said = capsys.readouterr().err
    assert [f"#page={page}: the file has 2 pages" in said for page in (1, 3, 4)] == [False, True, True]
    assert "4 of 6 images done" in said
    written = sorted(path.relative_to("out").as_posix() for path in Path("out").rglob("*.png"))
    assert written == [
        "below/x.page001.mask.png", "x.page001.mask.png", "x.page003.mask.png", "x.page004.mask.png",
    ]  # fmt: skip
    assert np.unique(np.asarray(Image.open("out/x.page003.mask.png"))).tolist() == [2]
    assert run([*words, "--pages", "all", "--skip-existing"]) == 0
    assert len(list(Path("out").rglob("*.png"))) == 6


def test_cutouts_and_pipes_take_pages_too(place: Path) -> None:
    write_tiny(place / "cutter.onnx")
    assert run(["cutout", "in/x.tif", "--pages", "2-3", "--model", "cutter.onnx"]) == 0
    assert sorted(path.name for path in (place / "in").glob("*.png")) == [
        "x.page002.cutout.png", "x.page003.cutout.png",
    ]  # fmt: skip
    assert run(["cutout", "in/x.tif", "--pages", "3", "--model", "cutter.onnx", "-o", "three.png"]) == 0
    assert Path("three.png").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["in/x.tif", "--pages", "0"], "pages are numbers from 1"),
        (["-", "--pages", "1,2"], "'-' reads one photo; name one page"),
        (["in/x.tif", "--pages", "1,2", "-o", "one.png"], "is one file, and there are 2 photos"),
    ],
)
def test_what_cannot_be(place: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cutout", *words, "--model", "net.onnx"]) in (1, 2)
    assert told in capsys.readouterr().err


def test_pages_in_python(place: Path) -> None:
    model = load("net.onnx")
    found = list(model.predict_pages("in/x.tif", "2-"))
    assert [int(prediction.label_map[0, 0]) for prediction in found[:2]] == [1, 2]
    assert [prediction.name for prediction in found] == [f"in/x.tif#page={page}" for page in (2, 3, 4)]
    assert model.predict(model.read("in/x.tif", page=3)).size_hw == (30, 48)
    with pytest.raises(ValueError, match="pages are numbers from 1"):
        list(model.predict_pages("in/x.tif", "two"))
