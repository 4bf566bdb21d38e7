"""R-CNN's parts: crops by hand, what its steps draw, mining, scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_instances import draw_instances, draw_proposals, write_samples

from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.core.instances import Instances
from imago.data.augment.settings import NO_AUGMENTATION, Augmentation
from imago.data.crops import add_padding, crop_boxes, warp_crop
from imago.data.dataset import Sample
from imago.inference.detection import merge_crops
from imago.inference.engines.base import FrameDetections
from imago.models import build
from imago.models.detection.rcnn import build_rcnn
from imago.training.dataset import PhotoCache, Source
from imago.training.rcnn.crops import CropDataset, CropSampler, augment_crop, sample_crops, select_crops
from imago.training.rcnn.options import RcnnStages
from imago.training.rcnn.rois import Rois, match_rois
from imago.training.rcnn.solve import ENOUGH, Mined, calibrate, retrain, take_hard
from imago.training.rcnn.svm import Svm, fit_svm

MORE = 30  # what ``C`` is multiplied by for 20 objects
assert MORE == ENOUGH / 20


def spec(crop: int) -> InputSpec:
    return InputSpec("resize", (crop, crop), 1)


def sample_of(instances: Instances) -> Sample:
    return Sample("a", Path("a.png"), read_instances=lambda: instances)


@pytest.mark.parametrize(
    ("crop", "padding", "box", "region"),
    [
        (227, 16, (100, 100, 295, 295), (84, 84, 311, 311)),  # 195 pixels fill the inner square of 195
        (227, 16, (0, 0, 390, 195), (-32, -16, 422, 211)),  # twice as wide: twice the surroundings
        (20, 0, (3, 4, 5, 9), (3, 4, 5, 9)),
    ],
)
def test_surroundings(crop: int, padding: int, box: tuple, region: tuple) -> None:
    np.testing.assert_allclose(add_padding(np.array([box], np.float32), crop, padding)[0], region, atol=1e-3)


def test_no_room_for_the_box() -> None:
    with pytest.raises(ValueError, match="room in a crop of 32 pixels; got 16 at each side"):
        add_padding(np.zeros((1, 4), np.float32), 32, 16)


def test_a_crop_at_the_corner() -> None:
    """The box is the image's upper left 10 x 10; five pixels of surroundings lie outside, in the mean colour."""
    image = np.random.default_rng(0).integers(0, 255, (20, 20, 3)).astype(np.uint8)
    region = add_padding(np.array([[0, 0, 10, 10]], np.float32), 20, 5)[0]
    crop = warp_crop(image, region, 20, spec(20))
    np.testing.assert_array_equal(crop[5:, 5:], image[:15, :15])
    assert (crop[:5] == [124, 116, 104]).all()  # 255 times ImageNet's mean
    assert (crop[:, :5] == [124, 116, 104]).all()
    normalized = crop_boxes(image, np.array([[0, 0, 10, 10]], np.float32), spec(20), 5)
    assert normalized.shape == (1, 3, 20, 20)
    assert np.abs(normalized[0, :, :5]).max() < 0.01  # the mean is nought


def test_a_crop_is_stretched() -> None:
    """x of each pixel's middle, seen through a crop of twice the width: 0.25, 0.75, ... behind the box's left."""
    image = np.repeat(np.arange(20, dtype=np.uint8)[None, :, None] * 10, 20, axis=0).repeat(3, axis=2)
    crop = warp_crop(image, np.array([4, 2, 10, 17]), 12, spec(12))
    middles = 4 + (np.arange(12) + 0.5) / 2
    np.testing.assert_allclose(crop[0, :, 0], 10 * (middles - 0.5), atol=1)


def test_no_boxes_no_crops() -> None:
    assert crop_boxes(np.zeros((5, 5, 3), np.uint8), np.zeros((0, 4), np.float32), spec(32), 2).shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    ("encoder", "crop", "features", "places"),
    [("vgg16", 64, 16, 32 * 2 * 2), ("resnet18_half", 64, 256, 256 * 9), ("alexnet", 227, 4096, 9216)],
)
def test_bodies(encoder: str, crop: int, features: int, places: int) -> None:
    net = build_rcnn(3, encoder, crop=crop, width=4, fc_width=16).eval()
    with torch.no_grad():
        found = net.extract_features(torch.zeros(1, 3, crop, crop))
        margins, deltas = net(torch.zeros(2, 3, crop, crop))
    assert [tuple(one.shape) for one in found] == [(1, features), (1, places)]
    assert (tuple(margins.shape), tuple(deltas.shape)) == ((2, 2), (2, 2, 4))
    assert net.find(torch.zeros(2, 3, crop, crop), [torch.rand(2, 4)])[0].boxes.shape == (0, 4)  # no SVM was solved yet


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crop": 20}, "crops must be 32 pixels or more, got 20"),
        ({"encoder": "alexnet", "crop": 64}, "alexnet takes crops of 227 pixels; got 64"),
        ({"pretrained": True, "width": 8}, "published VGG-16 weights are of width 64 and fc_width 4096; got 8"),
        ({"pretrained": True, "crop": 200}, "published VGG-16 weights want crops of 224 to 255 pixels; got 200"),
        ({"in_channels": 1}, "crops of 3 channels; got in_channels=1"),
        ({"depth": 3}, "architecture 'rcnn' has no option 'depth'"),
    ],
)
def test_nets_that_cannot_be(options: dict, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build("rcnn", classes=3, **options)


def test_decode_by_hand() -> None:
    """Two crops; the first is both classes, the second moves right by half its width and is nearly nothing else."""
    net = build_rcnn(3, width=4, fc_width=8, crop=32)
    net.score_thresh = 0.4
    deltas = torch.zeros(2, 2, 4)
    deltas[1, 1, 0] = 0.5
    found = net.decode((torch.tensor([[0.0, 1.0], [-9, 9]]), deltas), torch.tensor([[0.0, 0, 8, 8], [10, 10, 30, 20]]))
    assert found.classes.tolist() == [1, 2, 2]
    torch.testing.assert_close(found.scores, torch.sigmoid(torch.tensor([0.0, 1.0, 9.0])))
    torch.testing.assert_close(found.boxes, torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 8], [20, 10, 40, 20]]))


