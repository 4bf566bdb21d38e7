"""Objects drawn over photos: the pixels that must be there, what stays as it is, and how long much of it takes."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from detection_scenes import draw_instances, ellipse
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.core.instances import CroppedMask, Instances, masks_to_boxes
from imago.core.labels import Labels
from imago.draw.charts import bar_chart
from imago.draw.objects import draw_objects, shrink

LABELS = Labels(("background", "cat", "dog", "cow"), ((0, 0, 0), (200, 40, 40), (40, 40, 200), (0, 128, 0)))
GREY = np.full((240, 320, 3), 100, np.uint8)


def one(mask: np.ndarray, value: int = 1, crowd: bool = False) -> Instances:
    cropped = [CroppedMask.from_mask(mask)]
    return Instances.make(mask.shape, masks_to_boxes(cropped), [value], [0.75], cropped, [crowd])


def disc() -> np.ndarray:
    return ellipse((240, 320), (160, 120), (60, 40))


def test_wash_outline_box_and_what_stays() -> None:
    out = draw_objects(GREY, one(disc()), LABELS, 0.25, names=False, scores=False, color_by="class")
    assert (out[120, 160] == np.round(100 * 0.75 + np.array((200, 40, 40)) * 0.25)).all()
    assert (out[120, 100] == (200, 40, 40)).all()  # the outline
    assert (out[80, 101] == (200, 40, 40)).all()  # the box, outside of the mask
    assert (out[85, 105] == 100).all()  # in the box, not in the mask
    assert (out[:79] == 100).all()
    assert (GREY == 100).all()


def test_boxes_alone_are_not_washed() -> None:
    boxes = Instances.make((240, 320), [(100, 80, 220, 160)], [1])
    out = draw_objects(GREY, boxes, LABELS, names=False, scores=False, color_by="class")
    assert (out[120, 160] == 100).all()
    assert (out[80, 160] == (200, 40, 40)).all()
    assert (out[159, 160] == (200, 40, 40)).all()
    assert (out[160, 160] == 100).all()


def test_an_object_has_its_own_color() -> None:
    two = Instances.make((240, 320), [(10, 10, 50, 50), (100, 10, 150, 50)], [1, 1])
    out = draw_objects(GREY, two, LABELS, names=False, scores=False)
    assert (out[10, 20] != out[10, 120]).any()


@pytest.mark.parametrize(
    ("names", "scores", "more"), [(True, True, True), (True, False, True), (False, True, True), (False, False, False)]
)
def test_the_tag_is_above_the_box(names: bool, scores: bool, more: bool) -> None:
    out = draw_objects(GREY, one(disc()), LABELS, names=names, scores=scores, color_by="class")
    assert (out[68:78, 100:110] != 100).any() == more
    wide = draw_objects(GREY, one(disc(), crowd=True), LABELS, names=names, scores=scores, color_by="class")
    assert ((wide != out).any()) == more  # "(crowd)" stands there as well


def test_a_tag_at_the_top_stands_inside() -> None:
    out = draw_objects(GREY, Instances.make((240, 320), [(250, 0, 320, 200)], [1]), LABELS, color_by="class")
    assert (out[2:10, 252:262] == (200, 40, 40)).all(axis=2).any()


def test_tags_do_not_cover_each_other() -> None:
    """Two objects at one place: both words can be read, the better score stands above."""
    same = Instances.make((240, 320), [(100, 80, 220, 160)] * 2, [1, 2], [0.2, 0.9])
    out = draw_objects(GREY, same, LABELS, color_by="class")
    assert (out[70, 101] == (40, 40, 200)).all()
    assert (out[83, 101] == (200, 40, 40)).all() or (out[84, 103] == (200, 40, 40)).all()


def test_cells_are_not_hidden_by_words() -> None:
    boxes = [(x, y, x + 6, y + 6) for x in range(0, 320, 20) for y in range(0, 240, 20)]
    cells = Instances.make((240, 320), boxes, [1] * len(boxes))
    with_words, without = (
        draw_objects(GREY, cells, LABELS),
        draw_objects(GREY, cells, LABELS, names=False, scores=False),
    )
    assert (with_words == without).all()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_only_objects_are_painted(seed: int) -> None:
    instances = draw_instances(seed, size_hw=(120, 160))
    image = np.random.default_rng(seed).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    image.setflags(write=False)
    out = draw_objects(image, instances, LABELS, names=False, scores=False)
    boxes = np.zeros((120, 160), bool)
    for x1, y1, x2, y2 in instances.boxes.astype(int):
        boxes[max(0, y1 - 1) : y2 + 1, max(0, x1 - 1) : x2 + 1] = True
    assert (out[~boxes] == image[~boxes]).all()
    assert draw_objects(image, instances, LABELS).shape == image.shape  # tags never stick out


@pytest.mark.parametrize("shape", [(240, 320), (240, 320, 1)])
def test_a_gray_photo(shape: tuple[int, ...]) -> None:
    assert draw_objects(np.zeros(shape, np.uint8), one(disc()), LABELS).shape == (240, 320, 3)


def test_no_objects_and_empty_masks() -> None:
    assert (draw_objects(GREY, Instances.make((240, 320)), LABELS) == GREY).all()
    empty = Instances.make((240, 320), [(0, 0, 0, 0)], [1], [1], [CroppedMask.from_mask(np.zeros((3, 3), bool))])
    assert (draw_objects(GREY, empty, LABELS, names=False, scores=False) == GREY).all()


@pytest.mark.parametrize(
    ("image", "instances", "strength", "words"),
    [
        (GREY[:100], one(disc()), 0.5, r"the image is \(100, 320\) pixels, its objects are of \(240, 320\)"),
        (GREY.astype(float), one(disc()), 0.5, "uint8 image .* got float64"),
        (GREY, one(disc(), 9), 0.5, "an object of class 9; the labels end at 3"),
        (GREY, one(disc()), 50, "strength must lie between 0 and 1; got 50"),
    ],
)
def test_what_does_not_belong_together(image: np.ndarray, instances: Instances, strength: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        draw_objects(image, instances, LABELS, strength)


def test_shrunk_objects() -> None:
    small = shrink(one(disc()), (120, 160))
    assert small.boxes.tolist() == [[50, 40, 110, 80]]
    np.testing.assert_allclose(small.areas, disc().sum() / 4, rtol=0.01)
    assert (small.masks[0] != ellipse((120, 160), (80, 60), (30, 20))).mean() < 0.01
    tiny = shrink(draw_instances(4), (7, 9))  # nothing sticks out
    assert tiny.size_hw == (7, 9)


@pytest.mark.slow
def test_a_thousand_objects_on_twelve_megapixels() -> None:
    random = np.random.default_rng(0)
    size_hw = (3000, 4000)
    blob = ellipse((160, 160), (80, 80), (80, 80))
    masks = [CroppedMask.from_mask(blob, int(x), int(y)) for x, y in random.integers(0, (3840, 2840), (1000, 2))]
    instances = Instances.make(size_hw, masks_to_boxes(masks), random.integers(1, 4, 1000), random.random(1000), masks)
    image = np.zeros((*size_hw, 3), np.uint8)
    started = time.process_time()
    draw_objects(image, instances, LABELS)
    assert time.process_time() - started < 1.5  # measured: 0.45 s
    tracemalloc.start()
    draw_objects(image, instances, LABELS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * image.nbytes


def test_bars() -> None:
    drawn = bar_chart({"a <b>": 1.0, "half": 0.5, "none": 0.0, "unknown": float("nan")}, "what & why", None)
    widths = [float(part.split('"')[0]) for part in drawn.split(' width="')[1:]]
    assert widths[1] == pytest.approx(widths[0] / 2, abs=0.1)
    assert widths[2:] == [0, 0]
    assert "a &lt;b&gt;" in drawn
    assert "what &amp; why" in drawn
    assert "nan" not in drawn
