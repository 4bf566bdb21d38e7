"""Published weights of nets that find objects: fetched from a server on this machine, converted, and asked the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from conftest import draw_scene
from detection_peers import Unchanged
from file_server import Server
from publishing import check_as_torchvision_says, left_in, publish, saved
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d

import imago
from imago.cli.main import run
from imago.core.input_spec import InputSpec
from imago.core.model_card import ModelCard
from imago.inference.engines.base import FrameDetections
from imago.inference.engines.onnx import OnnxEngine
from imago.inference.load import load_engine
from imago.models import build, checkpoint
from imago.models.detection.base import DetectionModel
from imago.models.find import find_model
from imago.models.published import PUBLISHED
from imago.models.published.darknet_weights import count_values, write_weights
from imago.models.published.torchvision import PARTS, fold_epsilon, translate_names

PEERS = {"fasterrcnn-resnet50-coco": "fasterrcnn_resnet50_fpn", "maskrcnn-resnet50-coco": "maskrcnn_resnet50_fpn"}
YOLOS = {entry.card.name: entry for entry in PUBLISHED.values() if entry.form == "darknet"}


# What the catalogue says


@pytest.mark.parametrize("name", PEERS)
def test_the_catalog_says_what_torchvision_says(name: str) -> None:
    entry = PUBLISHED[name]
    weights = torchvision.models.get_model_weights(PEERS[name])["COCO_V1"]
    check_as_torchvision_says(entry, weights)
    theirs = weights.meta["categories"]
    named = [f"unused {value}" if theirs[value] == "N/A" else theirs[value] for value in range(1, 91)]
    assert entry.card.labels.names == ("background", *named)
    metrics = weights.meta["_metrics"]["COCO-val2017"]
    given = {f"coco-val2017/{score.replace('map', 'ap')}": value / 100 for score, value in metrics.items()}
    assert entry.card.scores == pytest.approx(given)
    assert entry.card.input.plan((480, 640)).frame_hw[0] == 800  # torchvision's shorter side


@pytest.mark.parametrize("name", YOLOS)
def test_the_catalog_says_what_the_weights_files_hold(name: str) -> None:
    entry = YOLOS[name]
    with torch.device("meta"):
        net = build(entry.card.architecture, **entry.card.options)
    header = 16 if name.startswith("yolov2") else 20  # darknet 0.1 counted the images in 4 bytes
    assert entry.remote.size == header + 4 * count_values(net)
    assert len(bytes.fromhex(entry.remote.sha256)) == 32
    assert (len(entry.card.labels), entry.card.labels.names[1], entry.card.labels.names[80]) == (
        81, "person", "toothbrush",
    )  # fmt: skip
    assert (net.score_thresh, net.nms_thresh, net.classes) == (0.005, 0.45, 81)
    side = 416 if "tiny" in name else 608  # a photo of 4 : 3 is as wide as in darknet's square
    assert entry.card.input.plan((480, 640)).frame_hw[1] == side
    assert ModelCard.from_json(entry.card.to_json()) == entry.card


def test_tiny_has_the_anchors_that_it_was_trained_with() -> None:
    net = build("yolov3_tiny", **PUBLISHED["yolov3-tiny-coco"].card.options)
    assert net.masks == [[3, 4, 5], [1, 2, 3]]


@pytest.mark.parametrize("name", PEERS)
def test_the_card_builds_the_net_of_the_file(name: str) -> None:
    card = PUBLISHED[name].card
    with torch.device("meta"):
        peer = torchvision.models.get_model_builder(PEERS[name])(weights=None, weights_backbone=None, num_classes=91)
        own = build(card.architecture, **card.options)
    named = translate_names(fold_epsilon(peer.state_dict()), PARTS[card.architecture])
    assert {key: tensor.shape for key, tensor in named.items()} == {
        key: tensor.shape for key, tensor in own.state_dict().items()
    }
    assert own.has_masks == (card.task == "instances")


def test_the_way_to_get_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGO_HOME", str(tmp_path))
    message = r"\(178\.1 MB\); get it with: imago models download maskrcnn-resnet50-coco \(once, with PyTorch"
    with pytest.raises(imago.ModelError, match=message):
        find_model("maskrcnn-resnet50-coco")


# What is refused


def weights_file(folder: Path, name: str) -> bytes:
    write_weights(build(name, classes=81, width=2), folder / "other.weights", overwrite=True)
    return (folder / "other.weights").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("yolov3-tiny-coco", "yolov2_tiny", "the file holds more: it is another net's. This net takes"),
        ("yolov3-tiny-coco", "short", "bytes are no .weights file, whose header alone has 16 or 20"),
        ("maskrcnn-resnet50-coco", "stranger", "'layer1.weight' is not a tensor of torchvision's net"),
        ("fasterrcnn-resnet50-coco", "stranger", "'layer1.weight' is not a tensor of torchvision's net"),
    ],
)
def test_another_nets_file_is_refused_in_words_and_removed(
    name: str,
    content: str,
    message: str,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    contents = {"short": b"weights", "stranger": saved({"layer1.weight": torch.zeros(1)})}
    card = PUBLISHED[name].card
    narrow = {"width": 1} if name.startswith("yolo") else {"encoder": "resnet18_half", "width": 16, "fc_width": 16}
    published = contents[content] if content in contents else weights_file(tmp_path, content)
    entry = publish(server, name, published, monkeypatch, options=card.options | narrow)
    assert run(["models", "download", name]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert message in said
    assert said.startswith(f"imago: {entry.landing}: ")
    assert said.endswith("; the file was removed")
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("name", ["yolov3-tiny-coco", "maskrcnn-resnet50-coco"])
def test_a_wrong_checksum_is_refused_and_removed(
    name: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(server, name, b"as published", monkeypatch)
    server.files["/weights"] = b"as PUBLISHED"
    assert run(["models", "download", name]) == 1
    assert "not the published file (SHA-256 " in capsys.readouterr().err
    assert left_in(tmp_path) == []


def test_without_torch_nothing_is_fetched(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(server, "yolov3-coco", b"weights", monkeypatch)
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)  # a base install has no torch
    assert run(["models", "download", "yolov3-coco"]) == 1
    assert "model 'yolov3-coco' is published for darknet and converted once" in capsys.readouterr().err
    assert server.asked == []


def test_onnx_files_are_nothing_to_train_from(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "download", "u2netp", "--checkpoint"]) == 1
    assert "'u2netp' is published as .onnx, from which no training starts" in capsys.readouterr().err


# From their file to ours


def outspoken_yolo() -> DetectionModel:
    """A narrow yolov3-tiny whose answers differ from place to place."""
    torch.manual_seed(3)
    net: Any = build("yolov3_tiny", **PUBLISHED["yolov3-tiny-coco"].card.options | {"width": 2, "score_thresh": 0.3})
    net.train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of all batches
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(2, 3, 128, 128))
        for layer in (m for m in net.modules() if isinstance(m, nn.Conv2d) and m.bias is not None):
            layer.weight.mul_(8)
    return net.eval()


def same(found: FrameDetections, boxes: Tensor, scores: Tensor, classes: Tensor) -> None:
    assert len(found.scores) > 3  # else nothing is compared
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-3)
    np.testing.assert_allclose(found.scores, scores, atol=1e-4)
    assert found.classes.tolist() == classes.tolist()


@pytest.mark.slow
def test_from_darknets_file_to_ours(
    server: Server,
    tmp_path: Path,
    photo_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, net = "yolov3-tiny-coco", outspoken_yolo()
    write_weights(net, tmp_path / "narrow.weights", seen=5)
    content = (tmp_path / "narrow.weights").read_bytes()
    entry = publish(
        server, name, content, monkeypatch, options=PUBLISHED[name].card.options | {"width": 2, "score_thresh": 0.3},
        input=InputSpec(rule="area", size_hw=(128, 128)),
    )  # fmt: skip
    server.stop_after = 20_000
    assert run(["models", "download", name]) == 1
    assert "stopped after 20000" in capsys.readouterr().err
    server.stop_after = None
    assert run(["models", "download", name]) == 0
    said = capsys.readouterr().err
    assert "public domain" in said
    assert "converted from it; answers as PyTorch does within" in said
    assert "The darknet file was removed" in said
    assert server.asked == [None, "bytes=20000-"]
    assert left_in(tmp_path) == [f"{name}.onnx"]

    engine = load_engine(name)
    assert isinstance(engine, OnnxEngine)
    assert engine.card == entry.card
    frame = engine.card.input.fit(draw_scene(5, (90, 150))[0])[0][None]
    with torch.no_grad():
        want = net.decode(net(torch.from_numpy(frame)), (frame.shape[2], frame.shape[3]))[0]
    same(engine.run(frame), want.boxes, want.scores, want.classes)

    out = tmp_path / "out"
    command = [
        "segment",
        str(photo_path),
        "--model",
        name,
        "--out",
        str(out),
        "--save",
        "overlay,coco",
        "--score-thresh",
        "0",
    ]
    assert run(command) == 0
    assert (out / "photo.overlay.jpg").is_file()
    written = json.loads((out / "objects.coco.json").read_text())
    assert [entry["name"] for entry in written["categories"]][:2] == ["person", "bicycle"]
    assert run(["models"]) == 0
    assert any(line.split()[:3] == [name, "on", "disk"] for line in capsys.readouterr().out.splitlines())


def narrow_peer() -> nn.Module:
    """torchvision's Mask R-CNN on a ResNet-18 with a pyramid of 16 channels, and scores far apart."""
    torch.manual_seed(0)
    body = torchvision.models.resnet18(weights=None, norm_layer=lambda width: FrozenBatchNorm2d(width, eps=0.0))
    layers = {f"layer{level}": str(level - 1) for level in range(1, 5)}
    net = MaskRCNN(
        BackboneWithFPN(body, layers, [64, 128, 256, 512], 16),
        box_head=TwoMLPHead(16 * 49, 32),
        box_predictor=FastRCNNPredictor(32, 91),
        mask_head=MaskRCNNHeads(16, [16, 16], 1),
        mask_predictor=MaskRCNNPredictor(16, 16, 91),
        box_score_thresh=0.5,
    )
    generator = torch.Generator().manual_seed(1)
    for key, tensor in net.state_dict().items():
        if key.endswith("running_var"):
            tensor.copy_(1 + 0.1 * torch.rand(tensor.shape, generator=generator))
        elif key.endswith(("cls_logits.weight", "cls_score.weight", "bbox_pred.weight")):
            spread = (6 if "cls_score" in key else 1) / tensor[0].numel() ** 0.5
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * spread)
    net.transform = Unchanged()
    return net.eval()


