"""R-CNN: crops by hand, what its steps draw, mining, and the whole training in stages, killed at each of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_things import average_precision, draw_proposals, draw_things, write_samples, write_yolo
from test_training import assert_same_weights, fitted, killed
from tiny_run import silent, tiny

from imago.core.boxes import iou_matrix
from imago.core.choice import ObjectChoice
from imago.core.errors import DataError, ImagoError, ModelError
from imago.core.instances import Instances
from imago.core.proposal_options import ProposalOptions
from imago.core.spec import InputSpec
from imago.data.augmentation import NO_AUGMENTATION, Augmentation
from imago.data.crops import crops_of, warp_crop, with_surroundings
from imago.data.proposals import propose
from imago.data.things import ThingSample
from imago.inference.load import load
from imago.inference.predictor import Predictor
from imago.inference.things import FrameObjects, best_of_crops, find_objects
from imago.inference.things_torch import TorchObjectEngine
from imago.models import checkpoint
from imago.models.rcnn import RCNN, build_rcnn
from imago.models.things import build_things
from imago.training.config import DataSource, TrainConfig
from imago.training.interrupt import Stopped
from imago.training.pictures import PhotoCache, Source
from imago.training.rcnn_crops import CropPictures, CropPlan, sampled, varied, windows_of
from imago.training.rcnn_options import RcnnStages
from imago.training.rcnn_regions import Regions, regions_of
from imago.training.rcnn_solve import ENOUGH, Mined, calibrate, retrain, take_hard
from imago.training.svm import Svm, fit_svm
from imago.training.train import build, train

NAMES = ("square", "disc", "star")  # the drawings have no star
STAGES = (
    "stages.padding=4", "stages.positives=12", "stages.negatives=24", "stages.retrain_after=100", "stages.penalty=10",
    "proposals.side=80",
)  # fmt: skip
MORE = 30  # what ``C`` is multiplied by for 20 things
assert MORE == ENOUGH / 20


def spec(crop: int) -> InputSpec:
    return InputSpec("squash", (crop, crop), 1)


def sample_of(things: Instances) -> ThingSample:
    return ThingSample("a", Path("a.png"), lambda: things)


def small(out: Path, *option: str, **changes: Any) -> TrainConfig:
    """Eighty steps or so of a narrow VGG-16 on crops of 32 pixels."""
    values: dict[str, Any] = {
        "data": (DataSource("drawn"),), "model": "rcnn", "size": TrainConfig.size, "multiple": TrainConfig.multiple,
        "batch": TrainConfig.batch, "option": ("width=8", "fc_width=64", "crop=32", *STAGES, *option), "epochs": 10,
        "optimiser": "sgd", "lr": 0.02, "clip": 5.0, "weight_decay": 5e-4, "ema": 0.9, "validate_every": 5,
        "save_minutes": 1.0, "name": "small",
    }  # fmt: skip
    return tiny(out, **{**values, **changes})


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
        found = net.describe(torch.zeros(1, 3, crop, crop))
        margins, deltas = net(torch.zeros(2, 3, crop, crop))
    assert [tuple(one.shape) for one in found] == [(1, features), (1, places)]
    assert (tuple(margins.shape), tuple(deltas.shape)) == ((2, 2), (2, 2, 4))
    assert net.find(torch.zeros(2, 3, crop, crop), [torch.rand(2, 4)])[0].boxes.shape == (0, 4)  # no SVM was solved yet


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crop": 20}, "crops must be 32 pixels or more, got 20"),
        ({"encoder": "alexnet", "crop": 64}, "alexnet takes crops of 227 pixels; got 64"),
        ({"pretrained": True, "width": 8}, "published VGG-16 weights are for 3 channels, width 64 and fc_width 4096"),
        ({"pretrained": True, "crop": 200}, "published VGG-16 weights want crops of 224 to 255 pixels; got 200"),
        ({"in_channels": 1}, "crops of 3 channels; got in_channels=1"),
        ({"depth": 3}, "architecture 'rcnn' has no option 'depth'"),
    ],
)
def test_nets_that_cannot_be(options: dict, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build_things("rcnn", classes=3, **options)


def test_decode_by_hand() -> None:
    """Two crops; the first is both classes, the second moves right by half its width and is nearly nothing else."""
    net = build_rcnn(3, width=4, fc_width=8, crop=32)
    net.score = 0.4
    deltas = torch.zeros(2, 2, 4)
    deltas[1, 1, 0] = 0.5
    found = net.decode((torch.tensor([[0.0, 1.0], [-9, 9]]), deltas), torch.tensor([[0.0, 0, 8, 8], [10, 10, 30, 20]]))
    assert found.classes.tolist() == [1, 2, 2]
    torch.testing.assert_close(found.scores, torch.sigmoid(torch.tensor([0.0, 1.0, 9.0])))
    torch.testing.assert_close(found.boxes, torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 8], [20, 10, 40, 20]]))


def test_the_best_of_all_batches_by_hand() -> None:
    """Two batches. The second's first box overlaps the first's of its class and is better; one lies outside."""
    first = FrameObjects(
        np.array([[0, 0, 10, 10], [0, 0, 10, 10], [90, 0, 99, 9]], np.float32), np.array([0.5, 0.4, 0.9], np.float32),
        np.array([1, 2, 1]),
    )  # fmt: skip
    second = FrameObjects(
        np.array([[-4, 0, 10, 10], [30, 30, 40, 40]], np.float32), np.array([0.8, 0.3], np.float32), np.array([1, 1])
    )
    found = best_of_crops([first, second], (50, 60), iou=0.3, most=100)
    np.testing.assert_array_equal(found.boxes, [[0, 0, 10, 10], [0, 0, 10, 10], [30, 30, 40, 40]])
    np.testing.assert_array_equal(found.classes, [1, 2, 1])
    np.testing.assert_array_equal(best_of_crops([first, second], (50, 60), 0.3, 2).classes, [1, 2])
    assert len(best_of_crops([], (50, 60), 0.3, 2).boxes) == 0


def test_refuses_other_inputs() -> None:
    net = build_rcnn(3, width=4, fc_width=8, crop=32)
    with pytest.raises(ValueError, match=r"crops must be \(N, 3, 32, 32\); got \(1, 3, 40, 32\)"):
        net(torch.zeros(1, 3, 40, 32))
    with pytest.raises(ValueError, match="crops of one photo at a time"):
        net.find(torch.zeros(1, 3, 32, 32), [torch.zeros(1, 4)] * 2)


def test_only_the_softmax_is_learned() -> None:
    """SVMs and regressors are solved for: neither an optimiser nor DDP, which waits for all gradients, may ask them."""
    net = build_rcnn(3, width=4, fc_width=8, crop=32)
    net.loss(torch.randn(6, 3, 32, 32), torch.tensor([0, 0, 0, 1, 1, 2]))["softmax"].backward()
    learned = [name for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert learned == [name for name, p in net.named_parameters() if p.requires_grad]
    assert learned[-2:] == ["softmax.weight", "softmax.bias"]


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
    assert [len(windows) for windows in windows_of([one], 0.5)] == [0, 1]


def test_difficult_things_are_neither_taught_nor_background() -> None:
    things = Instances.make((99, 99), [[0, 0, 9, 9], [50, 50, 70, 70]], [1, 1], difficult=[True, False])
    one = regions_of(sample_of(things), np.array([[0, 0, 9, 8]], np.float32))
    assert (one.things, one.crowded.tolist()) == (1, [False, True])


def pictures_of(folder: Path, stages: RcnnStages, how: Augmentation = NO_AUGMENTATION) -> CropPictures:
    """Of two folders with two drawn photos each."""

    def read(sample: ThingSample, image: np.ndarray) -> tuple[Regions, int]:
        return regions_of(sample, draw_proposals(sample.things(), int(sample.name.removeprefix("drawn")))), 1

    samples = write_samples(folder, 4)
    sources = [Source(tuple(samples[:2]), 1.0, how), Source(tuple(samples[2:]), 1.0, how)]
    return CropPictures(PhotoCache(sources, 1.0, read), spec(32), stages)


def test_what_a_step_draws(tmp_path: Path) -> None:
    """32 and 96 of the paper, the same each time for a seed, each the crop that its class is seen in."""
    pictures = pictures_of(tmp_path, RcnnStages(padding=0))
    chosen = pictures.draw(np.random.default_rng(7))
    assert len(chosen) == 128
    assert (chosen[:, 2] > 0).sum() == 32
    overlaps = np.array([pictures.regions[number].best[row] for number, row, _ in chosen])
    assert overlaps[chosen[:, 2] > 0].min() >= 0.5 > overlaps[chosen[:, 2] == 0].max()
    assert set(chosen[:, 0]) == {0, 1, 2, 3}
    crops, classes = pictures[7]
    assert crops.shape == (128, 3, 32, 32)
    assert classes.tolist() == chosen[:, 2].tolist()
    red, blue = (crops[classes == value].mean(dim=(0, 2, 3)) for value in (1, 2))
    assert red[0] > red[2] + 1 and blue[2] > blue[0] + 1  # noqa: PT018
    assert torch.equal(pictures[7][0], crops)
    assert not torch.equal(pictures[8][0], crops)


def test_crops_are_varied() -> None:
    crop = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    rng = np.random.default_rng(1)

    def of(**how: float) -> set[bytes]:
        every = {name: 0.0 for name in ("flip", "colour", "grey", "blur", "grain", "jpeg")} | how
        return {varied(crop, Augmentation(**every), rng).tobytes() for _ in range(60)}

    assert of() == {crop.tobytes()}
    assert of(flip=0.5) == {crop.tobytes(), crop[:, ::-1].tobytes()}
    assert of(flip_vertical=1.0) == {crop[::-1].tobytes()}
    assert of(quarter_turns=1.0) == {np.rot90(crop, turns).tobytes() for turns in (1, 2, 3)}
    assert len(of(colour=0.3)) == 60


def test_the_plan_of_an_epoch() -> None:
    """64 crops a photo; each process has steps of its own; a resumed one goes on where it was."""
    whole = CropPlan(100, 128, seed=3)
    assert whole.steps == len(whole) == 50
    keys = [key for (key,) in whole]
    assert len(set(keys)) == 50
    whole.begin(0, 30, [])
    assert [key for (key,) in whole] == keys[30:]
    whole.begin(1, 0, [])
    assert not set(keys) & {key for (key,) in whole}
    halves = [CropPlan(100, 128, 3, rank, 2) for rank in (0, 1)]
    assert [len(half) for half in halves] == [25, 25]
    assert len({key for half in halves for (key,) in half}) == 50
    assert CropPlan(1, 128, 0).steps == 1


def test_what_a_validation_looks_at() -> None:
    _, things = draw_things(0)
    one = regions_of(sample_of(things), draw_proposals(things, 0, near=60, far=200))
    windows = sampled(one, 0.5, 64, 5)
    assert len(windows) == 64
    assert (windows[:, 2] > 0).sum() == 16
    assert len(np.unique(windows[:, 1])) == 64
    np.testing.assert_array_equal(windows, sampled(one, 0.5, 64, 5))
    few = regions_of(sample_of(things), draw_proposals(things, 0, near=1, far=2))
    assert 4 <= len(sampled(few, 0.5, 64, 5)) <= 6


def test_only_hard_negatives_are_taken_and_easy_ones_let_go() -> None:
    """One feature, which the SVM takes as the score."""
    options = RcnnStages(retrain_after=100, svm_c=10.0)
    cache = Mined(np.full((3, 1), 4.0, np.float16), Svm(np.ones(1, np.float32), 0.0, 0, True))
    features = np.array([[-3.0], [-1.0], [2.0], [5.0], [-1.5]], np.float16)
    take_hard(cache, 6, np.array([0, 1, 2, 4]), features, 1.0, options, 0)  # row 3 is no negative
    assert cache.taken(6).tolist() == [1, 2]
    assert cache.taken(5).tolist() == []
    take_hard(cache, 6, np.array([0, 1, 2, 4]), features, 1.0, options, 0)
    assert cache.taken(6).tolist() == [1, 2]  # not twice
    assert cache.new == 2
    retrain(cache, 1.0, options, 0)
    assert cache.svm.scores(np.array([[2.0], [4.0]]))[0] < 0 < cache.svm.scores(np.array([[2.0], [4.0]]))[1]
    assert cache.taken(6).tolist() == [2]  # row 1 lies far on the right side now
    assert cache.new == 0


def test_mining_ends_where_all_negatives_would() -> None:
    random = np.random.default_rng(0)
    positives = (random.normal(0, 1, (20, 6)) + 1.5).astype(np.float16)
    images = [random.normal(0, 1, (100, 6)).astype(np.float16) for _ in range(10)]
    options = RcnnStages(retrain_after=50, svm_c=0.1 / MORE)
    cache = Mined(positives, Svm(np.zeros(6, np.float32), 0.0, 0, False))
    for _ in range(4):
        for number, features in enumerate(images):
            take_hard(cache, number, np.arange(100), features, 1.0, options, 0)
    retrain(cache, 1.0, options, 0)
    everything = np.concatenate([positives, *images]).astype(np.float32)
    whole = fit_svm(everything, np.arange(len(everything)) < 20, 0.1, options.positive_weight, options.svm_bias)
    assert 0 < len(cache.negatives[0]) < 900
    np.testing.assert_allclose(cache.svm.scores(everything), whole.scores(everything), atol=0.05)


def test_scores_become_chances() -> None:
    """Class 2's SVM is far too modest: a proposal on a thing has a margin of -1, others -2. Class 1 has no thing."""
    things = Instances.make((99, 99), [[0, 0, 10, 10]], [2])
    regions = []
    for shift in range(20):
        near = np.tile(np.array([[0, 0, 10, 9]], np.float32), (3, 1))
        far = np.tile(np.array([[50, 50, 60, 60 + shift]], np.float32), (10, 1))
        regions.append(regions_of(sample_of(things), np.concatenate([near, far])))

    def read(number: int) -> dict[str, np.ndarray]:
        return {"features": np.array([[9.0]] + [[-1.0]] * 3 + [[-2.0]] * 10, np.float16)}

    slopes, shifts = calibrate(read, regions, np.ones((2, 1), np.float32), np.zeros(2, np.float32), 0.5)
    assert (slopes[0], shifts[0]) == (1, 0)
    chances = 1 / (1 + np.exp(-(slopes[1] * np.array([-1.0, -1.5, -2.0]) + shifts[1])))
    assert chances[0] > 0.95
    assert chances[2] < 0.02
    assert 0.05 < chances[1] < 0.95


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rounds": 0}, "rounds must be 1 or more; got 0"),
        ({"padding": -1}, "padding must not be negative; got -1"),
        ({"near": 0.0}, "near is an overlap above 0, at most 1; got 0.0"),
        ({"easy_below": 0.0}, r"easy_below \(0.0\) must not be above hard_from \(-1.0001\)"),
        ({"svm_c": 0.0}, "svm_c must be above 0; got 0.0"),
    ],
)
def test_stages_refuse(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RcnnStages(**changes)


def test_regions_keep_order() -> None:
    """The boxes behind the things are the proposals, in their order: features are stored by row."""
    _, things = draw_things(0)
    proposals = draw_proposals(things, 0)
    found: Regions = regions_of(sample_of(things), proposals)
    np.testing.assert_array_equal(found.boxes[found.things :], proposals)


# --- the whole training


def drawn_for(image: np.ndarray, options: ProposalOptions) -> np.ndarray:
    """In place of selective search, which finds drawn things so well that regressors have nothing to learn: boxes about
    the things, and boxes anywhere."""
    (seed,) = [seed for seed in range(4) if np.array_equal(image, draw_things(seed)[0])]
    return draw_proposals(draw_things(seed)[1], seed, near=20)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Four photos to learn by heart, and a folder for their proposals."""
    folder = tmp_path_factory.mktemp("rcnn")
    write_yolo(folder / "drawn", 4, NAMES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("imago.data.proposals.propose", drawn_for)
        yield folder


def run_of(drawn: Path, name: str, *option: str, **changes: Any) -> TrainConfig:
    return small(drawn / name, *option, proposals=str(drawn / "proposals"), **changes)


@pytest.fixture(scope="module")
def trained(drawn: Path) -> tuple[Path, list[str]]:
    """The folder of a finished training, and what it said."""
    said: list[str] = []
    train(run_of(drawn, "whole"), drawn, say=said.append)
    return drawn / "whole", said


def test_finds_what_it_learned(drawn: Path, trained: tuple[Path, list[str]]) -> None:
    folder, said = trained
    model = load(folder / "best.safetensors", device="cpu")
    assert model.card.task == "boxes"
    assert model.card.crop_padding == 4
    assert model.card.proposals == ProposalOptions(side=80)
    scenes = [draw_things(seed) for seed in range(4)]
    found = [model.objects(image) for image, _ in scenes]  # selective search, from the file alone
    assert average_precision(found, [things for _, things in scenes]) > 0.9
    sure = [one[one.scores > 0.5] for one in found]
    assert average_precision(sure, [things for _, things in scenes]) > 0.8  # 0.5 is a border that one can use
    assert any("star has no example; it will never be found" in line for line in said)
    for one in found:
        assert (one.classes != 3).all()
        assert (np.diff(one.scores) <= 0).all()
        for value in (1, 2):
            same = one.boxes[one.classes == value]
            assert (iou_matrix(same, same) - np.eye(len(same))).max(initial=0) <= 0.3 + 1e-6


def test_what_the_run_leaves(trained: tuple[Path, list[str]]) -> None:
    folder, said = trained
    names = {path.name for path in folder.iterdir()}
    assert {"best.safetensors", "config.json", "metrics.csv", "scores.json", "report.html", "stages"} <= names
    assert "features" not in names  # gigabytes, with a large net
    summary = json.loads((folder / "scores.json").read_text())["drawn"]["summary"]
    assert summary["box_ap50"]["mean"] > 0.9
    _, card = checkpoint.load_things(folder / "best.safetensors")
    assert card.scores["drawn/box_ap50"] == pytest.approx(summary["box_ap50"]["mean"], abs=1e-4)
    assert any(line.startswith("features: 4 of 4") for line in said)


def test_regressors_move_boxes_towards_the_things(trained: tuple[Path, list[str]]) -> None:
    """Proposals a fifth to the right of the things: with the regressors they lie better."""
    engine = TorchObjectEngine(trained[0] / "best.safetensors", "cpu")
    engine.net.score = 0.0
    before, after = [], []
    for seed in range(4):
        image, things = draw_things(seed)
        sides = things.boxes[:, 2:] - things.boxes[:, :2]
        beside = (things.boxes + np.tile(sides, 2) * [0.2, 0, 0.2, 0]).astype(np.float32)
        found = find_objects(
            engine, image, ObjectChoice(score=0.0), propose=lambda image, options, beside=beside: beside
        )
        for box, value, moved in zip(things.boxes, things.classes, beside, strict=True):
            before.append(iou_matrix(box[None], moved[None]).max())
            after.append(iou_matrix(box[None], found.boxes[found.classes == value]).max(initial=0))
    assert np.mean(after) > np.mean(before) + 0.02


def test_crops_come_in_batches(trained: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more than so many in memory; the answer is the same, whatever their number."""
    engine = TorchObjectEngine(trained[0] / "best.safetensors", "cpu")
    image, things = draw_things(1)
    boxes = draw_proposals(things, 1, near=40, far=60)
    sizes: list[int] = []
    run = engine.run
    monkeypatch.setattr(engine, "run", lambda crops, some: sizes.append(len(crops)) or run(crops, some))
    whole = find_objects(engine, image, ObjectChoice(score=0.0), propose=lambda image, options: boxes)
    assert max(sizes) <= 64 < sum(sizes) == len(boxes)
    monkeypatch.setattr("imago.inference.things.CROPS", 7)
    again = find_objects(engine, image, ObjectChoice(score=0.0), propose=lambda image, options: boxes)
    assert max(sizes[-5:]) <= 7
    np.testing.assert_allclose(again.boxes, whole.boxes, atol=1e-3)
    nothing = find_objects(engine, image, propose=lambda image, options: boxes[:0])
    assert (len(nothing), nothing.size_hw) == (0, (64, 80))


def copy_of(run: Path, folder: Path, *without: str) -> Path:
    """A finished run as it was before it had made ``without``."""
    shutil.copytree(run, folder)
    for name in without:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def test_killed_in_each_stage_it_ends_the_same(drawn: Path, trained: tuple[Path, list[str]]) -> None:
    config = run_of(drawn, "stopped")
    folder = copy_of(trained[0], drawn / "stopped", "stages", "report.html", "scores.json")
    for words, there, not_yet in (
        ("features: 2", "features", "stages"),
        ("SVMs: round 1, image 2", "features", "stages"),
        ("regressors: square", "stages", "scores.json"),
        ("\ndrawn, 2 validation", "stages", "scores.json"),
    ):
        said: list[str] = []
        with pytest.raises(Stopped):
            train(config, drawn, True, killer(words, said))
        if words.strip() == words:  # not in the report
            assert said[-1] == f"stopped after fine-tuning; go on with: imago train --resume --out {folder}"
        names = {path.name for path in folder.iterdir()}
        assert there in names
        assert not_yet not in names
    said = []
    train(config, drawn, True, said.append)
    assert not [line for line in said if line.startswith(("features", "SVMs", "regressors"))]
    mine, theirs = (checkpoint.load_things(at / "best.safetensors")[0].state_dict() for at in (folder, trained[0]))
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=0)


