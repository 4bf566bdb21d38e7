"""Runs ``.onnx`` files on ONNX Runtime."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imago.core.errors import ModelError, is_out_of_memory
from imago.core.model_card import DETECTION_TASKS, ModelCard
from imago.core.text import escape
from imago.files.model_file import read_onnx_card, sidecar
from imago.inference.engines.base import FrameDetections
from imago.inference.engines.probabilities import to_probabilities
from imago.inference.runtime import import_onnxruntime, leave_at_fork, make_immortal, runtime_errors
from imago.inference.threads import free_cores
from imago.models.published import recognize

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxEngine:
    """One ONNX file, ready to run, whatever its task. ``run`` may be called from several threads at once.

    It can be pickled and copied, and goes on in a forked process: the path (or the bytes) and the settings go along,
    and each process opens a session of its own when it first runs.

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
        check_is_there(source, self.name)
        self.card = card or read_card(source, self.name)
        self._source = source.absolute() if isinstance(source, Path) else source  # a worker may stand elsewhere
        self._threads, self._device, self._keep_memory = threads or free_cores(), device, keep_memory
        self._session: InferenceSession | None = None
        self._lock = threading.Lock()
        decoder = Detections if self.card.task in DETECTION_TASKS else Probabilities
        self._decoder: Probabilities | Detections = decoder(self.card, self.name, self.session)
        self._inputs = [(value.name, _TYPES[value.type]) for value in self.session.get_inputs()]

    @property
    def session(self) -> InferenceSession:
        """ONNX Runtime's own, of this process."""
        with self._lock:
            if self._session is None:
                blocks = self._keep_memory or is_depthwise(self.card)
                self._session = open_session(self._source, self.name, self._threads, self._device, blocks)
                leave_at_fork(self)
            return self._session

    def leave_session(self) -> None:
        """In a forked child: the parent's session is neither used nor ended, for both wait for threads that did not go
        along; the next run opens another one."""
        if self._session is not None:
            make_immortal(self._session)
        self._session, self._lock = None, threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_session", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _session=None, _lock=threading.Lock())

    def run(self, frame: np.ndarray, proposals: np.ndarray | None = None) -> Any:
        """See ``Engine.run``, or ``DetectionEngine.run`` where the card's task is one of ``DETECTION_TASKS``."""
        parts = self._decoder.split(frame) if proposals is None else [(frame, proposals)]
        try:
            answers = [self._run(part) for part in parts]
        except runtime_errors() as error:
            if is_out_of_memory(error):
                raise MemoryError from error
            raise ModelError(
                f"{self.name}: cannot run on input of shape {frame.shape} ({first_line(error)}); "
                "does the size rule in its card fit the network?"
            ) from error
        return self._decoder.decode(answers)

    def _run(self, given: Sequence[np.ndarray]) -> list[np.ndarray]:
        values = zip(self._inputs, given, strict=True)
        fed = {name: value.astype(kind, copy=False) for (name, kind), value in values}
        session, options = self.session, import_onnxruntime().RunOptions()
        if not self._keep_memory and session.get_providers() == ["CPUExecutionProvider"]:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return session.run(self._decoder.outputs, fed, options)


