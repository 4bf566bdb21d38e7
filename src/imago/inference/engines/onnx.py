"""Runs ``.onnx`` files on ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imago.core.errors import ModelError
from imago.core.model_card import DETECTION_TASKS, ModelCard
from imago.core.text import escape
from imago.files.model_file import read_onnx_card, sidecar
from imago.inference.runtime import import_onnxruntime, runtime_errors
from imago.inference.threads import free_cores
from imago.models.catalog import recognise

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxEngine:
    """One ONNX file, ready to run. ``run`` may be called from several threads at once.

    ``source``: a path, or the bytes of a file. ``threads``: inside one run; as many as cores are free if None.
    ``device``: "cpu" or "cuda"; ``$IMAGO_DEVICE``, else "cpu", if None. ``card``: for a file that carries none.
    ``keep_memory``: False is for those who run once: a run takes less memory, gives it back, and a run of a heavy net
    takes a quarter longer. Raises ModelError.
    """

    def __init__(
        self,
        source: Path | str | bytes,
        threads: int | None = None,
        device: str | None = None,
        card: ModelCard | None = None,
        keep_memory: bool = True,
    ) -> None:
        source = Path(source) if isinstance(source, str) else source
        self.name = str(source) if isinstance(source, Path) else "model"
        if isinstance(source, Path) and not source.is_file():
            raise ModelError(f"{source}: there is no such model file")
        self.card = card or read_card(source, self.name)
        self.session = open_session(source, self.name, threads or free_cores(), device, keep_memory)
        self._input, self._output = self.session.get_inputs()[0], self.session.get_outputs()[0]
        self._check()
        self._run_options = import_onnxruntime().RunOptions()
        if not keep_memory and self.session.get_providers() == ["CPUExecutionProvider"]:
            self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._type = _TYPES[self._input.type]
        self._one_by_one = self._input.shape[0] == 1

    def run(self, batch: np.ndarray) -> np.ndarray:
        """See ``Engine.run``."""
        parts = [batch[i : i + 1] for i in range(len(batch))] if self._one_by_one else [batch]
        try:
            answers = [self._run(part.astype(self._type, copy=False)) for part in parts]
        except runtime_errors() as error:
            raise ModelError(
                f"{self.name}: cannot run on input of shape {batch.shape} ({first_line(error)}); "
                "does the size rule in its card fit the network?"
            ) from error
        return self._probabilities(answers[0] if len(answers) == 1 else np.concatenate(answers))

    def _run(self, batch: np.ndarray) -> np.ndarray:
        answer = self.session.run([self._output.name], {self._input.name: batch}, self._run_options)[0]
        return answer.astype(np.float32, copy=False)

    def _probabilities(self, scores: np.ndarray) -> np.ndarray:
        if scores.ndim == 3:  # (N, h, w): a net without a channel axis
            scores = scores[:, None]
        classes = 1 if self.card.task == "binary" else len(self.card.labels)
        if scores.ndim != 4 or scores.shape[1] != classes:
            raise ModelError(
                f"{self.name}: the first output has shape {scores.shape}; expected (N, {classes}, h, w) for its "
                f"task {self.card.task!r} and {len(self.card.labels)} labels. Mend the card or export the model again"
            )
        if self.card.output == "logit":
            scores = sigmoid(scores) if classes == 1 else softmax(scores)
        return minmax_normalize(scores) if self.card.minmax_normalize else scores

    def _check(self) -> None:
        """The file against its card, before anything runs."""
        if self.card.task in DETECTION_TASKS:
            raise ModelError(
                f"{self.name}: finds objects (task {self.card.task!r}), it labels no pixels; use "
                "imago.inference.detection.OnnxDetectionEngine and find_objects"
            )
        spec = self.card.input
        shape = self._input.shape
        if len(self.session.get_inputs()) != 1 or len(shape) != 4 or self._input.type not in _TYPES:
            found = ", ".join(f"{value.name} {value.type} {value.shape}" for value in self.session.get_inputs())
            raise ModelError(f"{self.name}: expected one input of float (N, C, H, W); it has {found}")
        if isinstance(shape[1], int) and shape[1] != spec.channels:
            raise ModelError(
                f"{self.name}: the network takes {shape[1]} channels, its card says {spec.channels}; mend the card"
            )
        fixed = tuple(shape[2:])
        if any(isinstance(side, int) for side in fixed) and not (spec.fixed_size and fixed == spec.size_hw):
            raise ModelError(
                f"{self.name}: the network takes {fixed[0]} x {fixed[1]} pixels only, its card says rule "
                f"{spec.rule!r}, size {spec.size_hw[0]} x {spec.size_hw[1]}; mend the card (rule resize or letterbox)"
            )


def read_card(source: Path | bytes, name: str) -> ModelCard:
    card = read_onnx_card(source, name)
    if card is None and isinstance(source, Path):
        card = recognise(source)
    if card is None:
        place = f"in a file {sidecar(source).name!r} beside it" if isinstance(source, Path) else "with card="
        raise ModelError(
            f"{name}: an ONNX file without an Imago model card, so its classes and size are not known. Give a card "
            f"{place}; one to start from is printed by: imago models show u2netp --json"
        )
    return card


def open_session(
    source: Path | bytes, name: str, threads: int, device: str | None, keep_memory: bool
) -> InferenceSession:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised; ONNX Runtime need not print it as well
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # All from measuring U2-Net-p at 320 x 320 on two cores. Full optimisation (channels in blocks): start 0.01 s
    # longer, each run a quarter faster, 70 MB more. No memory pattern: 270 instead of 470 MB at the same speed (without
    # the arena: 300 MB, a third slower). No spinning: as fast on free cores, a fifth faster on busy ones.
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if keep_memory else levels.ORT_ENABLE_EXTENDED
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if isinstance(source, Path) and not _is_text(source):
        source = source.read_bytes()  # ONNX Runtime takes names as UTF-8
    try:
        return onnxruntime.InferenceSession(
            str(source) if isinstance(source, Path) else source, options, providers=_providers(device)
        )
    except runtime_errors() as error:
        raise ModelError(f"{name}: ONNX Runtime cannot load it ({first_line(error)}); export it again") from error


def _is_text(path: Path) -> bool:
    return escape(str(path)) == str(path)


def _providers(device: str | None) -> list[str]:
    device = device or os.environ.get("IMAGO_DEVICE") or "cpu"
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if device.split(":")[0] != "cuda":
        raise ModelError(f"device {device!r} is not known; choose cpu or cuda (IMAGO_DEVICE)")
    if "CUDAExecutionProvider" not in import_onnxruntime().get_available_providers():
        raise ModelError(
            "device 'cuda' needs ONNX Runtime for GPUs; pip install onnxruntime-gpu, or use IMAGO_DEVICE=cpu"
        )
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]


def first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """float32, any shape; without overflow."""
    return 0.5 * (np.tanh(0.5 * logits) + 1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """float32 (N, K, h, w), over K."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def minmax_normalize(scores: np.ndarray) -> np.ndarray:
    """float32 (N, K, h, w), each image spread to 0..1 by its own least and largest value (as the official U2-Net).

    A flat answer has nothing to spread and stays as it is.
    """
    out = np.clip(scores, 0, 1)
    for index, image in enumerate(scores):
        low, high = float(image.min()), float(image.max())
        if high - low > 1e-6:
            out[index] = (image - low) / (high - low)
    return out
