"""Panoptic quality: examples that can be counted by hand, the reference's procedure, another library, and what holds
for all segments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segments import THINGS, count_as_panopticapi, panoptics, segments

from imago.core.panoptic import Panoptic, Segment, ids_to_rgb, rgb_to_ids
from imago.metrics.panoptic import count_panoptic, quality

FEW = settings(max_examples=50, deadline=None)
CLASSES = 5

# Truth, found, of class 1: sum of IoU, matches, false positives, false negatives.
EXAMPLES = {
    "five of six pixels": ([[7, 7, 7, 7, 7, 7]], {7: 1}, [[1, 1, 1, 1, 1, 0]], {1: 1}, (), (5 / 6, 1, 0, 0)),
    "half is no match": ([[7, 7, 7, 7, 8, 8]], {7: 1, 8: 3}, [[1, 1, 0, 0, 0, 0]], {1: 1}, (), (0, 0, 1, 1)),
    "void is in no union": ([[7, 7, 7, 0, 0, 0]], {7: 1}, [[1, 1, 1, 1, 1, 1]], {1: 1}, (), (1, 1, 0, 0)),
    "four of six void: no mistake": ([[0, 0, 0, 0, 8, 8]], {8: 3}, [[1, 1, 1, 1, 1, 1]], {1: 1}, (), (0, 0, 0, 0)),
    "three of six void: a mistake": ([[0, 0, 0, 8, 8, 8]], {8: 3}, [[1, 1, 1, 1, 1, 1]], {1: 1}, (), (0, 0, 1, 0)),
    "a crowd is not missed": ([[7, 7, 7, 7, 8, 8]], {7: 1, 8: 3}, [[0, 0, 0, 0, 0, 0]], {}, (7,), (0, 0, 0, 0)),
    "a crowd is not matched": ([[7, 7, 7, 7, 8, 8]], {7: 1, 8: 3}, [[1, 1, 1, 1, 0, 0]], {1: 1}, (7,), (0, 0, 0, 0)),
    "of another class": ([[7, 7, 7, 7, 8, 8]], {7: 2, 8: 3}, [[1, 1, 1, 1, 0, 0]], {1: 1}, (7,), (0, 0, 1, 0)),
    "void and crowd are added": ([[7, 7, 0, 0, 8, 8]], {7: 1, 8: 3}, [[1, 1, 1, 1, 1, 1]], {1: 1}, (7,), (0, 0, 0, 0)),
    "two crowds are added": (
        [[7, 7, 9, 9, 8, 8]], {7: 1, 9: 1, 8: 3}, [[1, 1, 1, 1, 1, 1]], {1: 1}, (7, 9), (0, 0, 0, 0)
    ),
    "two objects of one": (
        [[7, 7, 7, 7, 7, 0]], {7: 1}, [[1, 1, 1, 2, 2, 0]], {1: 1, 2: 1}, (), (3 / 5, 1, 1, 0)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_counted_by_hand(name: str) -> None:
    rows, classes, found_rows, found_classes, crowd, expected = EXAMPLES[name]
    truth, found = segments(rows, classes, crowd), segments(found_rows, found_classes)
    assert count_panoptic(found, truth, CLASSES)[1] == pytest.approx(expected, abs=1e-6)


def test_scores_by_hand() -> None:
    """IoU 0.8 and 0.6, one found too much, two missed: SQ 0.7, RQ 2 / 3.5; a class without segments has none."""
    counts = np.array([[0.0, 0, 0, 0], [1.4, 2, 1, 2], [0, 0, 0, 3]])
    scores = quality(counts)
    assert scores.sq == pytest.approx([np.nan, 0.7, 0], abs=1e-6, nan_ok=True)
    assert scores.rq == pytest.approx([np.nan, 2 / 3.5, 0], abs=1e-6, nan_ok=True)
    assert scores.pq == pytest.approx([np.nan, 1.4 / 3.5, 0], abs=1e-6, nan_ok=True)


@FEW
@given(panoptics(), panoptics(crowds=True))
def test_as_the_reference_counts(found: Panoptic, truth: Panoptic) -> None:
    assert count_panoptic(found, truth, CLASSES) == pytest.approx(count_as_panopticapi(found, truth, CLASSES), abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(panoptics(void=False), panoptics(void=False))
def test_as_torchmetrics_without_void(found: Panoptic, truth: Panoptic) -> None:
    torch = pytest.importorskip("torch")
    from torchmetrics.detection import PanopticQuality

    def pairs(panoptic: Panoptic) -> object:
        """(1, H, W, 2): class, and id of things."""
        classes = panoptic.to_label_map().astype(np.int64)
        ids = np.where(np.isin(classes, THINGS), panoptic.id_map, 0)
        return torch.from_numpy(np.stack([classes, ids], axis=-1)[None])

    metric = PanopticQuality(things=set(THINGS), stuffs={3, 4}, return_per_class=True, return_sq_and_rq=True)
    theirs = metric(pairs(found), pairs(truth)).numpy()  # (4, 3), things first
    ours = quality(count_panoptic(found, truth, CLASSES)[1:])
    for column, values in enumerate((ours.pq, ours.sq, ours.rq)):
        known = ~np.isnan(values)
        assert values[known] == pytest.approx(theirs[known, column], abs=1e-6)


@FEW
@given(panoptics())
def test_a_map_with_itself_is_perfect(panoptic: Panoptic) -> None:
    scores = quality(count_panoptic(panoptic, panoptic, CLASSES))
    there = np.isin(np.arange(CLASSES), [segment.value for segment in panoptic.segments])
    for values in (scores.pq, scores.sq, scores.rq):
        assert np.all(values[there] == 1)
        assert np.all(np.isnan(values[~there]))


@FEW
@given(panoptics(), panoptics(crowds=True), st.randoms(use_true_random=False))
def test_other_ids_change_nothing(found: Panoptic, truth: Panoptic, random: object) -> None:
    def renumber(panoptic: Panoptic) -> Panoptic:
        ids = random.sample(range(1, 1 << 24), len(panoptic.segments))  # type: ignore[attr-defined]
        new = [
            Segment(number, each.value, each.is_thing, crowd=each.crowd)
            for number, each in zip(ids, panoptic.segments, strict=True)
        ]
        random.shuffle(new)  # type: ignore[attr-defined]
        return Panoptic.of(panoptic.look_up(ids), new)

    again = count_panoptic(renumber(found), renumber(truth), CLASSES)
    assert again == pytest.approx(count_panoptic(found, truth, CLASSES), abs=1e-9)


@FEW
@given(panoptics())
def test_segments_hold_together(panoptic: Panoptic) -> None:
    """Areas sum up, boxes are tight, colours give the ids back, things are the same masks."""
    assert sum(segment.area for segment in panoptic.segments) == (panoptic.id_map > 0).sum()
    assert np.array_equal(rgb_to_ids(ids_to_rgb(panoptic.id_map)), panoptic.id_map)
    for segment, (x1, y1, x2, y2) in zip(panoptic.segments, panoptic.boxes().tolist(), strict=True):
        rows, columns = np.nonzero(panoptic.id_map == segment.id)
        assert (x1, y1, x2, y2) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    things = panoptic.things()
    numbers = [segment.id for segment in panoptic.segments if segment.is_thing]
    assert np.array_equal(things.masks.reshape(-1), (panoptic.id_map[None] == np.reshape(numbers, (-1, 1, 1))).ravel())


@pytest.mark.parametrize(
    ("ids", "found", "message"),
    [
        ([[1, 0]], (), "segment 1 has 1 pixels in the map, and no by the list"),
        ([[0, 0]], (Segment(1, 1, True, 2),), "segment 1 has no pixels in the map, and 2"),
        ([[1, 0]], (Segment(1, 1, True, 1), Segment(1, 2, True, 1)), "ids of segments are each another"),
        ([[1, 0]], (Segment(1, 0, True, 1),), "classes of segments are 1 or more"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    ids: list[list[int]], found: tuple[Segment, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Panoptic(np.array(ids, np.int32), found)


def test_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\) pixels, those of the truth of \(1, 3\)"):
        count_panoptic(segments([[0, 0]], {}), segments([[0, 0, 0]], {}), 2)
