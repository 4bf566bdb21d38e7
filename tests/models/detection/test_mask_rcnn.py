"""Faster and Mask R-CNN: torchvision's answers with torchvision's weights, losses, crowds, batches, odd cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.models.detection as theirs
from conftest import draw_scene
from detection_peers import Unchanged
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d, batched_nms

from imago.core import boxes as numpy_boxes
from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.models import build
from imago.models.detection.base import DetectionModel, Detections, DetectionTarget
from imago.models.detection.crowd import ignore_crowd
from imago.models.detection.faster_rcnn import SampledRois
from imago.models.detection.suppression import nms_by_class
from imago.models.published.torchvision import PARTS, fold_epsilon, translate_names

NARROW: dict[str, dict[str, Any]] = {
    "pyramid": {"encoder": "resnet18_half", "width": 16, "fc_width": 32, "sizes": (8, 16, 32, 64, 128)},
    "vgg": {"encoder": "vgg16_bn", "width": 4, "fc_width": 32, "sizes": (16, 32, 64)},
    "mask": {
        "encoder": "resnet18_half", "width": 16, "fc_width": 32, "sizes": (8, 16, 32, 64, 128), "mask_widths": (16, 16)
    },
    "light mask": {
        "encoder": "efficientnet_lite0", "width": 16, "fc_width": 32, "sizes": (8, 16, 32, 64, 128),
        "mask_widths": (16, 24), "separable": True,
    },
}  # fmt: skip


def narrow(form: str, **options: Any) -> DetectionModel:
    torch.manual_seed(0)
    name = "maskrcnn" if form.endswith("mask") else "fasterrcnn"
    return build(name, classes=3, batch_size_per_image=64, proposals=50, **(NARROW[form] | options))


def scene(seed: int, size_hw: tuple[int, int] = (64, 96)) -> tuple[Tensor, DetectionTarget]:
    """A drawn disc (1) and box (2): image (3, H, W) and what is to be learnt."""
    image, labels = draw_scene(seed, size_hw)
    masks = np.stack([labels == value for value in (1, 2)])
    boxes = [[x.min(), y.min(), x.max() + 1, y.max() + 1] for y, x in (np.nonzero(mask) for mask in masks)]
    target = DetectionTarget(
        torch.tensor(boxes, dtype=torch.float32), torch.tensor([1, 2]), torch.from_numpy(masks.astype(np.uint8))
    )
    return torch.from_numpy(InputSpec(rule="pad").normalize(image)), target


def nothing(size_hw: tuple[int, int] = (64, 96)) -> DetectionTarget:
    empty = torch.zeros(0, dtype=torch.int64)
    return DetectionTarget(torch.zeros(0, 4), empty, torch.zeros(0, *size_hw, dtype=torch.uint8))


# torchvision's answers


def stirred(net: nn.Module) -> nn.Module:
    """Norms with memories of their own, and scores far from each other, as a trained net has them."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in net.state_dict().items():
        if name.endswith("running_mean"):
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
        elif name.endswith("running_var"):
            tensor.copy_(1 + 0.1 * torch.rand(tensor.shape, generator=generator))
        elif name.endswith(("cls_logits.weight", "cls_score.weight", "bbox_pred.weight")):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (0.5 / tensor[0].numel() ** 0.5))
    return net.eval()