def killer(words: str, said: list[str]) -> Callable[[str], None]:
    """A ``say`` that stops the training at the line that starts with ``words``."""

    def say(text: str) -> None:
        said.append(text)
        if text.startswith(words):
            raise Stopped

    return say


def test_killed_while_it_is_fine_tuned(drawn: Path) -> None:
    changes = {"epochs": 2, "save_minutes": 0.0, "validate_every": 1}
    fitted(run_of(drawn, "a", **changes), drawn)
    killed(run_of(drawn, "b", **changes), drawn, 3, "while")
    run = fitted(run_of(drawn, "b", **changes), drawn, resume=True)
    assert run.progress.done
    assert_same_weights(drawn / "a", drawn / "b")


def test_another_stage_option_solves_anew(drawn: Path, trained: tuple[Path, list[str]]) -> None:
    """A finished run whose config.json asks for other stages: the CNN stays, what follows is worked out again."""
    folder = copy_of(trained[0], drawn / "other")
    before = checkpoint.load_things(folder / "best.safetensors")[0]
    train(run_of(drawn, "other", "stages.svm_c=0.5"), drawn, True, silent)
    after = checkpoint.load_things(folder / "best.safetensors")[0]
    assert isinstance(before, RCNN)
    assert isinstance(after, RCNN)
    assert torch.equal(before.softmax.weight, after.softmax.weight)
    assert not torch.equal(before.svm.weight, after.svm.weight)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 64}, "--size does not go with --model rcnn: it looks at crops of one size, which --option crop=227"),
        ({"rule": "pad"}, "--rule does not go with --model rcnn"),
        ({"batch": 2}, "--batch does not go with --model rcnn: a step is 32 crops of things and 96 of background"),
        ({"loss": "ce"}, "--loss does not go with --model rcnn: each net has the loss of its paper"),
        ({"augment": Augmentation(zoom_min=0.5)}, "--zoom-min moves whole photos; rcnn learns crops"),
        ({"data": (DataSource("drawn", augment={"stretch": 0.0}),)}, "--stretch moves whole photos"),
        ({"data": (DataSource("drawn", weight=2.0),)}, "rcnn draws its crops from all photos alike"),
        ({"option": ("width=4", "crop=32")}, "stages.padding=16 at each side leaves nothing of a crop of 32 pixels"),
        ({"option": ("width=4", "stages.rounds=x")}, r"--option stages\.rounds is a whole number, like 1; got 'x'"),
        ({"option": ("width=4", "stages.steps=3")}, "stages has no 'steps' to set; it has padding, positives"),
        ({"option": ("width=4", "other.x=1")}, "rcnn has no part 'other' to set; it has proposals and stages"),
    ],
)
def test_settings_that_say_nothing_are_refused(drawn: Path, tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(ImagoError, match=words):
        build(small(tmp_path / "run", **changes), drawn, False, silent)
    assert not (tmp_path / "run" / "config.json").exists()


def test_data_without_things(tmp_path: Path) -> None:
    folder = write_yolo(tmp_path / "drawn", 2)
    for path in folder.glob("labels/*/*.txt"):
        path.write_text("")
    with pytest.raises(DataError, match=r"the 2 photos have 0 and \d+\. Is anything outlined in them"):
        build(small(tmp_path / "run"), tmp_path, False, silent)


@pytest.mark.slow
def test_the_file_answers_as_torch(
    drawn: Path, trained: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """model.onnx on the light engine: the same finds on larger scenes, and the commands take it."""
    from PIL import Image

    from imago.cli.main import run as run_command

    folder, file = trained[0], tmp_path / "model.onnx"
    assert run_command(["export", str(folder), "--out", str(file)]) == 0
    one, other = load(file), load(folder / "best.safetensors", device="cpu")
    assert isinstance(one, Predictor)
    for seed, size_hw in ((7, (64, 80)), (8, (150, 201))):
        image, _ = draw_things(seed, size_hw)
        boxes = propose(image, one.card.proposals)  # once: their order has a random factor
        one.propose = other.propose = lambda image, options, boxes=boxes: boxes
        mine, theirs = one.objects(image), other.objects(image)
        assert len(mine) == len(theirs) > 2
        np.testing.assert_allclose(mine.boxes, theirs.boxes, atol=1e-2)
        np.testing.assert_allclose(mine.scores, theirs.scores, atol=1e-3)
        np.testing.assert_array_equal(mine.classes, theirs.classes)
    single = np.array([[10, 10, 40, 40]], np.float32)
    for few in (single, single[:0]):
        one.propose = other.propose = lambda image, options, few=few: few
        assert len(one.objects(image)) == len(other.objects(image))
    photo = tmp_path / "photo.png"
    Image.fromarray(draw_things(2)[0]).save(photo)
    capsys.readouterr()
    assert run_command(["segment", str(photo), "--model", str(file), "--json"]) == 0
    objects = json.loads(capsys.readouterr().out)["objects"]
    assert {"square", "disc"} == {row["class"] for row in objects}
    assert run_command(["cutout", str(photo), "--model", str(file), "--each", "--out", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("photo.*.cutout.png"))) == len(objects)
    capsys.readouterr()
    assert run_command(["evaluate", str(file), str(drawn / "drawn"), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["box_ap50"]["mean"] > 0.9
