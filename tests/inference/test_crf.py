"""The dense CRF: the lattice beside sums over all pairs, the mean field beside brute force, and what it does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_onnx import write_tiny

from imago.inference.crf import CRF_PIXELS, DenseCRF
from imago.inference.engines.onnx import OnnxEngine
from imago.inference.options import PredictOptions
from imago.inference.permutohedral import Lattice
from imago.inference.predictor import Predictor


def all_pairs(points: np.ndarray) -> np.ndarray:
    """(N, N): exp(-|a - b|² / 2)."""
    return np.exp(-((points[:, None] - points[None]) ** 2).sum(-1) / 2)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_the_lattice_filters_like_a_gaussian(dimensions: int) -> None:
    random = np.random.default_rng(dimensions)
    points = random.normal(0, 1.5, (600, dimensions))
    values = random.random((600, 3)).astype(np.float32)
    exact = all_pairs(points)
    mean = exact @ values / exact.sum(1, keepdims=True)
    lattice = Lattice(points)
    found = lattice.filter(values) / lattice.filter(np.ones((600, 1), np.float32))
    assert np.corrcoef(found.ravel(), mean.ravel())[0, 1] > 0.94  # the lattice is coarse; at 5 dimensions 0.955
    assert np.abs(found - mean).mean() < 0.04


def test_weights_are_shares() -> None:
    lattice = Lattice(np.random.default_rng(0).normal(0, 3, (500, 5)))
    assert lattice.weights.min() > -1e-5
    assert np.allclose(lattice.weights.sum(1), 1, atol=1e-5)
    assert lattice.index.max() < lattice.size


def noisy_square(side: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A bright square on dark ground, uint8 (H, W, 3); its label; scores (2, H, W) that are right in two of three."""
    random = np.random.default_rng(1)
    label = np.zeros((side, side), bool)
    label[6:18, 8:20] = True
    image = (np.where(label, 200, 50)[..., None] + random.normal(0, 6, (side, side, 3))).clip(0, 255).astype(np.uint8)
    chance = np.where(random.random((side, side)) < 0.75, 0.8, 0.25)
    foreground = np.where(label, chance, 1 - chance).astype(np.float32)
    return image, label, np.stack([1 - foreground, foreground])


def test_mean_field_beside_brute_force() -> None:
    image, _, scores = noisy_square()
    crf = DenseCRF(near_px=60, alike_px=200, iterations=5)  # at 24 pixels: 2.9 and 9.6
    evidence = np.log(np.clip(scores, 1e-5, 1)).reshape(2, -1).T
    kernels = []
    for weight, points in crf.features(image):
        kernel = all_pairs(points)
        norm = 1 / np.sqrt(kernel.sum(1))
        kernels.append(weight * norm[:, None] * kernel * norm[None])
    belief = np.exp(evidence) / np.exp(evidence).sum(1, keepdims=True)
    for _ in range(crf.iterations):
        total = evidence + sum(kernel @ belief for kernel in kernels)
        belief = np.exp(total - total.max(1, keepdims=True))
        belief /= belief.sum(1, keepdims=True)
    found = crf.mean_field(scores, image).reshape(2, -1).T
    assert np.abs(found - belief).mean() < 0.02
    assert (found.argmax(1) == belief.argmax(1)).mean() > 0.99


def test_it_mends_noise() -> None:
    image, label, scores = noisy_square()
    before = ((scores[1] > 0.5) == label).mean()
    after = DenseCRF(near_px=60, alike_px=200).mean_field(scores, image)
    assert after.shape == scores.shape
    assert np.allclose(after.sum(0), 1, atol=1e-5)
    assert before < 0.85
    assert ((after[1] > 0.5) == label).mean() > 0.97


def test_without_weights_nothing_changes() -> None:
    image, _, scores = noisy_square()
    same = DenseCRF(near_weight=0, alike_weight=0).mean_field(scores, image)
    assert np.allclose(same, scores / scores.sum(0), atol=1e-5)


def test_large_photos_are_worked_on_smaller() -> None:
    image = np.zeros((900, 1200, 3), np.uint8)
    scores = np.full((2, 30, 40), 0.5, np.float32)
    answer = DenseCRF(iterations=1).refine(scores, image)
    assert answer.shape[1] * answer.shape[2] <= CRF_PIXELS * 1.01
    assert answer.shape[2] / answer.shape[1] == pytest.approx(4 / 3, rel=0.01)


def test_a_predictor_refines(tmp_path: Path) -> None:
    """Binary and with classes: sizes and types stay, and the answer is another one."""
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for classes in (1, 3):
        engine = OnnxEngine(write_tiny(tmp_path / f"{classes}.onnx", classes), threads=1)
        plain, refined = Predictor(engine)(image), Predictor(engine, PredictOptions(crf=DenseCRF()))(image)
        assert refined.label_map.shape == plain.label_map.shape == (64, 64)
        assert refined.label_map.dtype == plain.label_map.dtype
        assert not np.array_equal(refined.label_map, plain.label_map)
