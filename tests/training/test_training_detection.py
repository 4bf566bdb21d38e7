"""Training what finds objects: nets of boxes and masks, and label maps of insides and borders."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cells import draw_cells, write_cells
from killed_run import assert_same_weights, fitted, killed
from tiny_detection import CellNet
from tiny_run import silent, tiny

from imago.cli.main import run as run_command
from imago.core.errors import DataError, ImagoError
from imago.data.augment.settings import Augmentation
from imago.inference.load import load
from imago.models import checkpoint
from imago.models.catalog import ARCHITECTURES, Architecture
from imago.training.config import DataSource, TrainConfig
from imago.training.train import build, train

LEAST_AP50 = 0.8  # of a net that has learnt to separate drawn cells


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return write_cells(tmp_path / "cells", 8)


def finder(out: Path, **changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "data": (DataSource("cells"),), "model": "cellnet", "option": (), "size": 64, "multiple": 8, "ema": 0.9,
    }  # fmt: skip
    return tiny(out, **{**values, **changes})


@pytest.fixture(autouse=True)
def _cellnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "cellnet", Architecture("cellnet", "detection", CellNet))


@pytest.mark.parametrize(
    ("deaths", "moment", "changes"),
    [
        (2, "after", {}),  # mid-epoch
        (4, "while", {"multiscale": True}),
        (5, "after", {"workers": 1}),
    ],
)
def test_a_killed_run_comes_to_the_same_weights(
    cells: Path, tmp_path: Path, deaths: int, moment: str, changes: dict[str, Any]
) -> None:
    fitted(finder(tmp_path / "whole", **changes), tmp_path)
    killed(finder(tmp_path / "killed", **changes), tmp_path, deaths, moment)
    run = fitted(finder(tmp_path / "killed", **changes), tmp_path, resume=True)
    assert (run.progress.done, run.progress.step) == (True, 6)
    assert_same_weights(tmp_path / "whole", tmp_path / "killed")
    rows = list(csv.DictReader((tmp_path / "whole" / "metrics.csv").open()))
    assert "val_loss" not in rows[0]
    assert {"score", "score/cells", "train_loss"} <= rows[0].keys()


def test_what_a_run_writes(cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole run with its end (the export apart), and the same scores from ``imago evaluate``."""
    said: list[str] = []
    train(finder(tmp_path / "run", epochs=12, lr=0.03, name="cells"), tmp_path, say=said.append)
    assert "AP (IoU 0.50 to 0.95)" in "\n".join(said)
    assert "report.html" in said[-1]
    report = (tmp_path / "run" / "report.html").read_text()
    assert "Worst images" in report
    assert "Learning rate" in report
    _, card = checkpoint.load(tmp_path / "run" / "best.safetensors")
    assert (card.name, card.task, card.labels.names) == ("cells", "boxes", ("background", "object"))
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())["cells"]["summary"]
    assert scores["box_ap50"]["mean"] == pytest.approx(card.scores["cells/box_ap50"], abs=1e-4)
    assert scores["box_ap50"]["mean"] > 0.1
    history = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    best = max(float(row["score"]) for row in history)
    assert best == pytest.approx(scores["box_ap"]["mean"], abs=1e-3)  # validation and the end agree
    capsys.readouterr()
    assert run_command(["evaluate", str(tmp_path / "run" / "best.safetensors"), str(cells), "--json", "-"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["summary"]["box_ap"]["mean"] == pytest.approx(scores["box_ap"]["mean"], abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": "ce+dice"}, "--loss does not go with --model cellnet: each net has the loss of its paper"),
        ({"class_weights": "log"}, "--class-weights does not go with --model cellnet"),
        ({"head": "softmax"}, "--head does not go with"),
        ({"objects": True}, "--objects does not go with --model cellnet: these nets find single objects by themselves"),
        ({"tta_flip": True}, "--tta-flip does not go with"),
        ({"min_component_fraction": 0.1}, "--min-component-fraction does not go with"),
        ({"augment": Augmentation(elastic=0.5)}, "--elastic does not go with --model cellnet: it is for label maps"),
        (
            {"data": (DataSource("cells", augment={"background": 0.3}),)},
            "--background does not go with --model cellnet: it is for label maps",
        ),
        (
            {"model": "unet", "multiscale": True},
            "--multiscale does not go with --model unet: it is for nets that find objects",
        ),
        ({"size": 60, "rule": "resize"}, r"cellnet at --size 60, --rule resize: images are 60 x 60"),
        ({"option": ("depth=3",)}, "architecture 'cellnet' has no option 'depth'"),
    ],
)
def test_settings_that_say_nothing_are_refused(
    cells: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ImagoError, match=words):
        build(finder(tmp_path / "run", **changes), tmp_path, False, silent)
    assert not (tmp_path / "run" / "config.json").exists()


def test_data_that_does_not_fit_is_refused(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 fault in the data") as caught:
        build(finder(tmp_path / "one", data=(DataSource("cells", group="a=b"),)), tmp_path, False, silent)
    assert "the grouping names classes that the data does not have: b. It has: object" in caught.value.faults[0]
    (cells / "masks" / "cells01.png").write_bytes(b"broken")
    with pytest.raises(DataError) as caught:
        build(finder(tmp_path / "two"), tmp_path, False, silent)
    assert "cells01.png" in " ".join(caught.value.faults)


def test_folders_that_annotate_some_of_the_classes(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folders, each of one class; only a net that minds what was not annotated may learn from them."""
    write_cells(tmp_path / "discs", 8)
    data = (DataSource("cells", group="cell=object", val=("cells00",)), DataSource("discs", group="disc=object"))
    with pytest.raises(DataError, match=r"cellnet learns from folders in which every class was annotated; .*cells, "):
        build(finder(tmp_path / "one", data=data, classes=("cell", "disc")), tmp_path, False, silent)
    monkeypatch.setattr(CellNet, "learns_partly", True)
    run = build(finder(tmp_path / "two", data=data, classes=("cell", "disc")), tmp_path, False, silent)
    assert run.data.labels.names == ("background", "cell", "disc")
    assert [sample.name for sample in run.data.val["cells"]] == ["cells00"]
    assert {sample.unannotated for sample in run.data.val["cells"]} == {(2,)}
    batch = next(iter(run.loader))
    for target in batch.targets:
        assert set(target.classes.tolist()) <= {1, 2} - set(target.unannotated)
        assert len(target.unannotated) == 1
    known = (DataSource("cells", group="cell=object; disc="), DataSource("discs", group="cell=; disc=object"))
    monkeypatch.setattr(CellNet, "learns_partly", False)
    build(finder(tmp_path / "three", data=known, classes=("cell", "disc")), tmp_path, False, silent)
    with pytest.raises(DataError, match=r"has 2 classes .* group both to the same ones .*list them all as classes"):
        build(finder(tmp_path / "four", data=data), tmp_path, False, silent)


def test_copy_paste_needs_masks(cells: Path, tmp_path: Path) -> None:
    run = build(finder(tmp_path / "run", augment=Augmentation(copy_paste=1.0)), tmp_path, False, silent)
    plain = build(finder(tmp_path / "plain"), tmp_path, False, silent)
    counts = [sum(len(t.boxes) for batch in r.loader for t in batch.targets) for r in (run, plain)]
    assert counts[0] > counts[1]
    fast = finder(
        tmp_path / "fast", model="fastrcnn", encoder="vgg16", option=("width=2", "fc_width=8"), multiple=16,
        augment=Augmentation(copy_paste=0.5),
    )  # fmt: skip
    with pytest.raises(ImagoError, match="--copy-paste pastes objects by their masks, and proposals are those of the"):
        build(fast, tmp_path, False, silent)


def test_masks_are_demanded_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """YOLO's boxes alone cannot teach a net of masks."""
    for name in ("images", "labels"):
        (tmp_path / "cells" / name).mkdir(parents=True)
    from PIL import Image

    for index in range(4):
        Image.fromarray(draw_cells(index)[0]).save(tmp_path / "cells" / "images" / f"{index}.png")
        (tmp_path / "cells" / "labels" / f"{index}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "cells" / "data.yaml").write_text("names: [cell]\n")
    monkeypatch.setattr(CellNet, "has_masks", True)
    with pytest.raises(DataError, match=r"cellnet learns masks, and there are boxes alone in .*cells; outline"):
        build(finder(tmp_path / "run"), tmp_path, False, silent)


def test_multiscale_draws_another_side_each_epoch(tmp_path: Path) -> None:
    config = finder(tmp_path, size=320, multiscale=True)
    sides = [config.input.side_at(0.5, epoch, 0) for epoch in range(200)]
    assert sides == [
        config.input.side_at(0.9, epoch, 0) for epoch in range(200)
    ]  # of the epoch alone: a resumed run agrees
    assert 240 <= min(sides) < 250
    assert 390 < max(sides) <= 400
    with pytest.raises(ValueError, match="multiscale needs a net of any size"):
        finder(tmp_path, rule="resize", multiscale=True)
    with pytest.raises(ValueError, match="both choose the side"):
        finder(tmp_path, start_size=32, multiscale=True)


def test_an_unknown_architecture_lists_both_kinds(tmp_path: Path) -> None:
    with pytest.raises(ImagoError, match=r"'unot' is not known; choose from .*unet.*maskrcnn"):
        finder(tmp_path, model="unot", encoder="resnet18")


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--distance"]])
def test_borders_separate_cells_to_the_end(more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--objects``: AP tables, report, and a model.onnx that finds the same objects."""
    folder = write_cells(tmp_path / "cells", 16)
    out = tmp_path / "run"
    words = [
        "train", str(folder), "--objects", "--model", "unet", "--option", "width=8", "--size", "64", "--multiple", "16",
        "--batch-size", "4", "--workers", "0", "--precision", "32", "--device", "cpu", "--epochs", "20",
        "--rule", "pad", "--lr", "0.01", "--validate-every", "5", "--out", str(out), *more,
    ]  # fmt: skip
    assert run_command(words) == 0
    assert "masks: AP (IoU 0.50 to 0.95)" in capsys.readouterr().out
    summary = json.loads((out / "scores.json").read_text())["cells"]["summary"]
    assert summary["mask_ap50"]["mean"] >= LEAST_AP50
    assert (out / "report.html").is_file()
    exported, trained = load(out / "model.onnx"), load(out / "best.safetensors")
    assert exported.finds_objects
    assert exported.card.distance == trained.card.distance == bool(more)
    assert exported.card.separation == trained.card.separation is not None
    image = draw_cells(99)[0]
    one, other = exported.objects(image), trained.objects(image)
    assert len(one) == len(other) > 0
    assert one.boxes == pytest.approx(other.boxes, abs=1)
    assert run_command(["evaluate", str(out / "model.onnx"), str(folder), "--json", "-"]) == 0
    measured = json.loads(capsys.readouterr().out)["summary"]["mask_ap"]["mean"]
    assert measured == pytest.approx(summary["mask_ap"]["mean"], abs=0.02)


@pytest.mark.slow
def test_mask_rcnn_to_the_end(tmp_path: Path) -> None:
    """One epoch of the real thing, masks and export and all."""
    write_cells(tmp_path / "cells", 8)
    options = (
        "width=16",
        "fc_width=16",
        "proposals=20",
        "batch_size_per_image=16",
        "mask_widths=[8]",
        "sizes=[12,20,40,80,160]",
    )
    config = finder(
        tmp_path / "run", model="maskrcnn:resnet18_half", option=options, epochs=1, multiple=32, export=True
    )
    train(config, tmp_path, say=silent)
    net, card = checkpoint.load(tmp_path / "run" / "best.safetensors")
    assert card.task == "instances"
    assert card.options["encoder"] == "resnet18_half"
    assert any(name.startswith("cells/mask_ap") for name in card.scores)
    assert all(torch.isfinite(value).all() for value in net.state_dict().values())
    found = load(tmp_path / "run" / "model.onnx").objects(np.asarray(draw_cells(3)[0]))
    assert found.size_hw == (64, 80)
