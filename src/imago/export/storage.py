"""What is kept in an ONNX file and how: nothing of the machine that made it, weights in half the bytes where asked."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SMALL = 256  # tensors with fewer values (biases, scales) stay float32: no bytes to gain, and their rounding shifts all


def strip_traces(model: onnx.ModelProto) -> None:
    """Take out what the exporter notes at each node: stack traces with paths of this machine, and inferred shapes."""
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    model.graph.ClearField("value_info")
    model.graph.ClearField("metadata_props")
    model.graph.ClearField("doc_string")
    model.ClearField("metadata_props")
    model.ClearField("doc_string")


def store_half(model: onnx.ModelProto) -> None:
    """Store the large float32 weights as float16, each followed by a Cast back to float32.

    ONNX Runtime folds a Cast of a constant while it loads, so the net runs in float32 at float32's speed; a graph
    that computes in float16 would be several times slower on a CPU. Values beyond float16's reach (65504) stay float32.
    """
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < SMALL or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)
