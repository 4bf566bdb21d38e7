"""YOLO's losses by hand; the truth as raw outputs costs nothing and comes back; narrow forms learn."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.ops import box_iou
from yolo_forms import FORMS, SMALL6, Form, every_form, instances, make, noise, size_of

from imago.models.catalog import ARCHITECTURES
from imago.models.detection.base import DetectionModel, Detections, DetectionTarget
from imago.models.detection.yolo_head import assign_targets
from imago.models.detection.yolov1 import YOLOv1
from imago.models.detection.yolov2 import PRIOR_IMAGES, YOLOv2
from imago.models.detection.yolov3 import YOLOv3


def test_v1_loss_by_hand() -> None:
    """Equation 3 with one object: box 1 of its cell is responsible; everything else is 0."""
    net = ARCHITECTURES["yolov1_fast"].builder(classes=3, width=2, size=128)
    assert isinstance(net, YOLOv1)
    scores, confidences, boxes = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2, 4)
    target = instances((64, 0, 128, 64, 2))  # centre (96, 32): row 0, column 1; half the image a side
    boxes[0, 0, 1, 1] = torch.tensor([0.5, 0.5, 0.5**0.5, 0.5])  # half as high as it should be: IoU 0.5
    confidences[0, 0, 1] = torch.tensor([0.3, 0.9])
    confidences[0, 1, 0, 0] = 0.2
    scores[0, 0, 1] = torch.tensor([0.25, 0.5])
    terms = net.compute_loss((scores, confidences, boxes), [target])
    want = {
        "center": 0.0,
        "size": 5 * (0.5**0.5 - 0.5) ** 2,
        "object": (0.9 - 0.5) ** 2,
        "nothing": 0.5 * (0.3**2 + 0.2**2),
        "class": 0.25**2 + 0.5**2,
    }
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(want, abs=1e-6)
    crowd = instances((64, 0, 128, 64, 2), (0, 64, 64, 128, 1), crowd=(False, True))  # the cell of the 0.2
    assert net.compute_loss((scores, confidences, boxes), [crowd])["nothing"].item() == pytest.approx(0.5 * 0.3**2)


def test_v2_loss_by_hand() -> None:
    net = ARCHITECTURES["yolov2_tiny"].builder(classes=3, width=2, anchors=[(32, 32)])
    assert isinstance(net, YOLOv2)
    raw = torch.zeros(1, 1, 7, 1, 2)  # two cells; all boxes 32 x 32 in the middle of their cell
    target = instances((0, 0, 32, 32, 2))
    terms = net.compute_loss((raw,), [target])
    want = {"center": 0, "size": 0, "object": 2.5 * 0.25, "nothing": 0.5 * 0.25, "class": math.log(2)}
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(want)
    wide = net.compute_loss(
        (raw,), [instances((0, 0, 64, 32, 2))]
    )  # centre on the border: cell 1, offset 0; all of the image
    assert wide["center"].item() == pytest.approx(0.5 * 0.25)
    assert wide["size"].item() == pytest.approx(0.5 * math.log(2) ** 2)
    assert wide["object"].item() == pytest.approx(2.5 * (0.5 - 0.5) ** 2)  # IoU 0.5


def test_v2_draws_to_its_anchors_at_first() -> None:
    net = make(FORMS["v2-tiny"]).train()
    images, targets = noise(2, 3, 64, 64), [instances((0, 0, 24, 24, 1)), instances()]
    assert "prior" in net.loss(images, targets)
    assert net.seen.item() == 2
    net.seen.fill_(PRIOR_IMAGES)
    assert "prior" not in net.loss(images, targets)
    assert "prior" not in net.eval().loss(images, targets)
    assert net.seen.item() == PRIOR_IMAGES + 2


def test_v3_loss_by_hand() -> None:
    net = ARCHITECTURES["yolov3_tiny"].builder(classes=3, width=2, anchors=SMALL6)
    assert isinstance(net, YOLOv3)
    outputs = (torch.zeros(1, 3, 7, 1, 1), torch.zeros(1, 3, 7, 2, 2))
    target = instances((0, 0, 32, 32, 2))  # exactly anchor 3, the first of the coarse map; in the middle of the cell
    terms = net.compute_loss(outputs, [target])
    # Nothing: the coarse map's others are 48 x 32 (IoU 0.67, excused) and 60 x 60 (cut by nothing: 0.28), and 12 fine.
    want = {"center": 0, "size": 0, "object": math.log(2), "nothing": 13 * math.log(2), "class": 2 * math.log(2)}
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(want, abs=1e-5)
    both = net.compute_loss(outputs, [instances((0, 0, 32, 32, 2), (0, 0, 32, 32, 1))])
    assert both["class"].item() == pytest.approx(2 * math.log(2))
    outputs[0][0, 0, 5:] = 9.0  # of both classes
    assert net.compute_loss(outputs, [instances((0, 0, 32, 32, 2), (0, 0, 32, 32, 1))])["class"].item() < 0.01
    assert net.compute_loss(outputs, [target])["class"].item() > 8


@every_form
def test_gradient_in_every_parameter(form: Form) -> None:
    net = make(form).train()
    size = size_of(form)
    targets = [instances((4, 4, 40, 40, 1), (64, 16, 72, 24, 3)), instances((10, 20, 34, 60, 2))]
    sum(net.loss(noise(2, 3, *size), targets).values()).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@every_form
def test_images_without_objects(form: Form) -> None:
    net = make(form).train()
    terms = net.loss(noise(2, 3, *size_of(form)), [instances(), instances()])
    assert all(torch.isfinite(value) for value in terms.values())
    assert [terms[name].item() for name in ("center", "size", "object", "class")] == [0, 0, 0, 0]


def truthful(net: Any, target: DetectionTarget, size_hw: tuple[int, int]) -> tuple[tuple[Tensor, ...], int]:
    """Raw outputs that say exactly what is there, and for how many objects."""
    kinds = net.classes - 1
    if isinstance(net, YOLOv1):
        side, boxes = net.side, net.boxes
        scores, confidences = torch.zeros(1, side, side, kinds), torch.zeros(1, side, side, boxes)
        raw = torch.zeros(1, side, side, boxes, 4)
        cells = net.assign_cells(target)
        for (row, column), (box, kind) in cells.items():
            raw[0, row, column, 1] = net.encode_box(box, row, column)
            confidences[0, row, column, 1] = 1
            scores[0, row, column, kind - 1] = 1
        return (scores, confidences, raw), len(cells)
    strides = net.strides if isinstance(net, YOLOv3) else [32]
    masks = net.masks if isinstance(net, YOLOv3) else [list(range(len(net.anchors)))]
    outputs, count = [], 0
    for stride, mask in zip(strides, masks, strict=True):
        raw = torch.zeros(1, len(mask), 5 + kinds, size_hw[0] // stride, size_hw[1] // stride)
        raw[:, :, 4:] = -20
        who = assign_targets([target], net.anchors, mask, stride, tuple(raw.shape[3:]), kinds)
        wanted = who.encode(net.anchors[mask], stride)
        center = wanted[:, :2].clamp(1e-6, 1 - 1e-6).logit()
        found = torch.cat(
            [center, wanted[:, 2:], torch.full((len(center), 1), 20.0), 40 * who.class_targets - 20], dim=1
        )
        raw[who.image, who.anchor, :, who.row, who.column] = found
        outputs.append(raw)
        count += len(found)
    return tuple(outputs), count


@st.composite
def scenes(draw: st.DrawFn) -> DetectionTarget:
    """One to four objects in 64 x 128 pixels."""
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        x, y = draw(st.integers(0, 110)), draw(st.integers(0, 50))
        width, height = draw(st.integers(3, 128 - x)), draw(st.integers(3, 64 - y))
        rows.append((x, y, x + width, y + height, draw(st.integers(1, 3))))
    return instances(*rows)


NETS: dict[str, DetectionModel] = {}


@pytest.mark.parametrize("name", ["v1", "v2", "v3", "v3-tiny"])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(target=scenes())
def test_the_truth_comes_back_and_costs_nothing(name: str, target: DetectionTarget) -> None:
    net = NETS.setdefault(name, make(FORMS[name]))
    size = size_of(FORMS[name])
    outputs, count = truthful(net, target, size)
    assume(count == len(target.boxes))  # no two share a place
    net.nms_thresh = 1.0  # what overlaps stays
    found = net.decode(outputs, size)[0]
    assert len(found.boxes) == count
    for box, kind in zip(target.boxes, target.classes, strict=True):
        same = (found.boxes - box).abs().amax(dim=1) < 0.05
        assert kind in found.classes[same]
    assert (found.scores > 0.99).all()
    assert sum(net.compute_loss(outputs, [target]).values()).item() < 0.01


def drawn(size: int) -> tuple[Tensor, list[DetectionTarget]]:
    """Two images with a red, a green and a blue rectangle among them."""
    images = -1 + 0.2 * noise(2, 3, size, size)
    unit = size / 128
    rows = [
        [(8 * unit, 12 * unit, 56 * unit, 52 * unit, 1), (76 * unit, 70 * unit, 120 * unit, 122 * unit, 2)],
        [(70 * unit, 8 * unit, 118 * unit, 50 * unit, 3)],
    ]
    for index, objects in enumerate(rows):
        for x1, y1, x2, y2, kind in objects:
            images[index, kind - 1, int(y1) : int(y2), int(x1) : int(x2)] += 3
    return images, [instances(*objects) for objects in rows]


def right(found: list[Detections], targets: list[DetectionTarget], score: float) -> bool:
    """Each object found once, and nothing else: average precision 1 at IoU 0.5."""
    for one, target in zip(found, targets, strict=True):
        sure = one.scores > score
        if int(sure.sum()) != len(target.boxes):
            return False
        iou = box_iou(target.boxes, one.boxes[sure])
        best = iou.argmax(dim=1)
        if iou.amax(dim=1).min() < 0.5 or (one.classes[sure][best] != target.classes).any():
            return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v1-fast-paper", "v1-paper", "v2-tiny", "v2", "v3-tiny", "v3", "v3-spp"])
def test_two_images_are_learnt(name: str) -> None:
    """Of v1 the forms without norms: its coarsest maps have 8 values a channel here, too few for a norm's memory."""
    form = FORMS[name]
    net = make(form).train()
    size = 128 if "size" in form.options else 96
    images, targets = drawn(size)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for step in range(300):
        optimizer.zero_grad()
        sum(net.loss(images, targets).values()).backward()
        optimizer.step()
        if step % 20 == 19:
            with torch.no_grad():
                good = right(net.eval().decode(net(images), (size, size)), targets, 0.3)
            net.train()
            if good:
                return
    raise AssertionError("not learnt in 300 steps")
