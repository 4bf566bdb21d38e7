"""R-CNN: crops by hand, what its steps draw, mining, and the whole training in stages, killed at each of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_things import LABELS, average_precision, draw_proposals, draw_things, write_samples

from imago.core.boxes import iou_matrix
from imago.core.errors import DataError, ModelError
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.core.spec import InputSpec
from imago.data.proposals import ProposalOptions
from imago.data.things import ThingSample
from imago.models.rcnn import build_rcnn, crops_of, find_things, warp_crop, with_surroundings
from imago.models.rcnn_file import RcnnCard, load_rcnn, predict, read_tensors, save_rcnn
from imago.training.interrupt import Stopped
from imago.training.rcnn import BOXES, FINETUNED, MODEL, STATE, SVMS, train_rcnn
from imago.training.rcnn_finetune import draw, windows_of
from imago.training.rcnn_options import RcnnOptions
from imago.training.rcnn_regions import Regions, regions_of
from imago.training.rcnn_solve import Mined, retrain, take_hard
from imago.training.svm import Svm, fit_svm

SMALL = RcnnOptions(
    width=8, fc_width=64, crop=32, padding=4, steps=80, lr=0.01, clip=5.0, positives=12, negatives=24, save_steps=20,
    retrain_after=100, penalty=10.0, device="cpu", proposals=ProposalOptions(mode="fast", side=80),
)  # fmt: skip
FOUR_LABELS = Labels((*LABELS.names, "star"))  # of which the drawings have no example


def spec(crop: int) -> InputSpec:
    return InputSpec("squash", (crop, crop), 1)


def sample_of(things: Instances) -> ThingSample:
    return ThingSample("a", Path("a.png"), lambda: things)


def silent(text: str) -> None:
    pass


@pytest.mark.parametrize(
    ("crop", "padding", "box", "region"),
    [
        (227, 16, (100, 100, 295, 295), (84, 84, 311, 311)),  # 195 pixels fill the inner square of 195
        (227, 16, (0, 0, 390, 195), (-32, -16, 422, 211)),  # twice as wide: twice the surroundings
        (20, 0, (3, 4, 5, 9), (3, 4, 5, 9)),
    ],
)
def test_surroundings(crop: int, padding: int, box: tuple, region: tuple) -> None:
    np.testing.assert_allclose(with_surroundings(np.array([box], np.float32), crop, padding)[0], region, atol=1e-3)


def test_no_room_for_the_box() -> None:
    with pytest.raises(ValueError, match="room in a crop of 32 pixels; got 16 at each side"):
        with_surroundings(np.zeros((1, 4), np.float32), 32, 16)


def test_a_crop_at_the_corner() -> None:
    """The box is the image's upper left 10 x 10; five pixels of surroundings lie outside, in the mean colour."""
    image = np.random.default_rng(0).integers(0, 255, (20, 20, 3)).astype(np.uint8)
    region = with_surroundings(np.array([[0, 0, 10, 10]], np.float32), 20, 5)[0]
    crop = warp_crop(image, region, 20, spec(20))
    np.testing.assert_array_equal(crop[5:, 5:], image[:15, :15])
    assert (crop[:5] == [124, 116, 104]).all()  # 255 times ImageNet's mean
    assert (crop[:, :5] == [124, 116, 104]).all()
    np.testing.assert_array_equal(warp_crop(image, region, 20, spec(20), mirror=True), crop[:, ::-1])
    normalised = crops_of(image, np.array([[0, 0, 10, 10]], np.float32), spec(20), 5)
    assert normalised.shape == (1, 3, 20, 20)
    assert np.abs(normalised[0, :, :5]).max() < 0.01  # the mean is nought


def test_a_crop_is_stretched() -> None:
    """x of each pixel's middle, seen through a crop of twice the width: 0.25, 0.75, ... behind the box's left."""
    image = np.repeat(np.arange(20, dtype=np.uint8)[None, :, None] * 10, 20, axis=0).repeat(3, axis=2)
    crop = warp_crop(image, np.array([4, 2, 10, 17]), 12, spec(12))
    middles = 4 + (np.arange(12) + 0.5) / 2
    np.testing.assert_allclose(crop[0, :, 0], 10 * (middles - 0.5), atol=1)


