"""What a model costs: weights, multiply-adds, bytes, time a run on this CPU, memory."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imago.inference.load import load_engine

LEAST_RUNS, MOST_RUNS = 5, 60
ABOUT_S = 3.0  # of runs that count


@dataclass(frozen=True)
class Cost:
    """nan where it is not known (weights and multiply-adds are counted in .onnx files, with the package onnx)."""

    bytes: int
    weights: float
    multiply_adds: float  # of one photo at ``frame_hw``
    frame_hw: tuple[int, int]  # what the net saw
    median_ms: float
    p95_ms: float
    runs: int
    peak_mb: float  # of a process that loads the model and answers for one photo; 1 MB is 1,000,000 bytes

    def to_json(self) -> dict[str, Any]:
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


def measure_cost(model: Path, photo: Path, photo_hw: tuple[int, int]) -> Cost:
    """``photo``: a typical one, of ``photo_hw`` pixels, for its size and for the memory."""
    engine = load_engine(model)
    frame_hw = engine.card.input.plan(photo_hw).frame_hw
    image = np.zeros((1, engine.card.input.channels, *frame_hw), np.float32)
    times = run_times(lambda: engine.run(image))
    weights, multiply_adds = count_operations(model, image) if model.suffix == ".onnx" else (math.nan, math.nan)
    return Cost(
        bytes=model.stat().st_size,
        weights=weights,
        multiply_adds=multiply_adds,
        frame_hw=frame_hw,
        median_ms=float(np.median(times)) * 1e3,
        p95_ms=float(np.quantile(times, 0.95)) * 1e3,
        runs=len(times),
        peak_mb=peak_memory(model, photo),
    )


def run_times(run: Any) -> list[float]:
    """Seconds of each run, after two that do not count."""
    run(), run()
    times: list[float] = []
    while len(times) < LEAST_RUNS or (sum(times) < ABOUT_S and len(times) < MOST_RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


_PEAK = """
import sys, imago
from pathlib import Path
imago.load(sys.argv[1])(sys.argv[2]).label_map
status = Path("/proc/self/status")
if status.is_file():
    print(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")))
else:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1))
"""


def peak_memory(model: Path, photo: Path) -> float:
    """MB at most in a process of its own; nan where the system does not tell."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(model.resolve()), str(photo)], capture_output=True, text=True, check=False
    )
    try:
        return float(done.stdout.split()[-1]) * 1024 / 1e6
    except (IndexError, ValueError):
        return math.nan


def count_operations(model: Path, image: np.ndarray) -> tuple[float, float]:
    """Weights, and multiply-adds of convolutions and matrix products for ``image``; nan without the package onnx.

    The shapes are those of a real run: each such node's output is made an output of the file.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        return math.nan, math.nan
    import onnxruntime

    graph = onnx.load(model)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.graph.initializer}
    weights = sum(math.prod(dims) for dims in shapes.values() if len(dims) > 0)
    counted = [node for node in graph.graph.node if node.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm")]
    wanted = {name for node in counted for name in (node.output[0], node.input[0]) if name not in shapes}
    given = {value.name for value in graph.graph.input}
    present = {value.name for value in graph.graph.output}
    for name in sorted(wanted - present - given):
        graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    first = session.get_inputs()[0]
    feed = {first.name: image.astype(np.float16 if "float16" in first.type else np.float32)}
    shapes |= {name: value.shape for name, value in zip(names, session.run(names, feed), strict=True)}
    shapes[first.name] = image.shape
    return float(weights), float(sum(_multiply_adds(node, shapes) for node in counted))


def _multiply_adds(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    out, weight = shapes[node.output[0]], shapes.get(node.input[1], ())
    if node.op_type == "Conv":  # weight (out, in / groups, kernel...)
        return math.prod(out) * math.prod(weight[1:])
    if node.op_type == "ConvTranspose":  # weight (in, out / groups, kernel...): each input value meets all of it
        return math.prod(shapes[node.input[0]]) * math.prod(weight[1:])
    return math.prod(out) * shapes[node.input[0]][-1]
