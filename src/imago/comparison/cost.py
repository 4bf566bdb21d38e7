"""What a model costs: weights, multiply-adds, bytes, time on this CPU, memory."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

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


def measure_cost(
    model: Path, run: Callable[[], object], given: Sequence[Sequence[np.ndarray]], photo_path: Path
) -> Cost:
    """``run``: what is timed; ``given``: what the net is given for a typical photo, run after run, frames (N, C, h, w)
    first; ``photo_path``: that photo's file."""
    times = run_times(run)
    weights = multiply_adds = math.nan
    frame_hw = (0, 0)
    if given:  # or nothing is shown to it, where it looks at proposals and there are none
        first = given[0][0]
        frame_hw = (first.shape[2], first.shape[3])
        weights, multiply_adds = operations(model, *given[0])
        multiply_adds *= sum(len(frames) for frames, *_ in given) / len(first)  # of crops the first ones are counted
    return Cost(
        bytes=model.stat().st_size,
        weights=weights,
        multiply_adds=multiply_adds,
        frame_hw=frame_hw,
        median_ms=float(np.median(times)) * 1e3,
        p95_ms=float(np.quantile(times, 0.95)) * 1e3,
        runs=len(times),
        peak_mb=peak_memory(model, photo_path),
    )


def run_times(run: Callable[[], object]) -> list[float]:
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


def operations(model: Path, *given: np.ndarray) -> tuple[float, float]:
    """Weights, and multiply-adds of a run with ``given``, one for each input, frames (N, C, h, w) first; nan for what
    is no .onnx file, and without the package onnx."""
    if model.suffix != ".onnx":
        return math.nan, math.nan
    try:
        from imago.export.operations import count_operations
    except ModuleNotFoundError:
        return math.nan, math.nan
    return count_operations(model, *given)