@pytest.mark.parametrize(
    ("ours", "peer"),
    [("fasterrcnn", theirs.fasterrcnn_resnet50_fpn), ("maskrcnn", theirs.maskrcnn_resnet50_fpn)],
)
def test_torchvision(ours: str, peer: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    reference = peer(
        weights=None, weights_backbone=None, num_classes=4, rpn_pre_nms_top_n_test=60, rpn_post_nms_top_n_test=60,
        box_score_thresh=0.1, box_detections_per_img=20,
    )  # fmt: skip
    stirred(reference).transform = Unchanged()
    net = build(ours, classes=4, proposals=60, score_thresh=0.1, detections_per_img=20).eval()
    net.load_state_dict(translate_names(reference.state_dict(), PARTS[ours]))
    images = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = reference(images)  # its tensors stand for a list of images
        found = net.decode(net(images), (96, 160))
    assert [len(f.scores) for f in found] == [len(e["scores"]) for e in expected]
    assert min(len(f.scores) for f in found) >= 5
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.boxes, other["boxes"], rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(mine.scores, other["scores"], rtol=1e-5, atol=1e-6)
        assert torch.equal(mine.classes, other["labels"])
        if ours == "maskrcnn":
            torch.testing.assert_close(mine.masks, other["masks"][:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("ours", "count"), [("fasterrcnn", 41_755_286), ("maskrcnn", 44_401_393)])
def test_published_counts(ours: str, count: int) -> None:
    """Frozen norms are not counted."""
    with torch.device("meta"):
        net = build(ours, classes=91, frozen_norms=True)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == count


def test_the_paper_has_vgg16_and_nine_anchors_a_place() -> None:
    with torch.device("meta"):
        net = build("fasterrcnn", classes=21, encoder="vgg16")
    convolutions = 14_714_688  # VGG-16's 13
    rpn = 512 * 512 * 9 + 512 + 512 * 9 * 5 + 9 * 5
    head = 512 * 49 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 21 * 5 + 21 * 5
    assert sum(p.numel() for p in net.parameters()) == convolutions + rpn + head


@pytest.mark.parametrize("ours", ["fasterrcnn", "maskrcnn"])
def test_published_files_have_older_names(ours: str) -> None:
    """The .pth files: no ".0.0", mask_fcn1 .. mask_fcn4, and norms that count nothing."""
    with torch.device("meta"):
        peer = getattr(theirs, f"{ours}_resnet50_fpn")(weights=None, weights_backbone=None, num_classes=91)
        net = build(ours, classes=91)
    old = {}
    for name, tensor in peer.state_dict().items():
        parts = name.split(".")
        if name.startswith(("backbone.fpn", "rpn.head.conv.")):
            name = ".".join([*[p for p in parts[:-3]], *([parts[-3]] if "fpn" in name else []), parts[-1]])
        elif name.startswith("roi_heads.mask_head."):
            name = f"roi_heads.mask_head.mask_fcn{int(parts[2]) + 1}.{parts[-1]}"
        if not name.endswith("num_batches_tracked"):
            old[name] = tensor
    assert "rpn.head.conv.weight" in old
    assert "backbone.fpn.layer_blocks.3.bias" in old
    old = {name: torch.ones(tensor.shape) if "running_var" in name else tensor for name, tensor in old.items()}
    stems = {name.removesuffix(".running_var") for name in old if name.endswith(".running_var")}
    old |= {f"{stem}.weight": torch.ones(old[f"{stem}.weight"].shape) for stem in stems}
    named = translate_names(fold_epsilon(old), PARTS[ours])
    assert {n: t.shape for n, t in named.items()} == {n: t.shape for n, t in net.state_dict().items()}


def test_norms_without_epsilon_answer_the_same() -> None:
    frozen = FrozenBatchNorm2d(5, eps=0.0)
    frozen.weight.uniform_(0.5, 2)
    frozen.running_var.copy_(torch.tensor([1e-7, 1e-5, 1e-3, 1.0, 30.0]))
    norm = nn.BatchNorm2d(5).eval()
    named = fold_epsilon({f"n.{name}": tensor for name, tensor in frozen.state_dict().items()})
    norm.load_state_dict({name.removeprefix("n."): tensor for name, tensor in named.items()})
    x = torch.randn(2, 5, 3, 3)
    torch.testing.assert_close(norm(x), frozen(x), rtol=1e-5, atol=1e-5)


# Learning


@pytest.mark.parametrize("form", list(NARROW))
def test_every_parameter_learns(form: str) -> None:
    images, targets = zip(scene(1), scene(2), strict=True)
    net = narrow(form).train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm's residual branches start at zero, and learn from step two on
            nn.init.ones_(module.weight)
    terms = net.loss(torch.stack(images), list(targets))
    assert list(terms) == ["rpn_objectness", "rpn_box", "class", "box"] + (["mask"] if form.endswith("mask") else [])
    sum(terms.values(), torch.zeros(())).backward()
    still = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


def test_frozen_norms_stay() -> None:
    net = narrow("pyramid", frozen_norms=True).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items() if "running" in name}
    image, target = scene(1)
    terms = net.loss(image[None], [target])
    sum(terms.values(), torch.zeros(())).backward()
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in before.items())
    norms = [p for norm in net.features.norms() for p in norm.parameters()]  # type: ignore[union-attr, operator]
    assert not any(p.requires_grad for p in norms)


def test_a_separable_mask_head_by_hand() -> None:
    """Widths 16 -> 16 -> 24: of each a 3 x 3 convolution a channel, and a 1 x 1 one with a bias."""
    net: Any = narrow("light mask")
    assert sum(p.numel() for p in net.mask_head.parameters()) == 9 * 16 + (16 * 16 + 16) + 9 * 16 + (16 * 24 + 24)
    assert net.mask_head(torch.zeros(5, 16, 14, 14)).shape == (5, 24, 14, 14)


