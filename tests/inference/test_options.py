"""A predictor does not change: another answer is another predictor over the same model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from tiny_onnx import tiny_card, tiny_onnx, write_tiny

import imago
from imago.core.tta import TTA
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
