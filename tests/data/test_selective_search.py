"""Selective search finds drawn objects, in pixels of the image whatever its size; the cache keeps, and mends itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_instances import draw_instances

from imago.core.boxes import area, iou_matrix
from imago.core.input_spec import resize_image
from imago.data import selective_search as proposals
from imago.data.array_cache import load_or_make, make_key
from imago.data.selective_search import CachedProposals, ProposalOptions, propose, recall

FAST = ProposalOptions(mode="fast", side=80)


@pytest.mark.parametrize("mode", ["fast", "quality"])
@pytest.mark.parametrize("scale", [1, 3])  # the image's own size is the working size, or thrice that
def test_finds_drawn_detection(mode: str, scale: int) -> None:
    image, instances = draw_instances(3)
    large = resize_image(image, (64 * scale, 80 * scale))
    found = propose(large, ProposalOptions(mode=mode, side=80))
    assert found.dtype == np.float32
    assert (found[:, 2:] > found[:, :2]).all()
    assert found.min() >= 0
    assert (found.max(axis=0) <= [80 * scale, 64 * scale] * 2).all()
    assert iou_matrix(found, found)[~np.eye(len(found), dtype=bool)].max() <= 0.9
    assert iou_matrix(instances.boxes * scale, found).max(axis=1).min() > 0.75


def test_count_least_side_and_sameness() -> None:
    image, _ = draw_instances(4)
    everything = propose(image, FAST)
    assert len(propose(image, replace(FAST, count=5))) == 5 < len(everything)
    large = propose(image, replace(FAST, least=20))
    assert 0 < len(large) < len(everything)
    assert (large[:, 2:] - large[:, :2]).min() >= 20
    assert len(propose(image, replace(FAST, same=1.0))) > len(everything) > len(propose(image, replace(FAST, same=0.5)))


def test_large_boxes_come_first() -> None:
    """But for chance: what is cut off at the end should be the small ones."""
    image, _ = draw_instances(4, (160, 200))
    sizes = area(propose(image, ProposalOptions(mode="quality", side=200)))
    assert len(sizes) > 30
    half = len(sizes) // 2
    assert sizes[:half].mean() > 1.5 * sizes[half:].mean()


def test_small_detection_need_small_first_regions() -> None:
    """A square of 6 x 6 pixels is lost where no first region is below 100 pixels, as in OpenCV's own modes."""
    image = np.random.default_rng(0).integers(100, 110, (80, 80, 3)).astype(np.uint8)
    image[30:36, 50:56] = (250, 30, 30)
    square = np.array([[50, 30, 56, 36]], np.float32)
    assert iou_matrix(square, propose(image, FAST)).max() > 0.5
    assert iou_matrix(square, propose(image, replace(FAST, smallest=100))).max() < 0.5


def test_an_even_image_is_one_box() -> None:
    np.testing.assert_array_equal(propose(np.zeros((30, 50, 3), np.uint8), FAST), [[0, 0, 50, 30]])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "slow"}, "mode must be one of 'fast', 'quality'; got \"slow\""),
        ({"count": 0}, "count must be 1 or more; got 0"),
        ({"side": 8}, "side must be 16 pixels or more; got 8"),
        ({"blur": 0.0}, "blur be above 0; got 0 and 0.0"),
        ({"smallest": 0}, "smallest must be 1 or more; got 0"),
        ({"same": 0.0}, "same is an overlap above 0, at most 1; got 0.0"),
    ],
)
def test_options_refuse(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ProposalOptions(**changes)


def test_refuses_other_images() -> None:
    with pytest.raises(ValueError, match=r"takes uint8 \(H, W, 3\) images; got float64 \(4, 4, 3\)"):
        propose(np.zeros((4, 4, 3)))


def test_the_cache_keeps_and_mends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = replace(FAST, same=1.0)  # all boxes: the same each time, whatever their order
    first, second = (draw_instances(seed)[0] for seed in (0, 1))
    folder = tmp_path / "cache"
    kept = CachedProposals(folder)
    asked = []
    real = proposals.propose
    monkeypatch.setattr(proposals, "propose", lambda image, options: asked.append(1) or real(image, options))
    found = kept(first, every)
    np.testing.assert_array_equal(kept(first, every), found)
    assert len(asked) == 1
    kept(first, replace(every, count=7))  # another setting
    kept(second, every)  # another image
    kept(first.reshape(80, 64, 3), every)  # the same pixels in another shape
    assert len(asked) == 4
    assert len(list(folder.iterdir())) == 4  # nothing is left beside them
    for damage in (b"", b"PK\x03\x04nonsense", None):  # empty, no archive, cut short
        for path in folder.iterdir():
            path.write_bytes(path.read_bytes()[:-30] if damage is None else damage)
        again = kept(first, every)
        assert sorted(map(tuple, again.tolist())) == sorted(map(tuple, found.tolist()))
    assert len(asked) == 7


def test_a_cache_without_pickles(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, boxes=np.array([{"a": 1}], object))
    np.testing.assert_array_equal(load_or_make(path, ("boxes",), lambda: {"boxes": np.ones(2)})["boxes"], [1, 1])


def test_keys_differ() -> None:
    keys = {
        make_key(b"ab", "c"),
        make_key(b"a", "bc"),
        make_key(b"ab", {"c": 1}),
        make_key(b"ab", {"c": 2}),
        make_key(b"abc"),
    }
    assert len(keys) == 5
    assert make_key({"a": 1, "b": 2}) == make_key({"b": 2, "a": 1})


def test_recall_by_hand() -> None:
    truth = [np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32), np.array([[0, 0, 4, 4]], np.float32)]
    found = [np.array([[0, 0, 10, 6], [20, 20, 30, 24]], np.float32), np.zeros((0, 4), np.float32)]
    assert recall(truth, found) == pytest.approx(1 / 3)  # overlaps 0.6, 0.4, none
    assert recall(truth, found, 0.4) == pytest.approx(2 / 3)
    assert np.isnan(recall([np.zeros((0, 4), np.float32)], [found[0]]))
