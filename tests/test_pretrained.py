"""Published encoder weights without a network: said at once, and the training begins without them."""

from __future__ import annotations

import csv
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

from imago import models
from imago.core.errors import ModelError
from imago.models.pretrained import WeightsUnavailable, reachable
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
    config = TrainConfig(
        data=(DataSource("data"),), out=str(tmp_path / "run"), model="unet:resnet18", pretrained=True, size=32,
        option=("widths=[8,8,8,8,8]",), epochs=1, batch=2, workers=0, export=False,
    )  # fmt: skip
    said: list[str] = []
    folder = train(config, tmp_path, say=said.append)
    assert any("cannot be fetched" in line and line.endswith("; trained from scratch") for line in said)
    assert '"pretrained": false' in (folder / "config.json").read_text("utf-8")
    assert len(list(csv.DictReader((folder / "metrics.csv").open()))) == 1
