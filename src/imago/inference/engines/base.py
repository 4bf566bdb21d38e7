"""What an engine is: something that runs one net, whatever it is built on."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from imago.core.model_card import ModelCard


class Engine(Protocol):
    """``OnnxEngine`` and ``TorchEngine`` are two. ``run`` may be called from several threads at once."""

    @property
    def card(self) -> ModelCard: ...

    def run(self, batch: np.ndarray) -> np.ndarray:
        """float32 (N, C, h, w), prepared by ``card.input.fit`` -> probabilities float32 (N, K, h, w), 0..1.

        K is 1 for a binary model, else the number of labels.
        """
        ...
