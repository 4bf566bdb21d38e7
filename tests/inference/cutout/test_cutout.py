"""The alpha follows the photo's edges, strips are equal to the whole, and no halo is left in a cut-out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imago.core.errors import ImagoError
from imago.files.images import Photo, read_image
from imago.inference.cutout.alpha import (
    AlphaMap,
    ArrayAlpha,
    compute_full_alpha,
    guided_coefficients,
    resize_rows,
    small_size,
)
from imago.inference.cutout.background import check_background, cover, parse_color
from imago.inference.cutout.compose import compose, subject_box
from imago.inference.cutout.matting import matte

SUBJECT, GROUND = np.array([200.0, 40, 30]), np.array([20.0, 60, 190])


def disc(size: int = 240, soft: float = 6) -> tuple[np.ndarray, np.ndarray]:
    """A red disc with a soft edge mixed onto blue: uint8 (H, W, 3) and its true alpha float32 (H, W)."""
    y, x = np.mgrid[:size, :size]
    alpha = np.clip((size * 0.3 - np.hypot(y - size / 2, x - size / 2)) / soft + 0.5, 0, 1).astype(np.float32)
    image = alpha[..., None] * SUBJECT + (1 - alpha[..., None]) * GROUND
    return (image + 0.5).astype(np.uint8), alpha


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 40), st.booleans(), st.data())
def test_strips_are_the_whole(height: int, width: int, h: int, w: int, guided: bool, data: st.DataObject) -> None:
    low = np.random.default_rng(1).random((h, w)).astype(np.float32)
    alpha = AlphaMap(low, noise(height, width), guided=guided)
    whole = alpha.full()
    assert whole.shape == (height, width)
    assert whole.dtype == np.float32
    assert 0 <= whole.min() <= whole.max() <= 1
    top = data.draw(st.integers(0, height - 1))
    bottom = data.draw(st.integers(top + 1, height))
    np.testing.assert_allclose(alpha.rows(top, bottom), whole[top:bottom], atol=1e-5)


def test_stretching_is_opencvs_bilinear() -> None:
    low = np.random.default_rng(1).random((13, 17)).astype(np.float32)
    whole = cv2.resize(low, (90, 71), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(resize_rows(low, 30, 50, (71, 90)), whole[30:50], atol=1e-5)


def test_the_guided_filter_is_the_ridge_regression_of_each_window() -> None:
    random = np.random.default_rng(2)
    guide, mask, epsilon = random.random((9, 11, 3)).astype(np.float32), random.random((9, 11)).astype(np.float32), 1e-2
    lines = np.zeros((9, 11, 4))
    for y in range(1, 8):
        for x in range(1, 10):
            colors, values = (
                guide[y - 1 : y + 2, x - 1 : x + 2].reshape(9, 3),
                mask[y - 1 : y + 2, x - 1 : x + 2].ravel(),
            )
            centerd = colors - colors.mean(axis=0)
            factors = np.linalg.solve(
                centerd.T @ centerd / 9 + epsilon * np.eye(3), centerd.T @ (values - values.mean()) / 9
            )
            lines[y, x] = [*factors, values.mean() - factors @ colors.mean(axis=0)]
    planes = guided_coefficients(guide, mask, 1, epsilon)
    wanted = lines[3:6, 4:7].reshape(9, 4).mean(axis=0)  # the mean over the windows around (4, 5)
    np.testing.assert_allclose(planes[:, 4, 5] * [255, 255, 255, 1], wanted, atol=1e-4)


def test_the_edge_of_the_photo_is_found_again() -> None:
    image, true = disc(soft=1)
    low = cv2.GaussianBlur(cv2.resize(np.roll(true, 4, axis=1), (60, 60), interpolation=cv2.INTER_AREA), (0, 0), 1)
    errors = [
        np.abs((AlphaMap(low, image, guided=guided).full() >= 0.5).astype(float) - true).sum()
        for guided in (False, True)
    ]
    assert errors[1] < 0.5 * errors[0]


def test_matting_finds_strands_that_the_network_cannot_see() -> None:
    y, x = np.mgrid[:300, :300] - 150
    away, round_it = np.hypot(y, x), np.arctan2(y, x)
    true = ((away < 90) | ((away < 105) & (np.sin(round_it * 40) > 0.5))).astype(np.float32)
    true = cv2.GaussianBlur(true, (0, 0), 0.7)
    image = (true[..., None] * SUBJECT + (1 - true[..., None]) * GROUND + 0.5).astype(np.uint8)
    coarse = AlphaMap(cv2.resize(true, (50, 50), interpolation=cv2.INTER_AREA), image)
    fringe = (away > 85) & (away < 110)
    errors = [np.abs(alpha.full() - true)[fringe].mean() for alpha in (coarse, matte(coarse, image))]
    assert errors[1] < 0.8 * errors[0]


def test_reduced_is_the_whole_made_smaller() -> None:
    image, true = disc(300)
    low = cv2.resize(true, (50, 50), interpolation=cv2.INTER_AREA)
    for alpha in (AlphaMap(low, image), ArrayAlpha(true), ArrayAlpha((true * 255).astype(np.uint8))):
        small = cv2.resize(compute_full_alpha(alpha), (100, 100), interpolation=cv2.INTER_AREA)
        assert np.abs(alpha.reduce((100, 100)) - small).mean() < 0.01
    assert small_size((4096, 2000)) == (1024, 500)
    assert small_size((30, 2)) == (30, 2)


@pytest.mark.parametrize(
    ("background", "color"), [("#00ff00", (0, 255, 0)), ("#ffffff", (255, 255, 255)), ("#000", (0, 0, 0))]
)
def test_no_halo(background: str, color: tuple[int, int, int]) -> None:
    image, true = disc()
    made = compose(Photo(image), ArrayAlpha(true), background).array().astype(float)
    wanted = true[..., None] * SUBJECT + (1 - true[..., None]) * np.array(color)
    with_halo = true[..., None] * image + (1 - true[..., None]) * np.array(color)
    edge = (true > 0.05) & (true < 0.95)
    assert np.abs(made - wanted)[edge].mean() < 4
    assert np.abs(with_halo - wanted)[edge].mean() > 15  # what is shown without


def test_transparent() -> None:
    image, true = disc()
    made = compose(Photo(image), ArrayAlpha(true)).array()
    assert made.shape == (240, 240, 4)
    assert np.array_equal(made[..., 3], (true * 255 + 0.5).astype(np.uint8))
    assert not made[made[..., 3] == 0].any()  # clear pixels cost nothing in a PNG
    inside = true == 1
    assert np.array_equal(made[inside][:, :3], image[inside])
    by_rows = np.concatenate(list(compose(Photo(image), ArrayAlpha(true)).strips(rows=7)))
    assert np.abs(by_rows.astype(int) - made).max() <= 1


def test_transparency_of_the_photo_stays() -> None:
    image, true = disc()
    own = np.full((240, 240), 255, np.uint8)
    own[:, 120:] = 0
    made = compose(Photo(image, opacity=own), ArrayAlpha(true)).array()
    assert not made[:, 120:].any()
    assert made[120, 100, 3] == 255


def test_blurred_background_takes_no_color_of_the_subject() -> None:
    image, true = disc()
    made = compose(Photo(image), ArrayAlpha(true), "blur").array()
    outside = true == 0
    assert np.abs(made[outside].astype(float) - GROUND).max() < 12
    assert np.array_equal(made[true == 1], image[true == 1])


def test_image_as_background(tmp_path: Path) -> None:
    image, true = disc()
    behind = np.zeros((50, 200, 3), np.uint8)
    behind[:, 80:120] = (0, 250, 0)  # the middle of a wide image
    path = tmp_path / "behind.png"
    Image.fromarray(behind).save(path)
    made = compose(Photo(image), ArrayAlpha(true), path).array()
    assert made.shape == (240, 240, 3)
    assert np.abs(made[5, 60:180].astype(int) - (0, 250, 0)).max() < 5
    assert made[5, 5].max() < 5
    assert cover(behind, (100, 10)).shape == (100, 10, 3)


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("#ff8000", (255, 128, 0)),
        ("#F80", (255, 136, 0)),
        ("#12", None),
        ("#gggggg", None),
        ("red", (255, 0, 0)),
        ("RebeccaPurple", (102, 51, 153)),
        ("#ff800080", (255, 128, 0, 128)),
        ("#f808", (255, 136, 0, 136)),
        ("#ff8000FF", (255, 128, 0)),
        ("#ff80000", None),
        ("transparent", None),
        ("blur", None),
    ],
)
def test_colors(text: str, color: tuple[int, ...] | None) -> None:
    assert parse_color(text) == color


def test_background_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(
        ImagoError, match=r"'nowhere\.png' is neither transparent, blur, a colour like #ffffff or white, nor an image"
    ):
        check_background("nowhere.png")
    for background in ("transparent", "blur", "#000000"):
        check_background(background)


def test_crop() -> None:
    image, true = disc()
    made = compose(Photo(image), ArrayAlpha(true), crop=True, margin=0.1)
    assert all(abs(side - 240 * 0.6 * 1.2) <= 4 for side in made.size_hw)
    assert made.array().shape == (*made.size_hw, 4)
    top, left, bottom, right = made.box or (0, 0, 0, 0)
    whole = compose(Photo(image), ArrayAlpha(true)).array()
    assert np.abs(made.array().astype(int) - whole[top:bottom, left:right]).max() <= 1


def test_crop_where_nothing_was_found() -> None:
    made = compose(Photo(noise(20, 30)), ArrayAlpha(np.zeros((20, 30), np.float32)), crop=True)
    assert made.size_hw == (20, 30)
    assert made.notes == ("nothing was found; the cut-out is empty, and not cropped",)
    assert not made.array().any()


def test_specks_do_not_stretch_the_box() -> None:
    share = np.zeros((100, 100), np.float32)
    share[40:60, 30:50] = 1
    share[2, 95] = 1
    assert subject_box(share, (200, 300), 0) == (80, 90, 120, 150)
    share[80:90, 80:90] = 1  # a second subject does
    assert subject_box(share, (100, 100), 0) == (40, 30, 90, 90)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 50), (50, 1), (3, 3)])
@pytest.mark.parametrize("background", ["transparent", "blur", "#123456"])
def test_tiny_photos(size_hw: tuple[int, int], background: str) -> None:
    alpha = AlphaMap(np.full((32, 32), 0.6, np.float32), noise(*size_hw))
    for each in (alpha, matte(alpha, alpha.pixels)):
        assert compose(Photo(alpha.pixels), each, background, crop=True).array().shape[:2] == size_hw


@pytest.mark.data
def test_the_guide_gains_on_real_photos(data_root: Path) -> None:
    gains = []
    for name in (data_root / "people" / "val.txt").read_text().split()[:6]:
        photo = read_image(data_root / "people" / "images" / f"{name}.jpg")
        true = read_image(data_root / "people" / "masks" / f"{name}.png")
        mask = (np.asarray(Image.open(data_root / "people" / "masks" / f"{name}.png")) > 0).astype(np.float32)
        assert true.size_hw == photo.size_hw
        low = cv2.GaussianBlur(
            cv2.resize(np.roll(mask, 3, axis=1), (256, 384), interpolation=cv2.INTER_AREA), (0, 0), 1
        )
        guided = AlphaMap(low, photo.pixels)
        scores = [_iou(each.full(), mask) for each in (guided, replace(guided, guided=False))]
        gains.append(scores[0] - scores[1])
    assert np.mean(gains) > 0.003


def _iou(alpha: np.ndarray, mask: np.ndarray) -> float:
    found, true = alpha >= 0.5, mask > 0
    return float((found & true).sum() / (found | true).sum())


def test_strips_of_many_soft_pixels_come_out_like_those_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    pixels = cv2.resize(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)
    alpha = cv2.resize(rng.random((6, 8), np.float32), (160, 120), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    made = []
    for many in (0.0, 1.0):
        monkeypatch.setattr("imago.inference.cutout.compose.MANY", many)
        made.append(compose(read_image(pixels), ArrayAlpha(alpha)).array().astype(int))
    assert np.abs(made[0] - made[1]).max() <= 1
    assert (made[0][..., :3] != np.dstack([pixels])[..., :3]).any()
