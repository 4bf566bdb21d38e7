"""R-CNN's whole training in its stages, killed at each of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_instances import average_precision, draw_instances, draw_proposals, write_yolo
from killed_run import assert_same_weights, fitted, killed
from tiny_rcnn import small
from tiny_run import silent

from imago.core.boxes import iou_matrix
from imago.core.detection_options import DetectionOptions
from imago.core.errors import DataError, ImagoError
from imago.core.proposal_options import ProposalOptions
from imago.data.augment.settings import Augmentation
from imago.data.selective_search import propose
from imago.inference.detection import find_objects
from imago.inference.engines.torch import TorchEngine
from imago.inference.load import load
from imago.inference.predictor import Predictor
from imago.models import checkpoint
from imago.models.detection.rcnn import RCNN
from imago.training.config import DataSource, TrainConfig
from imago.training.interrupt import Stopped
from imago.training.train import build, train

NAMES = ("square", "disc", "star")  # the drawings have no star


def drawn_for(image: np.ndarray, options: ProposalOptions) -> np.ndarray:
    """In place of selective search, which finds drawn objects so well that regressors have nothing to learn: boxes
    about the objects, and boxes anywhere."""
    (seed,) = [seed for seed in range(4) if np.array_equal(image, draw_instances(seed)[0])]
    return draw_proposals(draw_instances(seed)[1], seed, near=20)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Four photos to learn by heart, and a folder for their proposals."""
    folder = tmp_path_factory.mktemp("rcnn")
    write_yolo(folder / "drawn", 4, NAMES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("imago.data.selective_search.propose", drawn_for)
        yield folder


def run_of(drawn: Path, name: str, *option: str, **changes: Any) -> TrainConfig:
    return small(drawn / name, *option, proposals=str(drawn / "proposals"), **changes)


@pytest.fixture(scope="module")
def trained(drawn: Path) -> tuple[Path, list[str]]:
    """The folder of a finished training, and what it said."""
    said: list[str] = []
    train(run_of(drawn, "whole"), drawn, say=said.append)
    return drawn / "whole", said


def test_finds_what_it_learned(drawn: Path, trained: tuple[Path, list[str]]) -> None:
    folder, said = trained
    model = load(folder / "best.safetensors", device="cpu")
    assert model.card.task == "boxes"
    assert model.card.crop_padding == 4
    assert model.card.proposals == ProposalOptions(side=80)
    scenes = [draw_instances(seed) for seed in range(4)]
    found = [model.objects(image) for image, _ in scenes]  # selective search, from the file alone
    assert average_precision(found, [instances for _, instances in scenes]) > 0.9
    sure = [one[one.scores > 0.5] for one in found]
    assert average_precision(sure, [instances for _, instances in scenes]) > 0.8  # 0.5 is a border that one can use
    assert any("star has no example; it will never be found" in line for line in said)
    for one in found:
        assert (one.classes != 3).all()
        assert (np.diff(one.scores) <= 0).all()
        for value in (1, 2):
            same = one.boxes[one.classes == value]
            assert (iou_matrix(same, same) - np.eye(len(same))).max(initial=0) <= 0.3 + 1e-6


def test_what_the_run_leaves(trained: tuple[Path, list[str]]) -> None:
    folder, said = trained
    names = {path.name for path in folder.iterdir()}
    assert {"best.safetensors", "config.json", "metrics.csv", "scores.json", "report.html", "stages"} <= names
    assert "features" not in names  # gigabytes, with a large net
    summary = json.loads((folder / "scores.json").read_text())["drawn"]["summary"]
    assert summary["box_ap50"]["mean"] > 0.9
    _, card = checkpoint.load(folder / "best.safetensors")
    assert card.scores["drawn/box_ap50"] == pytest.approx(summary["box_ap50"]["mean"], abs=1e-4)
    assert any(line.startswith("features: 4 of 4") for line in said)


def test_regressors_move_boxes_towards_the_detection(trained: tuple[Path, list[str]]) -> None:
    """Proposals a fifth to the right of the objects: with the regressors they lie better."""
    engine = TorchEngine(trained[0] / "best.safetensors", "cpu")
    engine.net.score_thresh = 0.0
    before, after = [], []
    for seed in range(4):
        image, instances = draw_instances(seed)
        sides = instances.boxes[:, 2:] - instances.boxes[:, :2]
        beside = (instances.boxes + np.tile(sides, 2) * [0.2, 0, 0.2, 0]).astype(np.float32)
        found = find_objects(
            engine, image, DetectionOptions(score_thresh=0.0), propose=lambda image, options, beside=beside: beside
        )
        for box, value, moved in zip(instances.boxes, instances.classes, beside, strict=True):
            before.append(iou_matrix(box[None], moved[None]).max())
            after.append(iou_matrix(box[None], found.boxes[found.classes == value]).max(initial=0))
    assert np.mean(after) > np.mean(before) + 0.02


def test_crops_come_in_batches(trained: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more than so many in memory; the answer is the same, whatever their number."""
    engine = TorchEngine(trained[0] / "best.safetensors", "cpu")
    image, instances = draw_instances(1)
    boxes = draw_proposals(instances, 1, near=40, far=60)
    sizes: list[int] = []
    run = engine.run
    monkeypatch.setattr(engine, "run", lambda crops, some: sizes.append(len(crops)) or run(crops, some))
    whole = find_objects(engine, image, DetectionOptions(score_thresh=0.0), propose=lambda image, options: boxes)
    assert max(sizes) <= 64 < sum(sizes) == len(boxes)
    monkeypatch.setattr("imago.inference.detection.CROPS", 7)
    again = find_objects(engine, image, DetectionOptions(score_thresh=0.0), propose=lambda image, options: boxes)
    assert max(sizes[-5:]) <= 7
    np.testing.assert_allclose(again.boxes, whole.boxes, atol=1e-3)
    nothing = find_objects(engine, image, propose=lambda image, options: boxes[:0])
    assert (len(nothing), nothing.size_hw) == (0, (64, 80))


def copy_of(run: Path, folder: Path, *without: str) -> Path:
    """A finished run as it was before it had made ``without``."""
    shutil.copytree(run, folder)
    for name in without:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def test_killed_in_each_stage_it_ends_the_same(drawn: Path, trained: tuple[Path, list[str]]) -> None:
    config = run_of(drawn, "stopped")
    folder = copy_of(trained[0], drawn / "stopped", "stages", "report.html", "scores.json")
    for words, there, not_yet in (
        ("features: 2", "features", "stages"),
        ("SVMs: round 1, image 2", "features", "stages"),
        ("regressors: square", "stages", "scores.json"),
        ("\ndrawn, 2 validation", "stages", "scores.json"),
    ):
        said: list[str] = []
        with pytest.raises(Stopped):
            train(config, drawn, True, killer(words, said))
        if words.strip() == words:  # not in the report
            assert said[-1] == f"stopped after fine-tuning; go on with: imago train --resume --out {folder}"
        names = {path.name for path in folder.iterdir()}
        assert there in names
        assert not_yet not in names
    said = []
    train(config, drawn, True, said.append)
    assert not [line for line in said if line.startswith(("features", "SVMs", "regressors"))]
    mine, theirs = (checkpoint.load(at / "best.safetensors")[0].state_dict() for at in (folder, trained[0]))
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=0)


def killer(words: str, said: list[str]) -> Callable[[str], None]:
    """A ``say`` that stops the training at the line that starts with ``words``."""

    def say(text: str) -> None:
        said.append(text)
        if text.startswith(words):
            raise Stopped

    return say


def test_killed_while_it_is_fine_tuned(drawn: Path) -> None:
    changes = {"epochs": 2, "save_minutes": 0.0, "validate_every": 1}
    fitted(run_of(drawn, "a", **changes), drawn)
    killed(run_of(drawn, "b", **changes), drawn, 3, "while")
    run = fitted(run_of(drawn, "b", **changes), drawn, resume=True)
    assert run.progress.done
    assert_same_weights(drawn / "a", drawn / "b")


def test_another_stage_option_solves_anew(drawn: Path, trained: tuple[Path, list[str]]) -> None:
    """A finished run whose config.json asks for other stages: the CNN stays, what follows is worked out again."""
    folder = copy_of(trained[0], drawn / "other")
    before = checkpoint.load(folder / "best.safetensors")[0]
    train(run_of(drawn, "other", "stages.svm_c=0.5"), drawn, True, silent)
    after = checkpoint.load(folder / "best.safetensors")[0]
    assert isinstance(before, RCNN)
    assert isinstance(after, RCNN)
    assert torch.equal(before.softmax.weight, after.softmax.weight)
    assert not torch.equal(before.svm.weight, after.svm.weight)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 64}, "--size does not go with --model rcnn: it looks at crops of one size, which --option crop=227"),
        ({"rule": "pad"}, "--rule does not go with --model rcnn"),
        (
            {"batch_size": 2},
            "--batch-size does not go with --model rcnn: a step is 32 crops of objects and 96 of background",
        ),
        ({"loss": "ce"}, "--loss does not go with --model rcnn: each net has the loss of its paper"),
        (
            {"augment": Augmentation(zoom_min=0.5)},
            "--zoom-min does not go with --model rcnn: it moves whole photos, and .* crops",
        ),
        (
            {"data": (DataSource("drawn", augment={"aspect_jitter": 0.0}),)},
            "--aspect-jitter does not go with --model rcnn: it moves whole photos",
        ),
        ({"data": (DataSource("drawn", weight=2.0),)}, "rcnn draws its crops from all photos alike"),
        ({"option": ("width=4", "crop=32")}, "stages.padding=16 at each side leaves nothing of a crop of 32 pixels"),
        ({"option": ("width=4", "stages.rounds=x")}, r"--option stages\.rounds is a whole number, like 1; got 'x'"),
        ({"option": ("width=4", "stages.steps=3")}, "stages has no 'steps' to set; it has padding, positives"),
        ({"option": ("width=4", "other.x=1")}, "rcnn has no part 'other' to set; it has proposals and stages"),
    ],
)
def test_settings_that_say_nothing_are_refused(drawn: Path, tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(ImagoError, match=words):
        build(small(tmp_path / "run", **changes), drawn, False, silent)
    assert not (tmp_path / "run" / "config.json").exists()


def test_data_without_detection(tmp_path: Path) -> None:
    folder = write_yolo(tmp_path / "drawn", 2)
    for path in folder.glob("labels/*/*.txt"):
        path.write_text("")
    with pytest.raises(DataError, match=r"the 2 photos have 0 and \d+\. Is anything outlined in them"):
        build(small(tmp_path / "run"), tmp_path, False, silent)


@pytest.mark.slow
def test_the_file_answers_as_torch(
    drawn: Path, trained: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """model.onnx on the light engine: the same finds on larger scenes, and the commands take it."""
    from PIL import Image

    from imago.cli.main import run as run_command

    folder, file = trained[0], tmp_path / "model.onnx"
    assert run_command(["export", str(folder), "--out", str(file)]) == 0
    one, other = load(file), load(folder / "best.safetensors", device="cpu")
    assert isinstance(one, Predictor)
    for seed, size_hw in ((7, (64, 80)), (8, (150, 201))):
        image, _ = draw_instances(seed, size_hw)
        boxes = propose(image, one.card.proposals)  # once: their order has a random factor
        mine, theirs = (
            model.with_options(find_proposals=lambda image, options, boxes=boxes: boxes).objects(image)
            for model in (one, other)
        )
        assert len(mine) == len(theirs) > 2
        np.testing.assert_allclose(mine.boxes, theirs.boxes, atol=1e-2)
        np.testing.assert_allclose(mine.scores, theirs.scores, atol=1e-3)
        np.testing.assert_array_equal(mine.classes, theirs.classes)
    single = np.array([[10, 10, 40, 40]], np.float32)
    for few in (single, single[:0]):
        mine, theirs = (
            model.with_options(find_proposals=lambda image, options, few=few: few).objects(image)
            for model in (one, other)
        )
        assert len(mine) == len(theirs)
    photo = tmp_path / "photo.png"
    Image.fromarray(draw_instances(2)[0]).save(photo)
    capsys.readouterr()
    assert run_command(["segment", str(photo), "--model", str(file), "--json"]) == 0
    objects = json.loads(capsys.readouterr().out)["objects"]
    assert {"square", "disc"} == {row["class"] for row in objects}
    assert run_command(["cutout", str(photo), "--model", str(file), "--instances", "--out", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("photo.*.cutout.png"))) == len(objects)
    capsys.readouterr()
    assert run_command(["evaluate", str(file), str(drawn / "drawn"), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["box_ap50"]["mean"] > 0.9
