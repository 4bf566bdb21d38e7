"""What an ``.onnx`` file has to calculate."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from imago.inference.runtime import import_onnxruntime


def count_operations(model: Path, *given: np.ndarray) -> tuple[float, float]:
    """Weights, and multiply-adds of convolutions and matrix products for what the inputs are ``given``: float32 images
    (N, C, h, w), and proposals where the model judges such.

    The shapes are those of a real run: each such node's output is made an output of the file.
    """
    graph = onnx.load(model)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.graph.initializer}
    weights = sum(math.prod(dims) for dims in shapes.values() if len(dims) > 0)
    # Weights that are stored as float16 reach their node by a Cast.
    shapes |= {
        n.output[0]: shapes[n.input[0]] for n in graph.graph.node if n.op_type == "Cast" and n.input[0] in shapes
    }
    counted = [node for node in graph.graph.node if node.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm")]
    wanted = {name for node in counted for name in (node.output[0], node.input[0]) if name not in shapes}
    inputs = {value.name for value in graph.graph.input}
    present = {value.name for value in graph.graph.output}
    for name in sorted(wanted - present - inputs):
        graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    feed = {
        value.name: array.astype(np.float16 if "float16" in value.type else np.float32)
        for value, array in zip(session.get_inputs(), given, strict=True)
    }
    shapes |= {name: value.shape for name, value in zip(names, session.run(names, feed), strict=True)}
    shapes |= {name: array.shape for name, array in feed.items()}
    return float(weights), float(sum(_multiply_adds(node, shapes) for node in counted))


def _multiply_adds(node: Any, shapes: dict[str, tuple[int, ...]]) -> float:
    out, weight = shapes[node.output[0]], shapes.get(node.input[1], ())
    if node.op_type in ("Conv", "ConvTranspose") and len(weight) < 3:
        return math.nan  # weights that are calculated: what they cost is not known, and is not said to be little
    if node.op_type == "Conv":  # weight (out, in / groups, kernel...)
        return math.prod(out) * math.prod(weight[1:])
    if node.op_type == "ConvTranspose":  # weight (in, out / groups, kernel...): each input value meets all of it
        return math.prod(shapes[node.input[0]]) * math.prod(weight[1:])
    return math.prod(out) * shapes[node.input[0]][-1]
