"""Which weights may be rounded to float16, and what a training does where they may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from imago.core.errors import ModelError
from imago.export.storage import store_half
from imago.training import finish

SIDE = 32


def two_convolutions(places: bool) -> onnx.ModelProto:
    """Convolution ``before``, pool, convolution ``after``; with ``places`` those of the maxima are an output too."""
    random = np.random.default_rng(0)
    weights = {"before": (16, 3, 3, 3), "after": (16, 16, 3, 3)}
    nodes = [
        helper.make_node("Conv", ["image", "before"], ["x"], pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["x"], ["pooled", "indices"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["pooled", "after"], ["mask"], pads=[1, 1, 1, 1]),
    ]
    outputs = [helper.make_tensor_value_info("mask", TensorProto.FLOAT, None)]
    if places:
        nodes.append(helper.make_node("Identity", ["indices"], ["places"]))
        outputs.append(helper.make_tensor_value_info("places", TensorProto.INT64, None))
    graph = helper.make_graph(
        nodes,
        "two convolutions",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        outputs,
        [numpy_helper.from_array(random.normal(size=s).astype(np.float32), name) for name, s in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def answers(model: onnx.ModelProto) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(1).normal(size=(1, 3, SIDE, SIDE)).astype(np.float32)
    return session.run(None, {"image": image})


def rounded(model: onnx.ModelProto) -> set[str]:
    return {t.name.removesuffix(".half") for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16}


def test_weights_that_decide_where_a_maximum_lies_stay_float32() -> None:
    whole, half = two_convolutions(places=True), two_convolutions(places=True)
    store_half(half)
    assert rounded(half) == {"after"}
    (mask, places), (half_mask, half_places) = answers(whole), answers(half)
    assert np.array_equal(places, half_places)
    assert 0 < np.abs(mask - half_mask).max() < 1e-2 * mask.std()


def test_a_pool_whose_places_nobody_asks_for_holds_nothing_back() -> None:
    model = two_convolutions(places=False)
    store_half(model)
    assert rounded(model) == {"before", "after"}


@pytest.mark.parametrize("half", [True, False])
def test_a_run_ends_with_a_file_where_float16_does_not_hold(
    half: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def refuse_float16(run: Path, out: Path, *, half: bool = False, overwrite: bool) -> Any:
        asked.append(half)
        if half:
            raise ModelError(f"{out}: not written. Its answers differ")
        return "written"

    monkeypatch.setattr(finish, "export_run", refuse_float16)
    said: list[str] = []
    assert finish.export_model(tmp_path, half, said.append) == "written"
    assert asked == ([True, False] if half else [False])
    assert len(said) == half
    assert all(text.startswith("stored as float32 instead of float16") and "answers differ" in text for text in said)


def test_a_net_that_float32_does_not_hold_either_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ModelError("torch cannot export this net")

    monkeypatch.setattr(finish, "export_run", refuse)
    with pytest.raises(ModelError, match="cannot export"):
        finish.export_model(tmp_path, False, print)
