"""Masks from edges: drawn things on plain backgrounds are found, of the size of the photo or not, one or several."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from imago.core.edge_settings import EdgeSettings
from imago.core.errors import DataError
from imago.data.edges import find_by_edges, survey_photos
from imago.data.mask_pixels import read_mask
from imago.files.images import read_image


def draw(*discs: tuple[int, int, int], size_hw: tuple[int, int] = (240, 320)) -> tuple[np.ndarray, np.ndarray]:
    """A photo of yellow discs (x, y, radius) on a light, noisy board, and bool (H, W) of them."""
    mask = np.zeros(size_hw, np.uint8)
    for x, y, radius in discs:
        cv2.circle(mask, (x, y), radius, 1, -1)
    random = np.random.default_rng(0)
    image = random.normal(225, 3, (*size_hw, 3)).clip(0, 255).astype(np.uint8)
    image[mask > 0] = (230, 200, 40)
    return image, mask > 0


def join(image: np.ndarray, settings: EdgeSettings) -> np.ndarray:
    whole = np.zeros(image.shape[:2], bool)
    for mask in find_by_edges(image, settings):
        whole[mask.slices] |= mask.crop
    return whole


# Discs, settings, and which of the discs are found.
CASES = {
    "one": ([(160, 120, 60)], EdgeSettings(), [0]),
    "cut off by the border": ([(160, 0, 70)], EdgeSettings(), [0]),
    "in a corner": ([(0, 0, 90)], EdgeSettings(), [0]),
    "the largest": ([(80, 120, 60), (250, 120, 30)], EdgeSettings(), [0]),
    "all": ([(80, 120, 60), (250, 120, 30)], EdgeSettings(keep="all"), [0, 1]),
    "too small": ([(80, 120, 60), (250, 120, 7)], EdgeSettings(keep="all"), [0]),
    "thresholds that are given": ([(160, 120, 60)], EdgeSettings(high=60, low=20), [0]),
    "GrabCut": ([(160, 120, 60)], EdgeSettings(grabcut=True), [0]),
}


@pytest.mark.parametrize("case", CASES)
def test_discs_are_found(case: str) -> None:
    discs, settings, found = CASES[case]
    image, _ = draw(*discs)
    _, expected = draw(*[discs[index] for index in found])
    mask = join(image, settings)
    assert (mask & expected).sum() / (mask | expected).sum() > 0.95


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    flat = np.full((60, 80, 3), 200, np.uint8)
    assert find_by_edges(flat, EdgeSettings()) == []
    cv2.imwrite(str(tmp_path / "flat.png"), flat)
    (sample,) = survey_photos(tmp_path, EdgeSettings()).split("train")
    with pytest.raises(DataError, match=r"flat\.png: no outline was found; change --high"):
        sample.instances()
    with pytest.raises(DataError, match="holds no photos"):
        survey_photos(tmp_path / "none", EdgeSettings()) if (tmp_path / "none").mkdir() is None else None


@pytest.mark.parametrize(
    ("values", "words"),
    [({"low": 5.0, "high": 2.0}, "low <= high"), ({"close": 1.0}, "close is a share"), ({"blur": -1.0}, "blur is")],
)
def test_settings_that_cannot_be(values: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EdgeSettings(**values)  # type: ignore[arg-type]


@pytest.mark.data
def test_packaging(data_root: Path) -> None:
    """Every tenth photo of things on a white board, default settings: 0.95 over all 283 of them."""
    folder = data_root / "packaging"
    photos = sorted((folder / "images").glob("*.jpg"))[::10]
    scores = []
    for path in photos:
        found = join(read_image(path).pixels, EdgeSettings())
        truth = read_mask(folder / "masks" / f"{path.stem}.png") > 127
        scores.append((found & truth).sum() / (found | truth).sum())
    assert np.mean(scores) > 0.93
