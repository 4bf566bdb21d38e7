"""Training nets that judge proposals of selective search: these are found once, kept, and move with the pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cells import draw_cells, write_cells
from killed_run import assert_same_weights, fitted, killed
from tiny_run import silent, tiny

from imago.core.boxes import iou_matrix
from imago.core.errors import ImagoError
from imago.data import selective_search as proposals
from imago.data.augment.settings import NO_AUGMENTATION
from imago.models import checkpoint
from imago.training.config import DataSource, TrainConfig
from imago.training.train import build, train

SEARCH = ("proposals.side=80", "proposals.count=60")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return write_cells(tmp_path / "cells", 8)


def judge(out: Path, *option: str, **changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "data": (DataSource("cells"),), "model": "fastrcnn:vgg16_bn", "size": 64, "ema": 0.9, "lr": 0.003,
        "option": ("width=4", "fc_width=16", "negative_from=0", *SEARCH, *option),
    }  # fmt: skip
    return tiny(out, **{**values, **changes})


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each photo that is searched."""
    real, found = proposals.propose, []
    for place in ("data.selective_search", "inference.options", "inference.detection"):
        monkeypatch.setattr(f"imago.{place}.propose", lambda image, options: found.append(1) or real(image, options))
    return found


def test_every_photo_is_searched_once(cells: Path, tmp_path: Path, searched: list[int]) -> None:
    """For training, all validations and the report; another run that shares the folder searches none."""
    config = judge(tmp_path / "run", proposals=str(tmp_path / "kept"))
    train(config, tmp_path, say=silent)
    assert len(searched) == len(list((tmp_path / "kept").iterdir())) == 8
    _, card = checkpoint.load(tmp_path / "run" / "best.safetensors")
    assert card.proposals == proposals.ProposalOptions(side=80, count=60)
    assert card.options["nms_thresh"] == 0.3
    fitted(judge(tmp_path / "copy_paste", "batch_size_per_image=8", proposals=str(tmp_path / "kept")), tmp_path)
    assert len(searched) == 8
    build(judge(tmp_path / "third"), tmp_path, False, silent)
    assert len(searched) == len(list((tmp_path / "third" / "proposals").iterdir())) + 8 == 16


def test_killed_while_it_searches_it_goes_on_there(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, searched: list[int]
) -> None:
    real = proposals.propose

    def stops(image: np.ndarray, options: Any) -> np.ndarray:
        if len(searched) == 3:
            raise KeyboardInterrupt
        return real(image, options)

    with monkeypatch.context() as patch:
        patch.setattr(proposals, "propose", stops)
        with pytest.raises(KeyboardInterrupt):
            fitted(judge(tmp_path / "run"), tmp_path)
    run = fitted(judge(tmp_path / "run"), tmp_path, resume=True)
    assert run.progress.done
    assert len(searched) == 8


