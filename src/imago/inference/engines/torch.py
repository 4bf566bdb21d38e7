"""Runs ``.safetensors`` checkpoints, and nets in memory, on torch. The only file of this room that imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imago.core.errors import ModelError
from imago.core.model_card import ModelCard
from imago.inference.engines.base import FrameDetections
from imago.inference.engines.probabilities import minmax_normalize
from imago.models import checkpoint
from imago.models.base import SegmentationNet
from imago.models.catalog import Net
from imago.models.detection.base import Detections
from imago.models.memory_format import channels_last_is_faster


class TorchEngine:
    """One checkpoint, ready to run, whatever its task; answers as ``OnnxEngine`` does for the exported file.

    ``device``: "cuda", "mps", "cpu" and the like; the first of these three that there is if None. ``run`` may be
    called from several threads at once. Raises ModelError.
    """

    def __init__(self, path: Path | str, device: str | None = None) -> None:
        self.name = str(path)
        self.device = choose_device(device)
        self.autocast: torch.dtype | None = None
        self._path: Path | None = Path(path).absolute()
        self.net, self.card = open_net(Path(path), self.device)

    @classmethod
    def of_net(
        cls, net: Net, card: ModelCard, device: torch.device, autocast: torch.dtype | None = None
    ) -> TorchEngine:
        """An engine over a net in memory, which lies on ``device`` and is in ``eval()`` mode, and stays as it is.

        ``autocast``: what the arithmetic is rounded to, as in the net's training; None is float32.
        """
        engine = cls.__new__(cls)
        engine.name, engine.device, engine.autocast = card.name, device, autocast
        engine.net, engine.card, engine._path = net, card, None
        return engine

    def __getstate__(self) -> dict[str, Any]:
        """A checkpoint's path goes to another process, not its weights; a net in memory goes as it is."""
        left = () if self._path is None else ("net",)
        return {name: value for name, value in self.__dict__.items() if name not in left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._path is not None:
            self.net, _ = open_net(self._path, self.device)

    def run(self, frame: np.ndarray, proposals: np.ndarray | None = None) -> Any:
        """See ``Engine.run``, or ``DetectionEngine.run`` where the net finds objects."""
        if isinstance(self.net, SegmentationNet):
            return self.decode(self.outputs(frame))
        images = self._to_device(frame)
        boxes = (
            None
            if proposals is None
            else [torch.from_numpy(np.ascontiguousarray(proposals, np.float32)).to(self.device)]
        )
        with torch.inference_mode(), self._arithmetic():
            return to_frame_detections(self.net.find(images, boxes)[0])

    def outputs(self, batch: np.ndarray) -> tuple[Tensor, ...]:
        """float32 (N, C, h, w) -> what the net's ``forward`` gives."""
        images = self._to_device(batch)
        with torch.inference_mode(), self._arithmetic():
            return self.net(images)

    def decode(self, outputs: tuple[Tensor, ...]) -> np.ndarray:
        """What ``outputs`` gave for a net that labels pixels -> probabilities float32 (N, K, h, w)."""
        assert isinstance(self.net, SegmentationNet)
        with torch.inference_mode():
            scores = self.net.decode(outputs).contiguous().cpu().numpy()
        return minmax_normalize(scores) if self.card.minmax_normalize else scores

    def _arithmetic(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None)

    def _to_device(self, frame: np.ndarray) -> Tensor:
        images = torch.from_numpy(np.ascontiguousarray(frame, np.float32))
        try:
            self.net.check(images)
        except ValueError as error:
            raise ModelError(f"{self.name}: {error}. Prepare images with card.input.fit") from error
        images = images.to(self.device)
        if channels_last_is_faster(self.device.type):
            images = images.contiguous(memory_format=torch.channels_last)
        return images


def open_net(path: Path, device: torch.device) -> tuple[Net, ModelCard]:
    """A checkpoint's net and card; the net on ``device``, laid out as is fast there. Raises ModelError."""
    net, card = checkpoint.load(path, device)
    if channels_last_is_faster(device.type):
        net.to(memory_format=torch.channels_last)
    return net, card


def to_frame_detections(found: Detections) -> FrameDetections:
    """torch's tensors as NumPy arrays."""
    masks = None if found.masks is None else found.masks.float().cpu().numpy()
    return FrameDetections(
        found.boxes.float().cpu().numpy(), found.scores.float().cpu().numpy(), found.classes.cpu().numpy(), masks
    )


def choose_device(name: str | None = None) -> torch.device:
    """``name``, or the fastest device that there is. Raises ModelError for one that there is not."""
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # what torch raises for unknown and for missing devices
        reason = str(error).splitlines()[0]
        raise ModelError(f"device {name!r} cannot be used ({reason}); choose cpu, cuda or mps") from error
    return device
