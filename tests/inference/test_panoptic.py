"""Two models put together: the rule on examples that can be counted by hand, which models go together, and the trip."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_finders import write_finder, write_separator
from tiny_onnx import write_tiny

import imago
from imago.core.errors import ImagoError
from imago.core.instances import CroppedMask, Instances
from imago.core.labels import Labels
from imago.core.panoptic_options import PanopticOptions
from imago.inference.panoptic import join

ALL = PanopticOptions(stuff_area_limit=0)


def things(*spans: tuple[int, int, float], width: int = 10) -> Instances:
    """Objects of class 1 in one row: from, to, score."""
    masks = [CroppedMask.from_mask(np.ones((1, end - start), bool), start, 0) for start, end, _ in spans]
    return Instances.make(
        (1, width), [mask.box for mask in masks], [1] * len(spans), [score for *_, score in spans], masks
    )


# Objects, stuff, options, the ids that come of them, classes of the segments
EXAMPLES = {
    "the better one has the pixels": (
        [(0, 6, 0.7), (4, 8, 0.9)], [2] * 10, ALL, [2, 2, 2, 2, 1, 1, 1, 1, 3, 3], [1, 1, 2]
    ),
    "half of it is free": ([(0, 4, 0.9), (2, 6, 0.8)], [0] * 10, ALL, [1, 1, 1, 1, 2, 2, 0, 0, 0, 0], [1, 1]),
    "less is left out": ([(0, 4, 0.9), (1, 6, 0.8)], [0] * 10, ALL, [1, 1, 1, 1, 0, 0, 0, 0, 0, 0], [1]),
    "unless more may overlap": (
        [(0, 4, 0.9), (1, 6, 0.8)], [0] * 10, PanopticOptions(0.6, 0), [1, 1, 1, 1, 2, 2, 0, 0, 0, 0], [1, 1]
    ),
    "nothing of it is free": ([(0, 4, 0.9), (1, 3, 0.8)], [0] * 10, PanopticOptions(1, 0), [1] * 4 + [0] * 6, [1]),
    "stuff below the limit": ([(0, 4, 0.9)], [2] * 6 + [3] * 4, PanopticOptions(0.5, 0.3),
                              [1, 1, 1, 1, 0, 0, 2, 2, 2, 2], [1, 3]),
    "stuff at the limit": ([], [2] * 3 + [0] * 7, PanopticOptions(0.5, 0.3), [1, 1, 1] + [0] * 7, [2]),
    "one segment a class": ([], [2, 3] * 5, ALL, [1, 2] * 5, [2, 3]),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_rule(name: str) -> None:
    spans, stuff, options, ids, classes = EXAMPLES[name]
    found = join(things(*spans), np.array([stuff], np.uint16), options)
    assert found.id_map.tolist() == [ids]
    assert [segment.value for segment in found.segments] == classes


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 10), st.integers(0, 100)), max_size=6),
    st.lists(st.integers(0, 4), min_size=20, max_size=20),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_every_pixel_is_in_one_segment_at_most(
    spans: list[tuple[int, int, int]], stuff: list[int], overlap: float, limit: float
) -> None:
    """What the map of ids says by itself; areas sum up to what is not void, things keep their own pixels alone."""
    objects = things(*((start, start + length, score / 100) for start, length, score in spans), width=20)
    label = np.array([[0 if value < 2 else value for value in stuff]], np.uint16)
    found = join(objects, label, PanopticOptions(overlap, limit))
    assert sum(segment.area for segment in found.segments) == (found.id_map > 0).sum()
    scores = [segment.score for segment in found.segments if segment.is_thing]
    assert scores == sorted(scores, key=lambda score: -(score or 0))
    for segment in found.segments:
        there = found.id_map == segment.id
        if segment.is_thing:
            assert (objects.masks & there).any(axis=(1, 2)).any()
        else:
            assert (label[there] == segment.value).all()
            assert segment.area >= limit * label.size


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "instances": write_finder(
            folder / "finder.onnx", [(2, 2, 12, 10)], masks=True, labels=Labels(("background", "red"))
        ),
        "boxes": write_finder(folder / "boxes.onnx"),
        "separation": write_separator(folder / "separator.onnx"),
        "semantic": write_tiny(folder / "scene.onnx", 3),  # red, green, blue
        "binary": write_tiny(folder / "subject.onnx"),
    }


def picture() -> np.ndarray:
    """uint8 (20, 40, 3): red, green from column 15 on, blue from 30 on."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :15, 0] = pixels[:, 15:30, 1] = pixels[:, 30:, 2] = 200
    return pixels


