"""From a photo to a prediction: the label map, the Predictor, load."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_onnx import PLAIN, tiny_card, tiny_onnx, write_tiny

import imago
from imago.core.errors import ImageError, ModelError
from imago.core.input_spec import InputSpec
from imago.inference.components import drop_small_components
from imago.inference.engines.onnx import OnnxEngine
from imago.inference.label_map import enlarge_labels
from imago.inference.load import load
from imago.inference.predictor import Predictor
from imago.models.find import find_model

# --- the label map ----------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    classes=st.integers(1, 5),
    given_hw=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    wanted_hw=st.tuples(st.integers(1, 700), st.integers(1, 900)),
)
def test_labels_are_those_of_enlarged_scores(
    seed: int, classes: int, given_hw: tuple[int, int], wanted_hw: tuple[int, int]
) -> None:
    scores = np.random.default_rng(seed).random((classes, *given_hw), np.float32)
    height, width = wanted_hw
    enlarged = np.stack([cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in scores])
    labels = enlarge_labels(scores, wanted_hw)
    assert labels.dtype == np.uint8
    first, best = enlarged.max(axis=0), np.take_along_axis(enlarged, labels[None].astype(int), axis=0)[0]
    np.testing.assert_allclose(best, first, atol=1e-5)  # where two are equal but for rounding, either is right


def test_many_classes_get_two_bytes() -> None:
    scores = np.zeros((300, 2, 2), np.float32)
    scores[299] = 1
    labels = enlarge_labels(scores, (4, 4))
    assert labels.dtype == np.uint16
    assert (labels == 299).all()


# --- the Predictor and load -------------------------------------------------------------------------------------------


@pytest.fixture
def subject() -> Predictor:
    return Predictor(OnnxEngine(tiny_onnx(tiny_card()), threads=1))


def test_every_kind_of_picture_gives_the_same(subject: Predictor, photo: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    kinds: list[Any] = [photo, Image.fromarray(photo), path, str(path), path.read_bytes()]
    answers = subject(kinds)
    assert isinstance(answers, list)
    for answer in answers:
        np.testing.assert_array_equal(answer.alpha, answers[0].alpha)
        assert answer.size_hw == photo.shape[:2]
    red, subject_mask = photo[:, :, 0] > 140, answers[0].alpha > 0.5  # the edge is refined, so not exactly alike
    assert np.mean(red[photo[:, :, 0] > 160]) == np.mean(subject_mask[photo[:, :, 0] > 160]) == 1
    assert not isinstance(subject(photo), list)


@pytest.mark.parametrize("rule", ["resize", "letterbox", "area", "pad"])
def test_every_size_rule_finds_its_way_back(rule: str) -> None:
    image = np.zeros((90, 150, 3), np.uint8)
    image[20:70, 30:100, 0] = 255
    spec = InputSpec(rule=rule, size_hw=(64, 64), multiple=32, mean=(0, 0, 0), std=(1, 1, 1))  # type: ignore[arg-type]
    alpha = Predictor(OnnxEngine(tiny_onnx(tiny_card(input=spec))))(image).alpha
    assert alpha.shape == (90, 150)
    assert np.mean((alpha > 0.5) != (image[:, :, 0] > 127)) < 0.03


def test_a_semantic_model_labels_every_pixel(photo: np.ndarray) -> None:
    result = Predictor(OnnxEngine(tiny_onnx(tiny_card(3), 3)))(photo)
    np.testing.assert_array_equal(result.label_map, photo.argmax(axis=2))
    assert result.labels.names == ("red", "green", "blue")


def test_threads_may_share_a_model(subject: Predictor) -> None:
    images = [np.full((40, 50, 3), value, np.uint8) for value in range(0, 250, 10)]
    alone = [float(result.alpha.mean()) for result in map(subject, images)]
    with ThreadPoolExecutor(8) as pool:
        together = [float(result.alpha.mean()) for result in pool.map(subject, images)]
    assert together == alone
    assert alone[0] == 0
    assert alone[-1] > 0.9


def test_bad_pictures_are_named(subject: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("no photo")
    with pytest.raises(ImageError, match=r"text\.jpg"):
        subject(path)
    with pytest.raises(ImageError, match="megapixels"):
        subject.with_options(max_pixels=100)(np.zeros((11, 10, 3), np.uint8))


def test_load_by_path_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: np.ndarray) -> None:
    monkeypatch.setenv("IMAGO_HOME", str(tmp_path))
    path = write_tiny(tmp_path / "models" / "mine.onnx")
    for model in (path, str(path), "mine"):
        assert imago.load(model)(photo).alpha.shape == photo.shape[:2]
    assert find_model("mine") == path


def test_a_downloaded_file_has_its_card_from_the_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGO_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "u2netp.onnx").write_bytes(tiny_onnx(None, shape=(1, 3, 320, 320)))
    assert load("u2netp").card.minmax_normalize


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("u2net", r"'u2net' is not on this machine \(176.0 MB\); get it with: imago models download u2net"),
        ("u2nett", r"no model 'u2nett'; choose from .*u2netp.*or give an \.onnx or a? ?\.safetensors file"),
        ("gone.onnx", r"gone\.onnx: there is no such model file"),
        ("gone.safetensors", r"gone\.safetensors: there is no such model file"),
        ("./folder", r"folder: is a folder, not a model file; name one of the files in it: a\.onnx"),
        ("./notes.txt", r"notes\.txt: not a model file that Imago reads"),
    ],
)
def test_models_that_there_are_not(model: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path / "folder" / "a.onnx")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelError, match=message):
        load(model)


def test_safetensors_without_torch_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.safetensors").write_bytes(b"")
    for name in [name for name in sys.modules if name == "imago.inference.engines.torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match=r'net\.safetensors: .*not installed.*pip install "imago-seg\[train\]"'):
        load(tmp_path / "net.safetensors")


def test_plain_spec_is_what_the_tests_say() -> None:
    image = np.array([[[0, 128, 255]]], np.uint8)
    np.testing.assert_allclose(PLAIN.fit(image)[0].ravel(), [0, 128 / 255, 1], atol=1e-6)


# --- the mirror image, and specks -------------------------------------------------------------------------------------


class LeftIsBrighter:
    """An engine that sees more on the left than there is: 0.8 there, 0.2 on the right."""

    def __init__(self, mirror: bool) -> None:
        self.card = tiny_card().with_(tta_flip=mirror)

    def run(self, batch: np.ndarray) -> np.ndarray:
        scores = np.full((1, 1, *batch.shape[2:]), 0.2, np.float32)
        scores[..., : batch.shape[3] // 2] = 0.8
        return scores


@pytest.mark.parametrize(("mirror", "left", "right"), [(False, 0.8, 0.2), (True, 0.5, 0.5)])
def test_the_mean_over_photo_and_mirror_image(mirror: bool, left: float, right: float) -> None:
    answer = Predictor(LeftIsBrighter(mirror))(np.zeros((4, 6, 3), np.uint8))
    np.testing.assert_allclose(answer.alpha_map.low, np.repeat([[left] * 3 + [right] * 3], 4, axis=0), atol=1e-6)


def test_specks_go_with_their_soft_edge_and_the_rest_stays() -> None:
    mask = np.zeros((40, 40), np.float32)
    mask[5:25, 5:25] = 0.9  # 400 pixels
    mask[4, 5:25] = 0.3  # its soft edge
    mask[30:33, 30:33] = 0.8  # 9 pixels, with a soft edge
    mask[29, 30:33] = 0.4
    mask[32:37, 5:10] = 0.7  # 25 pixels
    before = mask.copy()
    kept = drop_small_components(mask, 0.05)  # below 20 pixels
    np.testing.assert_array_equal(mask, before)
    assert not kept[27:36, 27:36].any()
    np.testing.assert_array_equal(kept[:27], before[:27])
    np.testing.assert_array_equal(kept[:, :20], before[:, :20])
    assert drop_small_components(mask, 0.0) is mask
    np.testing.assert_array_equal(drop_small_components(np.zeros((5, 5), np.float32), 0.05), 0)


@pytest.mark.parametrize("min_component_fraction", [-0.1, 1.0])
def test_an_impossible_share_of_specks(min_component_fraction: float) -> None:
    with pytest.raises(ModelError, match="share below 1"):
        tiny_card().with_(min_component_fraction=min_component_fraction)