@pytest.mark.parametrize("encoder", ["resnet18_half", "efficientnet_lite0", "mobilenetv3_small_050"])
def test_frozen_stages_stay(encoder: str) -> None:
    """What makes the maps of stride 2 and 4, its norms too; the rest learns."""
    net = narrow("pyramid", encoder=encoder, frozen_stages=2).train()
    inner: Any = net.features
    image, target = scene(1)
    before = {name: tensor.clone() for name, tensor in inner.encoder.state_dict().items()}
    with torch.no_grad():
        first, second, third, *_ = inner.encoder.eval()(image[None])
    net.train()
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.01)
    sum(net.loss(image[None], [target]).values(), torch.zeros(())).backward()
    optimizer.step()
    after = inner.encoder.state_dict()
    same = {name for name, tensor in before.items() if torch.equal(tensor, after[name])}
    assert 0 < len(same) < len(before)
    assert any("running_mean" in name for name in same)
    with torch.no_grad():
        maps = inner.encoder.eval()(image[None])
    assert torch.equal(maps[0], first)
    assert torch.equal(maps[1], second)
    assert not torch.equal(maps[2], third)


def test_more_frozen_stages_than_there_are() -> None:
    with pytest.raises(ModelError, match="frozen_stages lies from 0 to 5; got 6"):
        narrow("pyramid", frozen_stages=6)
    with pytest.raises(ModelError, match="frozen_stages is for encoders with a pyramid; leave it out with VGG-16"):
        narrow("vgg", frozen_stages=1)
    with pytest.raises(ModelError, match=r"mask_widths are one or more channels, each 1 or more; got \[\]"):
        narrow("mask", mask_widths=())


@pytest.mark.parametrize("form", list(NARROW))
def test_a_picture_without_objects(form: str) -> None:
    net = narrow(form).train()
    terms = net.loss(scene(1)[0][None], [nothing()])
    assert {name for name, value in terms.items() if value.item() == 0} >= {"rpn_box", "box"}
    assert all(torch.isfinite(value) for value in terms.values())
    assert terms["rpn_objectness"].item() > 0


def test_what_lies_in_a_crowd_is_neither() -> None:
    net = narrow("mask").train()
    everywhere = torch.tensor([[-999.0, -999, 999, 999]])
    masks = torch.ones(1, 64, 96, dtype=torch.uint8)
    crowd = DetectionTarget(everywhere, torch.tensor([1]), masks, torch.tensor([True]))
    terms = net.loss(scene(1)[0][None], [crowd])
    assert {name: value.item() for name, value in terms.items()} == dict.fromkeys(terms, 0.0)


def test_crowds_by_hand() -> None:
    candidates = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [40, 0, 50, 10], [6, 0, 16, 10], [0, 0, 10, 10]])
    labels = torch.tensor([0, 1, 0, 0, -1])  # 1: fits an object, and stays; 3: four tenths lie in the crowd
    assert ignore_crowd(labels, candidates, torch.tensor([[0.0, 0, 10, 10]])).tolist() == [-1, 1, 0, 0, -1]


def test_classes_that_were_not_annotated_by_hand() -> None:
    """Four regions, the classes background, 1, 2; in the second picture nobody marked class 2."""
    net: Any = narrow("pyramid")
    chances = torch.tensor([[0.5, 0.2, 0.3]] * 4)
    rois = torch.tensor([[0.0, 0, 0, 9, 9], [0, 0, 0, 9, 9], [1, 0, 0, 9, 9], [1, 0, 0, 9, 9]])
    sampled = SampledRois(rois, torch.tensor([0, 2, 0, 1]), rois[:, 1:], torch.zeros(4, dtype=torch.int64))
    whole, partly = nothing(), replace(nothing(), unannotated=(2,))
    found = net.class_loss(chances.log(), sampled, [whole, partly])
    by_hand = -(np.log(0.5) + np.log(0.3) + np.log(0.5 + 0.3) + np.log(0.2)) / 4
    assert found.item() == pytest.approx(by_hand, rel=1e-5)
    usual = net.class_loss(chances.log(), sampled, [whole, whole])
    assert usual.item() == pytest.approx(-(2 * np.log(0.5) + np.log(0.3) + np.log(0.2)) / 4, rel=1e-5)


def test_what_was_not_annotated_is_not_taught_as_background() -> None:
    """A picture without a mark in which both classes may be: neither objectness nor class has anything to say."""
    net = narrow("mask").train()
    terms = net.loss(scene(1)[0][None], [replace(nothing(), unannotated=(1, 2))])
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(dict.fromkeys(terms, 0.0), abs=1e-6)
    assert net.loss(scene(1)[0][None], [replace(nothing(), unannotated=(2,))])["class"] > 0.01