NARROW = {
    "encoder": "resnet18", "width": 16, "fc_width": 32, "mask_widths": [16, 16], "score_thresh": 0.5,
    "sizes": [32, 64, 128, 256, 512],
}  # fmt: skip


@pytest.mark.slow
def test_from_torchvisions_file_to_ours(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, theirs = "maskrcnn-resnet50-coco", narrow_peer()
    publish(
        server, name, saved(theirs.state_dict()), monkeypatch, options=PUBLISHED[name].card.options | NARROW,
        input=InputSpec(rule="area", size_hw=(160, 160)),
    )  # fmt: skip
    assert run(["models", "download", name, "--checkpoint"]) == 0
    assert "The PyTorch file was removed" in capsys.readouterr().err
    assert left_in(tmp_path) == [f"{name}.onnx", f"{name}.safetensors"]
    net, card = checkpoint.load(tmp_path / "models" / f"{name}.safetensors")
    assert card == PUBLISHED[name].card
    assert checkpoint.load_matching(net, tmp_path / "models" / f"{name}.safetensors") == []
    predictor = imago.load(name)
    engine: Any = predictor.engine
    image = draw_scene(5, (120, 200))[0]
    frame = engine.card.input.fit(image)[0][None]
    with torch.inference_mode():
        want = theirs(torch.from_numpy(frame))[0]
    found = engine.run(frame)
    same(found, want["boxes"], want["scores"], want["labels"])
    np.testing.assert_allclose(found.masks, want["masks"][:, 0], atol=1e-3)
    instances = predictor.objects(image)
    assert (instances.size_hw, len(instances)) == ((120, 200), len(found.scores))
    assert instances.cropped is not None
