"""Nets that find objects as .onnx files: the light install answers as torch does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import draw_scene

from imago.core.detection_options import DetectionOptions
from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.core.labels import Labels
from imago.core.model_card import ModelCard
from imago.core.proposal_options import ProposalOptions
from imago.data.selective_search import CachedProposals
from imago.export.detection import export_detection
from imago.export.detection_parity import find_differences
from imago.files.images import read_image
from imago.inference.detection import find_objects
from imago.inference.engines.onnx import OnnxEngine
from imago.inference.engines.torch import TorchEngine
from imago.models import build, checkpoint
from imago.models.detection.base import DetectionModel

SEARCH = ProposalOptions(side=150, count=300)
LABELS = Labels(("background", "disc", "box"))


def stirred_net(name: str, **options: Any) -> DetectionModel:
    """Random weights with scores far apart, as a trained net's."""
    torch.manual_seed(0)
    net = build(name, **options)
    for key, tensor in net.state_dict().items():
        if key.endswith(
            ("cls_logits.weight", "cls_score.weight", "bbox_pred.weight", "class_score.weight", "box_deltas.weight")
        ):
            tensor.normal_(0, 0.5 / tensor[0].numel() ** 0.5)
    return net.eval()


OPTIONS = {
    "classes": 3, "encoder": "resnet18_half", "width": 32, "fc_width": 32, "mask_widths": [16, 16], "proposals": 200,
    "score_thresh": 0.2, "sizes": [8, 16, 32, 64, 128],
}  # fmt: skip


LIGHT = OPTIONS | {
    "encoder": "efficientnet_lite0", "separable": True, "mask_widths": [16, 24], "frozen_norms": True,
    "frozen_stages": 2,
}  # fmt: skip


@pytest.fixture(scope="module", params=[OPTIONS, LIGHT], ids=["usual", "light"])
def mask_files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One net as a checkpoint and as an exported file."""
    folder = tmp_path_factory.mktemp("instances")
    options = request.param
    net = stirred_net("maskrcnn", **options)
    card = ModelCard("masks", "maskrcnn", options, "instances", LABELS, InputSpec(rule="area", size_hw=(192, 192)))
    checkpoint.save(net, card, folder / "net.safetensors")
    report = export_detection(
        net, card, folder / "net.onnx", samples=[draw_scene(seed, (90, 150))[0] for seed in (1, 2)]
    )
    assert report.largest_difference < 1e-3
    assert report.finds
    assert report.remark == ""
    assert report.sizes == "any multiples of 32"
    return folder / "net.safetensors", folder / "net.onnx"


@pytest.mark.slow
def test_the_file_answers_as_torch(mask_files: tuple[Path, Path]) -> None:
    mine, other = OnnxEngine(mask_files[1]), TorchEngine(mask_files[0], device="cpu")
    options = LIGHT if "separable" in other.card.options else OPTIONS
    assert mine.card.options == options | {"nms_thresh": 0.5, "detections_per_img": 100}
    assert other.card.options == options
    for size_hw in ((64, 64), (90, 150), (300, 130)):
        image = draw_scene(5, size_hw)[0]
        found, expected = (find_objects(engine, image, DetectionOptions(score_thresh=0.25)) for engine in (mine, other))
        assert len(found) > 3
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=2e-3)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)
        assert np.array_equal(found.classes, expected.classes)
        assert (found.masks != expected.masks).mean() < 1e-3


@pytest.mark.slow
@pytest.mark.data
def test_the_file_answers_as_torch_on_photos(mask_files: tuple[Path, Path], data_root: Path) -> None:
    mine, other = OnnxEngine(mask_files[1]), TorchEngine(mask_files[0], device="cpu")
    for path in sorted((data_root / "coco128" / "train2017").glob("*.jpg"))[:12]:
        frame = mine.card.input.fit(read_image(path).pixels)[0][None]
        apart = find_differences(other.run(frame), mine.run(frame), 0.2 + 1e-3, 100, 0.5)
        assert apart.size > 10
        assert apart.max() < 1e-3


@pytest.mark.slow
def test_nothing_found_in_the_file(mask_files: tuple[Path, Path]) -> None:
    """A thresholds' worth of nothing goes through the mask head too."""
    engine = OnnxEngine(mask_files[1])
    found = engine.run(np.full((1, 3, 64, 64), np.nan, np.float32))  # no score is above anything
    assert found.boxes.shape == (0, 4)
    assert found.masks is not None
    assert found.masks.shape == (0, 28, 28)


