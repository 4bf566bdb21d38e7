"""Anchors: what can be seen by eye, what k-means promises, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from yolo_folder import write_yolo

from imago.cli.data import data_command
from imago.cli.main import run
from imago.core import boxes
from imago.core.errors import DataError
from imago.data.anchors import collect_box_sizes, find_anchors, size_iou
from imago.data.open_dataset import open_dataset


def test_three_heaps_are_found() -> None:
    random = np.random.default_rng(1)
    centers = np.array([[10, 20], [60, 30], [100, 200]])
    sizes = np.concatenate([center * random.uniform(0.95, 1.05, (50, 2)) for center in centers])
    anchors, iou = find_anchors(sizes, 3, seed=0)
    assert anchors.dtype == np.float32
    np.testing.assert_allclose(anchors, centers, rtol=0.02)
    assert iou > 0.93
    again, _ = find_anchors(sizes, 3, seed=0)
    np.testing.assert_array_equal(anchors, again)


def test_small_boxes_count_as_much_as_large_ones() -> None:
    """Why not the plain distance: 4 x 4 and 8 x 8 are further apart than 300 x 300 and 310 x 310."""
    sizes = np.repeat([[4, 4], [8, 8], [300, 300], [310, 310]], 5, axis=0)
    anchors, _ = find_anchors(sizes, 3)
    np.testing.assert_allclose(anchors, [[4, 4], [8, 8], [305, 305]])


@settings(deadline=None, max_examples=40)
@given(sizes=arrays.arrays(np.float64, (30, 2), elements=st.floats(1, 500)), count=st.integers(1, 6))
def test_the_mean_is_what_it_says(sizes: np.ndarray, count: int) -> None:
    if len(np.unique(sizes, axis=0)) < count:
        with pytest.raises(DataError, match="need as many different sizes"):
            find_anchors(sizes, count)
        return
    anchors, iou = find_anchors(sizes, count)
    assert anchors.shape == (count, 2)
    assert (np.diff(anchors.prod(axis=1)) >= 0).all()
    corner = [boxes.as_boxes(np.concatenate([np.zeros_like(part), part], axis=1)) for part in (sizes, anchors)]
    assert boxes.iou_matrix(*corner).max(axis=1).mean() == pytest.approx(iou, abs=1e-4)


def test_as_many_anchors_as_sizes_fit_all() -> None:
    sizes = np.array([[3, 4], [10, 2], [7, 7], [3, 4]])
    anchors, iou = find_anchors(sizes, 3)
    np.testing.assert_allclose(anchors, [[3, 4], [10, 2], [7, 7]])
    assert iou == pytest.approx(1)


@pytest.mark.parametrize(
    ("sizes", "count", "words"),
    [([[1, 0]], 1, "numbers above 0"), ([1, 2], 1, r"\(K, 2\)"), ([[1, 2]], 0, "got 0"), ([[np.nan, 1]], 1, "numbers")],
)
def test_what_is_no_size(sizes: object, count: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        find_anchors(np.array(sizes, np.float64), count)


def test_size_iou_by_hand() -> None:
    assert size_iou(np.array([[2.0, 4.0]]), np.array([[4.0, 2.0]]))[0, 0] == pytest.approx(4 / 12)


def test_sizes_are_those_in_the_nets_input(tmp_path: Path) -> None:
    """The photos are 20 x 40: the ratio to 416 is 10.4; to 100 x 80 (height x width) it is 2."""
    samples = open_dataset(write_yolo(tmp_path), "detection").split("train")
    np.testing.assert_allclose(collect_box_sizes(samples, (416, 416)), [[208, 83.2]] * 3, rtol=1e-4)
    np.testing.assert_allclose(collect_box_sizes(samples, (100, 80)), [[40, 16]] * 3, rtol=1e-4)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_yolo(tmp_path, "0 0.5 0.5 0.5 0.4\n1 0.5 0.5 0.25 0.5\n")
    done = CliRunner().invoke(data_command, ["anchors", str(root), "--count", "2"])
    assert done.output.splitlines() == ["104,104, 208,83", "mean IoU 1.000 over 6 boxes of 3 photos (train)"]
    done = CliRunner().invoke(data_command, ["anchors", str(root), "--count", "2", "--size", "100x80", "--json"])
    assert json.loads(done.output)["anchors"] == [[20.0, 20.0], [40.0, 16.0]]
    done = CliRunner().invoke(data_command, ["check", str(root)])
    assert done.exit_code == 0, done.output
    assert "photos   train 3, val 1; 0 without objects" in done.output
    assert "objects  8 with boxes alone, and 0 crowd" in done.output
    assert json.loads(CliRunner().invoke(data_command, ["check", str(root), "--json"]).output)["objects"] == {
        "cat": 4, "dog": 4,
    }  # fmt: skip
    (root / "images" / "train" / "a.jpg").write_bytes(b"no")
    (root / "labels" / "train" / "b.txt").write_text("7 0.5 0.5 0.1 0.1\n")
    assert run(["data", "check", str(root)]) == 1
    said = capsys.readouterr()
    assert "objects  4 with" in said.out
    assert "2 faults in the data set" in said.err
    assert "b.txt, line 1: class 7 is out of range" in said.err
    assert "a.jpg: is not an image" in said.err
