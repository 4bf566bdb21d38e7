"""From a model file to probabilities: cards, the engine, threads."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from tiny_onnx import tiny_card, tiny_onnx

from imago.core.errors import ImagoError, ModelError
from imago.core.input_spec import InputSpec
from imago.files.model_file import read_onnx_card, read_onnx_metadata, sidecar
from imago.inference import threads
from imago.inference.engines.onnx import OnnxEngine
from imago.inference.engines.probabilities import minmax_normalize, sigmoid, softmax

# --- cards ------------------------------------------------------------------------------------------------------------


def test_metadata_are_those_that_onnx_runtime_finds() -> None:
    content = tiny_onnx(tiny_card())
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert read_onnx_metadata(content) == session.get_modelmeta().custom_metadata_map
    assert read_onnx_card(content) == tiny_card()


def test_a_sidecar_gives_a_foreign_file_its_card(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(tiny_onnx(None))
    assert read_onnx_card(path) is None
    with pytest.raises(ModelError, match=r"net\.onnx: .*without an Imago model card.*'net\.onnx\.json' beside it"):
        OnnxEngine(path)
    sidecar(path).write_text(tiny_card().to_json())
    assert OnnxEngine(path).card == tiny_card()
    sidecar(path).write_text("{")
    with pytest.raises(ModelError, match=r"net\.onnx\.json: the model card inside is damaged"):
        OnnxEngine(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiny_onnx(tiny_card())[:60], "not a whole ONNX model"),
        (b"", "not an ONNX model \\(0 bytes"),
        (b"<!DOCTYPE html><html>not found</html>", "not a"),
        (b"\xff" * 40, "not a whole ONNX model"),
        (Path(__file__).read_bytes()[:3000], "not a"),
    ],
    ids=["cut off", "empty", "web page", "ones", "text"],
)
def test_damaged_files_are_refused_in_words(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"net.onnx: {message}"):
        OnnxEngine(path)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=6))
def test_no_damage_gets_past_the_message(at: int, rubbish: bytes) -> None:
    content = tiny_onnx(tiny_card())
    at %= len(content)
    with contextlib.suppress(ModelError):
        read_onnx_card(content[:at] + rubbish + content[at + len(rubbish) :])


# --- the engine -------------------------------------------------------------------------------------------------------


def batch_of(*images: np.ndarray) -> np.ndarray:
    return np.stack([image.transpose(2, 0, 1) for image in images]).astype(np.float32) / 255


def test_probabilities_come_as_they_are(photo: np.ndarray) -> None:
    answer = OnnxEngine(tiny_onnx(tiny_card())).run(batch_of(photo, photo[::-1]))
    assert answer.shape == (2, 1, *photo.shape[:2])
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer[:, 0], batch_of(photo, photo[::-1])[:, 0], atol=1e-6)


def test_logits_become_probabilities(photo: np.ndarray) -> None:
    batch = batch_of(photo)
    one = OnnxEngine(tiny_onnx(tiny_card(output="logit"), factor=5)).run(batch)
    np.testing.assert_allclose(one[:, 0], 1 / (1 + np.exp(-5 * batch[:, 0])), atol=1e-6)
    three = OnnxEngine(tiny_onnx(tiny_card(3, output="logit"), 3)).run(batch)
    np.testing.assert_allclose(three, np.exp(batch) / np.exp(batch).sum(1, keepdims=True), atol=1e-6)


def test_extreme_logits_do_not_overflow() -> None:
    logits = np.array([-1e4, 0, 1e4], np.float32).reshape(1, 3, 1, 1)
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(sigmoid(logits).ravel(), [0, 0.5, 1])
        np.testing.assert_allclose(softmax(logits).ravel(), [0, 0, 1])


def test_stretching_is_by_image_and_leaves_flat_ones() -> None:
    scores = np.stack([np.linspace(0.2, 0.6, 9), np.full(9, 0.3)]).astype(np.float32).reshape(2, 1, 3, 3)
    spread = minmax_normalize(scores)
    np.testing.assert_allclose(spread[0].ravel(), np.linspace(0, 1, 9), atol=1e-6)
    np.testing.assert_allclose(spread[1], scores[1])  # no division by zero
    assert OnnxEngine(tiny_onnx(tiny_card(minmax_normalize=True))).run(scores[:1].repeat(3, axis=1)).max() == 1


def test_giving_memory_back_changes_no_answer(photo: np.ndarray) -> None:
    engine = OnnxEngine(tiny_onnx(tiny_card()), keep_memory=False)
    for _ in range(2):
        np.testing.assert_allclose(engine.run(batch_of(photo))[:, 0], batch_of(photo)[:, 0], atol=1e-6)


def test_a_net_for_one_image_at_a_time_takes_several(photo: np.ndarray) -> None:
    height, width = photo.shape[:2]
    card = tiny_card(input=InputSpec(rule="resize", size_hw=(height, width), mean=(0, 0, 0), std=(1, 1, 1)))
    batch = batch_of(photo, photo[::-1])
    engine = OnnxEngine(tiny_onnx(card, shape=(1, 3, height, width)))
    np.testing.assert_allclose(engine.run(batch)[:, 0], batch[:, 0], atol=1e-6)


def test_half_precision_ends_are_converted(photo: np.ndarray) -> None:
    answer = OnnxEngine(tiny_onnx(tiny_card(), dtype=TensorProto.FLOAT16)).run(batch_of(photo))
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer[:, 0], batch_of(photo)[:, 0], atol=2e-3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiny_onnx(tiny_card(), inputs=2), r"expected one input of float \(N, C, H, W\); it has image.*image1"),
        (tiny_onnx(tiny_card(), shape=("n", 4, "h", "w")), "takes 4 channels, its card says 3"),
        (tiny_onnx(tiny_card(), shape=("n", 3, 64, 96)), r"takes 64 x 96 pixels only, its card says rule 'pad'"),
    ],
)
def test_a_card_that_does_not_fit_the_net_is_refused_at_once(content: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=f"model: .*{message}"):
        OnnxEngine(content)


def test_an_answer_that_does_not_fit_the_labels_is_refused(photo: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"shape \(1, 2, 96, 128\); expected \(N, 3, h, w\).*3 labels"):
        OnnxEngine(tiny_onnx(tiny_card(3), classes=2)).run(batch_of(photo))


def test_input_that_the_net_cannot_take_is_said(photo: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"cannot run on input of shape \(1, 2, 96, 128\)"):
        OnnxEngine(tiny_onnx(tiny_card())).run(batch_of(photo)[:, :2])


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", "pip install onnxruntime-gpu"),
        ("tpu", "choose cpu, cuda or cuda:1"),
        ("cuda:x", "choose cpu, cuda or cuda:1"),
    ],
)
def test_devices_that_there_are_not(device: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine's ONNX Runtime has CUDA")
    monkeypatch.setenv("IMAGO_DEVICE", device)
    with pytest.raises(ModelError, match=message):
        OnnxEngine(tiny_onnx(tiny_card()))


# --- threads ----------------------------------------------------------------------------------------------------------


def test_threads_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGO_THREADS", raising=False)
    assert 1 <= threads.free_cores() <= threads.allowed_cores()
    monkeypatch.setenv("IMAGO_THREADS", "7")
    assert threads.free_cores() == threads.allowed_cores() == 7


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_wrong_thread_numbers_are_said(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGO_THREADS", text)
    with pytest.raises(ImagoError, match=f"IMAGO_THREADS is '{text}'; set it to a whole number of 1 or more"):
        threads.free_cores()


@pytest.mark.parametrize(
    ("files", "share"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),  # version 2, at the root, as seen from inside a container
        ({"job/cpu.max": "200000 100000\n", "cpu.max": "max 100000\n"}, 2.0),  # in the group of the process
        ({"job/cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),  # version 1
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_a_container_s_share_of_the_cores(tmp_path: Path, files: dict[str, str], share: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "own").write_text("0::/job\n")
    assert threads.container_share(tmp_path, tmp_path / "own") == share
