"""What the tests share: the --slow option, the real data where there is some, small photos and data sets made up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Tests and peers import ONNX Runtime by themselves; tests/test_side_effects.py takes this out again.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# One thread a net: the tests run side by side (-n auto), and small nets only lose by more. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from file_server import Server, serving
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TINY_NAMES = ("background", "disc", "box")
TINY_COLORS = ((0, 0, 0), (220, 60, 60), (60, 110, 230))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the slow tests too")


def forks_a_training(item: pytest.Item) -> bool:
    """Whether the test has a training killed, in a forked process (``killed_run.killed``)."""
    return isinstance(item, pytest.Function) and "killed" in item.function.__code__.co_names


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # First: once any test has made PyTorch's autograd start threads, a forked process can train no more.
    items.sort(key=lambda item: not forks_a_training(item))
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of the annotated photos: $IMAGO_DATA, or shared/data beside the repository. Skips where it is not."""
    root = Path(os.environ.get("IMAGO_DATA") or ROOT.parent / "shared" / "data")
    if not (root / "people" / "images").is_dir():
        pytest.skip(f"no annotated photos in {root}; set IMAGO_DATA to the folder that holds people/, cats/, scenes/")
    return root


def draw_scene(seed: int, size_hw: tuple[int, int] = (48, 64)) -> tuple[np.ndarray, np.ndarray]:
    """A red disc (1) and a blue box (2) on uneven grey: uint8 RGB (H, W, 3) and uint8 label map (H, W)."""
    random = np.random.default_rng(seed)
    height, width = size_hw
    y, x = np.mgrid[:height, :width]
    image = 120 + 60 * np.sin(x / width * 3 + seed)[..., None] * np.ones(3) + random.normal(0, 8, (height, width, 3))
    labels = np.zeros(size_hw, np.uint8)
    radius = random.uniform(0.18, 0.28) * height
    labels[(y - random.uniform(0.3, 0.7) * height) ** 2 + (x - 0.3 * width) ** 2 < radius**2] = 1
    top, left, side = random.uniform(0.1, 0.5) * height, 0.6 * width, random.uniform(0.25, 0.4) * height
    labels[(y >= top) & (y < top + side) & (x >= left) & (x < left + side)] = 2
    for value in (1, 2):
        inside = labels == value
        image[inside] = 0.2 * image[inside] + 0.8 * np.array(TINY_COLORS[value])
    return image.clip(0, 255).astype(np.uint8), labels


def write_tiny_dataset(folder: Path, count: int = 12, size_hw: tuple[int, int] = (48, 64)) -> Path:
    """``images/*.jpg``, ``masks/*.png`` (palette), ``classes.txt``, ``train.txt`` (three in four) and ``val.txt``."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    names = [f"scene{index:02d}" for index in range(count)]
    for index, name in enumerate(names):
        image, labels = draw_scene(index, size_hw)
        Image.fromarray(image).save(folder / "images" / f"{name}.jpg", quality=95)
        mask = Image.fromarray(labels)
        mask.putpalette([value for color in TINY_COLORS for value in color])  # grey becomes palette
        mask.save(folder / "masks" / f"{name}.png")
    (folder / "classes.txt").write_text("\n".join(TINY_NAMES) + "\n")
    kept = count * 3 // 4
    (folder / "train.txt").write_text("\n".join(names[:kept]) + "\n")
    (folder / "val.txt").write_text("\n".join(names[kept:]) + "\n")
    return folder


@pytest.fixture
def tiny_dataset(tmp_path: Path) -> Path:
    """A data set folder of 12 images of 48 x 64: 9 to train, 3 to validate, three classes (``TINY_NAMES``)."""
    return write_tiny_dataset(tmp_path / "tiny")


@pytest.fixture
def photo() -> np.ndarray:
    """A made-up photo, uint8 RGB (96, 128, 3)."""
    return draw_scene(7, (96, 128))[0]


@pytest.fixture
def photo_path(tmp_path: Path, photo: np.ndarray) -> Path:
    """The same as a JPEG file."""
    path = tmp_path / "photo.jpg"
    Image.fromarray(photo).save(path, quality=92)
    return path


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A file server without files, and ``tmp_path`` as the place that downloads go to."""
    monkeypatch.setenv("IMAGO_HOME", str(tmp_path))
    with serving({}) as state:
        yield state


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data set "tiny": 8 images of 32 x 40, 6 of them to train on."""
    folder = tmp_path_factory.mktemp("data")
    write_tiny_dataset(folder / "tiny", count=8, size_hw=(32, 40))
    return folder