def test_no_boxes_no_crops() -> None:
    assert crops_of(np.zeros((5, 5, 3), np.uint8), np.zeros((0, 4), np.float32), spec(32), 2).shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    ("encoder", "crop", "features", "places"),
    [("vgg16", 64, 16, 32 * 2 * 2), ("resnet18_half", 64, 256, 256 * 9), ("alexnet", 227, 4096, 9216)],
)
def test_bodies(encoder: str, crop: int, features: int, places: int) -> None:
    net = build_rcnn(3, encoder, crop=crop, width=4, fc_width=16).eval()
    with torch.no_grad():
        found = net(torch.zeros(1, 3, crop, crop))
    assert [tuple(one.shape) for one in found] == [(1, features), (1, places)]
    assert (net.svm.weight.shape, net.boxes.weight.shape) == ((2, features), (8, places))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crop": 20}, "crops must be 32 pixels or more, got 20"),
        ({"encoder": "alexnet", "crop": 64}, "alexnet takes crops of 227 pixels; got 64"),
        ({"pretrained": True, "width": 8}, "published VGG-16 weights need crop=227"),
    ],
)
def test_nets_that_cannot_be(options: dict, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build_rcnn(3, **options)


def test_regions_by_hand() -> None:
    """A thing of class 2, one of class 1, a crowd; five proposals."""
    things = Instances.make(
        (100, 100), [[0, 0, 10, 10], [50, 50, 70, 70], [80, 0, 100, 20]], [2, 1, 1], crowd=[False, False, True]
    )
    proposals = np.array(
        [[0, 0, 10, 8], [0, 0, 10, 4], [50, 50, 70, 62], [82, 2, 90, 10], [30, 30, 40, 40]], np.float32
    )
    one = regions_of(sample_of(things), proposals)
    assert one.things == 2
    np.testing.assert_array_equal(one.names, [2, 1])
    np.testing.assert_allclose(one.best, [1, 1, 0.8, 0.4, 0.6, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(one.crowded, [False] * 5 + [True, False])
    np.testing.assert_array_equal(one.negatives(2, 0.3), [1, 4, 6])  # the other class's boxes are negatives too
    np.testing.assert_array_equal(one.negatives(1, 0.3), [0, 2, 3, 6])
    np.testing.assert_array_equal(one.negatives(3, 0.3), [0, 1, 2, 3, 4, 6])
    np.testing.assert_array_equal(one.near(0.6), [2])  # neither the true boxes nor those of just 0.6
    positive, negative = windows_of([one], 0.5)
    np.testing.assert_array_equal(positive, [[0, 0, 2], [0, 1, 1], [0, 2, 2], [0, 4, 1]])
    np.testing.assert_array_equal(negative, [[0, 3, 0], [0, 6, 0]])


def test_an_image_without_things() -> None:
    one = regions_of(sample_of(Instances.make((9, 9))), np.array([[0, 0, 5, 5]], np.float32))
    assert one.negatives(1, 0.3).tolist() == [0]
    assert one.near(0.6).tolist() == []
    with pytest.raises(DataError, match="there are 0 and 1"):
        windows_of([one], 0.5)


def test_what_a_step_draws() -> None:
    """32 and 96 of the paper, the same each time for a step, another for the next."""
    regions = []
    for seed in range(3):
        _, things = draw_things(seed)
        regions.append(regions_of(sample_of(things), draw_proposals(things, seed)))
    positive, negative = windows_of(regions, 0.5)
    chosen, mirrored = draw(positive, negative, RcnnOptions(), 7)
    assert (chosen[:32, 2] > 0).all()
    assert (chosen[32:, 2] == 0).all()
    assert len(chosen) == 128
    overlaps = np.array([regions[number].best[row] for number, row, _ in chosen])
    assert overlaps[:32].min() >= 0.5 > overlaps[32:].max()
    assert 40 < mirrored.sum() < 88
    np.testing.assert_array_equal(draw(positive, negative, RcnnOptions(), 7)[0], chosen)
    assert not np.array_equal(draw(positive, negative, RcnnOptions(), 8)[0], chosen)
    assert not draw(positive, negative, RcnnOptions(mirror=False), 7)[1].any()


def test_only_hard_negatives_are_taken_and_easy_ones_let_go() -> None:
    """One feature, which the SVM takes as the score."""
    options = RcnnOptions(retrain_after=100, svm_c=10.0)
    cache = Mined(np.full((3, 1), 4.0, np.float16), Svm(np.ones(1, np.float32), 0.0, 0, True))
    features = np.array([[-3.0], [-1.0], [2.0], [5.0], [-1.5]], np.float16)
    take_hard(cache, 6, np.array([0, 1, 2, 4]), features, 1.0, options)  # row 3 is no negative
    assert cache.taken(6).tolist() == [1, 2]
    assert cache.taken(5).tolist() == []
    take_hard(cache, 6, np.array([0, 1, 2, 4]), features, 1.0, options)
    assert cache.taken(6).tolist() == [1, 2]  # not twice
    assert cache.new == 2
    retrain(cache, 1.0, options)
    assert cache.svm.scores(np.array([[2.0], [4.0]]))[0] < 0 < cache.svm.scores(np.array([[2.0], [4.0]]))[1]
    assert cache.taken(6).tolist() == [2]  # row 1 lies far on the right side now
    assert cache.new == 0


def test_mining_ends_where_all_negatives_would() -> None:
    random = np.random.default_rng(0)
    positives = (random.normal(0, 1, (20, 6)) + 1.5).astype(np.float16)
    images = [random.normal(0, 1, (100, 6)).astype(np.float16) for _ in range(10)]
    options = RcnnOptions(retrain_after=50, svm_c=0.1)
    cache = Mined(positives, Svm(np.zeros(6, np.float32), 0.0, 0, False))
    for _ in range(4):
        for number, features in enumerate(images):
            take_hard(cache, number, np.arange(100), features, 1.0, options)
    retrain(cache, 1.0, options)
    everything = np.concatenate([positives, *images]).astype(np.float32)
    whole = fit_svm(everything, np.arange(len(everything)) < 20, 0.1, options.positive_weight, options.svm_bias)
    assert 0 < len(cache.negatives[0]) < 900
    np.testing.assert_allclose(cache.svm.scores(everything), whole.scores(everything), atol=0.05)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": -1}, "steps must not be negative; got -1"),
        ({"padding": 20, "crop": 40}, "padding 20 at each side leaves nothing of a crop of 40"),
        ({"near": 0.0}, "near is an overlap above 0, at most 1; got 0.0"),
        ({"easy_below": 0.0}, r"easy_below \(0.0\) must not be above hard_from \(-1.0001\)"),
        ({"svm_c": 0.0}, "svm_c must be above 0; got 0.0"),
    ],
)
def test_options_refuse(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RcnnOptions(**changes)


def drawn_for(sample: ThingSample, *_: object) -> np.ndarray:
    """In place of selective search: boxes about the things, and boxes anywhere."""
    return draw_proposals(sample.things(), int(sample.name.removeprefix("drawn")), near=20)


@pytest.fixture(autouse=True, scope="module")
def drawn_proposals():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("imago.training.rcnn_regions.proposals_of", drawn_for)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ThingSample], list[str]]:
    """The folder of a finished training, its samples and what it said."""
    folder = tmp_path_factory.mktemp("rcnn")
    samples = write_samples(folder / "images", 4)
    said: list[str] = []
    train_rcnn(samples, FOUR_LABELS, folder / "run", SMALL, said.append)
    return folder / "run", samples, said


