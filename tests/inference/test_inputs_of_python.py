"""What Python may give: images of all kinds and backgrounds of all kinds are taken rightly, or are one ImageError."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_onnx import tiny_card, tiny_onnx

from imago.core.errors import ImageError, ImagoError
from imago.files.images import read_image
from imago.inference.engines.onnx import OnnxEngine
from imago.inference.predictor import Predictor

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)


def png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def model() -> Predictor:
    return Predictor(OnnxEngine(tiny_onnx(tiny_card()), threads=1))


RIGHT: dict[str, Callable[[], Any]] = {
    "bytes": png,
    "bytearray": lambda: bytearray(png()),
    "memoryview": lambda: memoryview(png()),
    "stream": lambda: io.BytesIO(png()),
    "pillow": lambda: Image.fromarray(PIXELS),
    "big-endian uint16": lambda: (PIXELS.astype(np.uint16) * 257).astype(">u2"),
    "little-endian uint16": lambda: (PIXELS.astype(np.uint16) * 257).astype("<u2"),
    "big-endian float": lambda: (PIXELS / 255).astype(">f4"),
    "float16": lambda: (PIXELS / 255).astype(np.float16),
    "float64": lambda: PIXELS / 255,
    "Fortran's order": lambda: np.asfortranarray(PIXELS),
    "mirrored view": lambda: PIXELS[:, ::-1][:, ::-1],
    "read-only": lambda: np.frombuffer(PIXELS.tobytes(), np.uint8).reshape(PIXELS.shape),
}


@pytest.mark.parametrize("name", RIGHT)
def test_images_that_are_right(name: str, model: Predictor) -> None:
    assert np.array_equal(model(RIGHT[name]()).image, PIXELS)


class Arrayed:
    def __array__(self) -> np.ndarray:
        return PIXELS


WRONG: dict[str, tuple[Any, str]] = {
    "None": (None, "expected a path, the bytes of a file, a binary stream, a Pillow image or an array; got NoneType"),
    "a number": (7, "got int"),
    "a set": ({"a.png"}, "a set has no order that answers could come in; pass a list"),
    "a dict": ({"a": 1}, "a dict has no order"),
    "text stream": (io.StringIO("a"), r"is opened as text; open it as bytes"),
    "an object": (object(), "got object"),
    "what arrays are made of": (Arrayed(), r"pass it as an array: np.asarray\(image\)"),
    "int64": (PIXELS.astype(np.int64), "arrays must be uint8, uint16, bool or float 0..1; got int64"),
    "objects": (np.array([[None]]), "got object"),
    "text": (np.array([["a"]]), "got <U1"),
    "complex": (PIXELS.astype(np.complex64), "got complex64"),
    "masked": (np.ma.masked_equal(PIXELS, 0), r"a masked array .* pass array.filled\(0\)"),
    "NaN": (np.full((4, 4), np.nan), "without NaN"),
    "infinite": (np.full((4, 4), np.inf), "without NaN"),
    "channels first": (PIXELS.transpose(2, 0, 1), r"channels stand last: array.transpose\(1, 2, 0\)"),
    "no pixel": (np.zeros((0, 4, 3), np.uint8), "it has no pixels"),
    "one axis": (np.zeros(4, np.uint8), r"expected an array \(H, W\) or \(H, W, C\)"),
    "a folder": (Path(), "is a folder, not an image"),
    "an address": ("https://example.org/a.png", "https://example.org/a.png: is a web address"),
    "an address as a path": (Path("https://example.org/a.png"), "https://example.org/a.png: is a web address"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_image(name: str, model: Predictor) -> None:
    given, words = WRONG[name]
    with pytest.raises(ImageError, match=words) as found:
        model(given)
    assert "\n" not in str(found.value)


def test_lists_of_numbers_are_said(model: Predictor) -> None:
    with pytest.raises(ImageError, match=r"a list of numbers is no image here; pass it as an array"):
        model(PIXELS.tolist())


@pytest.mark.parametrize("make", [list, tuple, iter, lambda images: (image for image in images), lambda x: map(id_, x)])
def test_several(make: Callable[[Any], Any], model: Predictor) -> None:
    found = model(make([PIXELS, PIXELS[:6]]))
    assert [each.size_hw for each in found] == [(12, 16), (6, 16)]


def id_(value: Any) -> Any:
    return value


@pytest.mark.parametrize("suffix", ["gif", "tif", "webp"])
def test_the_page_that_is_selected(suffix: str, tmp_path: Path) -> None:
    pages = [Image.new("RGB", (8, 6), color) for color in ("red", "lime", "blue")]
    more = {"lossless": True} if suffix == "webp" else {}
    pages[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=pages[1:], **more)
    image = Image.open(tmp_path / f"a.{suffix}")
    image.seek(1)
    photo = read_image(image)
    assert photo.pixels[0, 0].tolist() == [0, 255, 0]
    assert any("number 2 is used" in note for note in photo.notes), photo.notes
    image.seek(0)
    first = read_image(image)
    assert first.pixels[0, 0].tolist() == [255, 0, 0] or suffix != "tif"
    assert any("the first is used" in note for note in first.notes)


GREEN = np.zeros((4, 5, 3), np.uint8) + np.array([0, 255, 0], np.uint8)
BACKGROUNDS: dict[str, Any] = {
    "name": "lime", "code": "#00ff00", "tuple": (0, 255, 0), "list": [0, 255, 0], "numpy": np.array([0, 255, 0]),
    "array": GREEN, "float": GREEN / 255, "deep": (GREEN.astype(np.uint16) * 257).astype(">u2"),
    "pillow": Image.fromarray(GREEN), "palette": Image.fromarray(GREEN).convert("P"),
}  # fmt: skip


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_backgrounds(name: str, model: Predictor) -> None:
    image = PIXELS.copy()
    image[:, :, 0] = 0  # no red, no subject
    drawn = np.asarray(model(image).cutout(background=BACKGROUNDS[name]))
    assert drawn.shape == (12, 16, 3)
    assert np.all(drawn == [0, 255, 0])


def test_a_background_that_lets_through_and_none(model: Predictor) -> None:
    found = model(PIXELS)
    assert found.cutout(background=(255, 0, 0, 128)).mode == "RGBA"
    assert np.array_equal(np.asarray(found.cutout(background=None)), np.asarray(found.cutout()))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((1, 2), "a colour is 3 or 4 whole numbers from 0 to 255; got"),
        ((0.1, 0.2, 0.3), "a colour is 3 or 4 whole numbers"),
        ((0, 0, 256), "a colour is 3 or 4 whole numbers"),
        ({1, 2}, "a set has no order"),
        (5, "got int; a background is also transparent, blur, or a colour like white"),
        ("no such", "background 'no such' is neither transparent"),
        (np.full((3, 3), np.nan), "without NaN"),
    ],
)
def test_what_is_no_background(given: Any, words: str, model: Predictor) -> None:
    with pytest.raises(ImagoError, match=words):
        model(PIXELS).cutout(background=given)