class Probabilities:
    """What a file of a net that labels pixels takes and gives. Raises ModelError where it does not fit its card."""

    def __init__(self, card: ModelCard, name: str, session: InferenceSession) -> None:
        self.card, self.name = card, name
        first, shape = session.get_inputs()[0], session.get_inputs()[0].shape
        if len(session.get_inputs()) != 1 or len(shape) != 4 or first.type not in _TYPES:
            found = ", ".join(f"{value.name} {value.type} {value.shape}" for value in session.get_inputs())
            raise ModelError(f"{name}: expected one input of float (N, C, H, W); it has {found}")
        if isinstance(shape[1], int) and shape[1] != card.input.channels:
            raise ModelError(
                f"{name}: the network takes {shape[1]} channels, its card says {card.input.channels}; mend the card"
            )
        fixed, spec = tuple(shape[2:]), card.input
        if any(isinstance(side, int) for side in fixed) and not (spec.fixed_size and fixed == spec.size_hw):
            raise ModelError(
                f"{name}: the network takes {fixed[0]} x {fixed[1]} pixels only, its card says rule "
                f"{spec.rule!r}, size {spec.size_hw[0]} x {spec.size_hw[1]}; mend the card (rule resize or letterbox)"
            )
        self.outputs = [session.get_outputs()[0].name]
        self._one_by_one = shape[0] == 1

    def split(self, batch: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        """What is run, one after the other, of (N, C, h, w): each image by itself where the file takes one at a
        time."""
        return [(batch[i : i + 1],) for i in range(len(batch))] if self._one_by_one else [(batch,)]

    def decode(self, answers: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        """See ``Engine.run``."""
        scores = answers[0][0] if len(answers) == 1 else np.concatenate([first for (first,) in answers])
        return to_probabilities(scores.astype(np.float32, copy=False), self.card, self.name)


_LAST_BITS = 1e-3  # what half precision may add to a score of 1


class Detections:
    """What a file takes and gives that ``imago.export.detection`` wrote. Raises ModelError where it is another one."""

    def __init__(self, card: ModelCard, name: str, session: InferenceSession) -> None:
        self.name, self.classes = name, len(card.labels)
        self.outputs = ["boxes", "scores", "classes"] + (["masks"] if card.task == "instances" else [])
        given = [value.name for value in session.get_outputs()]
        inputs = [value.name for value in session.get_inputs()]
        wanted = 1 if card.proposals is None else 2
        types = {value.type for value in session.get_inputs()}
        if not set(self.outputs) <= set(given) or len(inputs) != wanted or not types <= _TYPES.keys():
            raise ModelError(
                f"{name}: expected {('one input', 'two inputs')[wanted - 1]} of float and the outputs "
                f"{', '.join(self.outputs)} for its task {card.task!r}; it has {', '.join(inputs)} and "
                f"{', '.join(given)}. Mend the card or export the model again"
            )

    def split(self, frame: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        """(1, C, h, w) is one run."""
        return [(frame,)]

    def decode(self, answers: Sequence[Sequence[np.ndarray]]) -> FrameDetections:
        """See ``DetectionEngine.run``. Raises ModelError for answers that are none."""
        found = FrameDetections(*answers[0])
        count, sizes = len(found.scores) if found.scores.ndim == 1 else -1, [part.shape for part in answers[0]]
        fits = sizes[:3] == [(count, 4), (count,), (count,)] and all(size[:1] == (count,) for size in sizes)
        if not fits or (found.masks is not None and found.masks.ndim != 3):
            raise ModelError(
                f"{self.name}: its outputs have the shapes {sizes}; expected (K, 4), (K,), (K,), (K, m, m)"
            )
        if not all(np.isfinite(part).all() for part in answers[0]):
            raise ModelError(f"{self.name}: it answers with what is no number")
        if count and not 1 <= found.classes.min() <= found.classes.max() < self.classes:
            raise ModelError(
                f"{self.name}: it answers with the classes {found.classes.min()} to {found.classes.max()}; its card "
                f"names {self.classes - 1}, from 1 on. Mend the card or export the model again"
            )
        if count and not (found.scores.min() >= -_LAST_BITS and found.scores.max() <= 1 + _LAST_BITS):
            low, high = found.scores.min(), found.scores.max()
            raise ModelError(f"{self.name}: it answers with scores from {low:g} to {high:g}; expected 0 to 1")
        if (found.classes % 1).any():
            raise ModelError(f"{self.name}: it answers with classes that are no whole numbers")
        return found


def check_is_there(source: Path | bytes, name: str) -> None:
    """Raises ModelError."""
    if isinstance(source, Path) and not source.is_file():
        raise ModelError(f"{name}: there is no such model file")


def read_card(source: Path | bytes, name: str) -> ModelCard:
    card = read_onnx_card(source, name)
    if card is None and isinstance(source, Path):
        card = recognize(source)
    if card is None:
        place = f"in a file {sidecar(source).name!r} beside it" if isinstance(source, Path) else "with card="
        raise ModelError(
            f"{name}: an ONNX file without an Imago model card, so its classes and size are not known. Give a card "
            f"{place}; one to start from is printed by: imago models show u2netp --json"
        )
    return card


def is_depthwise(card: ModelCard) -> bool:
    """Whether the net is made of depthwise convolutions, by its encoder's name."""
    return str(card.options.get("encoder", "")).startswith(("efficientnet", "mobilenet"))


def open_session(source: Path | bytes, name: str, threads: int, device: str | None, blocks: bool) -> InferenceSession:
    """``blocks``: lay channels in blocks, ONNX Runtime's full optimization."""
    check_is_there(source, name)
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised; ONNX Runtime need not print it as well
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # All from measuring U2-Net-p at 320 x 320 on two cores. Full optimisation (channels in blocks): start 0.01 s
    # longer, each run a quarter faster, 70 MB more. No memory pattern: 270 instead of 470 MB at the same speed (without
    # the arena: 300 MB, a third slower). No spinning: as fast on free cores, a fifth faster on busy ones.
    # Of depthwise convolutions (EfficientNet-Lite0, 320 x 320) a run in blocks takes a third of the time: 21 ms for 59.
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if blocks else levels.ORT_ENABLE_EXTENDED
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


def _providers(device: str | None) -> list[str | tuple[str, dict[str, str]]]:
    device = device or os.environ.get("IMAGO_DEVICE") or "cpu"
    if device == "cpu":
        return ["CPUExecutionProvider"]
    kind, _, number = device.partition(":")
    if kind != "cuda" or (device != "cuda" and not number.isdigit()):
        raise ModelError(
            f"device {device!r} is not known to ONNX Runtime; choose cpu, cuda or cuda:1 (device= or IMAGO_DEVICE)"
        )
    if "CUDAExecutionProvider" not in import_onnxruntime().get_available_providers():
        raise ModelError(
            f"device {device!r} needs ONNX Runtime for GPUs; pip install onnxruntime-gpu, or use IMAGO_DEVICE=cpu"
        )
    return [("CUDAExecutionProvider", {"device_id": number or "0"}), "CPUExecutionProvider"]


def first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
