"""Scores of objects: COCO's against pycocotools and faster-coco-eval, the others by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thing_scenes import coco_found, coco_truth, draw_things, guess

from imago.core import runs
from imago.core.boxes import from_xywh
from imago.core.instances import CroppedMask, Instances, boxes_of
from imago.metrics import coco, voc
from imago.metrics.bootstrap import drawn_weights
from imago.metrics.nuclei import mean_precision, pair_up
from imago.metrics.thing_confusion import confusion
from imago.metrics.thing_errors import KINDS, PASSED, RIGHT, costs, mistakes
from imago.metrics.thing_matching import greedy, ranked
from imago.metrics.thing_overlap import Compared, compare_boxes, compare_masks

COMPARE = {"bbox": compare_boxes, "segm": compare_masks}
STATS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
STATS += ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")
few = settings(max_examples=25, deadline=None)


def ours(found: list[Instances], truth: list[Instances], classes: int, kind: str) -> coco.ThingScores:
    images = [coco.match(COMPARE[kind](f, t), classes) for f, t in zip(found, truth, strict=True)]
    return coco.scores(ranked(images, classes), np.ones((1, len(truth))))


def pycocotools_says(truth: dict[str, Any], found: list[dict[str, Any]], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The twelve numbers, and AP of each class; -1 is made nan."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    api = COCO()
    api.dataset = truth
    api.createIndex()
    return _asked(COCOeval(api, api.loadRes(found), kind))


def faster_coco_eval_says(
    truth: dict[str, Any], found: list[dict[str, Any]], kind: str
) -> tuple[np.ndarray, np.ndarray]:
    from faster_coco_eval import COCO, COCOeval_faster

    api = COCO(truth)
    return _asked(COCOeval_faster(api, api.loadRes(found), iouType=kind))


def _asked(judge: Any) -> tuple[np.ndarray, np.ndarray]:
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    stats = np.array(judge.stats[:12], float)
    by_class = judge.eval["precision"][:, :, :, 0, 2].mean(axis=(0, 1))
    return np.where(stats < 0, np.nan, stats), np.where(by_class < 0, np.nan, by_class)


PEERS = pytest.mark.parametrize("peer", [pycocotools_says, faster_coco_eval_says], ids=["pycocotools", "faster"])


@PEERS
@pytest.mark.parametrize("kind", COMPARE)
@pytest.mark.parametrize("seed", [0, 1])
def test_cocos_scores_are_those_of_the_peers(seed: int, kind: str, peer: Any) -> None:
    """Crowds, all sizes, equal scores, doubles, wrong names, an image without objects and one where none is found."""
    truth = [draw_things(1000 * seed + index) for index in range(12)]
    found = [guess(things, 500 + index) for index, things in enumerate(truth)]
    truth[3], found[5] = Instances.make(truth[3].size_hw, cropped=(), crowd=(), stated_areas=()), found[5][np.array([])]
    answer = ours(found, truth, 4, kind)
    stats, by_class = peer(coco_truth(truth, 4), coco_found(found, kind), kind)
    np.testing.assert_allclose([answer.summary[name][0] for name in STATS], stats, atol=1e-6)
    np.testing.assert_allclose(answer.ap[0], by_class, atol=1e-6)
    assert 0.05 < stats[0] < 0.95  # of a set in which something is right and something wrong


@PEERS
@pytest.mark.parametrize("kind", COMPARE)
def test_past_a_hundred_finds_of_a_class_the_rest_is_cut(kind: str, peer: Any) -> None:
    truth = [draw_things(7, classes=2)]
    random = np.random.default_rng(3)
    many = np.concatenate([np.zeros(110, int), np.arange(len(truth[0]))])  # true ones come last, with low scores
    found = truth[0][many]
    found = Instances.make(found.size_hw, found.boxes, found.classes, random.random(len(found)), found.cropped)
    found.scores[110:] *= 0.3
    stats, _ = peer(coco_truth(truth, 2), coco_found([found], kind), kind)
    answer = ours([found], truth, 2, kind)
    np.testing.assert_allclose([answer.summary[name][0] for name in STATS], stats, atol=1e-6)


@pytest.fixture(scope="module")
def coco128(data_root: Path) -> tuple[list[Instances], list[Instances], int]:
    """Found, true, and how many classes with the background."""
    truth, classes = read_coco128(data_root)
    return [guess(things, index, classes) for index, things in enumerate(truth)], truth, classes


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("kind", COMPARE)
def test_cocos_scores_on_coco128(kind: str, coco128: tuple[list[Instances], list[Instances], int]) -> None:
    found, truth, classes = coco128
    answer = ours(found, truth, classes, kind)
    for peer in (pycocotools_says, faster_coco_eval_says):
        stats, by_class = peer(coco_truth(truth, classes), coco_found(found, kind), kind)  # which it writes into
        np.testing.assert_allclose([answer.summary[name][0] for name in STATS], stats, atol=1e-6)
        np.testing.assert_allclose(answer.ap[0], by_class, atol=1e-6)


def read_coco128(data_root: Path) -> tuple[list[Instances], int]:
    """All annotations with masks as pycocotools draws them, classes counted with the background."""
    from pycocotools import mask as peer

    content = json.loads((data_root / "coco128" / "annotations" / "instances_train2017.json").read_text("utf-8"))
    values = {row["id"]: value for value, row in enumerate(content["categories"], 1)}
    images = []
    for photo in sorted(content["images"], key=lambda row: row["id"]):
        size_hw = photo["height"], photo["width"]
        rows = [row for row in content["annotations"] if row["image_id"] == photo["id"]]
        masks = []
        for row in rows:
            shape = row["segmentation"]
            if isinstance(shape, dict):
                mask = runs.mask_of(shape["counts"], size_hw)
            else:
                mask = peer.decode([peer.merge(peer.frPyObjects(shape, *size_hw))])[:, :, 0].astype(bool)
            masks.append(CroppedMask.of(mask))
        boxes = from_xywh([row["bbox"] for row in rows])
        crowd, areas = [row["iscrowd"] for row in rows], [row["area"] for row in rows]
        classes = [values[row["category_id"]] for row in rows]
        images.append(Instances.make(size_hw, boxes, classes, None, masks, crowd, None, areas))
    return images, len(values) + 1


# -- overlap and matching -----------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000))
@few
def test_masks_compared_by_crops_as_by_whole_images(seed: int) -> None:
    truth = draw_things(seed, size_hw=(60, 80))
    found = guess(truth, seed)
    mine, theirs = found.masks, truth.masks
    common = (mine[:, None] & theirs[None]).sum(axis=(2, 3)).astype(float)
    whole = (mine[:, None] | theirs[None]).sum(axis=(2, 3)).astype(float)
    crowd = truth.crowd if truth.crowd is not None else np.zeros(len(truth), bool)
    whole[:, crowd] = mine.sum(axis=(1, 2))[:, None]
    order = np.argsort(-found.scores, kind="stable")
    np.testing.assert_allclose(compare_masks(found, truth).overlap, (common / np.maximum(whole, 1))[order])


def test_boxes_alone_have_no_masks_to_compare() -> None:
    truth = draw_things(2)
    bare = Instances.make(truth.size_hw, truth.boxes, truth.classes)
    with pytest.raises(ValueError, match="what was found has boxes alone; compare boxes instead"):
        compare_masks(bare, truth)
    with pytest.raises(ValueError, match="the truth has boxes alone"):
        compare_masks(truth, bare)


@pytest.mark.parametrize(
    ("overlap", "crowd", "uncounted", "partners"),
    [
        ([[0.6, 0.9]], [0, 0], [0, 0], [1]),
        ([[0.6, 0.9]], [0, 0], [0, 1], [0]),  # one that counts, though it fits less
        ([[0.4, 0.9]], [0, 0], [0, 1], [1]),
        ([[0.9, 0.6], [0.8, 0.6]], [0, 0], [0, 0], [0, 1]),  # the second takes what is left
        ([[0.9], [0.8]], [0], [0], [0, -1]),
        ([[0.9], [0.8]], [1], [1], [0, 0]),  # a crowd is taken by many
        ([[0.9], [0.8]], [0], [1], [0, -1]),
        ([[0.7, 0.7]], [0, 0], [0, 0], [1]),  # of equals the later
        ([[0.5]], [0], [0], [0]),  # at the threshold
        ([[0.49]], [0], [0], [-1]),
        ([[]], [], [], [-1]),
    ],
)
def test_greedy_matching_by_hand(overlap: list, crowd: list, uncounted: list, partners: list) -> None:
    found = greedy(np.array(overlap, float), np.array(crowd, bool), np.array([uncounted], bool), np.array([0.5]))
    assert found[0, 0].tolist() == partners


@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_weights_are_copies_of_images(seed: int) -> None:
    """An image that weighs 2 is the image twice; one that weighs 0 is not there. No two scores are equal here: those of
    copies come side by side, while those within an image stay in their order."""
    truth = [draw_things(seed + index, most=5) for index in range(3)]
    found = [guess(things, seed + index) for index, things in enumerate(truth)]
    scores = np.random.default_rng(seed).permutation(300).reshape(3, 100) / 300
    found = [Instances.make(f.size_hw, f.boxes, f.classes, s[: len(f)]) for f, s in zip(found, scores, strict=True)]
    images = [coco.match(compare_boxes(f, t), 4) for f, t in zip(found, truth, strict=True)]
    weighed = coco.scores(ranked(images, 4), np.array([[2.0, 0.0, 1.0]])).summary
    copied = coco.scores(ranked([images[0], images[0], images[2]], 4), np.ones((1, 3))).summary
    for name in weighed:
        np.testing.assert_allclose(weighed[name], copied[name], atol=1e-12)


def test_drawn_weights() -> None:
    weights = drawn_weights(5, 100, seed=1)
    assert weights.shape == (100, 5)
    assert (weights.sum(axis=1) == 5).all()
    assert weights.std() > 0.5
    assert drawn_weights(1, 100).shape == (0, 1)


# -- VOC, nuclei, confusion, mistakes: by hand --------------------------------------------------------------------

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
    table = ranked([voc.match(beside(found, VOC_TRUTH), 3)], 3)
    assert voc.mean_average_precision(table, np.ones((1, 1)))[0] == pytest.approx(all_points)
    assert voc.mean_average_precision(table, np.ones((1, 1)), 11)[0] == pytest.approx(eleven)
    assert np.isnan(voc.average_precisions(table, np.ones((1, 1)))[0, 1])  # class 2


def test_three_in_ten_reaches_the_recall_of_0_3() -> None:
    places = [(20 * i, 0, 20 * i + 10, 10) for i in range(10)]
    truth = Instances.make((10, 200), places, [1] * 10)
    found = Instances.make((10, 200), places[:3], [1] * 3)
    table = ranked([voc.match(beside(found, truth), 2)], 2)
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
    things = [
        Instances.make((20, 10), boxes_of([mask]), [1], None, [mask])
        for mask in (CroppedMask.of(truth), CroppedMask.of(found))
    ]
    assert mean_precision(compare_masks(things[1], things[0])) == pytest.approx(score)


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
    truth = draw_things(seed)
    compared = compare_boxes(guess(truth, seed), truth)
    matrix = confusion(compared, 4)
    assert matrix[1:].sum() == (~compared.excused).sum()
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
    answer = mistakes(beside(found, MISTAKES_TRUTH), 3)
    names = {RIGHT: "right", PASSED: "passed", **dict(enumerate(KINDS))}
    assert [names[int(kind)] for kind in answer.kinds] == kinds
    assert answer.missed.sum() == missed
    assert answer.counts()[KINDS.index("missed")] == missed


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
    answer = costs([mistakes(beside(found, MISTAKES_TRUTH), 3)])
    assert answer.by_kind == pytest.approx({name: costs_of.get(name, 0.0) for name in KINDS})


@given(seed=st.integers(0, 10_000))
@few
def test_mending_never_costs(seed: int) -> None:
    truth = [draw_things(seed), draw_things(seed + 1)]
    found = [guess(things, seed) for things in truth]
    compared = [compare_boxes(f, t) for f, t in zip(found, truth, strict=True)]
    answer = costs([mistakes(one, 4) for one in compared])
    if np.isnan(answer.ap50):
        assert not any((~one.excused).any() for one in compared)
        return
    assert min(*answer.by_kind.values(), answer.wrong, answer.lacking) >= -1e-12
    assert max(*answer.by_kind.values(), answer.wrong, answer.lacking) <= 1 - answer.ap50 + 1e-12
    table = ranked([coco.match(one, 4) for one in compared], 4)
    assert answer.ap50 == pytest.approx(coco.scores(table, np.ones((1, 2))).summary["ap50"][0])


@pytest.mark.parametrize(("most", "ap50"), [(100, 0.66), (sys.maxsize, 1.0)])
def test_crowded_photos_past_the_limit(most: int, ap50: float) -> None:
    """150 objects, all found: COCO looks at the 100 best, which are two thirds of the recall."""
    boxes = [
        [10 * (index % 15), 10 * (index // 15), 10 * (index % 15) + 8, 10 * (index // 15) + 8] for index in range(150)
    ]
    truth = Instances.make((100, 150), boxes, [1] * 150)
    found = Instances.make((100, 150), boxes, [1] * 150, np.linspace(0.1, 1, 150))
    table = ranked([coco.match(compare_boxes(found, truth), 2, most)], 2)
    assert coco.scores(table, np.ones((1, 1))).summary["ap50"][0] == pytest.approx(ap50, abs=0.01)
