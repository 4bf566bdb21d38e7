"""The dense CRF: every pixel talks to every other (Krähenbühl and Koltun 2011, arXiv:1210.5644).

Pixels that lie near, and pixels that lie not too far and look alike, should have the same class: two Gaussian
potentials of Potts type (equation 3), mean field inference (algorithm 1), filtering on a permutohedral lattice. As in
the authors' code each Gaussian is normalised symmetrically, and a pixel's message to itself stays in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from imago.core.input_spec import resize_image
from imago.core.settings import check_values
from imago.inference.permutohedral import Lattice

CRF_PIXELS = 250_000  # it works at a size of at most this many pixels; beyond, outlines gain little and time grows


@dataclass(frozen=True)
class DenseCRF:
    """How strongly pixels speak, and how far. Deviations of place are for a photo whose longer side is 500 pixels."""

    near_weight: float = 3.0
    near_px: float = 3.0
    alike_weight: float = 5.0
    alike_px: float = 50.0
    alike_color: float = 10.0  # of 0..255
    iterations: int = 10

    def __post_init__(self) -> None:
        check_values(self)
        for name in ("near_px", "alike_px", "alike_color", "iterations"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0; got {getattr(self, name)}")
        for name in ("near_weight", "alike_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative; got {getattr(self, name)}")

    def refine(self, scores: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Probabilities float32 (K, h, w) over a photo uint8 (H, W, C) -> float32 (K, h', w'), h' w' <= CRF_PIXELS.

        The answer has the photo's size, or is as much smaller as ``CRF_PIXELS`` asks for.
        """
        height, width = image.shape[:2]
        ratio = min(1.0, math.sqrt(CRF_PIXELS / (height * width)))
        size_hw = max(1, round(height * ratio)), max(1, round(width * ratio))
        small = resize_image(image, size_hw)
        large = np.stack([cv2.resize(np.ascontiguousarray(plane), size_hw[::-1]) for plane in scores])
        return self.mean_field(large, small)

    def features(self, image: np.ndarray) -> list[tuple[float, np.ndarray]]:
        """Weight and (N, d) points, divided by their deviations, of the two potentials."""
        height, width = image.shape[:2]
        unit = max(height, width) / 500
        place = np.indices((height, width)).reshape(2, -1).T / unit
        color = image.reshape(height * width, -1).astype(np.float64) / self.alike_color
        alike = np.concatenate([place / self.alike_px, color], axis=1)
        return [(self.near_weight, place / self.near_px), (self.alike_weight, alike)]

    def mean_field(self, scores: np.ndarray, image: np.ndarray) -> np.ndarray:
        """``refine`` at one size: (K, h, w) and (h, w, C) -> (K, h, w)."""
        classes, height, width = scores.shape
        evidence = np.log(np.clip(scores, 1e-5, 1)).reshape(classes, -1).T.astype(np.float32)  # (N, K)
        potentials = []
        for weight, points in self.features(image):
            if weight:
                lattice = Lattice(points)
                norm = 1 / np.sqrt(lattice.filter(np.ones((len(points), 1), np.float32)) + 1e-20)
                potentials.append((weight * norm, norm, lattice))
        belief = _softmax(evidence)
        for _ in range(self.iterations):
            total = evidence.copy()
            for strength, norm, lattice in potentials:
                total += strength * lattice.filter(norm * belief)
            belief = _softmax(total)
        return np.ascontiguousarray(belief.T.reshape(classes, height, width))


def _softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
