"""The samples are free photos, each credited; the pictures of the documents can be made anew from such photos."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from tiny_onnx import write_tiny

import imago

SAMPLES = ROOT / "samples"
WRITTEN = (".cutout", ".mask", ".overlay")  # by the README's reader, beside the samples
NAMES = sorted(
    path.name for path in SAMPLES.glob("*") if path.suffix in (".jpg", ".png") and not path.stem.endswith(WRITTEN)
)
ENLARGED = {"cells.png": ("ihc.png", (200, 220, 320, 320), 3)}  # source, part, factor; others: of their own name, whole


@pytest.fixture(scope="module")
def photos() -> Path:
    skimage = pytest.importorskip("skimage")
    return Path(skimage.__file__).parent / "data"


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pictures", ROOT / "docs" / "images" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_samples_are_credited() -> None:
    """Each with what it is, who made it, its licence and its source; nothing is credited that is not there."""
    lines = (SAMPLES / "README.md").read_text("utf-8").splitlines()
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| `")]
    assert sorted(row[0] for row in rows) == NAMES
    assert all(len(row) == 5 and all(row) for row in rows)


@pytest.mark.parametrize("name", NAMES)
def test_samples_come_from_scikit_image(photos: Path, name: str) -> None:
    """The same pixels but for JPEG: so no photo of other origin slips in under a name that is credited."""
    source, part, factor = ENLARGED.get(name, (f"{Path(name).stem}.png", None, 1))
    with Image.open(photos / source) as original, Image.open(SAMPLES / name) as sample:
        wanted = original.convert(sample.mode).crop(part)
        wanted = wanted.resize((wanted.width * factor, wanted.height * factor), Image.Resampling.LANCZOS)
        assert sample.size == wanted.size
        difference = np.abs(np.asarray(sample, np.float32) - np.asarray(wanted, np.float32))
    assert difference.mean() < 3


def test_the_first_picture_is_made_of_samples(make: ModuleType, tmp_path: Path) -> None:
    sheet = make.first(imago.load(write_tiny(tmp_path / "red.onnx")))
    assert set(make.FIRST) <= set(NAMES)
    assert sheet.height == 3 * make.FIRST_HEIGHT + 2 * make.GAP
    rows = np.asarray(sheet)[:: make.FIRST_HEIGHT + make.GAP]
    assert not np.array_equal(rows[0], rows[1])  # the photo, and what is left of it


def test_the_sheet_has_every_photo(make: ModuleType, photos: Path, tmp_path: Path) -> None:
    for name, part in make.PHOTOS:
        with Image.open(photos / name) as photo:
            left, top, right, bottom = part or (0, 0, *photo.size)
            assert 0 <= left < right <= photo.width, name
            assert 0 <= top < bottom <= photo.height, name
    sheet = make.samples(imago.load(write_tiny(tmp_path / "red.onnx")), photos)
    pitch = 2 * make.CELL + 3 * make.GAP
    assert sheet.width == make.PAIRS * pitch - 2 * make.GAP
    for index in range(len(make.PHOTOS)):
        left, top = index % make.PAIRS * pitch, index // make.PAIRS * (make.CELL + make.GAP)
        assert np.ptp(np.asarray(sheet.crop((left, top, left + make.CELL, top + make.CELL)))) > 30, make.PHOTOS[index]


def test_pictures_are_small() -> None:
    assert all(path.stat().st_size < 400_000 for path in (ROOT / "docs" / "images").glob("*.jpg"))
