"""Test-time augmentation and the sliding window: many looks at a photo, one answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_onnx import PLAIN, write_tiny

from imago.cli.main import run as imago
from imago.core.errors import ImagoError
from imago.core.input_spec import InputSpec
from imago.core.labels import binary_labels
from imago.core.model_card import ModelCard
from imago.core.tta import TTA
from imago.inference import tta as views_module
from imago.inference.engines.onnx import OnnxEngine
from imago.inference.options import PredictOptions
from imago.inference.predictor import Predictor, resolve_tta
from imago.inference.tta import OVERLAP, predict_tta, slide, window_corners, window_starts

WINDOW = InputSpec(rule="resize", size_hw=(32, 48), multiple=1, mean=(0, 0, 0), std=(1, 1, 1))


def colors(batch: np.ndarray) -> np.ndarray:
    """A net that answers with the colours themselves, and knows nothing of a photo but its pixels."""
    return batch


def photo(height: int, width: int) -> np.ndarray:
    """Soft, so that resizing it changes little."""
    noise = np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 4)


@given(side=st.integers(1, 3000), window=st.integers(1, 600))
def test_windows_cover_and_overlap(side: int, window: int) -> None:
    side = max(side, window)
    begin = window_starts(side, window)
    assert begin[0] == 0
    assert begin[-1] + window == side
    gaps = np.diff(begin)
    assert (gaps > 0).all()
    assert (gaps <= max(1, window * (1 - OVERLAP) + 1)).all()


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 100), width=st.integers(1, 150))
def test_a_sliding_window_sees_every_pixel_where_it_is(height: int, width: int) -> None:
    image = photo(height, width)
    scores = slide(colors, WINDOW, image)
    np.testing.assert_allclose(scores, image.transpose(2, 0, 1) / np.float32(255), atol=1e-5)


def test_a_sliding_window_weighs_the_middle() -> None:
    """A net that knows nothing at its borders hardly disturbs: there the next window's middle counts."""

    def lost_at_borders(batch: np.ndarray) -> np.ndarray:
        answer = batch.copy()
        answer[:, :, :2] = answer[:, :, -2:] = answer[:, :, :, :2] = answer[:, :, :, -2:] = 0
        return answer

    image = np.full((90, 130, 3), 200, np.uint8)
    inner = slide(lost_at_borders, WINDOW, image)[:, 4:-4, 4:-4]
    assert inner.min() > 0.55 * 200 / 255


