"""Fast R-CNN: targets there and back, sampling, pooling, losses and decoding by hand; and it learns drawn objects."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn_instances import average_precision, draw_instances, draw_proposals
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou

from imago.core import boxes as boxes_
from imago.core.input_spec import InputSpec
from imago.core.instances import Instances
from imago.models.detection.base import DetectionTarget
from imago.models.detection.box_deltas import decode_deltas, encode_deltas
from imago.models.detection.crowd import measure_share_within
from imago.models.detection.fast_rcnn import (
    FastRCNN,
    build_encoder_fast_rcnn,
    build_vgg_fast_rcnn,
)
from imago.models.encoders import TappedEncoder, build_encoder

SPEC = InputSpec("resize", (64, 80), 1)
side = st.floats(1, 500, width=32)
some_boxes = arrays.arrays(np.float32, (5, 4), elements=side).map(
    lambda values: torch.from_numpy(np.concatenate([values[:, :2], values[:, :2] + values[:, 2:]], axis=1))
)


def narrow(classes: int = 3, **options) -> FastRCNN:
    torch.manual_seed(0)
    return build_vgg_fast_rcnn(classes, width=8, fc_width=32, norm=True, **options)


class AsItIs(nn.Module):
    """The image is the map."""

    stride, channels = 1, 1

    def forward(self, images: Tensor) -> Tensor:
        return images


@given(some_boxes, some_boxes)
@settings(deadline=None, max_examples=50)
def test_deltas_there_and_back(proposals: Tensor, boxes: Tensor) -> None:
    back = decode_deltas(proposals, encode_deltas(proposals, boxes))
    sides, before = boxes[:, 2:] - boxes[:, :2], proposals[:, 2:] - proposals[:, :2]
    moderate = (sides < 60 * before).all(dim=1)  # past 62.5 the growth is cut
    torch.testing.assert_close(back[moderate], boxes[moderate], rtol=1e-3, atol=0.05)
    theirs = BoxCoder((1.0, 1.0, 1.0, 1.0)).encode_single(boxes, proposals)
    torch.testing.assert_close(encode_deltas(proposals, boxes), theirs, rtol=1e-4, atol=1e-4)


def test_deltas_by_hand() -> None:
    """From a box of 10 x 20 about (5, 10) to one of 20 x 20 about (10, 15)."""
    found = encode_deltas(torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[0.0, 5, 20, 25]]))
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.25, np.log(2), 0.0]], dtype=torch.float32))
    wild = decode_deltas(torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([[0.0, 0, 99, 99]]))
    torch.testing.assert_close(wild, torch.tensor([[8.0 - 500, 8 - 500, 8 + 500, 8 + 500]]))


def test_a_proposal_is_pooled_from_its_own_pixels() -> None:
    """One pixel of the image is 5, at row 5, column 7; the layers pass on what is pooled."""
    net = FastRCNN(AsItIs(), 2, 1, fc_width=1, pool=1).eval()
    for layer in (net.fc6, net.fc7, net.class_score):
        nn.init.ones_(layer.weight)
    image = torch.zeros(1, 1, 12, 12)
    image[0, 0, 5, 7] = 5
    boxes = torch.tensor([[7.0, 5, 8, 6], [0, 0, 12, 12], [0, 0, 7, 12], [0, 0, 12, 5], [8, 6, 12, 12]])
    with torch.no_grad():
        logits, _ = net(image, [boxes])
    torch.testing.assert_close(logits[:, 0], torch.tensor([5.0, 5, 0, 0, 0]))


@pytest.mark.parametrize("counts", [(3, 5), (4, 0), (0, 0)])
def test_shapes(counts: tuple[int, int]) -> None:
    net = narrow(classes=4).eval()
    proposals = [torch.tensor([[3.0, 4, 30, 40]]).repeat(count, 1) for count in counts]
    with torch.no_grad():
        outputs = net(torch.randn(2, 3, 64, 80), proposals)
    assert [tuple(output.shape) for output in outputs] == [(sum(counts), 4), (sum(counts), 3, 4)]
    net.score_thresh = 0.0
    found = net.decode(outputs, proposals, (64, 80))
    assert len(found) == 2
    for one, count in zip(found, counts, strict=True):
        assert len(one.boxes) == (3 if count else 0)  # one a class; the rest are the same box
        assert one.boxes.shape[1] == 4


def test_any_encoder() -> None:
    """The last map, or the one before where only a pool lies between (as with timm's VGG)."""
    pooled = TappedEncoder(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(2)), (0, 1), (2, 4), (4, 4))
    for encoder, stride in ((build_encoder("resnet18_half"), 32), (pooled, 2)):
        net = build_encoder_fast_rcnn(encoder, 3, fc_width=8).eval()
        assert net.body.stride == net.multiple == stride
        with torch.no_grad():
            outputs = net(torch.randn(1, 3, 64, 64), [torch.tensor([[0.0, 0, 32, 32]])])
        assert outputs[1].shape == (1, 2, 4)