def test_the_best_of_all_batches_by_hand() -> None:
    """Two batches. The second's first box overlaps the first's of its class and is better; one lies outside."""
    first = FrameDetections(
        np.array([[0, 0, 10, 10], [0, 0, 10, 10], [90, 0, 99, 9]], np.float32), np.array([0.5, 0.4, 0.9], np.float32),
        np.array([1, 2, 1]),
    )  # fmt: skip
    second = FrameDetections(
        np.array([[-4, 0, 10, 10], [30, 30, 40, 40]], np.float32), np.array([0.8, 0.3], np.float32), np.array([1, 1])
    )
    found = merge_crops([first, second], (50, 60), iou=0.3, most=100)
    np.testing.assert_array_equal(found.boxes, [[0, 0, 10, 10], [0, 0, 10, 10], [30, 30, 40, 40]])
    np.testing.assert_array_equal(found.classes, [1, 2, 1])
    np.testing.assert_array_equal(merge_crops([first, second], (50, 60), 0.3, 2).classes, [1, 2])
    assert len(merge_crops([], (50, 60), 0.3, 2).boxes) == 0


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
    """An object of class 2, one of class 1, a crowd; five proposals."""
    instances = Instances.make(
        (100, 100), [[0, 0, 10, 10], [50, 50, 70, 70], [80, 0, 100, 20]], [2, 1, 1], crowd=[False, False, True]
    )
    proposals = np.array(
        [[0, 0, 10, 8], [0, 0, 10, 4], [50, 50, 70, 62], [82, 2, 90, 10], [30, 30, 40, 40]], np.float32
    )
    one = match_rois(sample_of(instances), proposals)
    assert one.instances == 2
    np.testing.assert_array_equal(one.names, [2, 1])
    np.testing.assert_allclose(one.best, [1, 1, 0.8, 0.4, 0.6, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(one.crowded, [False] * 5 + [True, False])
    np.testing.assert_array_equal(one.negatives(2, 0.3), [1, 4, 6])  # the other class's boxes are negatives too
    np.testing.assert_array_equal(one.negatives(1, 0.3), [0, 2, 3, 6])
    np.testing.assert_array_equal(one.negatives(3, 0.3), [0, 1, 2, 3, 4, 6])
    np.testing.assert_array_equal(one.near(0.6), [2])  # neither the true boxes nor those of just 0.6
    positive, negative = select_crops([one], 0.5)
    np.testing.assert_array_equal(positive, [[0, 0, 2], [0, 1, 1], [0, 2, 2], [0, 4, 1]])
    np.testing.assert_array_equal(negative, [[0, 3, 0], [0, 6, 0]])


def test_an_image_without_detection() -> None:
    one = match_rois(sample_of(Instances.make((9, 9))), np.array([[0, 0, 5, 5]], np.float32))
    assert one.negatives(1, 0.3).tolist() == [0]
    assert one.near(0.6).tolist() == []
    assert [len(windows) for windows in select_crops([one], 0.5)] == [0, 1]


def test_difficult_detection_are_neither_taught_nor_background() -> None:
    instances = Instances.make((99, 99), [[0, 0, 9, 9], [50, 50, 70, 70]], [1, 1], difficult=[True, False])
    one = match_rois(sample_of(instances), np.array([[0, 0, 9, 8]], np.float32))
    assert (one.instances, one.crowded.tolist()) == (1, [False, True])


def pictures_of(folder: Path, stages: RcnnStages, how: Augmentation = NO_AUGMENTATION) -> CropDataset:
    """Of two folders with two drawn photos each."""

    def read(sample: Sample, image: np.ndarray) -> tuple[Rois, int]:
        return match_rois(sample, draw_proposals(sample.instances(), int(sample.name.removeprefix("drawn")))), 1

    samples = write_samples(folder, 4)
    sources = [Source(tuple(samples[:2]), 1.0, how), Source(tuple(samples[2:]), 1.0, how)]
    return CropDataset(PhotoCache(sources, 1.0, read), spec(32), stages)


def test_what_a_step_draws(tmp_path: Path) -> None:
    """32 and 96 of the paper, the same each time for a seed, each the crop that its class is seen in."""
    pictures = pictures_of(tmp_path, RcnnStages(padding=0))
    chosen = pictures.draw(np.random.default_rng(7))
    assert len(chosen) == 128
    assert (chosen[:, 2] > 0).sum() == 32
    overlaps = np.array([pictures.rois[number].best[row] for number, row, _ in chosen])
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
        every = {name: 0.0 for name in ("flip", "color", "to_gray", "blur", "noise", "jpeg")} | how
        return {augment_crop(crop, Augmentation(**every), rng).tobytes() for _ in range(60)}

    assert of() == {crop.tobytes()}
    assert of(flip=0.5) == {crop.tobytes(), crop[:, ::-1].tobytes()}
    assert of(flip_vertical=1.0) == {crop[::-1].tobytes()}
    assert of(rot90=1.0) == {np.rot90(crop, turns).tobytes() for turns in (1, 2, 3)}
    assert len(of(color=0.3)) == 60


def test_the_plan_of_an_epoch() -> None:
    """64 crops a photo; each process has steps of its own; a resumed one goes on where it was."""
    whole = CropSampler(100, 128, seed=3)
    assert whole.steps == len(whole) == 50
    keys = [key for (key,) in whole]
    assert len(set(keys)) == 50
    whole.begin(0, 30, [])
    assert [key for (key,) in whole] == keys[30:]
    whole.begin(1, 0, [])
    assert not set(keys) & {key for (key,) in whole}
    halves = [CropSampler(100, 128, 3, rank, 2) for rank in (0, 1)]
    assert [len(half) for half in halves] == [25, 25]
    assert len({key for half in halves for (key,) in half}) == 50
    assert CropSampler(1, 128, 0).steps == 1


def test_what_a_validation_looks_at() -> None:
    _, instances = draw_instances(0)
    one = match_rois(sample_of(instances), draw_proposals(instances, 0, near=60, far=200))
    windows = sample_crops(one, 0.5, 64, 5)
    assert len(windows) == 64
    assert (windows[:, 2] > 0).sum() == 16
    assert len(np.unique(windows[:, 1])) == 64
    np.testing.assert_array_equal(windows, sample_crops(one, 0.5, 64, 5))
    few = match_rois(sample_of(instances), draw_proposals(instances, 0, near=1, far=2))
    assert 4 <= len(sample_crops(few, 0.5, 64, 5)) <= 6


def test_only_hard_negatives_are_taken_and_easy_ones_let_go() -> None:
    """One feature, which the SVM takes as the score."""
    options = RcnnStages(retrain_after=100, svm_c=10.0)
    cache = Mined(np.full((3, 1), 4.0, np.float16), Svm(np.ones(1, np.float32), 0.0, 0, True))
    features = np.array([[-3.0], [-1.0], [2.0], [5.0], [-1.5]], np.float16)
    take_hard(cache, 6, np.array([0, 1, 2, 4]), features, 1.0, options, 0)  # row 3 is no negative
    assert cache.add(6).tolist() == [1, 2]
    assert cache.add(5).tolist() == []
    take_hard(cache, 6, np.array([0, 1, 2, 4]), features, 1.0, options, 0)
    assert cache.add(6).tolist() == [1, 2]  # not twice
    assert cache.new == 2
    retrain(cache, 1.0, options, 0)
    assert cache.svm.scores(np.array([[2.0], [4.0]]))[0] < 0 < cache.svm.scores(np.array([[2.0], [4.0]]))[1]
    assert cache.add(6).tolist() == [2]  # row 1 lies far on the right side now
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
    """Class 2's SVM is far too modest: a proposal on an object has a margin of -1, others -2. Class 1 has no object."""
    instances = Instances.make((99, 99), [[0, 0, 10, 10]], [2])
    rois = []
    for shift in range(20):
        near = np.tile(np.array([[0, 0, 10, 9]], np.float32), (3, 1))
        far = np.tile(np.array([[50, 50, 60, 60 + shift]], np.float32), (10, 1))
        rois.append(match_rois(sample_of(instances), np.concatenate([near, far])))

    def read(number: int) -> dict[str, np.ndarray]:
        return {"features": np.array([[9.0]] + [[-1.0]] * 3 + [[-2.0]] * 10, np.float16)}

    slopes, shifts = calibrate(read, rois, np.ones((2, 1), np.float32), np.zeros(2, np.float32), 0.5)
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
    """The boxes behind the objects are the proposals, in their order: features are stored by row."""
    _, instances = draw_instances(0)
    proposals = draw_proposals(instances, 0)
    found: Rois = match_rois(sample_of(instances), proposals)
    np.testing.assert_array_equal(found.boxes[found.instances :], proposals)
