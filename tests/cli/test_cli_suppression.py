"""What becomes of objects that overlap: said at the export, and at use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw_scene
from known_engine import KNOWN, Known, detection_card
from PIL import Image
from tiny_onnx import write_tiny

from imago.cli.main import run
from imago.core.boxes import iou_matrix
from imago.core.detection_options import DetectionOptions
from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.core.labels import Labels
from imago.core.model_card import ModelCard
from imago.export.export import export_run, set_thresholds
from imago.files.model_file import read_onnx_card
from imago.inference.engines.onnx import OnnxEngine
from imago.inference.predictor import Predictor
from imago.models import build, checkpoint

LABELS = Labels(("background", "disc", "box"))
OPTIONS = {"classes": 3, "width": 2, "score_thresh": 0.3, "detections_per_img": 60}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A narrow YOLO that finds much, and suppresses past 0.5."""
    torch.manual_seed(0)
    net = build("yolov3_tiny", **OPTIONS)
    for layer in (m for m in net.modules() if isinstance(m, torch.nn.Conv2d) and m.bias is not None):
        torch.nn.init.normal_(layer.weight, std=3)
    card = ModelCard("much", "yolov3_tiny", OPTIONS, "boxes", LABELS, InputSpec(rule="area", size_hw=(96, 96)))
    path = tmp_path / "much.safetensors"
    checkpoint.save(net, card, path)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photos" / "scene.png"
    path.parent.mkdir()
    Image.fromarray(draw_scene(3, (96, 128))[0]).save(path)
    return path


def found(photo: Path, model: Path, capfd: pytest.CaptureFixture[str], *options: str) -> tuple[list[float], float, str]:
    """Scores, the largest overlap of two of a class, and what is said beside them."""
    assert run(["segment", str(photo), "--model", str(model), "--json", "--score-thresh", "0.3", *options]) == 0
    said = capfd.readouterr()
    instances = json.loads(said.out)["objects"]
    boxes = np.array([instance["box_xyxy"] for instance in instances], np.float32)
    same = np.array([[one["class"] == other["class"] for other in instances] for one in instances])
    overlap = np.triu(iou_matrix(boxes, boxes) * same, k=1).max()
    return [instance["score"] for instance in instances], float(overlap), said.err


def test_segment_with_and_without(model: Path, photo: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plain, overlap, said = found(photo, model, capfd)
    assert len(plain) > 5
    assert overlap <= 0.51
    assert "note" not in said
    soft, _, said = found(photo, model, capfd, "--nms", "soft")
    assert "note: the model 'much' has left out what overlaps by more than 0.5 itself" in said
    assert sum(soft) < sum(plain)
    assert max(soft) == max(plain)
    among_all, _, _ = found(photo, model, capfd, "--class-agnostic")
    assert len(among_all) < len(plain)
    assert run(["segment", str(photo), "--model", str(model), "--nms", "soft", "--nms-thresh", "0.4"]) == 2
    assert "soft suppression has no threshold" in capfd.readouterr().err


def test_evaluation_asks_for_all_scores_but_keeps_what_is_said_of_overlaps() -> None:
    predictor = Predictor(Known(KNOWN, detection_card("boxes")))
    image = np.zeros((48, 64, 3), np.uint8)
    assert len(predictor.objects(image)) == 4
    strict = DetectionOptions(
        score_thresh=0.95, nms_thresh=0.5, class_agnostic=True, classes=("box",), detections_per_img=1
    )
    assert predictor.with_options(detection=strict).objects(image).scores.tolist() == pytest.approx([0.9, 0.3])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--nms", "soft"], "it finds no single objects; leave it out"),
        (["--class-agnostic", "--max-found", "0"], "--class-agnostic, --max-found do not go with model"),
    ],
)
def test_nets_that_find_no_objects_have_no_overlaps(
    given: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = write_tiny(tmp_path / "plain.onnx", 3)
    assert run(["evaluate", str(plain), str(tmp_path), *given]) == 1
    assert words in capsys.readouterr().err


def test_thresholds_that_mean_nothing(tmp_path: Path, model: Path) -> None:
    net, card = checkpoint.load(model)
    for name, value, words in (
        ("nms_thresh", 1.5, r"nms_thresh lies from 0 to 1; got 1\.5"),
        ("score_thresh", -1, "score_thresh lies from 0 to 1; got -1"),
        ("detections_per_img", 0, "detections_per_img counts objects, 1 or more; got 0"),
    ):
        with pytest.raises(ModelError, match=words):
            set_thresholds(net, {name: value})
    from imago.models import build

    semantic = card.with_(architecture="unet", options={"classes": 3, "width": 2}, task="semantic")
    checkpoint.save(build("unet", classes=3, width=2), semantic, tmp_path / "unet.safetensors")
    with pytest.raises(ModelError, match="it finds no objects, and has no nms_thresh to set"):
        export_run(tmp_path / "unet.safetensors", tmp_path / "unet.onnx", thresholds={"nms_thresh": 1.0})


@pytest.mark.slow
def test_a_file_that_leaves_overlaps_in(
    model: Path, photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "all.onnx"
    asked = ["--nms-thresh", "1", "--detections-per-img", "400", "--score-thresh", "0.2"]
    assert run(["export", str(model), "--out", str(out), "--samples", str(photo), *asked]) == 0
    capfd.readouterr()
    card = read_onnx_card(out)
    assert card is not None
    thresholds = [card.options[name] for name in ("nms_thresh", "detections_per_img", "score_thresh")]
    assert thresholds == [1.0, 400, 0.2]
    frame = card.input.fit(np.asarray(Image.open(photo)))[0][None]
    assert 60 < len(OnnxEngine(out).run(frame).scores) <= 400
    hard, overlap, said = found(photo, out, capfd)
    assert overlap <= 0.51  # of boxes with two decimals
    assert "note" not in said
    soft, overlap, said = found(photo, out, capfd, "--nms", "soft")
    assert overlap > 0.6  # what overlaps is there, with a lower score
    assert "note" not in said
    assert min(len(hard), len(soft)) > 5
