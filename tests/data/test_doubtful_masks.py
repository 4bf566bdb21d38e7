"""Masks whose values do not say what they mean: in doubt the set is refused, and each way out leads to the truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from imago.core.errors import DataError
from imago.core.labels import IGNORE
from imago.core.read_settings import ReadSettings
from imago.data.check import check_samples
from imago.data.classes import DoubtfulMasks
from imago.data.dataset import Dataset
from imago.data.faults import advise
from imago.data.open_dataset import OpenOptions, open_dataset, survey_dataset

COUNT, SIZE = 12, 96
COLORS = np.array([(0, 0, 0), (220, 20, 60), (0, 0, 142), (107, 142, 35)], np.uint8)

Change = Callable[[np.ndarray, int], np.ndarray]  # labels, number of the mask -> what is stored


def draw(index: int, classes: int = 2) -> np.ndarray:
    """uint8 (H, W), a disc of each class but the first."""
    random = np.random.default_rng(index)
    label = np.zeros((SIZE, SIZE), np.uint8)
    for value in range(1, classes):
        center = tuple(int(v) for v in random.integers(16, SIZE - 16, 2))
        cv2.circle(label, center, int(random.integers(10, 20)), value, -1)
    return label


def write(root: Path, change: Change, classes: int = 2, suffix: str = ".png") -> list[np.ndarray]:
    """The truth, in the order of the names."""
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    truths = [draw(index, classes) for index in range(COUNT)]
    for index, truth in enumerate(truths):
        Image.new("RGB", (SIZE, SIZE), (index, 90, 120)).save(root / "images" / f"{index:02d}.png")
        Image.fromarray(change(truth, index)).save(root / "masks" / f"{index:02d}{suffix}")
    return truths


def blur(white: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(white, (5, 5), 0)


def compress(white: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", white, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], cv2.IMREAD_UNCHANGED)


def around(truth: np.ndarray, width: int) -> np.ndarray:
    return cv2.dilate(truth, np.ones((width, width), np.uint8)) > truth


def stray(truth: np.ndarray, index: int) -> np.ndarray:
    stored = truth * np.uint8(255)
    if index == 3:
        y, x = np.argwhere(truth == 1)[len(np.argwhere(truth == 1)) // 2]
        stored[y, x] = 254
    return stored


def half(truth: np.ndarray, index: int) -> np.ndarray:
    return truth * np.uint8(255 if index % 2 else 1)


def compress_colors(truth: np.ndarray, index: int) -> np.ndarray:
    return compress(COLORS[truth])


BINARY: dict[str, Change] = {
    "one pixel of 254": stray,
    "soft rims": lambda truth, index: blur(truth * np.uint8(255)),
    "one soft rim": lambda truth, index: blur(truth * np.uint8(255)) if index == 5 else truth * np.uint8(255),
    "JPEG": lambda truth, index: compress(truth * np.uint8(255)),
    "half 0 1, half 0 255": half,
    "three greys": lambda truth, index: np.where(
        cv2.dilate(truth, np.ones((5, 5))) > truth, 128, truth * np.uint8(255)
    ),
}


def agree(dataset: Dataset, truths: list[np.ndarray]) -> float:
    """Share of the pixels that are as they should be, of those that count; the least of any photo."""
    samples = sorted(dataset.split("all"), key=lambda sample: sample.name)
    shares = []
    for sample, truth in zip(samples, truths, strict=True):
        label = sample.label_map()
        assert (label != IGNORE).mean() > 0.9
        shares.append(float((label == truth)[label != IGNORE].mean()))
    return min(shares)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("kind", BINARY)
def test_two_classes_in_doubt_are_refused(kind: str, listed: bool, tmp_path: Path) -> None:
    truths = write(tmp_path, BINARY[kind])
    if listed:
        (tmp_path / "classes.txt").write_text("ground\ndisc\n")
    dataset, told = None, ""
    try:
        dataset, _ = survey_dataset(tmp_path, OpenOptions())
        faults = check_samples(dataset.split("all"), dataset.labels).faults
        assert faults
        told = advise(faults)
    except DoubtfulMasks as error:
        told = "\n".join([str(error), *error.faults])
        assert "value 0" in told
        assert "of the pixels, in 12 masks" in told
    assert "--mask-threshold" in told
    reading = ReadSettings(mask_threshold={"half 0 1, half 0 255": 1, "three greys": 200}.get(kind, 128))
    assert agree(open_dataset(tmp_path, reading=reading), truths) > 0.99


@pytest.mark.parametrize(
    ("kind", "reading"),
    [
        ("one pixel of 254", ReadSettings(mask_values=(0, 255))),
        ("one pixel of 254", ReadSettings(mask_snap=True)),
        ("soft rims", ReadSettings(mask_values=(0, 255))),
        ("soft rims", ReadSettings(mask_snap=True)),
        ("one soft rim", ReadSettings(mask_snap=True)),
        ("JPEG", ReadSettings(mask_values=(0, 255))),
        ("JPEG", ReadSettings(mask_snap=True)),
        ("three greys", ReadSettings(mask_values=(0, 255), ignore="128")),
    ],
)
def test_each_way_out_leads_to_the_truth(kind: str, reading: ReadSettings, tmp_path: Path) -> None:
    truths = write(tmp_path, BINARY[kind])
    dataset = open_dataset(tmp_path, reading=reading)
    assert dataset.labels.names == ("background", "foreground")
    assert agree(dataset, truths) > 0.99
    assert check_samples(dataset.split("all"), dataset.labels).faults == ()


def test_the_histogram_and_all_ways_out_are_told(tmp_path: Path) -> None:
    write(tmp_path, BINARY["JPEG"])
    with pytest.raises(DoubtfulMasks) as caught:
        open_dataset(tmp_path)
    told = "\n".join(caught.value.faults)
    for way in ("--mask-threshold 128", "--mask-values 0,255", "--ignore 255", "--ignore none", "--mask-snap"):
        assert way in told, told
    assert "classes.txt" in told


@pytest.mark.parametrize(
    "change",
    [
        lambda truth, index: blur(COLORS[truth]),
        lambda truth, index: blur(COLORS[truth]) if index == 2 else COLORS[truth],
        compress_colors,
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_smoothed_color_codes_snap_to_the_palette(change: Change, listed: bool, tmp_path: Path) -> None:
    truths = write(tmp_path, change, classes=4)
    if listed:
        lines = [f"{name} {r} {g} {b}" for name, (r, g, b) in zip("abcd", COLORS.tolist(), strict=True)]
        (tmp_path / "classes.txt").write_text("\n".join(lines))
        dataset = open_dataset(tmp_path)
        assert "--mask-snap" in advise(check_samples(dataset.split("all"), dataset.labels).faults)
    else:
        with pytest.raises(DoubtfulMasks, match="colours") as caught:
            open_dataset(tmp_path)
        assert any("--mask-snap" in line for line in caught.value.faults)
    dataset = open_dataset(tmp_path, reading=ReadSettings(mask_snap=True))
    assert len(dataset.labels) == 4
    nearest = [int(((COLORS.astype(int) - color) ** 2).sum(axis=1).argmin()) for color in dataset.labels.colors]
    order = np.array(nearest, np.uint8)  # without a list the colours come in their own order
    assert sorted(nearest) == [0, 1, 2, 3]
    for sample, truth in zip(sorted(dataset.split("all"), key=lambda one: one.name), truths, strict=True):
        assert (order[sample.label_map()] == truth).mean() > 0.97
    assert check_samples(dataset.split("all"), dataset.labels).faults == ()


def edge_class(truth: np.ndarray, index: int) -> np.ndarray:
    """0, 1 a rim of one pixel, 2 the inside: as of cells."""
    return np.where(truth > 0, 2 - (truth - cv2.erode(truth, np.ones((3, 3), np.uint8))), 0).astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "classes", "names"),
    [
        (lambda truth, index: truth, 4, ("class 0", "class 1", "class 2", "class 3")),
        (lambda truth, index: truth * np.uint8(255), 2, ("background", "foreground")),
        (lambda truth, index: truth * np.uint8(85), 3, ("class 0", "class 85", "class 170")),
        (edge_class, 2, ("class 0", "class 1", "class 2")),
        # A rim of 255 round each object, as VOC has it.
        (
            lambda truth, index: np.where(around(truth, 3), 255, truth), 3,
            ("class 0", "class 1", "class 2"),
        ),
        # A crack of one pixel is no soft rim: nothing is higher.
        (lambda truth, index: (np.add.outer(np.arange(SIZE), np.zeros(SIZE)) == 40).astype(np.uint8), 2,
         ("class 0", "class 1")),
        # A small object in one photo alone.
        (lambda truth, index: np.where((index == 3) & (draw(99) > 0) & (truth == 0), 7, truth).astype(np.uint8), 2,
         ("class 0", "class 1", "class 7")),
    ],
)  # fmt: skip
def test_plain_masks_are_not_doubted(change: Change, classes: int, names: tuple[str, ...], tmp_path: Path) -> None:
    write(tmp_path, change, classes)
    dataset = open_dataset(tmp_path)
    assert dataset.labels.names == names
    assert check_samples(dataset.split("all"), dataset.labels).faults == ()


@pytest.mark.parametrize(
    ("change", "reading", "names"),
    [
        (lambda truth, index: truth * np.uint8(99), ReadSettings(ignore="none"), ("class 0", "class 99", "class 198")),
        (
            lambda truth, index: np.where(truth == 2, 255, truth).astype(np.uint8), ReadSettings(ignore="none"),
            ("class 0", "class 1", "class 255"),
        ),
        (lambda truth, index: truth, ReadSettings(ignore="2"), ("class 0", "class 1")),
        (lambda truth, index: truth.astype(np.uint16) * 300, ReadSettings(mask_values=(0, 300, 600)),
         ("class 0", "class 300", "class 600")),
    ],
)  # fmt: skip
def test_what_is_ignored_can_be_said(
    change: Change, reading: ReadSettings, names: tuple[str, ...], tmp_path: Path
) -> None:
    truths = write(tmp_path, change, classes=3)
    dataset = open_dataset(tmp_path, reading=reading)
    assert dataset.labels.names == names
    assert check_samples(dataset.split("all"), dataset.labels).faults == ()
    first = min(dataset.split("all"), key=lambda sample: sample.name).label_map()
    expected = np.where(truths[0] == 2, IGNORE, truths[0]) if reading.ignore == "2" else truths[0]
    assert np.array_equal(first, expected)


def test_masks_that_are_jpegs_are_found(tmp_path: Path) -> None:
    truths = write(tmp_path, lambda truth, index: truth * np.uint8(255), suffix=".jpg")
    with pytest.raises(DoubtfulMasks):
        open_dataset(tmp_path)
    assert agree(open_dataset(tmp_path, reading=ReadSettings(mask_threshold=128)), truths) > 0.99


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mask_threshold": 128, "mask_values": (0, 255)}, "leave out mask_values"),
        ({"mask_values": (0,)}, "two different values"),
        ({"mask_values": (0, 255), "ignore": "255"}, "255 is among mask_values"),
        ({"ignore": "red"}, "none or auto; got 'red'"),
        ({"faulty": "mend"}, "faulty must be one of"),
    ],
)
def test_settings_that_contradict_are_refused(values: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ReadSettings(**values)


def test_options_of_masks_need_masks(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "images" / "a.png")
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text("names: [cat]\n")
    with pytest.raises(DataError, match="--mask-threshold is about values of masks, and YOLO's text files has none"):
        survey_dataset(tmp_path, OpenOptions("detection", reading=ReadSettings(mask_threshold=128)))
