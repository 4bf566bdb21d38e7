"""Runs ``.safetensors`` checkpoints on torch. The only file of this room that imports torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from imago.core.errors import ModelError
from imago.inference.engines.onnx import minmax_normalize
from imago.models import checkpoint


class TorchEngine:
    """One checkpoint, ready to run; answers as ``OnnxEngine`` does for the exported file.

    ``device``: "cuda", "mps", "cpu" and the like; the first of these three that there is if None. ``run`` may be
    called from several threads at once. Raises ModelError.
    """

    def __init__(self, path: Path | str, device: str | None = None) -> None:
        self.name = str(path)
        self.device = choose_device(device)
        net, self.card = checkpoint.load(Path(path))
        # cuDNN and oneDNN convolve pixel by pixel, all channels of a pixel side by side: measured faster on both.
        self.net = net.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def run(self, batch: np.ndarray) -> np.ndarray:
        """See ``Engine.run``."""
        if batch.ndim != 4 or batch.shape[1] != self.card.input.channels:
            raise ModelError(
                f"{self.name}: expected input (N, {self.card.input.channels}, h, w); got {batch.shape}. "
                "Prepare images with card.input.fit"
            )
        if any(side % self.net.multiple for side in batch.shape[2:]):
            raise ModelError(
                f"{self.name}: the net needs sides that are multiples of {self.net.multiple}; got {batch.shape[2]} x "
                f"{batch.shape[3]}. Prepare images with card.input.fit"
            )
        images = torch.from_numpy(np.ascontiguousarray(batch, np.float32)).to(self.device)
        with torch.inference_mode():
            probabilities = self.net.decode(self.net(images.contiguous(memory_format=torch.channels_last)))
        scores = probabilities.contiguous().cpu().numpy()
        return minmax_normalize(scores) if self.card.minmax_normalize else scores


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