@pytest.mark.slow
def test_vgg_of_a_fixed_size(tmp_path: Path) -> None:
    net = stirred_net(
        "fasterrcnn", classes=3, encoder="vgg16_bn", width=4, fc_width=32, sizes=(16, 32, 64), score_thresh=0.3
    )
    card = ModelCard("boxes", "fasterrcnn", {}, "boxes", LABELS, InputSpec(rule="resize", size_hw=(64, 96)))
    report = export_detection(net, card, tmp_path / "net.onnx", samples=[draw_scene(1)[0], draw_scene(2)[0]])
    assert (report.sizes, report.largest_difference < 1e-3) == ("64 x 96", True)
    assert (
        len(find_objects(OnnxEngine(tmp_path / "net.onnx"), draw_scene(1)[0], DetectionOptions(score_thresh=0.3))) > 3
    )
    json.loads(report.card.to_json())


@pytest.mark.slow
def test_a_comparison_of_nothing_is_said(tmp_path: Path) -> None:
    """A net that finds nothing would otherwise be told to answer as torch does, to the last digit."""
    net = stirred_net("yolov3_tiny", classes=3, width=2, score_thresh=1.0)
    card = ModelCard("boxes", "yolov3_tiny", {}, "boxes", LABELS, InputSpec(rule="resize", size_hw=(64, 64)))
    report = export_detection(net, card, tmp_path / "net.onnx", samples=[draw_scene(1)[0]])
    assert report.finds == 0
    assert report.remark.startswith("Nothing was found in them, so no boxes or scores were compared.")


@pytest.fixture(scope="module")
def fast_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Fast R-CNN as a checkpoint and as an exported file."""
    folder = tmp_path_factory.mktemp("fast")
    options = {"classes": 3, "encoder": "vgg16_bn", "width": 4, "fc_width": 32, "score_thresh": 0.2}
    spec = InputSpec(rule="area", size_hw=(128, 128))
    card = ModelCard("fast", "fastrcnn", options, "boxes", LABELS, spec, proposals=SEARCH)
    net = stirred_net("fastrcnn", **options)
    checkpoint.save(net, card, folder / "net.safetensors")
    report = export_detection(
        net, card, folder / "net.onnx", samples=[draw_scene(seed, (90, 150))[0] for seed in (1, 2)]
    )
    assert report.largest_difference < 1e-3
    return folder / "net.safetensors", folder / "net.onnx"


@pytest.mark.slow
def test_proposals_are_judged_as_in_torch(fast_files: tuple[Path, Path], tmp_path: Path) -> None:
    mine, other = OnnxEngine(fast_files[1]), TorchEngine(fast_files[0], device="cpu")
    assert mine.card.proposals == SEARCH
    kept = CachedProposals(tmp_path)  # the order of selective search has a random factor
    sure, every = DetectionOptions(score_thresh=0.25), DetectionOptions(score_thresh=0.0)
    for size_hw in ((64, 64), (90, 150), (300, 130)):
        image = draw_scene(5, size_hw)[0]
        found, expected = (find_objects(engine, image, sure, propose=kept) for engine in (mine, other))
        assert len(found) > 3
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=5e-3)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)
        assert np.array_equal(found.classes, expected.classes)
    for count in (1, 2, 0):
        few = np.array([[10, 10, 70, 60], [3, 4, 30, 40]], np.float32)[:count]
        found, expected = (
            find_objects(engine, draw_scene(5, (96, 96))[0], every, propose=lambda image, options, few=few: few)
            for engine in (mine, other)
        )
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=5e-3)
        assert len(found) <= 2 * count


def test_cards_that_say_otherwise_of_proposals(tmp_path: Path) -> None:
    image = draw_scene(1)[0]
    for name, proposals, words in (
        ("fastrcnn", None, "the net judges proposals, but its card says None"),
        ("fasterrcnn", SEARCH, "the net takes no proposals, but its card says ProposalOptions"),
    ):
        net = stirred_net(name, classes=3, encoder="vgg16_bn", width=4, fc_width=32)
        spec = InputSpec(rule="area", size_hw=(64, 64))
        card = ModelCard("boxes", name, {}, "boxes", LABELS, spec, proposals=proposals)
        with pytest.raises(ModelError, match=words):
            export_detection(net, card, tmp_path / "a.onnx", samples=[image])


def test_what_is_refused(tmp_path: Path) -> None:
    net = stirred_net("fasterrcnn", classes=3, encoder="vgg16_bn", width=4, fc_width=32)
    card = ModelCard("boxes", "fasterrcnn", {}, "instances", LABELS, InputSpec(rule="area", size_hw=(64, 64)))
    image = draw_scene(1)[0]
    with pytest.raises(ModelError, match="the net's task is 'boxes', but its card says 'instances'"):
        export_detection(net, card, tmp_path / "a.onnx", samples=[image])
    with pytest.raises(ModelError, match=r"got none\. Give at least one sample"):
        export_detection(net, card, tmp_path / "a.onnx", samples=[])
