"""A predictor goes to other processes: pickled by path and options, after a fork, and by a copy."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tiny_finders import write_finder
from tiny_onnx import tiny_card, tiny_onnx, write_tiny

from imago.core.errors import ModelError
from imago.core.tta import TTA
from imago.inference.engines.onnx import OnnxEngine
from imago.inference.load import load
from imago.inference.predictor import Predictor

FLIP = TTA(flip=True)


def measure(predictor: Predictor, photo: np.ndarray) -> tuple[float, bool]:
    """In a worker."""
    return float(predictor(photo).label_map.mean()), predictor.options.tta.flip


def models(folder: Path) -> dict[str, Predictor]:
    return {
        "file": load(write_tiny(folder / "red.onnx"), threads=2).with_options(tta=FLIP),
        "bytes": Predictor(OnnxEngine(tiny_onnx(tiny_card()), threads=2)),
        "objects": load(write_finder(folder / "finder.onnx", masks=True), threads=2),
    }


@pytest.mark.parametrize("name", ["file", "bytes", "objects"])
def test_copies_answer_alike(name: str, photo: np.ndarray, tmp_path: Path) -> None:
    predictor = models(tmp_path)[name]
    expected = measure(predictor, photo)
    assert measure(pickle.loads(pickle.dumps(predictor)), photo) == expected
    assert measure(copy.deepcopy(predictor), photo) == expected
    assert measure(copy.copy(predictor), photo) == expected
    assert pickle.loads(pickle.dumps(predictor)).options == predictor.options


def test_the_path_goes_along_and_not_the_weights(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "red.onnx")
    sent = pickle.dumps(load(path))
    assert len(sent) < 4000
    path.unlink()
    with pytest.raises(ModelError, match=r"red\.onnx: there is no such model file"):
        pickle.loads(sent)(np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    "way", [way for way in ("fork", "spawn", "forkserver") if way in multiprocessing.get_all_start_methods()]
)
def test_workers_of_every_kind(way: str, photo: np.ndarray, tmp_path: Path) -> None:
    predictor = models(tmp_path)["file"]
    expected = measure(predictor, photo)  # it has run here before: its threads are there
    with ProcessPoolExecutor(2, multiprocessing.get_context(way)) as pool:
        found = [pool.submit(measure, predictor, photo).result(timeout=120) for _ in range(3)]
    assert found == [expected] * 3


FORKED = """
import os, sys
import numpy as np
from imago.inference.load import load
predictor = load({path!r}, threads={threads})
photo = np.zeros((64, 64, 3), np.uint8)
photo[:, 32:, 0] = 255
before = float(predictor(photo).label_map.mean())
child = os.fork()
{then}
_, status = os.waitpid(child, 0) if child else (0, 0)
assert child == 0 or os.waitstatus_to_exitcode(status) == 0, status
assert float(predictor(photo).label_map.mean()) == before
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("then", ["", "if not child: sys.exit(0)"], ids=["goes on", "leaves at once"])
def test_a_forked_child_comes_to_its_end(threads: int, then: str, tmp_path: Path) -> None:
    program = FORKED.format(path=str(write_tiny(tmp_path / "red.onnx")), threads=threads, then=then)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