def test_finds_what_it_learned(trained: tuple) -> None:
    folder, samples, said = trained
    net, card = load_rcnn(folder / MODEL)
    truth = [sample.things() for sample in samples]
    found = [predict(net, card, sample.image(), drawn_for(sample)) for sample in samples]
    assert average_precision(found, truth) > 0.9
    assert any("star has no example; it will never be found" in line for line in said)
    for one in found:
        assert (one.classes != 3).all()
        assert (np.diff(one.scores) <= 0).all()
        for value in (1, 2):
            same = one.boxes[one.classes == value]
            assert (iou_matrix(same, same) - np.eye(len(same))).max(initial=0) <= net.iou + 1e-6
    searched = [predict(net, card, sample.image()) for sample in samples]  # the file alone, with selective search
    assert average_precision(searched, truth) > 0.5


def test_regressors_move_boxes_towards_the_things(trained: tuple) -> None:
    """Proposals a fifth to the right of the things: with the regressors they lie better."""
    folder, samples, _ = trained
    net, card = load_rcnn(folder / MODEL)
    net.score, net.iou = 0.0, 1.0
    before, after = [], []
    for sample in samples:
        things = sample.things()
        sides = things.boxes[:, 2:] - things.boxes[:, :2]
        beside = (things.boxes + np.tile(sides, 2) * [0.2, 0, 0.2, 0]).astype(np.float32)
        found = predict(net, card, sample.image(), beside)
        for box, value, moved in zip(things.boxes, things.classes, beside, strict=True):
            before.append(iou_matrix(box[None], moved[None]).max())
            after.append(iou_matrix(box[None], found.boxes[found.classes == value]).max())
    assert np.mean(after) > np.mean(before) + 0.02


