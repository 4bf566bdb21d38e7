"""Augmentation: image and mask move together, whatever the sizes, channels and settings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.core.labels import IGNORE
from imago.data.augment.background import make_background, replace_background
from imago.data.augment.collage import LARGE, make_collage
from imago.data.augment.copy_paste import cut_subject, match_light, paste_several
from imago.data.augment.crop import crop_and_resize, random_crop, rotate
from imago.data.augment.photometric import DIMMEST, blur, blur_along_line, dim, jitter_colors
from imago.data.augment.pipeline import augment, border_weights
from imago.data.augment.settings import NO_AUGMENTATION, Augmentation
from imago.data.augment.shadow import cast_shadow

MOVES = Augmentation(
    flip=0.5, flip_vertical=0.5, rot90=0.6, zoom_min=0.4, zoom_max=1.6, focus=0.5, close_up=0.3, aspect_jitter=0.3,
    rotate_deg=25, elastic=0.6, elastic_px=15, color=0, to_gray=0, blur=0, noise=0, jpeg=0,
)  # fmt: skip
EVERYTHING = Augmentation(
    flip_vertical=0.5, rot90=0.5, close_up=0.4, aspect_jitter=0.4, rotate_deg=40, elastic=0.7, color=0.8, to_gray=0.5,
    blur=0.7, noise=0.7, jpeg=0.7, background=0.7, copy_paste=0.7, border_px=2, border_weight=0.3,
    pasted_max=4, shadow=0.7, collage=0.5, empty=0.2, low_light=0.4, motion_blur=0.4,
)  # fmt: skip


def coded_pair(size_hw: tuple[int, int], channels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A label map of two large shapes, and an image whose every channel is 100 times the label."""
    rng = np.random.default_rng(seed)
    height, width = size_hw
    label = np.zeros(size_hw, np.uint8)
    y, x = int(rng.integers(height // 2 + 1)), int(rng.integers(width // 2 + 1))
    label[y : y + height // 3 + 1, : x + 1] = 1
    label[height * 2 // 3 :, x:] = 2
    return np.repeat((label * 100)[:, :, None], channels, axis=2), label


def agreement(image: np.ndarray, label: np.ndarray) -> float:
    """Share of pixels whose colour is nearest to that of their label (a blended outline is near to either)."""
    return float(np.mean(np.abs(image[:, :, 0].astype(int) - 100 * label.astype(int)) <= 55))


sides = st.integers(8, 150)


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.sampled_from([1, 3, 4, 6]), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_image_and_mask_stay_together(
    photo_hw: tuple[int, int], frame_hw: tuple[int, int], channels: int, seed: int
) -> None:
    image, label = coded_pair(photo_hw, channels, seed)
    kept = image.copy(), label.copy()
    out, out_label, weight = augment(image, label, frame_hw, MOVES, np.random.default_rng(seed))
    assert out.shape == (*frame_hw, channels)
    assert out_label.shape == weight.shape == frame_hw
    assert (out.dtype, out_label.dtype, weight.dtype) == (np.uint8, np.uint8, np.float32)
    assert set(np.unique(out_label)) <= set(np.unique(label))
    assert np.array_equal(image, kept[0])
    assert np.array_equal(label, kept[1])
    if min(*photo_hw, *frame_hw) >= 48:
        # Along outlines colours are mixed, more or less by the shapes. Elsewhere both must agree.
        window = np.ones((5, 5), np.uint8)
        inside = cv2.dilate(out_label, window) == cv2.erode(out_label, window)
        assert agreement(out[inside][:, None], out_label[inside][:, None]) > 0.99


@pytest.mark.parametrize(
    "field",
    ["flip", "flip_vertical", "rot90", "rotate_deg", "aspect_jitter", "elastic", "close_up", "focus"],
)
def test_each_move_alone(field: str) -> None:
    value = {"rotate_deg": 30.0, "aspect_jitter": 0.5}.get(field, 1.0)
    how = replace(NO_AUGMENTATION, **{field: value})
    if field == "focus":
        how = replace(how, zoom_min=0.4, zoom_max=0.5)
    image, label = coded_pair((120, 90), 3, 5)
    plain = augment(image, label, (96, 96), NO_AUGMENTATION, np.random.default_rng(0))
    moved = [augment(image, label, (96, 96), how, np.random.default_rng(seed)) for seed in range(6)]
    assert any(not np.array_equal(m[1], plain[1]) for m in moved), "the setting did nothing"
    assert all(agreement(m[0], m[1]) > 0.97 for m in moved)


def test_nothing_asked_for_is_the_resize_alone() -> None:
    image, label = coded_pair((64, 48), 3, 1)
    out, out_label, weight = augment(image, label, (64, 48), NO_AUGMENTATION, np.random.default_rng(3))
    assert np.array_equal(out, image)
    assert np.array_equal(out_label, label)
    assert (weight == 1).all()


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
@pytest.mark.parametrize(
    ("photo_hw", "frame_hw"), [((8, 8), (32, 32)), ((90, 70), (64, 96)), ((8, 700), (40, 40)), ((600, 9), (8, 64))]
)
def test_everything_at_once(channels: int, photo_hw: tuple[int, int], frame_hw: tuple[int, int]) -> None:
    """Every step runs for every shape; the same seed gives the same picture; nothing handed in is written to."""
    rng = np.random.default_rng(9)
    pair = rng.integers(0, 256, (*photo_hw, channels), np.uint8), coded_pair(photo_hw, 1, 2)[1]
    others = [
        (rng.integers(0, 256, (*size, channels), np.uint8), coded_pair(size, 1, i)[1])
        for i, size in enumerate([(100, 120), (8, 300), (300, 8), (9, 9)])
    ]
    others.append((others[0][0], np.zeros((100, 120), np.uint8)))  # one that is free of subjects
    before = [a.copy() for p in [pair, *others] for a in p]
    for array in (a for p in [pair, *others] for a in p):
        array.flags.writeable = False
    for seed in range(12):
        first = augment(*pair, frame_hw, EVERYTHING, np.random.default_rng(seed), others)
        again = augment(*pair, frame_hw, EVERYTHING, np.random.default_rng(seed), others)
        assert first[0].shape == (*frame_hw, channels)
        assert set(np.unique(first[1])) <= {0, 1, 2}
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip([a for p in [pair, *others] for a in p], before, strict=True))


@pytest.mark.parametrize(
    ("field", "turned"),
    [
        ("flip_vertical", [lambda a: a[::-1]]),
        ("rot90", [lambda a, k=k: np.rot90(a, k) for k in (1, 2, 3)]),
    ],
)
def test_turns_are_exact(field: str, turned: list[Callable[[np.ndarray], np.ndarray]]) -> None:
    """No pixel is mixed on the way, and each of the turns comes up."""
    image, label = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8), coded_pair((40, 40), 1, 4)[1]
    how = replace(NO_AUGMENTATION, **{field: 1.0})
    seen = set()
    for seed in range(20):
        out, out_label, _ = augment(image, label, (40, 40), how, np.random.default_rng(seed))
        which = next(i for i, turn in enumerate(turned) if np.array_equal(out, turn(image)))
        assert np.array_equal(out_label, turned[which](label))
        seen.add(which)
    assert seen == set(range(len(turned)))


def test_settings_that_are_off_draw_nothing() -> None:
    """A recipe from before these settings makes the pictures that it made: the blur, which is drawn after them, too."""
    pair = coded_pair((60, 50), 3, 1)
    how = replace(MOVES, flip_vertical=0, rot90=0, elastic=0, close_up=0, blur=1.0)
    one, two = np.random.default_rng(0), np.random.default_rng(0)
    image, label = random_crop(*pair, (32, 32), how, one)
    image, label = rotate(image, label, one.uniform(-how.rotate_deg, how.rotate_deg))
    image = jitter_colors(image, how, one)
    one.random()  # whether to blur
    found = augment(*pair, (32, 32), how, two)
    assert np.array_equal(found[1], label)
    assert np.array_equal(found[0], blur(image, one))


def test_another_seed_is_another_picture() -> None:
    image, label = coded_pair((80, 80), 3, 1)
    pictures = {
        augment(image, label, (64, 64), Augmentation(), np.random.default_rng(seed))[0].tobytes() for seed in range(8)
    }
    assert len(pictures) == 8


@pytest.mark.parametrize("background", [0.0, 1.0])
def test_ignore_stays_ignore(background: float) -> None:
    """Nothing turns ignored pixels into a class, and no new ones come up beyond a share like theirs."""
    image = np.full((80, 80, 3), 90, np.uint8)
    label = np.zeros((80, 80), np.uint8)
    label[20:60, 20:40], label[20:60, 40:60] = 1, IGNORE
    image[label == IGNORE] = 200
    how = replace(MOVES, background=background, zoom_min=0.8, zoom_max=1.2)
    for seed in range(10):
        out, out_label, _ = augment(image, label, (80, 80), how, np.random.default_rng(seed), [(image, label)])
        assert set(np.unique(out_label)) <= {0, 1, IGNORE}
        bright = (out > 180).all(axis=2) & (out_label != IGNORE)
        if not background:
            assert bright.mean() < 0.03


def test_a_pasted_subject_brings_its_label() -> None:
    image, label = np.full((64, 64, 3), 20, np.uint8), np.zeros((64, 64), np.uint8)
    other, other_label = np.full((64, 64, 3), 250, np.uint8), np.zeros((64, 64), np.uint8)
    other_label[16:48, 16:48] = 1
    how = replace(NO_AUGMENTATION, copy_paste=1.0)
    seen = 0
    for seed in range(10):
        out, out_label, _ = augment(image, label, (64, 64), how, np.random.default_rng(seed), [(other, other_label)])
        seen += int(out_label.any())
        assert np.mean((out[:, :, 0] > 135) == (out_label == 1)) > 0.97
    assert seen >= 8


def test_a_replaced_background_leaves_the_subject() -> None:
    image, label = np.full((64, 64, 3), 20, np.uint8), np.zeros((64, 64), np.uint8)
    label[16:48, 16:48] = 1
    image[label == 1] = 250
    other = np.full((200, 200, 3), 120, np.uint8), np.zeros((200, 200), np.uint8)
    how = replace(NO_AUGMENTATION, background=1.0)
    for seed in range(6):
        out, out_label, _ = augment(image, label, (64, 64), how, np.random.default_rng(seed), [other])
        assert np.array_equal(out_label, label)
        assert out[20:44, 20:44].min() > 190  # brought a little nearer to the new light, no more
        assert (out[:8] != 20).any()


def test_backdrops_have_the_channels_asked_for() -> None:
    others = [(np.zeros((100, 100, 3), np.uint8), np.zeros((100, 100), np.uint8))]
    for seed in range(5):
        assert make_background((40, 30), 6, others, np.random.default_rng(seed)).shape == (40, 30, 6)


def test_a_window_past_the_photo_mirrors_image_and_label() -> None:
    image, label = coded_pair((60, 60), 3, 3)
    out, out_label = crop_and_resize(image, label, (-20, -20, 100, 100), (100, 100))
    assert np.array_equal(out_label[20:80, 20:80], label)
    assert np.array_equal(out_label[:20], out_label[40:20:-1])
    assert agreement(out, out_label) > 0.99


def test_border_weights() -> None:
    label = np.zeros((20, 20), np.uint8)
    label[:, 10:] = 1
    weights = border_weights(label, 2, 0.25)
    assert (weights[:, 8:12] == 0.25).all()
    assert (weights[:, :8] == 1).all()
    assert (weights[:, 12:] == 1).all()
    assert (border_weights(label, 0, 0.25) == 1).all()
    assert (border_weights(np.zeros((9, 9), np.uint8), 3, 0.25) == 1).all()  # no outline, nothing to weigh


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"zoom_min": 0}, "zoom"),
        ({"zoom_min": 1.5, "zoom_max": 1.2}, "zoom_min <= zoom_max; got 1.5 and 1.2"),
        ({"zoom_max": 50}, "zoom_max is at most 10"),
        ({"flip": 1.5}, "flip lies from 0 to 1; got 1.5"),
        ({"color": -0.1}, "color lies from 0 to 1; got -0.1"),
        ({"aspect_jitter": -1}, "aspect_jitter lies from 0 to 1"),
        ({"rotate_deg": -5}, "rotate_deg lies from 0 to 180"),
        ({"elastic": 2}, "elastic lies from 0 to 1; got 2"),
        ({"elastic_px": float("inf")}, "elastic_px must be a number; got Infinity"),
        ({"elastic_grid": 1}, "elastic_grid must be a whole number from 2 to 32; got 1"),
        ({"elastic_grid": 2.5}, "elastic_grid must be a whole number; got 2.5"),
        ({"pasted_max": 0}, "pasted_max must be a whole number from 1 to 16; got 0"),
        ({"pasted_max": 1.5}, "pasted_max must be a whole number; got 1.5"),
        ({"collage": 2}, "collage lies from 0 to 1; got 2"),
        ({"border_px": -1}, "border_px must be 0 or more"),
        ({"border_weight": float("nan")}, "border_weight must be a number; got NaN"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Augmentation(**values)


def test_every_setting_has_its_remark_and_is_checked() -> None:
    for field in fields(Augmentation):
        assert field.metadata.get("help"), field.name
        with pytest.raises(ValueError, match=r"zoom|lies|must"):
            Augmentation(**{field.name: -1.0})


def test_windows_at_the_photos_own_scale() -> None:
    """A photo of 300 x 400 in a frame of 64 at zoom 1: just its own pixels; a smaller one is mirrored."""
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    label = np.zeros((300, 400), np.uint8)
    for seed in range(4):
        out, _, _ = augment(image, label, (64, 64), NO_AUGMENTATION, np.random.default_rng(seed), own_scale=True)
        _, _, (x, y), _ = cv2.minMaxLoc(cv2.matchTemplate(image, out, cv2.TM_SQDIFF))
        np.testing.assert_array_equal(out, image[y : y + 64, x : x + 64])
    small = augment(
        image[:20, :20], label[:20, :20], (64, 64), NO_AUGMENTATION, np.random.default_rng(1), own_scale=True
    )
    assert small[0].shape == (64, 64, 3)


def lent_pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """Three photos with a subject: not random, and the same everywhere."""
    pairs = []
    for k, (h, w) in enumerate([(300, 260), (200, 400), (90, 90)], 1):
        label = np.zeros((h, w), np.uint8)
        label[h // 4 : h // 2, w // 3 : w // 2] = 1
        pairs.append(((np.arange(h * w * 3).reshape(h, w, 3) // (7 + k) % 256).astype(np.uint8), label))
    return pairs


def test_older_recipes_draw_the_same_numbers() -> None:
    """Labels, and the generator's state, as they were before shadows, collages and the rest (commit e3f595a)."""
    how = Augmentation(flip_vertical=0.2, rot90=0.2, close_up=0.2, elastic=0.2, background=0.6, copy_paste=0.6)
    others = lent_pairs()
    digest = hashlib.sha256()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        _, label, _ = augment(*lent_pairs()[0], (96, 128), how, rng, others)
        digest.update(label.tobytes() + str(rng.bit_generator.state["state"]).encode())
    assert digest.hexdigest() == "74b92ffbac1c48fc1294f50ea909f47ed1fe4fd74746bc73f42e3248efc6e183"


def code_pair(height: int, width: int, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A dark photo with a bright subject in ``box`` (top, bottom, left, right)."""
    image, label = np.full((height, width, 3), 20, np.uint8), np.zeros((height, width), np.uint8)
    label[box[0] : box[1], box[2] : box[3]] = 1
    image[label == 1] = 250
    return image, label


def test_several_pasted_subjects_bring_their_labels() -> None:
    """Pixels and labels agree, sizes go from small to large, and never more than asked for."""
    image, label = np.full((128, 128, 3), 20, np.uint8), np.zeros((128, 128), np.uint8)
    others = [code_pair(200, 200, (60, 120, 50, 130)), code_pair(200, 200, (30, 170, 80, 110))]
    how = replace(NO_AUGMENTATION, copy_paste=1.0, pasted_max=3)
    counts, areas = [], []
    for seed in range(60):
        out, out_label = paste_several(image, label, others, how, np.random.default_rng(seed))
        assert np.mean((out[:, :, 0] > 95) == (out_label == 1)) > 0.97
        count, _, stats, _ = cv2.connectedComponentsWithStats(out_label)
        counts.append(count - 1)
        areas += list(stats[1:, cv2.CC_STAT_AREA])
    assert max(counts) == 3
    assert min(areas) < 0.02 * label.size
    assert max(areas) > 0.2 * label.size
    assert not label.any()


@pytest.mark.parametrize(
    ("box", "side"), [((100, 200, 60, 140), -1), ((0, 90, 60, 140), 0)], ids=["cut off below", "cut off above"]
)
def test_what_its_photo_cuts_off_lies_at_the_border(box: tuple[int, int, int, int], side: int) -> None:
    image, label = np.full((128, 128, 3), 20, np.uint8), np.zeros((128, 128), np.uint8)
    how = replace(NO_AUGMENTATION, copy_paste=1.0, pasted_max=2)
    seen = 0
    for seed in range(30):
        _, out = paste_several(image, label, [code_pair(200, 200, box)], how, np.random.default_rng(seed))
        columns = out[:, out.any(axis=0)]
        assert columns[side].all(), seed
        seen += int(out.any())
    assert seen == 30


def test_what_fills_its_photo_is_not_pasted() -> None:
    image, label = np.full((64, 64, 3), 20, np.uint8), np.zeros((64, 64), np.uint8)
    assert cut_subject(code_pair(200, 200, (0, 200, 60, 140)))[2] == (True, True, False, False)
    how = replace(NO_AUGMENTATION, copy_paste=1.0, pasted_max=2)
    for seed in range(10):
        out = paste_several(image, label, [code_pair(200, 200, (0, 200, 60, 140))], how, np.random.default_rng(seed))
        assert not out[1].any()


def test_light_is_matched_part_of_the_way() -> None:
    rng = np.random.default_rng(0)
    part = rng.integers(150, 250, (40, 40, 3), np.uint8)
    scene = rng.integers(20, 60, (80, 80, 3), np.uint8)
    means = [match_light(part, np.ones((40, 40), bool), scene, share).mean() for share in (0.0, 0.3, 0.7)]
    assert means[0] == pytest.approx(part.mean(), abs=0.6)
    assert means[0] > means[1] + 15 > means[2] + 30
    assert means[2] > scene.mean() + 30


def test_shadows_darken_the_place_and_nothing_else() -> None:
    """Never a label, never the subject's own pixels; 10 to 50 percent at most."""
    backdrop = np.full((96, 96, 3), 200, np.uint8)
    subject = np.zeros((96, 96), bool)
    subject[30:70, 40:60] = True
    for seed in range(20):
        shaded = cast_shadow(backdrop, subject, np.random.default_rng(seed))
        assert shaded.max() <= 200
        assert 95 <= shaded.min() <= 185
    assert np.array_equal(cast_shadow(backdrop, np.zeros((96, 96), bool), np.random.default_rng(0)), backdrop)
    image, label = code_pair(96, 96, (30, 70, 40, 60))
    for seed in range(20):
        plain = replace_background(image, label, lent_pairs(), np.random.default_rng(seed))
        shaded_pair = replace_background(image, label, lent_pairs(), np.random.default_rng(seed), shadow=1.0)
        assert np.array_equal(plain[1], shaded_pair[1])
        assert shaded_pair[0][36:64, 46:54].min() > 190
        how = replace(NO_AUGMENTATION, copy_paste=1.0, pasted_max=3, shadow=1.0)
        out, out_label = paste_several(
            image, label, [code_pair(200, 200, (60, 120, 50, 130))], how, np.random.default_rng(seed)
        )
        inner = cv2.erode(out_label, np.ones((7, 7), np.uint8)) > 0
        assert out[inner].min() > 25  # shaded by up to three, and still brighter than the place
        assert set(np.unique(out_label)) <= {0, 1}


def test_a_photo_in_a_photo() -> None:
    """In a large one the subject stays it, where it now stands; in a small one all is background."""
    image, label = code_pair(128, 128, (40, 90, 40, 90))
    others = [(np.full((150, 150, 3), 90, np.uint8), np.zeros((150, 150), np.uint8))]
    shares = []
    for seed in range(60):
        out, out_label = make_collage(image, label, others, np.random.default_rng(seed))
        shares.append(np.sqrt(out_label.sum() / label.sum()))
        if out_label.any():
            inner = cv2.erode(out_label, np.ones((5, 5), np.uint8)) > 0
            assert out[inner].min() > 200
    large = [share for share in shares if share]
    assert 0.5 < len(large) / len(shares) < 0.9
    assert LARGE[0] - 0.1 < min(large) < max(large) < LARGE[1] + 0.1


def test_empty_pictures_show_no_subject() -> None:
    image, label = code_pair(128, 128, (20, 110, 20, 110))
    other, other_label = code_pair(200, 300, (50, 150, 0, 100))
    how = replace(NO_AUGMENTATION, empty=1.0, copy_paste=1.0, background=1.0)
    found = 0
    for seed in range(20):
        out, out_label, _ = augment(image, label, (96, 96), how, np.random.default_rng(seed), [(other, other_label)])
        if not out_label.any():
            assert (out == 20).all()  # the other photo's own background, no wall of soft colours
            found += 1
    assert found >= 15  # else no part without a subject was found, and the picture is made as any other
    full = np.full((200, 200, 3), 250, np.uint8), np.ones((200, 200), np.uint8)
    kept = augment(image, label, (96, 96), replace(NO_AUGMENTATION, empty=1.0), np.random.default_rng(0), [full])
    assert kept[1].any()


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_low_light_and_motion(channels: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (60, 80, channels), np.uint8)
    image[20:40, 20:50] = 220
    for seed in range(20):
        dark = dim(image, np.random.default_rng(seed))
        moved = blur_along_line(image, np.random.default_rng(seed))
        assert dark.shape == moved.shape == image.shape
        assert 0.7 * DIMMEST < dark.mean() < 0.9 * image.mean()
        assert dim(image // 2, np.random.default_rng(seed)).mean() > 0.7 * DIMMEST
        assert (
            dim(image // 12, np.random.default_rng(seed)).mean() < image.mean() / 12 + 8
        )  # noise alone makes it lighter
        assert moved.mean() == pytest.approx(image.mean(), abs=2)
        assert moved.std() < image.std() - 2
    dot = np.zeros((41, 41, channels), np.uint8)
    dot[20, 20] = 255
    spreads = []
    for seed in range(200):
        ys, xs = np.nonzero(blur_along_line(dot, np.random.default_rng(seed))[:, :, 0])
        assert abs(ys.mean() - 20) <= 0.5
        assert abs(xs.mean() - 20) <= 0.5
        spreads.append(float(np.hypot(np.ptp(ys) + 1, np.ptp(xs) + 1)))
    assert min(spreads) > 2.5
    assert 12 < max(spreads) < 18
