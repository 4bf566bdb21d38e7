"""Finds objects with ``.safetensors`` checkpoints on torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from imago.core.errors import ModelError
from imago.inference.detection import FrameDetections, check_task
from imago.inference.engines.torch import choose_device
from imago.models import checkpoint
from imago.models.detection.base import DetectionModel


class TorchDetectionEngine:
    """One checkpoint, ready to run; answers as ``OnnxDetectionEngine`` does for the exported file.

    ``device``: see ``TorchEngine``. Raises ModelError.
    """

    def __init__(self, path: Path | str, device: str | None = None) -> None:
        self.name = str(path)
        self.device = choose_device(device)
        net, self.card = checkpoint.load_detection(Path(path))
        check_task(self.card, self.name)
        self.net = net.to(self.device).eval()

    def run(self, frame: np.ndarray, proposals: np.ndarray | None = None) -> FrameDetections:
        """See ``DetectionEngine.run``."""
        try:
            return run_net(self.net, self.device, frame, proposals)
        except ValueError as error:  # DetectionModel.check
            raise ModelError(f"{self.name}: {error}. Prepare images with card.input.fit") from error


def run_net(
    net: DetectionModel, device: torch.device, frame: np.ndarray, proposals: np.ndarray | None = None,
    autocast: torch.dtype | None = None,
) -> FrameDetections:  # fmt: skip
    """``DetectionEngine.run`` of a net in memory. ``autocast``: what the arithmetic is rounded to; None is float32."""
    images = torch.from_numpy(np.ascontiguousarray(frame, np.float32)).to(device)
    boxes = None if proposals is None else [torch.from_numpy(np.ascontiguousarray(proposals, np.float32)).to(device)]
    with torch.inference_mode(), torch.autocast(device.type, autocast, enabled=autocast is not None):
        found = net.find(images, boxes)[0]
    masks = None if found.masks is None else found.masks.float().cpu().numpy()
    return FrameDetections(
        found.boxes.float().cpu().numpy(), found.scores.float().cpu().numpy(), found.classes.cpu().numpy(), masks
    )
