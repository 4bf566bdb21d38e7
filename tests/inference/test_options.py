"""A predictor does not change: another answer is another predictor over the same model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from known_engine import KNOWN, Known, detection_card
from tiny_onnx import tiny_card, tiny_onnx, write_tiny

import imago
from imago.core.errors import ImagoError, ModelError
from imago.core.labels import Labels
from imago.core.separation import Separation
from imago.core.settings import MODEL_TYPES, flag, iter_settings
from imago.core.tta import TTA
from imago.inference.crf import DenseCRF
from imago.inference.engines.onnx import OnnxEngine
from imago.inference.options import PredictOptions
from imago.inference.predictor import Predictor


class LeftIsBrighter:
    """0.8 on the left, 0.2 on the right, so that the mean with the mirror image is 0.5 everywhere."""

    card = tiny_card()

    def run(self, batch: np.ndarray) -> np.ndarray:
        scores = np.full((1, 1, *batch.shape[2:]), 0.2, np.float32)
        scores[..., : batch.shape[3] // 2] = 0.8
        return scores


def test_nothing_can_be_assigned() -> None:
    predictor = Predictor(OnnxEngine(tiny_onnx(tiny_card()), threads=1))
    for name in ("options", "engine", "tta", "crf", "max_pixels", "whatever"):
        with pytest.raises(FrozenInstanceError):
            setattr(predictor, name, None)
    with pytest.raises(FrozenInstanceError):
        predictor.options.tta = TTA(flip=True)  # type: ignore[misc]


def test_with_options_leaves_the_first_one_as_it_was() -> None:
    plain = Predictor(LeftIsBrighter())
    mirrored = plain.with_options(tta=TTA(flip=True))
    assert mirrored.engine is plain.engine
    assert plain.options == PredictOptions()
    assert mirrored.options == PredictOptions(tta=TTA(flip=True))
    assert mirrored.with_options(max_pixels=50).options == PredictOptions(tta=TTA(flip=True), max_pixels=50)
    with pytest.raises(TypeError, match="views"):
        plain.with_options(views=TTA())


def test_threads_with_other_options_do_not_meet() -> None:
    plain = Predictor(LeftIsBrighter())
    both = [plain, plain.with_options(tta=TTA(flip=True))] * 20
    image = np.zeros((4, 6, 3), np.uint8)
    with ThreadPoolExecutor(8) as pool:
        corners = [float(answer.alpha_map.low[0, 0]) for answer in pool.map(lambda model: model(image), both)]
    assert corners == pytest.approx([0.8, 0.5] * 20)


def test_load_takes_options(tmp_path: Path) -> None:
    options = imago.PredictOptions(tta=imago.TTA(flip=True))
    model = imago.load(write_tiny(tmp_path / "m.onnx"), options=options)
    assert model.options == options


def test_impossible_options() -> None:
    with pytest.raises(ValueError, match="max_pixels must be a whole number of 1 or more; got 0"):
        PredictOptions(max_pixels=0)


CARDS = {
    "binary": tiny_card(),
    "semantic": tiny_card(3),
    "separation": tiny_card(3, labels=Labels(("background", "border", "box")), objects=True),
    "boxes": detection_card("boxes"),
    "instances": detection_card("instances"),
}
CHANGES: dict[str, Any] = {
    "score_thresh": 0.3, "nms_thresh": 0.4, "nms": "soft", "class_agnostic": True, "classes": ["box"],
    "detections_per_img": 2, "tta_flip": True, "tta_scales": [0.5, 1], "slide": True,
    "tta_zoom": True, "show_bands": [3, 2, 1], "crf": DenseCRF(), "window": "file",
    "separation": Separation(neck=0.5), "find_proposals": lambda image, options: image, "max_pixels": 10**7,
}  # fmt: skip
REFUSED = {
    "binary": {*CHANGES} - {"tta_flip", "tta_scales", "show_bands", "crf", "max_pixels", "window"},
    "semantic": {*CHANGES} - {"tta_flip", "tta_scales", "show_bands", "crf", "max_pixels", "window"},
    "separation": {"slide", "tta_zoom", "find_proposals"},  # a card of rule pad sees photos at their own size already
    "boxes": {"tta_flip", "tta_scales", "tta_zoom", "slide", "crf", "separation", "find_proposals"},
    "instances": {"tta_flip", "tta_scales", "tta_zoom", "slide", "crf", "separation", "find_proposals"},
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_options_that_would_do_nothing_are_refused(kind: str, name: str) -> None:
    plain = Predictor(Known(KNOWN, CARDS[kind]))
    if name in REFUSED[kind]:
        with pytest.raises(ImagoError, match=name.replace("_", "[_-]")):
            plain.with_options(**{name: CHANGES[name]})
    else:
        assert plain.with_options(**{name: CHANGES[name]}).options != plain.options


def test_every_option_has_been_tried() -> None:
    assert {flag(own)[2:].replace("-", "_") for own, _ in iter_settings(PredictOptions)} == set(CHANGES)


def test_options_by_the_names_of_the_command_line() -> None:
    model = Predictor(Known(KNOWN, CARDS["instances"]))
    photo = np.zeros((48, 64, 3), np.uint8)
    assert len(model(photo).instances) == 3  # type: ignore[arg-type]
    assert len(model(photo, score_thresh=0.2).instances) == 4  # type: ignore[arg-type]
    assert model(photo, classes="box").instances.classes.tolist() == [2]  # type: ignore[union-attr]
    assert model(photo, classes=["disc", "box"], detections_per_img=1).instances.classes.tolist() == [1]  # type: ignore[union-attr]
    assert model.options == PredictOptions()
    with pytest.raises(TypeError, match="there is no option score; there are class_agnostic, classes, crf"):
        model(photo, score=0.3)
    with pytest.raises(ValueError, match="score_thresh must be a number; got NaN"):
        model.with_options(score_thresh=float("nan"))


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_threads_that_there_are_not(threads: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="threads must be a whole number of 1 or more, or None"):
        imago.load(write_tiny(tmp_path / "m.onnx"), threads=threads)


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (0, "device 'cuda:0' needs ONNX Runtime for GPUs"), (1, "device 'cuda:1' needs"), (-1, "device -1 is not"),
        ("", "device '' is not known"), (True, "device True is not known"), ("gpu", "device 'gpu' is not known"),
        ("cpu:1", "device 'cpu:1' is not known"),
    ],
)  # fmt: skip
def test_devices_that_there_are_not(device: Any, words: str, tmp_path: Path) -> None:
    if "needs" in words and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine's ONNX Runtime has CUDA")
    with pytest.raises(ModelError, match=words):
        imago.load(write_tiny(tmp_path / "m.onnx"), device=device)


def test_what_pytorch_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").touch()
    for settings in ({"threads": 2}, {"keep_memory": False}):
        with pytest.raises(ModelError, match=r"runs on PyTorch, to which .* says nothing"):
            imago.load(tmp_path / "m.safetensors", **settings)  # type: ignore[arg-type]