def test_a_photo_becomes_segments(models: dict[str, Path], tmp_path: Path) -> None:
    """Red is a thing of one model, so that it is no stuff of the other: what no object has of it is void."""
    pair = imago.panoptic(models["instances"], models["semantic"])
    assert (pair.names_of(True), pair.names_of(False)) == (("red",), ("green", "blue"))
    Image.fromarray(picture()).save(tmp_path / "a.png")
    alone = imago.load(models["instances"])(picture()).instances
    assert alone is not None
    (area,) = alone.areas
    for image in (picture(), tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(picture())):
        found = pair(image)
        assert found.panoptic is not None
        assert [(found.labels.names[each.value], each.is_thing, each.area) for each in found.panoptic.segments] == [
            ("red", True, area), ("green", False, 300), ("blue", False, 200)
        ]  # fmt: skip
    assert found.panoptic.id_map[3:9, 3:11].min() == 1
    assert found.areas()["background"]["pixels"] == 20 * 15 - area
    assert found.instances is not None
    assert found.instances.areas.tolist() == [area]
    assert [each["class"] for each in found.to_json()["segments"]] == ["red", "green", "blue"]
    assert not found.panoptic.id_map.flags.writeable
    both = pair([picture(), tmp_path / "a.png"])
    assert [len(each.panoptic.segments) for each in both if each.panoptic] == [3, 3]
    assert found.overlay(legend=False).size == (40, 20)
    with Image.open(found.save(tmp_path / "out.png", what=["panoptic"])[0]) as stored:
        assert np.array_equal(np.array(stored)[..., 0], found.panoptic.id_map)


def test_options_go_to_the_model_that_they_are_for(models: dict[str, Path]) -> None:
    pair = imago.panoptic(models["instances"], models["semantic"], stuff_classes="blue", score_thresh=0.95)
    found = pair(picture()).panoptic
    assert found is not None
    assert [pair.card.labels.names[each.value] for each in found.segments] == ["blue"]
    assert len(pair(picture(), score_thresh=0.5).panoptic.segments) == 2
    assert pair.with_options(tta_flip=True).stuff.options.tta.flip
    assert pair.with_options(max_pixels=9).things.options.max_pixels == 9
    again = pickle.loads(pickle.dumps(pair))
    assert np.array_equal(again(picture()).panoptic.id_map, found.id_map)
    with pytest.raises(TypeError, match="no option nonsense"):
        pair.with_options(nonsense=1)
    with pytest.raises(ValueError, match="overlap_thresh lies from 0 to 1; got 2"):
        pair.with_options(overlap_thresh=2.0)


@pytest.mark.parametrize("stuff", ["instances", "boxes", "separation", "semantic", "binary"])
@pytest.mark.parametrize("found", ["instances", "boxes", "separation", "semantic", "binary"])
def test_every_pair_goes_together_or_is_refused(found: str, stuff: str, models: dict[str, Path]) -> None:
    if found in ("instances", "separation") and stuff in ("semantic", "binary"):
        panoptic = imago.panoptic(models[found], models[stuff])(picture()).panoptic
        assert panoptic is not None
        assert panoptic.segments
    else:
        with pytest.raises(ImagoError, match=r"^(things|stuff): model '.*; use one that"):
            imago.panoptic(models[found], models[stuff])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("sky", "has no stuff 'sky'; it has green, blue"),
        ("red", "has no stuff 'red' .found as objects by the other model.; it has green, blue"),
    ],
)
def test_stuff_that_there_is_not(names: str, message: str, models: dict[str, Path]) -> None:
    with pytest.raises(ImagoError, match=message):
        imago.panoptic(models["instances"], models["semantic"], stuff_classes=names)


def test_models_of_other_channels_or_without_stuff(models: dict[str, Path], tmp_path: Path) -> None:
    subject = write_finder(tmp_path / "s.onnx", masks=True, labels=Labels(("background", "subject")))
    with pytest.raises(ImagoError, match="no class that is stuff"):
        imago.panoptic(subject, models["binary"])
