"""Finds objects with ``.safetensors`` checkpoints on torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from imago.core.errors import ModelError
from imago.inference.things import FrameObjects, check_task
from imago.inference.torch_engine import choose_device
from imago.models import checkpoint


class TorchObjectEngine:
    """One checkpoint, ready to run; answers as ``ObjectEngine`` does for the exported file.

    ``device``: see ``TorchEngine``. Raises ModelError.
    """

    def __init__(self, path: Path | str, device: str | None = None) -> None:
        self.name = str(path)
        self.device = choose_device(device)
        net, self.card = checkpoint.load_things(Path(path))
        check_task(self.card, self.name)
        self.net = net.to(self.device).eval()

    def run(self, frame: np.ndarray) -> FrameObjects:
        """See ``FindsObjects.run``."""
        images = torch.from_numpy(np.ascontiguousarray(frame, np.float32)).to(self.device)
        try:
            with torch.inference_mode():
                found = self.net.decode(self.net(images), (images.shape[2], images.shape[3]))[0]
        except ValueError as error:  # ThingNet.check
            raise ModelError(f"{self.name}: {error}. Prepare images with card.input.fit") from error
        masks = None if found.masks is None else found.masks.float().cpu().numpy()
        return FrameObjects(
            found.boxes.float().cpu().numpy(), found.scores.float().cpu().numpy(), found.classes.cpu().numpy(), masks
        )
