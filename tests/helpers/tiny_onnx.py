"""ONNX models that are small enough to know the answer by heart: class k answers with channel k of the photo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from imago.core.input_spec import InputSpec
from imago.core.labels import Labels, binary_labels
from imago.core.model_card import METADATA_KEY, ModelCard

# No mean, no spread: the network sees 0..1.
PLAIN = InputSpec(rule="pad", multiple=1, mean=(0, 0, 0), std=(1, 1, 1))


def tiny_card(classes: int = 1, **changes: Any) -> ModelCard:
    """Binary for one class: the redder, the more subject. Semantic for two or three: red, green, blue."""
    labels = binary_labels() if classes == 1 else Labels(("red", "green", "blue")[:classes])
    card = ModelCard("tiny", "", {}, "binary" if classes == 1 else "semantic", labels, PLAIN, license="CC0-1.0")
    return card.with_(**changes)


def tiny_onnx(
    card: ModelCard | None,
    classes: int = 1,
    *,
    shape: tuple[int | str, ...] = ("n", 3, "h", "w"),
    dtype: int = TensorProto.FLOAT,
    inputs: int = 1,
    factor: float = 1.0,
    weights: np.ndarray | None = None,
) -> bytes:
    """A 1 x 1 convolution. ``factor`` multiplies the answer, ``inputs`` above 1 adds inputs that nobody reads;
    ``weights``: other ones, float32 (classes, channels, k, k)."""
    if weights is None:
        weights = np.zeros((classes, shape[1] if isinstance(shape[1], int) else 3, 1, 1), np.float32)
        for value in range(classes):
            weights[value, value] = factor
    rim = weights.shape[2] // 2
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weights"], ["mask"], pads=[rim] * 4)],
        "tiny",
        [helper.make_tensor_value_info(f"image{i or ''}", dtype, list(shape)) for i in range(inputs)],
        [helper.make_tensor_value_info("mask", dtype, [shape[0], classes, *shape[2:]])],
        [numpy_helper.from_array(weights.astype(kind), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if card is not None:
        helper.set_model_props(model, {"producer": "a test", METADATA_KEY: card.to_json()})
    return model.SerializeToString()


def write_tiny(path: Path, classes: int = 1, **changes: Any) -> Path:
    """``tiny_onnx`` with its card as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tiny_onnx(tiny_card(classes, **changes), classes))
    return path


def parse(content: bytes) -> onnx.ModelProto:
    return onnx.load_from_string(content)