def test_a_killed_run_comes_to_the_same_weights(cells: Path, tmp_path: Path) -> None:
    shared = {"proposals": str(tmp_path / "kept")}
    fitted(judge(tmp_path / "whole", **shared), tmp_path)
    killed(judge(tmp_path / "killed", **shared), tmp_path, 2)
    fitted(judge(tmp_path / "killed", **shared), tmp_path, resume=True)
    assert_same_weights(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("cache_gb", [0.0, 1.0])
def test_proposals_lie_on_the_objects_of_each_picture(cells: Path, tmp_path: Path, cache_gb: float) -> None:
    """Every cell of a training picture has a proposal on it, wherever augmentation has moved it."""
    run = build(judge(tmp_path / "run", cache_gb=cache_gb), tmp_path, False, silent)
    (batch,) = list(run.loader)[:1]
    assert batch.images.shape[0] == len(batch.targets) == len(batch.proposals) == 2
    for target, boxes in zip(batch.targets, batch.proposals, strict=True):
        found = iou_matrix(target.boxes[~target.crowd].numpy(), boxes.numpy()).max(axis=1)
        # Those of another picture: 0.4 and less. Selective search has a random factor: 0.73 to 0.88 in 24 searches.
        assert found.mean() > 0.65
    terms = run.task.loss(run.module, batch, run.fabric.device)
    assert set(terms) == {"classes", "boxes"}
    assert all(torch.isfinite(value) for value in terms.values())


def test_unmoved_pictures_have_the_photos_own_proposals(cells: Path, tmp_path: Path) -> None:
    """64 x 80 pixels squashed to 64 x 64."""
    run = build(judge(tmp_path / "run", augment=NO_AUGMENTATION, rule="resize"), tmp_path, False, silent)
    kept = [np.load(path)["boxes"] for path in (tmp_path / "run" / "proposals").iterdir()]
    for boxes in next(iter(run.loader)).proposals:
        same = [one for one in kept if len(one) == len(boxes)]
        assert any(np.allclose(one * np.array([0.8, 1, 0.8, 1]), boxes, atol=1e-4) for one in same)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"option": ("width=4", "fc_width=8", "proposals.cont=3")},
            "proposals has no 'cont' to set; it has mode, count, side",
        ),
        (
            {"option": ("width=4", "fc_width=8", "proposals.count=many")},
            r"--option proposals\.count is a whole number, like 2000; got 'many'",
        ),
        (
            {"option": ("width=4", "fc_width=8", "proposals.count=0")},
            "--option proposals: count must be 1 or more; got 0",
        ),
        (
            {"option": ("width=4", "fc_width=8", "stages.near=0.5")},
            r"stages\.near: fastrcnn has no part 'stages' to set; it has proposals",
        ),
        ({"model": "fasterrcnn:resnet18_half", "option": SEARCH}, "fasterrcnn has no part 'proposals' to set"),
        ({"option": ("width",)}, "--option 'width' has no '='; write it like width=32"),
        ({"option": ("batch_size_per_image=0",)}, "batch_size_per_image is 1 or more; got 0.1 and 0"),
        ({"channels": 1}, "judges proposals of selective search, which takes photos of 3 channels; got --channels 1"),
        ({"pretrained": True, "option": ("width=8",)}, "published VGG-16 weights are of width 64"),
        ({"loss": "ce"}, "--loss does not go with --model fastrcnn: each net has the loss of its paper"),
    ],
)
def test_settings_that_say_nothing_are_refused(
    cells: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ImagoError, match=words):
        build(judge(tmp_path / "run", **changes), tmp_path, False, silent)
    assert not (tmp_path / "run" / "config.json").exists()


def test_label_maps_have_no_parts(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ImagoError, match=r"--option proposals\.side: unet has no part 'proposals' to set; it has none"):
        build(tiny(tmp_path / "run", option=("width=4", *SEARCH)), root, False, silent)


@pytest.mark.slow
def test_fast_rcnn_to_the_end(cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command, and the file that it leaves in the hands of the light engine."""
    import json

    from PIL import Image

    from imago.cli.main import run as run_command
    from imago.inference.load import load

    out, photo = tmp_path / "run", tmp_path / "photo.png"
    words = [
        "train", str(cells), "--model", "fastrcnn:resnet18_half", "--size", "64", "--batch-size", "2", "--workers", "0",
        "--precision", "32", "--device", "cpu", "--epochs", "15", "--validate-every", "5", "--lr", "0.003",
        *("--option", "fc_width=32", "--option", "negative_from=0", "--option", "dropout=0"),
        *(word for option in SEARCH for word in ("--option", option)), "--out", str(out),
    ]  # fmt: skip
    assert run_command(words) == 0
    assert {"scores.json", "report.html", "best.safetensors", "model.onnx"} <= {path.name for path in out.iterdir()}
    capsys.readouterr()
    assert run_command(["evaluate", str(out / "model.onnx"), str(cells), "--split", "train", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["box_ap50"]["mean"] > 0.2
    Image.fromarray(draw_cells(3)[0]).save(photo)
    assert (
        run_command(["segment", str(photo), "--model", str(out / "model.onnx"), "--json", "--score-thresh", "0.1"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["objects"]
    kept = proposals.CachedProposals(tmp_path / "kept")
    exported, trained = load(out / "model.onnx"), load(out / "best.safetensors", device="cpu")
    one, other = (model.with_options(find_proposals=kept).objects(draw_cells(4)[0]) for model in (exported, trained))
    sure = other.scores > 0.2
    assert sure.any()
    # The file's weights are rounded to float16.
    assert iou_matrix(other.boxes[sure], one.boxes).max(axis=1).min() > 0.9
