"""Labels and the input rule: what every other room stands on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.core.errors import DataError, ImagoError
from imago.core.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec, SizeRule, resize_image
from imago.core.labels import Labels, binary_labels, coco_labels, coco_numbered_labels, default_colors

RULES: tuple[SizeRule, ...] = ("resize", "letterbox", "area", "pad")
sides = st.integers(1, 400)
specs = st.builds(
    InputSpec,
    rule=st.sampled_from(RULES),
    size_hw=st.tuples(st.integers(1, 6).map(lambda i: 32 * i), st.integers(1, 6).map(lambda i: 32 * i)),
    multiple=st.sampled_from((1, 8, 16, 32)),
)
few = settings(max_examples=30, deadline=None)


# --- labels


@pytest.mark.parametrize(
    ("index", "color"),
    [  # the table of PASCAL VOC's development kit
        (0, (0, 0, 0)),
        (1, (128, 0, 0)),
        (2, (0, 128, 0)),
        (4, (0, 0, 128)),
        (8, (64, 0, 0)),
        (20, (0, 64, 128)),
    ],
)
def test_default_colors_are_those_of_voc(index: int, color: tuple[int, int, int]) -> None:
    assert default_colors(21)[index] == color


def test_coco_has_80_classes_at_90_numbers() -> None:
    """torchvision's list, which another test holds against the numbered one, has both in it."""
    names, numbered = coco_labels().names, coco_numbered_labels().names
    assert (len(names), len(numbered)) == (81, 91)
    assert tuple(name for name in numbered if not name.startswith("unused")) == names
    assert (numbered[12], numbered[13], numbered[90]) == ("unused 12", "stop sign", "toothbrush")


