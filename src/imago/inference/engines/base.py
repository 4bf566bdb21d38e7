"""What an engine is: something that runs one net, whatever it is built on. ``OnnxEngine`` and ``TorchEngine`` are two.

What ``run`` takes and gives is said by the task in the model's card: ``Engine`` for nets that label pixels,
``DetectionEngine`` for those that find objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from imago.core.model_card import ModelCard


class Engine(Protocol):
    """Of a model that labels pixels. ``run`` may be called from several threads at once."""

    @property
    def card(self) -> ModelCard: ...

    def run(self, batch: np.ndarray, /) -> np.ndarray:
        """float32 (N, C, h, w), prepared by ``card.input.fit`` -> probabilities float32 (N, K, h, w), 0..1.

        K is 1 for a binary model, else the number of labels. Raises ModelError.
        """
        ...


@dataclass(frozen=True)
class FrameDetections:
    """What a model found in one prepared image, the best score first. NumPy's twin of ``models.detection.base``'s."""

    boxes: np.ndarray  # float32 (K, 4) x1 y1 x2 y2, pixels of the network's frame
    scores: np.ndarray  # float32 (K,), 0..1
    classes: np.ndarray  # int64 (K,), 1 and more
    masks: np.ndarray | None = None  # float32 (K, m, m), 0..1: what lies in each box, stretched to a square


class DetectionEngine(Protocol):
    """Of a model that finds objects. ``run`` may be called from several threads at once."""

    @property
    def card(self) -> ModelCard: ...

    def run(self, frame: np.ndarray, proposals: np.ndarray | None = None, /) -> FrameDetections:
        """``frame`` float32 (1, C, h, w): one image prepared by ``card.input.fit``. ``proposals`` float32 (K, 4) in its
        pixels, K 1 or more, where ``card.proposals`` says that the model judges such. Where ``card.crop_padding`` says
        that it looks at each by itself, ``frame`` is (K, C, h, w) crops, and all boxes are in pixels of the image.
        Raises ModelError."""
        ...
