"""What a prediction shows is its own: later writes to the caller's memory change nothing; nobody writes to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_finders import write_finder
from tiny_onnx import tiny_card, tiny_onnx

import imago
from imago.core.tta import TTA
from imago.files.images import Photo
from imago.inference.engines.onnx import OnnxEngine
from imago.inference.predictor import Predictor

KINDS: dict[str, Callable[[Path], Predictor]] = {
    "binary": lambda folder: Predictor(OnnxEngine(tiny_onnx(tiny_card()), threads=1)),
    "semantic": lambda folder: Predictor(OnnxEngine(tiny_onnx(tiny_card(3), 3), threads=1)),
    "boxes": lambda folder: imago.load(write_finder(folder / "boxes.onnx"), threads=1),
    "instances": lambda folder: imago.load(write_finder(folder / "masks.onnx", masks=True), threads=1),
    "mirrored": lambda folder: KINDS["semantic"](folder).with_options(tta=TTA(flip=True)),
}


def arrays_of(result: Any) -> dict[str, np.ndarray]:
    """All arrays that a prediction hands out."""
    found = {"image": result.image, "label_map": result.label_map, "photo.pixels": result.photo.pixels}
    if result.scores is not None:
        found["scores"] = result.scores
    if result.instances is not None:
        found |= {f"instances.{name}": getattr(result.instances, name) for name in ("boxes", "classes", "scores")}
    if result.labels.names[0] == "background":
        found["alpha"] = result.alpha
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", ["rgb", "grey", "part of a larger array", "Pillow image over a buffer"])
def test_a_buffer_may_be_used_again(kind: str, given: str, photo: np.ndarray, tmp_path: Path) -> None:
    model = KINDS[kind](tmp_path)
    whole = np.repeat(photo, 2, axis=1) if given == "part of a larger array" else photo.copy()
    buffer: Any = {"grey": whole[..., 0].copy(), "part of a larger array": whole[:, ::2]}.get(given, whole)
    shown: Any = Image.fromarray(buffer) if given.startswith("Pillow") else buffer
    expected = {name: values.copy() for name, values in arrays_of(model(buffer.copy())).items()}
    first, second = model(shown), model(shown)
    early = arrays_of(first)  # made before the buffer changes; those of ``second`` after it
    buffer[:] = 0
    for found in (early, arrays_of(first), arrays_of(second)):
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_writes_to_it(kind: str, photo: np.ndarray, tmp_path: Path) -> None:
    result = KINDS[kind](tmp_path)(photo)
    shown = arrays_of(result)
    assert len(shown) >= 4
    for name, values in shown.items():
        with pytest.raises(ValueError, match="read-only"):
            values[...] = 0
        assert not values.flags.writeable, name


def test_the_caller_may_go_on_writing_to_his_own(photo: np.ndarray) -> None:
    buffer = photo.copy()
    KINDS["binary"](Path())(buffer)
    buffer[:] = 1
    mine = Photo(photo.copy())
    KINDS["binary"](Path()).predict(mine)
    mine.pixels[:] = 1