def test_refuses_other_inputs() -> None:
    net = narrow()
    with pytest.raises(ValueError, match="multiples of 16"):
        net(torch.zeros(1, 3, 60, 64), [torch.zeros(0, 4)])
    with pytest.raises(ValueError, match="expected a list of proposals an image, 2 of them; got 1"):
        net(torch.zeros(2, 3, 64, 64), [torch.zeros(0, 4)])


def test_sampling() -> None:
    torch.manual_seed(1)
    _, instances = draw_instances(0, (128, 160))
    proposals = torch.from_numpy(draw_proposals(instances, 0, near=200, far=2000))
    truth = torch.from_numpy(instances.boxes)
    target = DetectionTarget(truth, torch.from_numpy(instances.classes))
    net = narrow()
    boxes, classes, deltas = net.draw(target, proposals)
    assert len(boxes) == 64
    assert int((classes > 0).sum()) == 16  # a quarter
    best, which = box_iou(boxes, truth).max(dim=1)
    assert (best[classes > 0] >= 0.5).all()
    assert (classes[classes > 0] == target.classes[which[classes > 0]]).all()
    background = best[classes == 0]
    assert (background < 0.5).all()
    assert (background >= 0.1).all()
    assert (deltas[classes == 0] == 0).all()
    back = decode_deltas(boxes, deltas * net.delta_std + net.delta_mean)
    torch.testing.assert_close(back[classes > 0], truth[which[classes > 0]], rtol=1e-3, atol=1e-2)
    again, _, _ = net.draw(target, proposals)
    assert not torch.equal(again, boxes)


