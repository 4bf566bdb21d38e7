"""Weights that torchvision publishes: fetched from a server on this machine, converted, and asked the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from file_server import Server
from publishing import check_as_torchvision_says, left_in, publish, saved
from tiny_onnx import write_tiny
from torch import nn

from imago.cli.main import run
from imago.core.errors import ModelError
from imago.export import published
from imago.inference.load import load_engine
from imago.models import build
from imago.models.find import find_model
from imago.models.published import PUBLISHED
from imago.models.published.entries import Published
from imago.models.published.torchvision import PARTS, load_torchvision, translate_names

NAME = "lraspp-mobilenetv3-voc"
PEERS = {
    "lraspp-mobilenetv3-voc": "lraspp_mobilenet_v3_large",
    "deeplabv3-mobilenetv3-voc": "deeplabv3_mobilenet_v3_large",
    "deeplabv3-resnet50-voc": "deeplabv3_resnet50",
    "deeplabv3-resnet101-voc": "deeplabv3_resnet101",
    "fcn-resnet50-voc": "fcn_resnet50",
    "fcn-resnet101-voc": "fcn_resnet101",
}


def peer_of(name: str) -> nn.Module:
    """torchvision's own net as the published file has it: 21 classes, with its auxiliary head."""
    extra = {} if name.startswith("lraspp") else {"aux_loss": True}
    build_theirs = torchvision.models.get_model_builder(PEERS[name])
    return build_theirs(weights=None, weights_backbone=None, num_classes=21, **extra)


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """One with random weights that is sure of its answers: a fresh one says 1/21 of everything."""
    torch.manual_seed(0)
    net: Any = peer_of(NAME)
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(1 + 0.1 * torch.rand(module.num_features, generator=generator))
    with torch.no_grad():
        net.classifier.low_classifier.weight *= 300
        net.classifier.high_classifier.weight *= 300
    return net.eval()


