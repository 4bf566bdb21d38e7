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
    that computes in float16 would be several times slower on a CPU. Values beyond float16's reach (65504) stay float32,
    and so do the weights that decide where a pooling maximum lies (see ``find_before_pools``).
    """
    casts = []
    kept = find_before_pools(model.graph)
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or tensor.name in kept:
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


def find_before_pools(graph: onnx.GraphProto) -> set[str]:
    """Names of all tensors from which a pool's places are calculated, where the graph hands places on (ENet, SegNet).

    Every other operation answers a small change with a small change. The place of a maximum jumps: where two of the
    four values are nearly equal, a rounded weight swaps them, and the decoder puts the value on another pixel.
    """
    maker = {name: node for node in graph.node for name in node.output}
    used = {name for node in graph.node for name in node.input}
    found: set[str] = set()
    waiting = [
        name
        for node in graph.node
        if node.op_type == "MaxPool" and len(node.output) > 1 and node.output[1] in used
        for name in node.input
    ]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += maker[name].input if name in maker else ()
    return found
