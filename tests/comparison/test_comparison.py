"""imago compare: candidates in words, pairs of scores, costs counted by hand, and the whole way on tiny images."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import TINY_NAMES, write_tiny_dataset
from tiny_onnx import write_tiny

from imago.comparison.candidates import Candidate, parse_candidates
from imago.comparison.compare import compare
from imago.comparison.cost import LEAST_RUNS, measure_cost, operations, run_times
from imago.comparison.page import render
from imago.comparison.semantic import SemanticComparison
from imago.core.errors import ImagoError, ModelError
from imago.data.grouping import parse_grouping
from imago.data.open_dataset import open_dataset
from imago.draw.scatter import scatter_chart
from imago.evaluation.evaluate import evaluate
from imago.evaluation.semantic import SemanticScoring
from imago.inference.load import load
from imago.metrics.bootstrap import paired_difference


def test_candidates(tmp_path: Path) -> None:
    write_tiny(tmp_path / "runs" / "mine" / "model.onnx")
    file = write_tiny(tmp_path / "other.onnx")
    found = parse_candidates([f"enet,pspnet:resnet50, {tmp_path / 'runs' / 'mine'}", str(file), "subject"])
    assert found[:2] == (
        Candidate("enet", "enet"),
        Candidate("pspnet-resnet50", "pspnet", "resnet50"),
    )
    assert [c.name for c in found[2:]] == ["mine", "other", "subject"]
    assert found[2].file == tmp_path / "runs" / "mine" / "model.onnx"


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ([","], "nothing to compare"),
        (["enet,unet,enet"], "these stand twice in --models: enet"),
        (["enet:resnet50"], "enet has no encoder to choose"),
        (["segnex"], "there is no model 'segnex'"),
        (["empty"], "a folder without model.onnx"),
        (["gone.onnx"], "there is no such model file"),
    ],
)
def test_candidates_refused(models: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImagoError, match=words):
        parse_candidates(models)


def means(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


def test_pairs_see_what_single_intervals_do_not() -> None:
    """The second is worse by 0.02 on every image, which differ by far more among themselves."""
    random = np.random.default_rng(0)
    scores = random.uniform(0.2, 0.9, 60)
    first, second = (np.stack([s, np.ones(60)], axis=1) for s in (scores, scores - 0.02 + random.normal(0, 0.01, 60)))
    difference = paired_difference(means, first, second)
    assert difference.mean == pytest.approx(0.02, abs=0.005)
    assert difference.real
    assert difference.p < 0.01
    noise = paired_difference(means, first, np.stack([random.permutation(scores), np.ones(60)], axis=1))
    assert not noise.real
    assert noise.p > 0.05
    same = paired_difference(means, first, first)
    assert (same.mean, same.low, same.high, same.p, same.real) == (0, 0, 0, 1, False)
    assert math.isnan(paired_difference(means, first[:1], second[:1]).p)
    with pytest.raises(ValueError, match="the same images"):
        paired_difference(means, first, second[:-1])


def test_operations_by_hand(tmp_path: Path) -> None:
    """The tiny file is one 1 x 1 convolution from 3 channels to 2."""
    pytest.importorskip("onnx")
    weights, multiply_adds = operations(
        write_tiny(tmp_path / "m.onnx", classes=2), np.zeros((1, 3, 10, 12), np.float32)
    )
    assert weights == 3 * 2
    assert multiply_adds == 10 * 12 * 3 * 2


def test_runs_of_a_photo_are_added_up(tmp_path: Path) -> None:
    """Crops are shown to a net some at a time: two of 10 x 12 pixels, then one."""
    pytest.importorskip("onnx")
    model = write_tiny(tmp_path / "m.onnx", classes=2)
    crops = [[np.zeros((count, 3, 10, 12), np.float32)] for count in (2, 1)]
    cost = measure_cost(model, lambda: None, crops, tmp_path / "none.png")
    assert cost.multiply_adds == 3 * 10 * 12 * 3 * 2
    assert cost.frame_hw == (10, 12)
    assert math.isnan(measure_cost(model, lambda: None, [], tmp_path / "none.png").multiply_adds)


def test_runs_are_timed_enough() -> None:
    assert len(run_times(lambda: None)) >= LEAST_RUNS
    assert min(run_times(lambda: time.sleep(0.2))) >= 0.2


def test_scatter_joins_the_front() -> None:
    points = {"a": (1.0, 0.5), "b<": (2.0, 0.4), "c": (4.0, 0.9), "d": (math.nan, 0.1)}
    chart = scatter_chart(points, "t", "x", "y", front=("a", "c"))
    assert chart.count("<circle") == 3
    assert "b&lt;" in chart
    (line,) = (part for part in chart.split("<") if part.startswith("polyline"))
    assert len(line.split('"')[1].split()) == 3  # a, the step, c


def test_equal_models_have_no_best(tmp_path: Path) -> None:
    """The same file twice: no class and no image in which one of them is ahead; 0 for all, or any other number."""
    data = open_dataset(write_tiny_dataset(tmp_path / "tiny", count=8, size_hw=(32, 32)))
    twins = [Candidate(name, file=write_tiny(tmp_path / f"{name}.onnx", classes=3)) for name in ("one", "two")]
    page = render(compare(SemanticComparison(), twins, data.split("val"), data.labels, lambda line: None), "twins")
    assert "<b>" not in page
    assert page.count("▲") == page.count("▼") == 1  # in the words about them


def test_two_labels_are_scored_alike(tmp_path: Path) -> None:
    """A model of one output and one of two, on the same photos: by one score, of the foreground."""
    two = parse_grouping(f"{TINY_NAMES[0]}={TINY_NAMES[0]}; subject=rest")
    data = open_dataset(write_tiny_dataset(tmp_path / "tiny", count=8, size_hw=(32, 32)), grouping=two)
    files = [write_tiny(tmp_path / "one.onnx"), write_tiny(tmp_path / "two.onnx", classes=2)]
    found = [Candidate(file.stem, file=file) for file in files]
    both = compare(SemanticComparison(), found, data.split("val"), data.labels, lambda line: None)
    assert [entry.evaluation.main for entry in both.entries] == ["iou_image_mean"] * 2
    alone = compare(SemanticComparison(), found[1:], data.split("val"), data.labels, lambda line: None)
    assert alone.main == "mean_iou"
    with pytest.raises(ValueError, match="binary scores are for two labels; the model has 3"):
        evaluate(load(write_tiny(tmp_path / "three.onnx", classes=3)), [], scoring=SemanticScoring("binary"))


def test_what_is_amiss_is_told_before_any_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imago.cli.compare import compare_command

    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(compare_command, ["gone", "--models", "enet", "--out", "out"])
    assert "gone: there is no such folder of data" in str(result.exception)
    write_tiny_dataset(tmp_path / "tiny", count=4, size_hw=(32, 32))
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)  # a base install has no torch
    result = CliRunner().invoke(compare_command, ["tiny", "--models", "enet", "--out", "out"])
    assert "training needs torch, which is not installed" in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_whole_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nets are trained, one cannot be, a ready one comes along; the second call trains nothing again."""
    from imago.cli.compare import compare_command

    monkeypatch.chdir(tmp_path)
    write_tiny_dataset(tmp_path / "tiny", count=12, size_hw=(48, 64))
    write_tiny(tmp_path / "ready.onnx", classes=3)
    words = [
        "tiny",
        "--models",
        "enet,unet,pspnet:resnet999,ready.onnx",
        "--out",
        "out",
        "--epochs",
        "2",
        "--size",
        "64",
    ]
    words += ["--option", "width=8", "--device", "cpu", "--workers", "0"]
    for _ in range(2):
        result = CliRunner().invoke(compare_command, words)
        assert result.exit_code in (0, 1), result.output
        assert "resnet999" in result.output
    told = json.loads((tmp_path / "out" / "comparison.json").read_text("utf-8"))
    assert {entry["name"] for entry in told["entries"]} == {"enet", "unet", "ready"}
    scores = [entry["evaluation"]["summary"]["mean_iou"]["mean"] for entry in told["entries"]]
    assert scores == sorted(scores, reverse=True)
    assert told["entries"][0]["to_best"] is None
    assert all(entry["to_best"]["mean"] >= 0 for entry in told["entries"][1:])
    assert len(told["failed"]) == 1
    rows = list(csv.DictReader((tmp_path / "out" / "comparison.csv").open()))
    assert [row["name"] for row in rows] == [entry["name"] for entry in told["entries"]]
    page = (tmp_path / "out" / "comparison.html").read_text("utf-8")
    assert page.count("<svg") == 4
    assert "trained already" in result.output
    other = CliRunner().invoke(compare_command, [*words, "--lr", "0.5"])
    assert isinstance(other.exception, ImagoError)
    assert "was begun with other settings (lr)" in str(other.exception)