@pytest.mark.slow
def test_from_their_file_to_ours(
    theirs: nn.Module,
    server: Server,
    tmp_path: Path,
    photo: np.ndarray,
    photo_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    entry = publish(server, NAME, saved(theirs.state_dict()), monkeypatch)
    assert run(["models", "download", NAME]) == 0
    assert "converted from it" in capsys.readouterr().err
    assert left_in(tmp_path) == [f"{NAME}.onnx"]

    engine = load_engine(NAME)
    assert engine.card == entry.card
    batch = engine.card.input.fit(photo)[0][None]
    with torch.no_grad():
        expected = torch.softmax(theirs(torch.from_numpy(batch))["out"], 1).numpy()
    assert expected.std() > 0.05  # sure of its answers, or all would be equal to all
    np.testing.assert_allclose(engine.run(batch), expected, rtol=0, atol=1e-4)

    assert run(["segment", str(photo_path), "--model", NAME, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "photo.mask.png").is_file()
    assert run(["models"]) == 0
    assert any(line.split()[:3] == [NAME, "on", "disk"] for line in capsys.readouterr().out.splitlines())
    assert run(["models", "download", NAME]) == 0
    assert "is there already" in capsys.readouterr().err
    assert len(server.asked) == 1


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy, as the files of 2020 are"])
def test_every_tensor_lands_in_its_place(zipped: bool, theirs: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(saved(theirs.state_dict(), zipped))
    card = PUBLISHED[NAME].card
    net = build(card.architecture, **card.options).eval()
    load_torchvision(net, card.architecture, path)
    images = torch.randn(1, 3, 65, 97, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(net(images)[0], theirs(images)["out"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", PEERS)
def test_the_card_builds_the_net_of_the_file(name: str) -> None:
    card = PUBLISHED[name].card
    with torch.device("meta"):
        named = translate_names(peer_of(name).state_dict(), PARTS[card.architecture])
        own = build(card.architecture, **card.options).state_dict()
    assert {key: tensor.shape for key, tensor in named.items()} == {key: tensor.shape for key, tensor in own.items()}


@pytest.mark.parametrize("name", PEERS)
def test_the_catalog_says_what_torchvision_says(name: str) -> None:
    entry = PUBLISHED[name]
    weights = torchvision.models.get_model_weights(PEERS[name])["COCO_WITH_VOC_LABELS_V1"]
    check_as_torchvision_says(entry, weights)
    assert entry.card.labels.names == ("background", *weights.meta["categories"][1:])
    assert entry.card.labels.colors[15] == (192, 128, 128)  # VOC's person
    scores = weights.meta["_metrics"]["COCO-val2017-VOC-labels"]
    assert entry.card.scores["coco-val2017/mean_iou"] == pytest.approx(scores["miou"] / 100)
    assert entry.card.scores["coco-val2017/pixel_accuracy"] == pytest.approx(scores["pixel_acc"] / 100)
    preset = weights.transforms()
    assert entry.card.input.plan((480, 640)).frame_hw[0] == preset.resize_size[0]
    assert (list(entry.card.input.mean), list(entry.card.input.std)) == (preset.mean, preset.std)


class Trap:
    """Unpickling this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("stranger", "'layer1.weight' is not a tensor of torchvision's net; is it another network's file?"),
        ("less", "1 tensors are missing: fine_score.bias"),
        ("whole run", "expected a table of names and tensors"),
        ("trap", "not a whole file of weights"),
    ],
)
def test_another_file_is_refused_in_words_and_removed(
    kind: str,
    message: str,
    theirs: nn.Module,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tensors = theirs.state_dict()
    content: dict[str, object] = {
        "stranger": {**tensors, "layer1.weight": torch.zeros(1)},
        "less": {name: tensor for name, tensor in tensors.items() if name != "classifier.low_classifier.bias"},
        "whole run": {"epoch": 3, "net": tensors},
        "trap": {"backbone.0.0.weight": Trap(tmp_path / "sprung")},
    }
    publish(server, NAME, saved(content[kind]), monkeypatch)
    assert run(["models", "download", NAME]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert message in said
    assert said.startswith(f"imago: {tmp_path / 'models' / NAME}.pth: ")
    assert said.endswith("; the file was removed")
    assert left_in(tmp_path) == []
    assert not (tmp_path / "sprung").exists()


def test_a_wrong_checksum_is_refused_and_removed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(server, NAME, b"as published", monkeypatch)
    server.files["/weights"] = b"as PUBLISHED"
    monkeypatch.setattr(published, "convert", None)  # is not to be reached
    assert run(["models", "download", NAME]) == 1
    assert "not the published file (SHA-256 " in capsys.readouterr().err
    assert left_in(tmp_path) == []


def test_without_torch_nothing_is_fetched(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(server, NAME, b"weights", monkeypatch)
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)  # a base install has no torch
    assert run(["models", "download", NAME]) == 1
    said = capsys.readouterr().err
    assert f"model {NAME!r} is published for PyTorch" in said
    assert 'pip install "imago-seg[train]"' in said
    assert len(said.splitlines()) == 1
    assert server.asked == []
    assert left_in(tmp_path) == []


def test_a_conversion_that_was_stopped_fetches_nothing_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = publish(server, NAME, b"weights", monkeypatch)

    def stop(entry: Published, keep_checkpoint: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(published, "convert", stop)
    assert [run(["models", "download", NAME]) for _ in range(2)] == [130, 130]
    assert entry.landing.read_bytes() == b"weights"
    assert len(server.asked) == 1
    entry.landing.write_bytes(b"damaged")  # as long, and not trusted
    run(["models", "download", NAME])
    assert entry.landing.read_bytes() == b"weights"
    assert len(server.asked) == 2


def test_a_damaged_conversion_is_made_anew(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(server, NAME, b"weights", monkeypatch)
    path = write_tiny(tmp_path / "models" / f"{NAME}.onnx", 3)
    assert run(["models", "download", NAME]) == 0
    assert "is there already" in capsys.readouterr().err
    assert load_engine(NAME).card.name == "tiny"  # its own card, not the catalogue's
    path.write_bytes(path.read_bytes()[:50])
    assert run(["models", "download", NAME]) == 1  # the stand-in's weights are none; it went on to them
    assert len(server.asked) == 1


def test_the_way_to_get_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGO_HOME", str(tmp_path))
    message = rf'\(13\.1 MB\); get it with: imago models download {NAME} \(once, with PyTorch: pip install "imago-seg'
    with pytest.raises(ModelError, match=message):
        find_model(NAME)
    with pytest.raises(ModelError, match=r"imago models download u2netp$"):
        find_model("u2netp")
