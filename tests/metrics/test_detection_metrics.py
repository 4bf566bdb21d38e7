"""Scores of objects beside COCO's, by hand: VOC, nuclei, confusion, kinds of mistakes."""

from __future__ import annotations

import numpy as np
import pytest
from detection_scenes import draw_instances, guess
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.core.instances import CroppedMask, Instances, masks_to_boxes
from imago.metrics import coco, voc
from imago.metrics.detection_confusion import confusion
from imago.metrics.detection_matching import rank_matches
from imago.metrics.detection_overlap import Compared, compare_boxes, compare_masks
from imago.metrics.nuclei import mean_precision, pair_up
from imago.metrics.tide import ERROR_TYPES, PASSED, RIGHT, count_errors, measure_tide_errors

few = settings(max_examples=25, deadline=None)

BOXES = {  # 10 x 10 squares
    "a": (0, 0, 10, 10),
    "a shifted": (2, 0, 12, 10),  # IoU 8 / 12 with a
    "a far": (6, 0, 16, 10),  # IoU 4 / 16
    "b": (40, 0, 50, 10),
    "c": (80, 0, 90, 10),
    "nowhere": (0, 80, 10, 90),
}


def squares(*rows: tuple[str, int, float], difficult: list[bool] | None = None) -> Instances:
    """(place, class, score) each."""
    places, classes, scores = zip(*rows, strict=True) if rows else ((), (), ())
    return Instances.make((100, 100), [BOXES[place] for place in places], classes, scores, None, None, difficult)


def beside(found: Instances, truth: Instances) -> Compared:
    return compare_boxes(found, truth)


VOC_TRUTH = squares(("a", 1, 1), ("b", 1, 1), ("c", 1, 1), difficult=[False, False, True])


@pytest.mark.parametrize(
    ("found", "all_points", "eleven"),
    [
        (squares(("a", 1, 0.9), ("b", 1, 0.8)), 1.0, 1.0),
        (squares(("a", 1, 0.9), ("c", 1, 0.8), ("b", 1, 0.7)), 1.0, 1.0),  # the difficult one is passed over
        (squares(("a", 1, 0.9)), 0.5, 6 / 11),  # recalls 0 to 0.5
        (squares(("nowhere", 1, 0.9), ("a", 1, 0.8)), 0.25, 6 * 0.5 / 11),
        (squares(("a", 1, 0.9), ("a shifted", 1, 0.8), ("b", 1, 0.7)), 0.5 + 0.5 * 2 / 3, (6 + 5 * 2 / 3) / 11),
        (squares(("a", 2, 0.9)), 0.0, 0.0),  # another class, of which there is no true one
        (squares(), 0.0, 0.0),
    ],
)
def test_voc_by_hand(found: Instances, all_points: float, eleven: float) -> None:
    table = rank_matches([voc.match(beside(found, VOC_TRUTH), 3)], 3)
    assert voc.mean_average_precision(table, np.ones((1, 1)))[0] == pytest.approx(all_points)
    assert voc.mean_average_precision(table, np.ones((1, 1)), 11)[0] == pytest.approx(eleven)
    assert np.isnan(voc.average_precisions(table, np.ones((1, 1)))[0, 1])  # class 2


def test_three_in_ten_reaches_the_recall_of_0_3() -> None:
    places = [(20 * i, 0, 20 * i + 10, 10) for i in range(10)]
    truth = Instances.make((10, 200), places, [1] * 10)
    found = Instances.make((10, 200), places[:3], [1] * 3)
    table = rank_matches([voc.match(beside(found, truth), 2)], 2)
    assert voc.mean_average_precision(table, np.ones((1, 1)), 11)[0] == pytest.approx(4 / 11)
    with pytest.raises(ValueError, match="has 11 points or takes all \\(None\\); got 10"):
        voc.mean_average_precision(table, np.ones((1, 1)), 10)


@pytest.mark.parametrize(
    ("found", "truth", "score"),
    [
        (squares(("a", 1, 1)), squares(("a", 1, 1)), 1.0),
        (squares(("a shifted", 1, 1)), squares(("a", 1, 1)), 0.4),  # IoU 0.667: 0.5, 0.55, 0.6, 0.65
        (squares(("a", 1, 1), ("nowhere", 1, 1)), squares(("a", 1, 1)), 0.5),
        (squares(("a", 1, 1)), squares(("a", 1, 1), ("b", 1, 1), ("c", 1, 1)), 1 / 3),
        (squares(("a", 1, 1), ("a", 1, 1)), squares(("a", 1, 1)), 0.5),  # one to one
        (squares(("a", 2, 1)), squares(("a", 1, 1)), 0.0),
        (squares(), squares(), 1.0),
        (squares(("a", 1, 1)), squares(), 0.0),
        (squares(), squares(("a", 1, 1)), 0.0),
        (squares(("a", 1, 1), ("c", 1, 1)), squares(("a", 1, 1), ("c", 1, 1), difficult=[False, True]), 1.0),
    ],
)
def test_nuclei_score_by_hand(found: Instances, truth: Instances, score: float) -> None:
    assert mean_precision(beside(found, truth)) == pytest.approx(score)


@pytest.mark.parametrize(("rows", "score"), [(10, 0.0), (15, 0.5), (16, 0.6)])
def test_at_the_threshold_is_not_above_it(rows: int, score: float) -> None:
    """10 of 20 rows: IoU is 0.5 exactly; 15 of them 0.75, which is above five thresholds."""
    truth, found = np.ones((20, 10), bool), np.ones((rows, 10), bool)
    instances = [
        Instances.make((20, 10), masks_to_boxes([mask]), [1], None, [mask])
        for mask in (CroppedMask.from_mask(truth), CroppedMask.from_mask(found))
    ]
    assert mean_precision(compare_masks(instances[1], instances[0])) == pytest.approx(score)