def test_nothing_is_found_without_proposals(trained: tuple) -> None:
    net, card = load_rcnn(trained[0] / MODEL)
    found = find_things(net, np.zeros((8, 9, 3), np.uint8), np.zeros((0, 4), np.float32), card.input)
    assert (len(found), found.size_hw) == (0, (8, 9))


def test_killed_at_each_stage_it_ends_the_same(trained: tuple, tmp_path: Path) -> None:
    done, samples, _ = trained
    folder = tmp_path / "run"
    kills = [
        ("fine-tuning: step 52 ", {STATE}, {FINETUNED}),
        ("features: 2 ", {FINETUNED}, {SVMS}),
        ("SVMs: round 1, image 2 ", {FINETUNED}, {SVMS}),
        ("regressors: square", {SVMS}, {BOXES}),
    ]
    for words, there, not_yet in kills:
        with pytest.raises(Stopped):
            train_rcnn(samples, FOUR_LABELS, folder, SMALL, killer(words))
        names = {path.name for path in folder.iterdir()}
        assert there <= names
        assert not not_yet & names
    said: list[str] = []
    train_rcnn(samples, FOUR_LABELS, folder, SMALL, said.append)
    assert not [line for line in said if line.startswith(("fine-tuning", "SVMs"))]
    mine, card = read_tensors(folder / MODEL)
    theirs, other = read_tensors(done / MODEL)
    assert card == other
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=0)


def killer(words: str):
    """A ``say`` that stops the training at the line that starts with ``words``."""

    def say(text: str) -> None:
        if text.startswith(words):
            raise Stopped

    return say


def test_a_folder_of_another_training_is_refused(trained: tuple) -> None:
    folder, samples, _ = trained
    with pytest.raises(DataError, match=r"was begun there \(crop, lr\); choose another folder"):
        train_rcnn(samples, FOUR_LABELS, folder, replace(SMALL, crop=64, lr=0.1), silent)
    with pytest.raises(DataError, match=r"\(classes, images\)"):
        train_rcnn(samples[1:], LABELS, folder, SMALL, silent)
    said: list[str] = []
    train_rcnn(samples, FOUR_LABELS, folder, replace(SMALL, batch=8), said.append)  # what changes nothing may differ
    assert "all stages are done" in said[0]


def test_data_without_things(tmp_path: Path) -> None:
    empty = [replace(one, read_things=lambda: Instances.make((64, 80))) for one in write_samples(tmp_path, 1)]
    with pytest.raises(DataError, match="none of the 1 images has an object"):
        train_rcnn(empty, LABELS, tmp_path / "run", SMALL, silent)


def test_files_that_are_no_rcnn(tmp_path: Path, trained: tuple) -> None:
    path = tmp_path / MODEL
    with pytest.raises(ModelError, match="there is no such file"):
        load_rcnn(path)
    path.write_bytes((trained[0] / MODEL).read_bytes()[:-20])
    with pytest.raises(ModelError, match=f"{MODEL}: not a whole .safetensors file"):
        load_rcnn(path)
    with pytest.raises(ModelError, match="no Imago model card"):
        load_rcnn(trained[0] / SVMS)
    net = build_rcnn(3, width=4, fc_width=8, crop=32)
    save_rcnn(net, RcnnCard("a", LABELS, {"width": 4, "fc_width": 16, "crop": 32}, spec(32)), path)
    with pytest.raises(ModelError, match="do not fit the net that its card names"):
        load_rcnn(path)
    with pytest.raises(ModelError, match="a: holds a unet, not an R-CNN"):
        RcnnCard.from_json('{"architecture": "unet"}', "a")


def test_a_card_there_and_back() -> None:
    card = RcnnCard("a", LABELS, {"crop": 64}, spec(64), 4, ProposalOptions(mode="fast"), ("drawn, CC0",), "CC0")
    assert RcnnCard.from_json(card.to_json(), "a") == card


def test_regions_keep_order() -> None:
    """The boxes behind the things are the proposals, in their order: features are stored by row."""
    _, things = draw_things(0)
    proposals = draw_proposals(things, 0)
    found: Regions = regions_of(sample_of(things), proposals)
    np.testing.assert_array_equal(found.boxes[found.things :], proposals)