def test_operations_of_weights_stored_as_float16(tmp_path: Path) -> None:
    """They reach the convolution by a Cast, and count all the same."""
    import onnx

    from imago.export.storage import SMALL, store_half

    image = np.zeros((1, 3, 8, 8), np.float32)
    kernel = np.full((SMALL, 3, 3, 3), 0.5, np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["image", "weights"], ["mask"])],
        "one",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [onnx.helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, ["n", SMALL, "a", "b"])],
        [onnx.numpy_helper.from_array(kernel, "weights")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "single.onnx")
    store_half(model)
    onnx.save(model, tmp_path / "half.onnx")
    expected = (kernel.size, SMALL * 6 * 6 * 3 * 3 * 3)
    assert operations(tmp_path / "single.onnx", image) == expected
    assert operations(tmp_path / "half.onnx", image) == expected


def test_a_comparison_of_an_older_imago_goes_on(tmp_path: Path) -> None:
    """A setting that came since counts as it was then: as its default."""
    from imago.comparison.training import resolve_config
    from imago.training.config import TrainConfig

    resolve_config(TrainConfig.of(epochs=7), tmp_path, tmp_path / "out")
    path = tmp_path / "out" / "compare.json"
    stored = json.loads(path.read_text("utf-8"))
    del stored["settings"]["objects"]
    path.write_text(json.dumps(stored), "utf-8")
    resolve_config(TrainConfig.of(epochs=7), tmp_path, tmp_path / "out")
    with pytest.raises(ImagoError, match=r"begun with other settings \(objects\)"):
        resolve_config(TrainConfig.of(epochs=7, objects=True), tmp_path, tmp_path / "out")


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"settings": 3}', b'{"settings": {}}', b"\xff"])
def test_damaged_settings_are_one_line(tmp_path: Path, content: bytes) -> None:
    from imago.comparison.training import resolve_config
    from imago.training.config import TrainConfig

    (tmp_path / "compare.json").write_bytes(content)
    with pytest.raises(ImagoError, match=r"compare\.json: damaged"):
        resolve_config(TrainConfig(), tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"epoch,score\n1,good\n", "could not convert"),
        (b"epoch,score\n1,0.5,7\n", "list"),
        (b"\xff\xfe\x00", "utf-16"),
        (b'epoch\n"' + b"x" * 200_000, "field"),
    ],
)
def test_damaged_curves_are_one_line(tmp_path: Path, content: bytes, fault: str) -> None:
    from imago.comparison.compare import read_history

    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(ModelError, match=rf"metrics\.csv: damaged .*{fault}"):
        read_history(tmp_path / "metrics.csv")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "setsid"), reason="sessions are Unix's")
def test_a_polite_kill_stops_the_training_too(tmp_path: Path) -> None:
    """Only the command itself is told; the training in the other process saves its state and ends."""
    write_tiny_dataset(tmp_path / "tiny", count=12, size_hw=(48, 64))
    words = ["compare", "tiny", "--models", "unet", "--out", "out", "--minutes", "5", "--epochs", "100000"]
    words += ["--size", "64", "--option", "width=4", "--device", "cpu", "--workers", "0"]
    process = subprocess.Popen([sys.executable, "-m", "imago", *words], cwd=tmp_path, stdout=subprocess.DEVNULL)
    table = tmp_path / "out" / "unet" / "metrics.csv"
    deadline = time.monotonic() + 120
    while not table.is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.terminate()
    assert process.wait(60) == 130
    assert (tmp_path / "out" / "unet" / "resume.safetensors").is_file()
    written = table.read_text("utf-8")
    time.sleep(3)
    assert table.read_text("utf-8") == written