def test_default_colors_differ() -> None:
    assert len(set(default_colors(256))) == 256


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"names": ()}, "at least one name"),
        ({"names": ("a", "b", "a")}, "stand twice: a"),
        ({"names": ("a", "b"), "colors": ((0, 0, 0),)}, "a name and a colour belong together; got 2 and 1"),
        ({"names": ("a", "b"), "ignore": 1}, "also the value of class 'b'.*2 or more"),
        ({"names": ("a", "b"), "ignore": -1}, "0 to 65535; got -1"),
        ({"names": ("a", "")}, "number 1 has none"),
        ({"names": ("a",), "colors": ((0, 0, 256),)}, r"0 to 255; got \(0, 0, 256\)"),
    ],
)
def test_labels_refuse(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Labels(**arguments)


def test_two_labels() -> None:
    assert binary_labels("cat").names == ("background", "cat")


# --- sizes


@few
@given(specs, sides, sides)
def test_frame_is_what_the_rule_says(spec: InputSpec, height: int, width: int) -> None:
    plan = spec.plan((height, width))
    (frame_h, frame_w), (content_h, content_w), (y, x) = plan.frame_hw, plan.content_hw, plan.offset_yx
    assert plan.image_hw == (height, width)
    assert 1 <= content_h <= frame_h - y
    assert 1 <= content_w <= frame_w - x
    if spec.fixed_size:
        assert plan.frame_hw == spec.size_hw
    else:
        assert frame_h % spec.multiple == 0
        assert frame_w % spec.multiple == 0
    if spec.rule == "pad":
        assert plan.content_hw == (height, width)
        assert frame_h - height < spec.multiple
        assert frame_w - width < spec.multiple


@few
@given(sides, sides)
def test_letterbox_keeps_the_aspect(height: int, width: int) -> None:
    plan = InputSpec("letterbox", (320, 320)).plan((height, width))
    ratio = min(320 / height, 320 / width)
    assert 320 in plan.content_hw  # as large as goes
    assert abs(plan.content_hw[0] - height * ratio) <= 1
    assert abs(plan.content_hw[1] - width * ratio) <= 1
    for frame, content, offset in zip(plan.frame_hw, plan.content_hw, plan.offset_yx, strict=True):
        assert abs((frame - content) - 2 * offset) <= 1  # in the middle


@few
@given(st.floats(0.35, 2.8), st.integers(50, 4000))
def test_area_is_about_that_many_pixels(aspect: float, height: int) -> None:
    plan = InputSpec("area", (320, 320), multiple=32).plan((height, max(1, round(height * aspect))))
    assert 0.75 < plan.frame_hw[0] * plan.frame_hw[1] / 320**2 < 1.3


@pytest.mark.parametrize(
    ("image_hw", "frame_hw"),
    [
        ((320, 320), (320, 320)),
        ((550, 830), (256, 384)),  # 260 x 393
        ((830, 550), (384, 256)),
        ((100, 10000), (32, 1280)),  # a strip: 32 x 3200 would be the aspect; no side past four times 320
        ((1, 1), (320, 320)),
    ],
)
def test_area_by_hand(image_hw: tuple[int, int], frame_hw: tuple[int, int]) -> None:
    assert InputSpec("area", (320, 320), multiple=32).plan(image_hw).frame_hw == frame_hw


# --- pixels there and back


@few
@given(specs, sides, sides, st.integers(0, 255))
def test_fit_then_undo_gives_the_images_size_and_constants_stay(
    spec: InputSpec, height: int, width: int, gray: int
) -> None:
    image = np.full((height, width, 3), gray, np.uint8)
    array, plan = spec.fit(image)
    assert array.dtype == np.float32
    assert array.shape == (3, *plan.frame_hw)
    assert array.flags.c_contiguous
    back = spec.undo(array, plan)
    assert back.shape == (3, height, width)
    expected = (gray / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    np.testing.assert_allclose(back, np.broadcast_to(expected[:, None, None], back.shape), atol=2e-5)


@few
@given(specs, st.integers(64, 400), st.integers(64, 400), st.booleans())
def test_a_half_image_mask_comes_back(spec: InputSpec, height: int, width: int, upper: bool) -> None:
    mask = np.zeros((height, width), bool)
    mask[: height // 2] = upper
    mask[:, : width // 2] |= not upper
    plain = InputSpec(spec.rule, spec.size_hw, spec.multiple, mean=(0.0,) * 3, std=(1.0,) * 3)
    array, plan = plain.fit(np.repeat(mask[:, :, None], 3, axis=2).astype(np.uint8) * 255)
    answer = plain.undo(array, plan)[0] > 0.5
    assert (answer & mask).sum() / (answer | mask).sum() > 0.9


def test_letterbox_pads_with_the_mean_color() -> None:
    spec = InputSpec("letterbox", (64, 64))
    array, plan = spec.fit(np.full((10, 40, 3), 255, np.uint8))
    assert plan.offset_yx == (24, 0)
    assert np.abs(array[:, :24]).max() < 0.01  # the mean colour becomes zero, but for rounding to 1/255
    assert (array[:, 24:40] > 2).all()


def test_normalize_by_hand() -> None:
    spec = InputSpec(mean=(0.5, 0.0, 0.0), std=(0.5, 1.0, 2.0))
    array = spec.normalize(np.array([[[255, 51, 255]]], np.uint8))
    np.testing.assert_allclose(array.ravel(), [1.0, 0.2, 0.5], atol=1e-6)


def test_scale_max_divides_by_the_images_own_largest_value() -> None:
    spec = InputSpec("resize", (8, 8), mean=(0.0,) * 3, std=(1.0,) * 3, scale="max")
    assert spec.fit(np.full((8, 8, 3), 100, np.uint8))[0].max() == pytest.approx(1)
    assert np.isfinite(spec.fit(np.zeros((8, 8, 3), np.uint8))[0]).all()  # a black photo has no largest value


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels(channels: int) -> None:
    spec = InputSpec("area", (64, 64), channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels)
    array, plan = spec.fit(np.zeros((50, 70, channels), np.uint8))
    assert array.shape == (channels, *plan.frame_hw)
    if channels == 1:
        np.testing.assert_array_equal(spec.fit(np.zeros((50, 70), np.uint8))[0], array)


def test_shrinking_averages() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::4] = 200  # bilinear sampling would fall between them and see nothing
    assert np.unique(resize_image(stripes, (16, 16))).tolist() == [50]


def test_fit_leaves_the_callers_image_alone() -> None:
    image = np.arange(48 * 64 * 3, dtype=np.uint32).reshape(48, 64, 3).astype(np.uint8)
    before = image.copy()
    for rule in RULES:
        array, _ = InputSpec(rule, (48, 64), multiple=16).fit(image)
        array += 1
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rule": "crop"}, "'crop' is not known; choose from resize, letterbox, area, pad"),
        ({"channels": 4}, "4 channels need as many means and spreads; got 3 and 3"),
        ({"multiple": 0}, "multiple 0"),
        ({"size_hw": (0, 32)}, r"size \(0, 32\)"),
        ({"size_hw": (32, 40_000)}, "1 to 32768"),
        ({"std": (1.0, 0.0, 1.0)}, "above 0"),
        ({"std": (1.0, float("nan"), 1.0)}, "above 0"),
        ({"mean": (0.0, float("nan"), 1.0)}, "from 0 to 1"),
        ({"scale": "1"}, "scale '1' is not known; choose from 255, max"),
        ({"channels": 33, "mean": (0.5,) * 33, "std": (1.0,) * 33}, "1 to 32; got 33"),
    ],
)
def test_spec_refuses(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        InputSpec(**arguments)


def test_spec_refuses_images_and_scores_of_another_shape() -> None:
    spec = InputSpec("resize", (32, 32))
    with pytest.raises(ValueError, match=r"takes \(H, W, 3\) images; got shape \(8, 8, 4\)"):
        spec.fit(np.zeros((8, 8, 4), np.uint8))
    with pytest.raises(ValueError, match="0 x 8; both sides"):
        spec.plan((0, 8))
    with pytest.raises(ValueError, match=r"scores must be \(C, 32, 32\); got \(1, 16, 16\)"):
        spec.undo(np.zeros((1, 16, 16), np.float32), spec.plan((8, 8)))


def test_errors_are_of_one_family() -> None:
    assert issubclass(DataError, ImagoError)
    assert DataError("two faults", ("a: x", "b: y")).faults == ("a: x", "b: y")