def test_large_photos_are_gathered_on_a_coarser_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    image = photo(123, 171)
    monkeypatch.setattr(views_module, "MOST_BYTES", 3 * 4 * 123 * 171 // 8)
    scores = slide(colors, WINDOW, image)
    assert scores.shape == (3, 41, 57)  # every third pixel
    full = cv2.resize(scores.transpose(1, 2, 0), (171, 123)).transpose(2, 0, 1)
    assert np.abs(full - image.transpose(2, 0, 1) / 255).mean() < 0.02


@pytest.mark.parametrize("rule", ["resize", "letterbox", "area", "pad"])
def test_the_mirror_image_is_mirrored_back(rule: str) -> None:
    spec = InputSpec(rule=rule, size_hw=(64, 64), multiple=8, mean=(0, 0, 0), std=(1, 1, 1))  # type: ignore[arg-type]
    image = photo(50, 77)
    once, twice = (predict_tta(colors, spec, image, TTA(flip=flip)) for flip in (False, True))
    np.testing.assert_allclose(twice, once, atol=0.02)


@pytest.mark.parametrize("rule", ["area", "pad"])
def test_scales_are_brought_together(rule: str) -> None:
    spec = InputSpec(rule=rule, size_hw=(64, 96), multiple=8, mean=(0, 0, 0), std=(1, 1, 1))  # type: ignore[arg-type]
    image = photo(64, 96)
    sizes: list[tuple[int, ...]] = []

    def run(batch: np.ndarray) -> np.ndarray:
        sizes.append(batch.shape[2:])
        return batch

    scores = predict_tta(run, spec, image, TTA(flip=True, scales=(0.5, 1, 1.5)))
    assert sizes == [(32, 48)] * 2 + [(64, 96)] * 2 + [(96, 144)] * 2
    assert scores.shape == (3, 96, 144)
    assert np.abs(cv2.resize(scores.transpose(1, 2, 0), (96, 64)) - image / 255).mean() < 0.03


def test_what_cannot_be_looked_through() -> None:
    image = photo(20, 20)
    with pytest.raises(ImagoError, match=r"m sees every photo at 32 x 48 alone; leave --tta-scales out"):
        predict_tta(colors, WINDOW, image, TTA(scales=(0.5, 1)), "m")
    with pytest.raises(ImagoError, match=r"m sees every photo at its own size already; leave --slide out"):
        predict_tta(colors, PLAIN, image, TTA(slide=True), "m")
    with pytest.raises(ValueError, match=r"from 0\.1 to 8"):
        TTA(scales=(0.0,))


def test_corners_go_row_by_row() -> None:
    assert list(window_corners((40, 48), (32, 48))) == [(0, 0), (8, 0)]


@pytest.mark.parametrize("classes", [1, 3])
def test_a_predictor_looks_so(tmp_path: Path, classes: int) -> None:
    """At the photo's own size by a window of 32 x 48; a look at the whole photo at 32 x 48 is blurred."""
    engine = OnnxEngine(write_tiny(tmp_path / "m.onnx", classes, input=WINDOW), threads=1)
    image = np.random.default_rng(0).integers(0, 256, (100, 140, 3), np.uint8)
    found = Predictor(engine, PredictOptions(tta=TTA(slide=True, flip=True)))(image)
    if classes == 3:
        assert (found.label_map == image.argmax(axis=2)).mean() > 0.999
    else:
        assert found.alpha.shape == (100, 140)
        assert np.corrcoef(found.alpha.ravel(), image[:, :, 0].ravel())[0, 1] > 0.9


def test_the_commands_look_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = write_tiny(tmp_path / "m.onnx", 3, input=WINDOW)
    Image.fromarray(photo(60, 90)).save(tmp_path / "a.png")
    assert imago(["segment", str(tmp_path / "a.png"), "--model", str(model), "--slide", "--tta-flip"]) == 0
    mask = np.array(Image.open(tmp_path / "a.mask.png"))
    assert (mask == photo(60, 90).argmax(axis=2)).mean() > 0.99
    assert imago(["segment", str(tmp_path / "a.png"), "--model", str(model), "--tta-scales", "0.5,20"]) == 2
    assert "scales lie from 0.1 to 8" in capfd.readouterr().err
    assert (
        imago(["segment", str(tmp_path / "a.png"), "--model", str(model), "--overwrite", "--tta-scales", "0.5,1"]) == 1
    )
    assert "leave --tta-scales out" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("card", "asked", "expected"),
    [
        ({}, TTA(), {"flip": False, "scales": (1.0,), "zoom": False}),
        ({"tta_flip": True}, TTA(), {"flip": True, "scales": (1.0,)}),
        ({"tta_flip": True}, TTA(flip=False), {"flip": False, "scales": (1.0,)}),
        ({"tta_scales": (1.0, 1.3)}, TTA(scales=(1.0,)), {"flip": False, "scales": (1.0,)}),
        ({"tta_scales": (1.0, 1.3)}, TTA(flip=True), {"flip": True, "scales": (1.0, 1.3)}),
        ({"tta_scales": (1.0, 1.3)}, TTA(scales=(0.5, 2.0), slide=True), {"scales": (0.5, 2.0), "slide": True}),
        ({"tta_zoom": True}, TTA(), {"zoom": True}),
        ({"tta_zoom": True}, TTA(zoom=False), {"zoom": False}),
        ({"tta_zoom": True}, TTA(slide=True), {"zoom": False, "slide": True}),  # it sees all enlarged already
        ({}, TTA(zoom=True), {"zoom": True}),
    ],
)
def test_a_card_asks_for_views(card: dict[str, Any], asked: TTA, expected: dict[str, Any]) -> None:
    whole = ModelCard("a", "unet", {}, "binary", binary_labels(), InputSpec(), **card)
    assert ModelCard.from_json(whole.to_json()) == whole
    resolved = resolve_tta(whole, asked)
    assert {name: getattr(resolved, name) for name in expected} == expected