@given(seed=st.integers(0, 10_000))
@few
def test_pairs_are_one_to_one(seed: int) -> None:
    overlap = np.random.default_rng(seed).random((6, 4)).round(1)
    pairs = pair_up(overlap, 0.5)
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    assert (overlap[pairs[:, 0], pairs[:, 1]] > 0.5).all()
    rest = np.delete(np.delete(overlap, pairs[:, 0], axis=0), pairs[:, 1], axis=1)
    assert not (rest > 0.5).any()  # no two that could still be paired


def test_confusion_by_hand() -> None:
    truth = squares(("a", 1, 1), ("b", 2, 1), ("c", 2, 1))
    found = squares(("a", 1, 0.9), ("a shifted", 2, 0.8), ("b", 1, 0.7), ("nowhere", 2, 0.6))
    assert confusion(beside(found, truth), 3).tolist() == [[0, 0, 2], [0, 1, 0], [1, 1, 0]]


def test_confusion_takes_the_right_class_first() -> None:
    """A cup at (a) and a saucer shifted a little: each was found, though the other's box fits better."""
    truth = squares(("a", 1, 1), ("a shifted", 2, 1))
    found = squares(("a shifted", 1, 0.9), ("a", 2, 0.8))
    assert confusion(beside(found, truth), 3).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_confusion_passes_over_the_difficult() -> None:
    truth = squares(("a", 1, 1), ("b", 1, 1), difficult=[True, True])
    assert not confusion(beside(squares(("a", 1, 0.9)), truth), 2).any()


@given(seed=st.integers(0, 10_000))
@few
def test_confusion_counts_each_object_once(seed: int) -> None:
    truth = draw_instances(seed)
    compared = compare_boxes(guess(truth, seed), truth)
    matrix = confusion(compared, 4)
    assert matrix[1:].sum() == (~compared.ignored).sum()
    assert matrix[:, 1:].sum() <= len(compared.scores)


MISTAKES_TRUTH = squares(("a", 1, 1), ("b", 2, 1), ("c", 1, 1))


@pytest.mark.parametrize(
    ("found", "kinds", "missed"),
    [
        (squares(("a", 1, 0.9)), ["right"], 2),
        (squares(("a", 1, 0.9), ("a shifted", 1, 0.8)), ["right", "duplicate"], 2),
        (squares(("a far", 1, 0.9)), ["location"], 2),
        (squares(("a", 2, 0.9)), ["class"], 2),
        (squares(("a far", 2, 0.9)), ["both"], 3),
        (squares(("nowhere", 1, 0.9)), ["background"], 3),
        (squares(), [], 3),
    ],
)
def test_kinds_of_mistakes_by_hand(found: Instances, kinds: list[str], missed: int) -> None:
    answer = count_errors(beside(found, MISTAKES_TRUTH), 3)
    names = {RIGHT: "right", PASSED: "passed", **dict(enumerate(ERROR_TYPES))}
    assert [names[int(kind)] for kind in answer.error_types] == kinds
    assert answer.missed.sum() == missed
    assert answer.counts()[ERROR_TYPES.index("missed")] == missed


@pytest.mark.parametrize(
    ("found", "costs_of"),
    [
        # Class 1 has two true objects, class 2 one; mean over both.
        (squares(("a", 1, 0.9), ("b", 2, 0.9), ("c", 1, 0.9)), {}),
        (squares(("a", 1, 0.9), ("b", 2, 0.9)), {"missed": 1 - (51 / 101 + 1) / 2}),
        (squares(("a", 1, 0.9), ("c", 1, 0.8), ("b", 1, 0.7)), {"class": 0.5}),
        # The second is in another's place, who was found already: it cannot be put right, and goes.
        (
            squares(("a", 1, 0.9), ("a shifted", 2, 0.85), ("b", 2, 0.8)),
            {"class": 0.25, "missed": (1 - 51 / 101) / 2},
        ),
        (squares(("nowhere", 2, 0.9), ("a", 1, 0.9), ("b", 2, 0.8), ("c", 1, 0.7)), {"background": 0.25}),
        (squares(("a far", 1, 0.9), ("a", 1, 0.8), ("b", 2, 0.8), ("c", 1, 0.7)), {"location": (1 - 2 / 3) / 2}),
    ],
)
def test_costs_of_mistakes_by_hand(found: Instances, costs_of: dict[str, float]) -> None:
    answer = measure_tide_errors([count_errors(beside(found, MISTAKES_TRUTH), 3)])
    assert answer.by_type == pytest.approx({name: costs_of.get(name, 0.0) for name in ERROR_TYPES})


@given(seed=st.integers(0, 10_000))
@few
def test_mending_never_costs(seed: int) -> None:
    truth = [draw_instances(seed), draw_instances(seed + 1)]
    found = [guess(instances, seed) for instances in truth]
    compared = [compare_boxes(f, t) for f, t in zip(found, truth, strict=True)]
    answer = measure_tide_errors([count_errors(one, 4) for one in compared])
    if np.isnan(answer.ap50):
        assert not any((~one.ignored).any() for one in compared)
        return
    assert min(*answer.by_type.values(), answer.wrong, answer.lacking) >= -1e-12
    assert max(*answer.by_type.values(), answer.wrong, answer.lacking) <= 1 - answer.ap50 + 1e-12
    table = rank_matches([coco.match(one, 4) for one in compared], 4)
    assert answer.ap50 == pytest.approx(coco.scores(table, np.ones((1, 2))).summary["ap50"][0])
