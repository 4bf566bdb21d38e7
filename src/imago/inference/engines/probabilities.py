"""What a net that labels pixels says, as probabilities. Shared by all engines; NumPy alone."""

from __future__ import annotations

import numpy as np

from imago.core.errors import ModelError
from imago.core.model_card import ModelCard
from imago.core.text import plural


def to_probabilities(scores: np.ndarray, card: ModelCard, name: str) -> np.ndarray:
    """A file's first output, float32 (N, K, h, w) or (N, h, w), logits or probabilities as its card says -> float32
    (N, K, h, w), 0..1. Raises ModelError, which names the file, where K is not what the card says."""
    if scores.ndim == 3:  # a net without a channel axis
        scores = scores[:, None]
    classes = 1 if card.task == "binary" else len(card.labels)
    channels = classes + card.distance
    if scores.ndim != 4 or scores.shape[1] != channels:
        more = " and a distance map" if card.distance else ""
        raise ModelError(
            f"{name}: the first output has shape {scores.shape}; expected (N, {channels}, h, w) for its task "
            f"{card.task!r} and {plural(len(card.labels), 'label')}{more}. Mend the card or export the model again"
        )
    if card.output == "logit" and card.distance:
        scores = np.concatenate([softmax(scores[:, :classes]), sigmoid(scores[:, classes:])], axis=1)
    elif card.output == "logit":
        scores = sigmoid(scores) if classes == 1 else softmax(scores)
    return minmax_normalize(scores) if card.minmax_normalize else scores


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