def test_sampling_with_few_or_no_detection() -> None:
    net = narrow()
    far = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    nothing = DetectionTarget(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    assert len(net.draw(nothing, far)[0]) == 0  # the paper's least overlap of negatives leaves none
    net.negative_from = 0.0
    boxes, classes, _ = net.draw(nothing, far)
    assert len(boxes) == 2
    assert (classes == 0).all()
    one = DetectionTarget(torch.tensor([[0.0, 0, 20, 20]]), torch.tensor([2]))
    boxes, classes, _ = net.draw(one, far)
    assert sorted(classes.tolist()) == [0, 0, 2]  # the true box is among the proposals


def test_what_lies_in_a_crowd_is_no_negative() -> None:
    target = DetectionTarget(torch.tensor([[0.0, 0, 40, 40]]), torch.tensor([1]), crowd=torch.tensor([True]))
    net = narrow()
    net.negative_from = 0.0
    boxes, _, _ = net.draw(target, torch.tensor([[0.0, 0, 20, 20], [35, 35, 60, 60], [20, 0, 50, 40]]))
    torch.testing.assert_close(boxes, torch.tensor([[35.0, 35, 60, 60]]))
    shares = measure_share_within(torch.tensor([[0.0, 0, 20, 20], [30, 0, 50, 40]]), torch.tensor([[0.0, 0, 40, 40]]))
    torch.testing.assert_close(shares, torch.tensor([1.0, 0.5]))
    assert measure_share_within(torch.zeros(2, 4), torch.zeros(0, 4)).tolist() == [0, 0]


def test_loss_by_hand() -> None:
    """Every answer is 0: the softmax is even, and smooth L1 is taken of the goals themselves."""
    net = FastRCNN(AsItIs(), 3, 1, fc_width=1, pool=1)
    for layer in (net.class_score, net.box_deltas):
        nn.init.zeros_(layer.weight)
    net.box_deltas.bias.data[:4] = 9.0  # of class 1, which is not asked
    net.delta_std.fill_(1.0)
    target = DetectionTarget(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([2]))
    proposals = torch.tensor([[2.0, 0, 12, 10], [6, 6, 16, 16]])  # a positive moved by 0.2, no negative (0.09)
    losses = net.loss(torch.zeros(1, 1, 16, 16), [target], [proposals])
    assert losses["classes"].item() == pytest.approx(np.log(3), rel=1e-5)
    assert losses["boxes"].item() == pytest.approx(0.5 * 0.2**2 / 2, rel=1e-4)  # two boxes were drawn, one moves


@pytest.mark.parametrize("norm", [False, True])
def test_a_gradient_for_every_parameter(norm: bool) -> None:
    torch.manual_seed(0)
    net = build_vgg_fast_rcnn(3, width=4, fc_width=16, norm=norm)
    nn.init.normal_(net.box_deltas.weight, std=0.1)
    image, instances = draw_instances(1)
    target = DetectionTarget(torch.from_numpy(instances.boxes), torch.from_numpy(instances.classes))
    losses = net.loss(
        torch.from_numpy(SPEC.normalize(image))[None], [target], [torch.from_numpy(draw_proposals(instances, 1))]
    )
    sum(losses.values()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_batch_without_any_object_has_a_loss_of_nothing() -> None:
    net = narrow()
    nothing = DetectionTarget(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    losses = net.loss(torch.zeros(1, 3, 32, 32), [nothing], [torch.zeros(0, 4)])
    sum(losses.values()).backward()
    assert [value.item() for value in losses.values()] == [0, 0]


def test_decode_by_hand() -> None:
    """Three proposals, of which two are nearly the same; class 2 of the third is moved by half its width."""
    net = narrow()
    proposals = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [40, 40, 60, 60]])
    logits = torch.log(torch.tensor([[0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.5, 0.02, 0.48]]))
    deltas = torch.zeros(3, 2, 4)
    deltas[2, 1, 0] = 5.0  # times 0.1
    (found,) = net.decode((logits, deltas), [proposals], (64, 64))
    assert found.classes.tolist() == [1, 2, 2]
    torch.testing.assert_close(found.scores, torch.tensor([0.8, 0.48, 0.1]))
    torch.testing.assert_close(found.boxes, torch.tensor([[0.0, 0, 10, 10], [50, 40, 64, 60], [0, 0, 10, 10]]))


def test_learns_drawn_detection() -> None:
    """Four images by heart: every object is found, and boxes beside it are moved towards it."""
    torch.manual_seed(0)
    net = build_vgg_fast_rcnn(3, width=8, fc_width=64, norm=True, dropout=0.0)
    net.negative_from = 0.0
    scenes = [draw_instances(seed) for seed in range(4)]
    images = torch.stack([torch.from_numpy(SPEC.normalize(image)) for image, _ in scenes])
    truth = [instances for _, instances in scenes]
    targets = [DetectionTarget(torch.from_numpy(t.boxes), torch.from_numpy(t.classes)) for t in truth]
    proposals = [torch.from_numpy(draw_proposals(instances, seed)) for seed, instances in enumerate(truth)]
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(80):
        loss = sum(net.loss(images, targets, proposals).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    assert average_precision(find(net, images, proposals), truth) > 0.9
    net.score_thresh, net.nms_thresh = 0.0, 1.0
    moved = find(net, images, proposals)
    before = [best_overlap(instances, boxes.numpy()) for instances, boxes in zip(truth, proposals, strict=True)]
    after = [best_overlap(instances, one.boxes) for instances, one in zip(truth, moved, strict=True)]
    assert np.mean(after) > np.mean(before)


def find(net: FastRCNN, images: Tensor, proposals: list[Tensor]) -> list[Instances]:
    with torch.no_grad():
        found = net.decode(net(images, proposals), proposals, (64, 80))
    return [Instances.make((64, 80), one.boxes.numpy(), one.classes.numpy(), one.scores.numpy()) for one in found]


def best_overlap(instances: Instances, boxes: np.ndarray) -> float:
    return float(boxes_.iou_matrix(instances.boxes, boxes).max(axis=1).mean())
