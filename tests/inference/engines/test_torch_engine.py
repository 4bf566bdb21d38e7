"""A checkpoint on torch answers as its exported file does on ONNX Runtime."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.core.labels import Labels, binary_labels
from imago.core.model_card import ModelCard
from imago.export.semantic import export_onnx
from imago.inference.engines.onnx import OnnxEngine
from imago.inference.engines.torch import TorchEngine, choose_device
from imago.models import build, checkpoint
from imago.models.memory_format import channels_last_is_faster


def save_checkpoint(path: Path, classes: int = 1, stretch: bool = False) -> Path:
    """A small net whose answers differ from pixel to pixel, saved with its card."""
    torch.manual_seed(3)
    net = build("unet", classes=classes, width=4)
    net.head.weight.data *= 8  # type: ignore[union-attr, operator]
    card = ModelCard(
        "small",
        "unet",
        {"classes": classes, "width": 4},
        "binary" if classes == 1 else "semantic",
        binary_labels() if classes == 1 else Labels(tuple("abc")),
        InputSpec("area", (64, 64), multiple=16),
        minmax_normalize=stretch,
    )
    checkpoint.save(net.eval(), card, path)
    return path


@pytest.mark.parametrize(("classes", "stretch"), [(1, True), (3, False)])
def test_both_engines_answer_alike(tmp_path: Path, photo: np.ndarray, classes: int, stretch: bool) -> None:
    path = save_checkpoint(tmp_path / "net.safetensors", classes, stretch)
    net, card = checkpoint.load(path)
    exported = export_onnx(net, card, tmp_path / "net.onnx", samples=[photo]).path
    batch = np.stack([card.input.fit(image)[0] for image in (photo, photo[::-1])])
    by_torch, by_onnx = TorchEngine(path, "cpu").run(batch), OnnxEngine(exported).run(batch)
    assert by_torch.dtype == np.float32
    assert by_torch.shape == (2, classes, *batch.shape[2:])
    assert by_torch.flags.c_contiguous
    assert by_torch.std() > 0.02  # not all alike by being all the same
    np.testing.assert_allclose(by_torch, by_onnx, atol=1e-4)
    if stretch:
        assert by_torch[0].min() == pytest.approx(0, abs=1e-6)
        assert by_torch[0].max() == pytest.approx(1, abs=1e-6)
    elif classes > 1:
        np.testing.assert_allclose(by_torch.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (
            (1, 4, 64, 64),
            r"net\.safetensors: images must be \(N, 3, H, W\); got \(1, 4, 64, 64\)\. Prepare .*card\.input\.fit",
        ),
        ((3, 64, 64), r"got \(3, 64, 64\)"),
        ((1, 3, 64, 40), r"images are 64 x 40; this net needs multiples of 16.*Prepare images with card\.input\.fit"),
    ],
)
def test_other_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...], words: str) -> None:
    engine = TorchEngine(save_checkpoint(tmp_path / "net.safetensors"), "cpu")
    with pytest.raises(ModelError, match=words):
        engine.run(np.zeros(shape, np.float32))


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device().type in ("cpu", "cuda", "mps")
    with pytest.raises(ModelError, match="device 'abacus' cannot be used"):
        choose_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="device 'cuda' cannot be used"):
            choose_device("cuda")


def test_the_path_goes_to_another_process_and_a_net_in_memory_as_it_is(tmp_path: Path, photo: np.ndarray) -> None:
    path = save_checkpoint(tmp_path / "net.safetensors", 3)
    engine = TorchEngine(path, "cpu")
    batch = engine.card.input.fit(photo)[0][None]
    expected = engine.run(batch)
    held = TorchEngine.of_net(engine.net, engine.card, engine.device)
    sent = pickle.dumps(engine)
    assert len(sent) < 4000 < len(pickle.dumps(held))
    for copied in (pickle.loads(sent), copy.deepcopy(engine), pickle.loads(pickle.dumps(held)), copy.deepcopy(held)):
        assert copied.net is not engine.net
        np.testing.assert_array_equal(copied.run(batch), expected)
    path.unlink()
    with pytest.raises(ModelError, match=r"net\.safetensors: there is no such file"):
        pickle.loads(sent)


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_one_rule_for_channels_last(device: str) -> None:
    assert channels_last_is_faster(device) == (device != "mps")


def test_weights_lie_as_the_rule_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: np.ndarray) -> None:
    path = save_checkpoint(tmp_path / "net.safetensors")
    for faster in (True, False):
        monkeypatch.setattr("imago.inference.engines.torch.channels_last_is_faster", lambda device, f=faster: f)
        engine = TorchEngine(path, "cpu")
        seen: list[bool] = []
        engine.net.register_forward_pre_hook(
            lambda net, given, seen=seen: seen.append(given[0].is_contiguous(memory_format=torch.channels_last))
        )
        engine.run(engine.card.input.fit(photo)[0][None])
        weights = [p for p in engine.net.parameters() if p.ndim == 4 and min(p.shape[1], p.shape[2]) > 1]
        assert seen == [faster]
        assert all(p.is_contiguous(memory_format=torch.channels_last) == faster for p in weights)
