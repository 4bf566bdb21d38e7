"""COCO's scores: against both peers, and what they are made of, overlaps and matches."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detection_scenes import coco_found, coco_truth, draw_instances, guess
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.core import rle as runs
from imago.core.boxes import from_xywh
from imago.core.instances import CroppedMask, Instances
from imago.metrics import coco
from imago.metrics.bootstrap import draw_weights
from imago.metrics.detection_matching import match_greedily, rank_matches
from imago.metrics.detection_overlap import compare_boxes, compare_masks

COMPARE = {"bbox": compare_boxes, "segm": compare_masks}
STATS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
STATS += ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")
few = settings(max_examples=25, deadline=None)


def ours(found: list[Instances], truth: list[Instances], classes: int, kind: str) -> coco.DetectionScores:
    images = [coco.match(COMPARE[kind](f, t), classes) for f, t in zip(found, truth, strict=True)]
    return coco.scores(rank_matches(images, classes), np.ones((1, len(truth))))


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
    truth = [draw_instances(1000 * seed + index) for index in range(12)]
    found = [guess(instances, 500 + index) for index, instances in enumerate(truth)]
    truth[3], found[5] = Instances.make(truth[3].size_hw, cropped=(), crowd=(), stated_areas=()), found[5][np.array([])]
    answer = ours(found, truth, 4, kind)
    stats, by_class = peer(coco_truth(truth, 4), coco_found(found, kind), kind)
    np.testing.assert_allclose([answer.summary[name][0] for name in STATS], stats, atol=1e-6)
    np.testing.assert_allclose(answer.ap[0], by_class, atol=1e-6)
    assert 0.05 < stats[0] < 0.95  # of a set in which something is right and something wrong


@PEERS
@pytest.mark.parametrize("kind", COMPARE)
def test_past_a_hundred_finds_of_a_class_the_rest_is_cut(kind: str, peer: Any) -> None:
    truth = [draw_instances(7, classes=2)]
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
    return [guess(instances, index, classes) for index, instances in enumerate(truth)], truth, classes


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
                mask = runs.decode_rle(shape["counts"], size_hw)
            else:
                mask = peer.decode([peer.merge(peer.frPyObjects(shape, *size_hw))])[:, :, 0].astype(bool)
            masks.append(CroppedMask.from_mask(mask))
        boxes = from_xywh([row["bbox"] for row in rows])
        crowd, areas = [row["iscrowd"] for row in rows], [row["area"] for row in rows]
        classes = [values[row["category_id"]] for row in rows]
        images.append(Instances.make(size_hw, boxes, classes, None, masks, crowd, None, areas))
    return images, len(values) + 1


@pytest.mark.parametrize(("most", "ap50"), [(100, 0.66), (sys.maxsize, 1.0)])
def test_crowded_photos_past_the_limit(most: int, ap50: float) -> None:
    """150 objects, all found: COCO looks at the 100 best, which are two thirds of the recall."""
    boxes = [
        [10 * (index % 15), 10 * (index // 15), 10 * (index % 15) + 8, 10 * (index // 15) + 8] for index in range(150)
    ]
    truth = Instances.make((100, 150), boxes, [1] * 150)
    found = Instances.make((100, 150), boxes, [1] * 150, np.linspace(0.1, 1, 150))
    table = rank_matches([coco.match(compare_boxes(found, truth), 2, most)], 2)
    assert coco.scores(table, np.ones((1, 1))).summary["ap50"][0] == pytest.approx(ap50, abs=0.01)


# -- overlap and matching -----------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000))
@few
def test_masks_compared_by_crops_as_by_whole_images(seed: int) -> None:
    truth = draw_instances(seed, size_hw=(60, 80))
    found = guess(truth, seed)
    mine, theirs = found.masks, truth.masks
    common = (mine[:, None] & theirs[None]).sum(axis=(2, 3)).astype(float)
    whole = (mine[:, None] | theirs[None]).sum(axis=(2, 3)).astype(float)
    crowd = truth.crowd if truth.crowd is not None else np.zeros(len(truth), bool)
    whole[:, crowd] = mine.sum(axis=(1, 2))[:, None]
    order = np.argsort(-found.scores, kind="stable")
    np.testing.assert_allclose(compare_masks(found, truth).overlap, (common / np.maximum(whole, 1))[order])


def test_boxes_alone_have_no_masks_to_compare() -> None:
    truth = draw_instances(2)
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
    found = match_greedily(
        np.array(overlap, float), np.array(crowd, bool), np.array([uncounted], bool), np.array([0.5])
    )
    assert found[0, 0].tolist() == partners


@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_weights_are_copies_of_images(seed: int) -> None:
    """An image that weighs 2 is the image twice; one that weighs 0 is not there. No two scores are equal here: those of
    copies come side by side, while those within an image stay in their order."""
    truth = [draw_instances(seed + index, most=5) for index in range(3)]
    found = [guess(instances, seed + index) for index, instances in enumerate(truth)]
    scores = np.random.default_rng(seed).permutation(300).reshape(3, 100) / 300
    found = [Instances.make(f.size_hw, f.boxes, f.classes, s[: len(f)]) for f, s in zip(found, scores, strict=True)]
    images = [coco.match(compare_boxes(f, t), 4) for f, t in zip(found, truth, strict=True)]
    weighed = coco.scores(rank_matches(images, 4), np.array([[2.0, 0.0, 1.0]])).summary
    copied = coco.scores(rank_matches([images[0], images[0], images[2]], 4), np.ones((1, 3))).summary
    for name in weighed:
        np.testing.assert_allclose(weighed[name], copied[name], atol=1e-12)


def test_drawn_weights() -> None:
    weights = draw_weights(5, 100, seed=1)
    assert weights.shape == (100, 5)
    assert (weights.sum(axis=1) == 5).all()
    assert weights.std() > 0.5
    assert draw_weights(1, 100).shape == (0, 1)