def test_what_cannot_be_learnt_from() -> None:
    image, target = scene(1)
    net = narrow("mask")
    with pytest.raises(ValueError, match="expected a target an image, 1 of them; got 0"):
        net.loss(image[None], [])
    with pytest.raises(ValueError, match=r"image 0 of the batch has a box without area, \[5.0, 5.0, 5.0, 9.0\]"):
        net.loss(image[None], [DetectionTarget(torch.tensor([[5.0, 5, 5, 9]]), torch.tensor([1]), target.masks)])
    with pytest.raises(ValueError, match=r"image 0 of the batch needs masks \(2, 64, 96\) to learn from; got None"):
        net.loss(image[None], [DetectionTarget(target.boxes, target.classes)])
    with pytest.raises(ModelError, match="a feature pyramid needs an encoder with maps of stride 4, 8, 16 and 32"):
        build("fasterrcnn", encoder="mobilenet_v3_large")
    with pytest.raises(ModelError, match="has no option 'color'"):
        build("maskrcnn", color=1)


@pytest.mark.slow
def test_mask_rcnn_learns_two_pictures_by_heart() -> None:
    images, targets = zip(scene(1), scene(2), strict=True)
    batch = torch.stack(images)
    net = narrow("mask").train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        sum(net.loss(batch, list(targets)).values(), torch.zeros(())).backward()
        optimizer.step()
    net.eval()
    with torch.inference_mode():
        found = net.decode(net(batch), (64, 96))
    for mine, target in zip(found, targets, strict=True):
        assert mine.masks is not None
        assert sorted(mine.classes[:2].tolist()) == [1, 2]
        assert mine.scores[1] > 0.8
        for value in (1, 2):
            place = mine.classes.tolist().index(value)
            overlap = numpy_boxes.iou_matrix(mine.boxes[place, None].numpy(), target.boxes[value - 1, None].numpy())
            assert overlap.item() > 0.7
    disc = found[0].masks[found[0].classes.tolist().index(1)]  # type: ignore[index]
    assert disc[14, 14] > 0.8  # in the midst of the disc
    assert disc[0, 0] < 0.5  # its box's corner


# Answers


@pytest.mark.parametrize("form", list(NARROW))
def test_images_of_a_batch_do_not_know_each_other(form: str) -> None:
    net = stirred(narrow(form))
    batch = torch.stack([scene(1)[0], scene(2)[0]])
    with torch.inference_mode():
        both = net.decode(net(batch), (64, 96))
        alone = [net.decode(net(image[None]), (64, 96))[0] for image in batch]
    assert all(len(f.scores) for f in both)
    for one, other in zip(both, alone, strict=True):
        torch.testing.assert_close(one.boxes, other.boxes, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(one.scores, other.scores, rtol=1e-4, atol=1e-5)
        assert torch.equal(one.classes, other.classes)
        if one.masks is not None:
            torch.testing.assert_close(one.masks, other.masks, rtol=1e-4, atol=1e-4)


def found_by(net: DetectionModel) -> Detections:
    with torch.inference_mode():
        return net.decode(net(scene(1)[0][None]), (64, 96))[0]


@pytest.mark.parametrize("form", list(NARROW))
def test_thresholds_and_nothing_found(form: str) -> None:
    net = stirred(narrow(form))
    net.score_thresh, net.detections_per_img = 0.2, 3
    found = found_by(net)
    assert len(found.scores) == 3
    assert found.scores.min() > 0.2
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert set(found.classes.tolist()) <= {1, 2}
    net.score_thresh = 1.1
    found = found_by(net)
    assert (found.boxes.shape, found.scores.shape, found.classes.shape) == ((0, 4), (0,), (0,))
    assert found.masks is None if not form.endswith("mask") else found.masks.shape == (0, 28, 28)  # type: ignore[union-attr]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 30)] * 2, st.integers(0, 2)), max_size=30),
    st.sampled_from([0.3, 0.5, 0.7]),
)
@example([(3, 0, 26, 1, 0), (17, 0, 26, 1, 0)], 0.3)  # 12 / 40: an overlap of just 0.3
def test_suppression_is_torchvisions_and_numpys(drawn: list[tuple[int, ...]], iou: float) -> None:
    values = torch.tensor(drawn, dtype=torch.float32).reshape(len(drawn), 5)
    boxes = torch.cat([values[:, :2], values[:, :2] + values[:, 2:4]], dim=1)
    classes = values[:, 4].to(torch.int64)
    scores = torch.linspace(1, 0, len(drawn) + 1)[1:].roll(len(drawn) // 2)  # no two alike
    kept = nms_by_class(boxes, scores, classes, iou, 3)
    assert kept.tolist() == batched_nms(boxes, scores, classes, iou).tolist()
    assert kept.tolist() == numpy_boxes.nms_by_class(boxes.numpy(), scores.numpy(), classes.numpy(), iou).tolist()
