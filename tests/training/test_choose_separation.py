"""The thresholds by which objects are made: chosen on photos, kept in the model's card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cells import write_cells

from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.core.model_card import ModelCard
from imago.core.separation import Separation
from imago.data.borders import BACKGROUND, BORDER, DEEPEST, INSIDE, border_labels, border_map, distance_map
from imago.data.dataset import Sample
from imago.data.open_dataset import open_dataset
from imago.inference.predictor import Predictor
from imago.training.choose_separation import choose_separation


@pytest.fixture
def samples(tmp_path: Path) -> tuple[Sample, ...]:
    return open_dataset(write_cells(tmp_path / "cells", 4), "detection").split("all")


def overdrawn(sample: Sample, halo: float) -> np.ndarray:
    """What a net might say that thinks with ``halo`` (0..1) that two pixels around each cell are border."""
    import cv2

    labels = border_map(sample.instances())
    wide = cv2.dilate((labels > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    scores = np.zeros((3, *labels.shape), np.float32)
    scores[BACKGROUND], scores[BORDER] = 0.98, 0.01
    scores[BORDER][wide], scores[BACKGROUND][wide] = halo, 1 - halo
    for value in (BORDER, INSIDE):
        scores[:, labels == value] = 0.02
        scores[value][labels == value] = 0.96
    return scores / scores.sum(axis=0)


@pytest.mark.parametrize(("halo", "least"), [(0.65, 0.7), (0.75, 0.8), (0.2, 0.4)])
def test_masks_that_are_too_large_are_cut_back(halo: float, least: float, samples: tuple[Sample, ...]) -> None:
    by_image = {sample.image().tobytes(): overdrawn(sample, halo) for sample in samples}
    how, reached = choose_separation(lambda image: by_image[image.tobytes()], samples)
    assert how.foreground >= least
    assert how.foreground <= max(0.5, least)  # no further from what is usual than it must be
    assert reached > 0.95


@pytest.mark.parametrize("learnt", [True, False])
def test_a_distance_map_is_used_where_it_is_better(learnt: bool, tmp_path: Path) -> None:
    """Cells whose borders the net does not see; its distance map is right, or the same everywhere."""
    folder = write_cells(tmp_path / "touching", 4, most=40)
    samples = open_dataset(folder, "detection").split("all")

    def scores_of(image: np.ndarray) -> np.ndarray:
        sample = next(sample for sample in samples if np.array_equal(sample.image(), image))
        shown = border_map(sample.instances()) > 0
        distance = distance_map(sample.instances()) / DEEPEST if learnt else np.full(shown.shape, 0.5)
        return np.stack([~shown * 0.9, shown * 0.1, shown * 0.9, distance]).astype(np.float32)

    how, reached = choose_separation(scores_of, samples, with_distance=True)
    assert (how.seed_distance > 0) == learnt
    assert reached > 0.9


def test_the_card_carries_them() -> None:
    how = Separation(seed=0.8, foreground=0.6, least_area_px=20, seed_distance=0.4, neck=0.8)
    labels = border_labels_of_one()
    card = ModelCard("cells", "unet", {}, "semantic", labels, InputSpec(), objects=True, distance=True, separation=how)
    assert ModelCard.from_json(card.to_json()) == card

    class Engine:
        def __init__(self, card: ModelCard) -> None:
            self.card = card

    assert Predictor(Engine(card)).separation == how  # type: ignore[arg-type]
    assert Predictor(Engine(card.with_(separation=None))).separation == Separation()  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="separation is how objects are made, and the model makes none"):
        card.with_(objects=False, distance=False)
    with pytest.raises(ModelError, match="a distance map tells objects apart, and the model makes none"):
        card.with_(objects=False, separation=None)


def border_labels_of_one():
    from imago.core.labels import Labels

    return border_labels(Labels(("background", "cell")))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"seed": 0.0}, "seed is a probability between 0 and 1; got 0.0"),
        ({"foreground": 1.0}, "foreground is a probability between 0 and 1; got 1.0"),
        ({"seed_distance": 1.0}, r"seed_distance is a share of an object's largest distance, 0 or more .*; got 1\.0"),
        ({"neck": 1.0}, r"neck is a share of a depth, 0 or more and below 1; got 1\.0"),
        ({"least_area_px": 0}, "least_area_px must be 1 pixel or more; got 0"),
    ],
)
def test_impossible_ones_are_refused(wrong: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Separation(**wrong)  # type: ignore[arg-type]
