"""YOLO v1, v2, v3: shapes, counts, who answers for what, losses, decoding, and that narrow forms learn."""

from __future__ import annotations

import inspect
import math
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.ops import box_iou

from imago.models.cells import answers, as_anchors, choose, excused
from imago.models.darknet import LocalConv, ToUnit, maxima_in_place, reorg
from imago.models.thing_base import Found, ThingNet, ThingTarget
from imago.models.things import THING_BUILDERS
from imago.models.yolo1 import YOLOv1
from imago.models.yolo2 import PRIOR_IMAGES, YOLOv2
from imago.models.yolo3 import YOLOv3

SMALL5 = ((12, 12), (24, 24), (40, 24), (24, 40), (60, 60))
SMALL9 = ((8, 8), (12, 8), (8, 12), (16, 16), (24, 16), (16, 24), (32, 32), (48, 32), (60, 60))
SMALL6 = ((12, 12), (20, 12), (16, 24), (32, 32), (48, 32), (60, 60))


class Form(NamedTuple):
    """A narrow net and the shapes of its outputs for 3 classes of objects at 64 x 128 (v1: 128 x 128)."""

    name: str
    options: dict[str, Any]
    shapes: tuple[tuple[int, ...], ...]


V1 = ((2, 2, 3), (2, 2, 2), (2, 2, 2, 4))
V3 = ((3, 8, 2, 4), (3, 8, 4, 8), (3, 8, 8, 16))
FORMS = {
    "v1": Form("yolov1", {"width": 4, "size": 128}, V1),
    "v1-paper": Form("yolov1", {"width": 4, "size": 128, "norm": False}, V1),
    "v1-published": Form(
        "yolov1", {"width": 4, "size": 128, "boxes": 3, "published": True}, ((2, 2, 3), (2, 2, 3), (2, 2, 3, 4))
    ),
    "v1-fast": Form("yolov1_fast", {"width": 4, "size": 128}, V1),
    "v1-fast-published": Form("yolov1_fast", {"width": 4, "size": 128, "published": True}, V1),
    "v2": Form("yolov2", {"width": 4, "anchors": SMALL5}, ((5, 8, 2, 4),)),
    "v2-tiny": Form("yolov2_tiny", {"width": 4, "anchors": SMALL5}, ((5, 8, 2, 4),)),
    "v3": Form("yolov3", {"width": 4, "anchors": SMALL9}, V3),
    "v3-spp": Form("yolov3_spp", {"width": 4, "anchors": SMALL9}, V3),
    "v3-tiny": Form("yolov3_tiny", {"width": 4, "anchors": SMALL6}, V3[:2]),
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())


def make(form: Form, classes: int = 4, in_channels: int = 3) -> Any:
    torch.manual_seed(0)
    return THING_BUILDERS[form.name](classes=classes, in_channels=in_channels, **form.options)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def things(*rows: tuple[float, float, float, float, int], crowd: tuple[bool, ...] = ()) -> ThingTarget:
    """Rows of x1 y1 x2 y2 class."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)
    return ThingTarget(table[:, :4], table[:, 4].long(), crowd=torch.tensor(crowd) if crowd else None)


def size_of(form: Form) -> tuple[int, int]:
    return (128, 128) if "size" in form.options else (64, 128)


# --- shapes and numbers


def test_every_builder_is_examined() -> None:
    assert {form.name for form in FORMS.values()} == {name for name in THING_BUILDERS if name.startswith("yolo")}
    for builder in THING_BUILDERS.values():
        assert all(p.default is not inspect.Parameter.empty for p in inspect.signature(builder).parameters.values())


@every_form
@pytest.mark.parametrize("in_channels", [3, 2])
def test_shapes(form: Form, in_channels: int) -> None:
    net = make(form, in_channels=in_channels).eval()
    size = size_of(form)
    with torch.no_grad():
        outputs = net(noise(2, in_channels, *size))
        found = net.decode(outputs, size)
    assert [tuple(o.shape) for o in outputs] == [(2, *shape) for shape in form.shapes]
    assert len(found) == 2
    for one in found:
        count = len(one.boxes)
        assert (one.boxes.shape, one.scores.shape, one.classes.shape) == ((count, 4), (count,), (count,))
        assert count <= net.most
        assert one.classes.dtype == torch.int64
        assert ((one.scores > net.score) & (one.scores <= 1)).all()
        assert ((one.classes >= 1) & (one.classes <= 3)).all()
        assert one.scores.tolist() == sorted(one.scores.tolist(), reverse=True)
        assert (one.boxes >= 0).all()
        assert (one.boxes <= torch.tensor([size[1], size[0]] * 2)).all()


@pytest.mark.parametrize("name", ["v2", "v2-tiny", "v3", "v3-tiny", "v3-spp"])
def test_any_multiple_of_32(name: str) -> None:
    net = make(FORMS[name]).eval()
    for height, width in [(32, 32), (96, 64), (32, 160)]:
        with torch.no_grad():
            outputs = net(noise(1, 3, height, width))
        assert [tuple(o.shape[3:]) for o in outputs] == [
            (height * 2**i // 32, width * 2**i // 32) for i in range(len(outputs))
        ]
    with pytest.raises(ValueError, match="images are 64 x 48; this net needs multiples of 32"):
        net(noise(1, 3, 64, 48))


@pytest.mark.parametrize("size", [64, 192, 256])
def test_v1_knows_one_size(size: int) -> None:
    net = make(FORMS["v1"]).eval()
    with pytest.raises(ValueError, match=f"images are {size} x {size}; this net takes 128 x 128 alone"):
        net(noise(1, 3, size, size))
    with pytest.raises(ValueError, match="size must be a multiple of 64"):
        THING_BUILDERS["yolov1"](size=100)


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        # By hand in the next test.
        ("yolov1", {"classes": 21, "norm": False}, 271_703_550),
        ("yolov1_fast", {"classes": 21, "norm": False}, 45_089_374),
        ("yolov2", {"classes": 81}, 50_962_889),
        ("yolov2", {"classes": 21}, 50_655_389),
        ("yolov3", {"classes": 81}, 61_949_149),  # as others count it, and 62,001,757 with 2 * 26,304 running numbers
        ("yolov3_tiny", {"classes": 81}, 8_852_366),
        ("yolov3_spp", {"classes": 81}, 62_998_749),
    ],
)
def test_parameter_counts(name: str, options: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        net = THING_BUILDERS[name](**options)
    assert sum(p.numel() for p in net.parameters()) == count


def test_v1_count_by_hand() -> None:
    """Figure 3 of the paper, row by row: (kernel, in, out)."""
    rows = [(7, 3, 64), (3, 64, 192), (1, 192, 128), (3, 128, 256), (1, 256, 256), (3, 256, 512)]
    rows += [(1, 512, 256), (3, 256, 512)] * 4 + [(1, 512, 512), (3, 512, 1024)] + [(1, 1024, 512), (3, 512, 1024)] * 2
    rows += [(3, 1024, 1024)] * 4
    assert len(rows) == 24
    convolutions = sum(kernel**2 * i * o + o for kernel, i, o in rows)
    connected = 7 * 7 * 1024 * 4096 + 4096 + 4096 * 7 * 7 * 30 + 7 * 7 * 30
    assert convolutions + connected == 271_703_550


def test_refusals_in_words() -> None:
    for name, options, words in [
        ("yolov3", {"width": 2, "anchors": [(1, 2)]}, "anchors must be 9 pairs"),
        ("yolov2", {"width": 2, "anchors": [(1, -2)]}, "anchors must be some pairs"),
        ("yolov2", {"width": 3}, "width must be a multiple of 2"),
        ("yolov3_tiny", {"width": 2, "masks": [(0, 1, 2)]}, "masks must be 2 times three indices into the 6 anchors"),
        ("yolov3_tiny", {"width": 2, "masks": [(0, 1, 2), (4, 5, 6)]}, "masks must be 2 times three"),
        ("yolov2", {"width": 2, "classes": 1}, "classes counts the background and is 2 or more"),
    ]:
        with pytest.raises(ValueError, match=words.replace("(", r"\(")):
            THING_BUILDERS[name](**options)


# --- parts


def test_reorg_by_hand() -> None:
    """Four channels of 2 x 2, read as one of 4 x 4, whose 2 x 2 blocks are taken apart."""
    got = reorg(torch.arange(16.0).reshape(1, 4, 2, 2))
    assert got.shape == (1, 16, 1, 1)
    assert got.flatten().tolist() == [0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15]


def test_reorg_is_what_darknet_calculates() -> None:
    """Place (k, j, i) of the (C, H, W) output takes (k % (C / 4), 2 j + dy, 2 i + dx) of (C / 4, 2 H, 2 W)."""
    channels, height, width = 8, 4, 6
    values = torch.arange(channels * height * width)
    read = values.reshape(channels // 4, 2 * height, 2 * width)
    want = torch.empty(channels, height, width, dtype=torch.int64)
    for k in range(channels):
        block = k // (channels // 4)
        for j in range(height):
            for i in range(width):
                want[k, j, i] = read[k % (channels // 4), 2 * j + block // 2, 2 * i + block % 2]
    got = reorg(values.reshape(1, channels, height, width))
    assert torch.equal(got, want.reshape(1, 4 * channels, height // 2, width // 2))


def test_maxima_in_place() -> None:
    got = maxima_in_place(torch.tensor([[[[1.0, 2, 0], [4, 3, -1], [0, -5, -7]]]]))
    assert got[0, 0].tolist() == [[4, 3, 0], [4, 3, -1], [0, -5, -7]]


def test_local_layer_is_a_convolution_where_all_places_are_equal() -> None:
    torch.manual_seed(0)
    local, conv = LocalConv(2, 5, 3), nn.Conv2d(2, 5, 3, padding=1)
    with torch.no_grad():
        local.weight.copy_(conv.weight.flatten(1).expand(9, -1, -1))
        assert conv.bias is not None
        local.bias.copy_(conv.bias[:, None].expand(-1, 9))
        x = noise(2, 2, 3, 3)
        torch.testing.assert_close(local(x), nn.functional.leaky_relu(conv(x), 0.1))
        local.weight[4] = 0  # the place in the middle
        assert not torch.allclose(local(x), nn.functional.leaky_relu(conv(x), 0.1))
        assert torch.equal(local(x)[:, :, 1, 1], nn.functional.leaky_relu(conv.bias, 0.1).expand(2, -1))


def test_images_come_back_to_0_1() -> None:
    image = torch.rand(1, 3, 4, 4)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = (image - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(ToUnit(3)(normal), image)
    torch.testing.assert_close(ToUnit(1)((image[:, :1] - 0.5) / 0.25), image[:, :1])


# --- who answers


ANCHORS = as_anchors([(20, 20), (60, 30), (30, 60)])


@pytest.mark.parametrize(
    ("box", "place", "wanted"),
    [
        ((50, 25, 110, 55), (0, 1, 1, 2), (0.5, 0.25, 0, 0)),  # centre (80, 40): column 2.5, row 1.25; anchor 60 x 30
        ((4, 6, 24, 26), (0, 0, 0, 0), (14 / 32, 0.5, 0, 0)),
        ((0, 0, 50, 120), (0, 2, 1, 0), (25 / 32, 60 / 32 - 1, math.log(50 / 30), math.log(2))),
        ((100, 0, 160, 30), (0, 1, 0, 3), (1.0, 15 / 32, 0, 0)),  # a centre on the frame's edge is the last cell's
    ],
)
def test_one_box_has_one_cell_and_anchor(
    box: tuple[int, int, int, int], place: tuple[int, ...], wanted: tuple[float, ...]
) -> None:
    who = answers([things((*box, 2))], ANCHORS, [0, 1, 2], 32, (3, 4), 3)
    assert [t.tolist() for t in (who.image, who.anchor, who.row, who.column)] == [[v] for v in place]
    assert who.kinds.tolist() == [[0, 1, 0]]
    torch.testing.assert_close(who.wanted(ANCHORS, 32), torch.tensor([wanted], dtype=torch.float32))


def test_anchors_of_another_map_do_not_answer() -> None:
    target = [things((50, 25, 110, 55, 2))]  # anchor 1
    assert len(answers(target, ANCHORS, [0, 2], 32, (3, 4), 3).boxes) == 0
    assert answers(target, ANCHORS, [1, 2], 32, (3, 4), 3).anchor.tolist() == [0]  # the first of the map's own


def test_two_objects_in_one_place() -> None:
    """The later box, and both classes; of two images each has its own."""
    one = things((50, 25, 110, 55, 2), (52, 25, 112, 55, 3))
    who = answers([one, things(), things((50, 25, 110, 55, 1))], ANCHORS, [0, 1, 2], 32, (3, 4), 3)
    assert who.boxes.tolist() == [[52, 25, 112, 55], [50, 25, 110, 55]]
    assert who.kinds.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert who.image.tolist() == [0, 2]


def test_crowds_and_boxes_without_area_have_no_answer() -> None:
    target = things((50, 25, 110, 55, 1), (10, 10, 10, 40, 1), crowd=(True, False))
    assert len(answers([target], ANCHORS, [0, 1, 2], 32, (3, 4), 3).boxes) == 0


def test_excused() -> None:
    """IoU with the object 1, 0.5, 0; half in the crowd and a little more."""
    boxes = torch.tensor([[0, 0, 20, 20], [0, 0, 20, 40], [40, 0, 60, 20], [70, 0, 90, 20], [71, 0, 91, 20.0]])
    target = things((0, 0, 20, 20, 1), (80, 0, 120, 60, 1), crowd=(False, True))
    assert excused(boxes.reshape(5, 1, 1, 4), target, 0.6).flatten().tolist() == [True, False, False, False, True]
    assert excused(boxes.reshape(5, 1, 1, 4), target, 0.4).flatten().tolist() == [True, True, False, False, True]


def test_v1_cells_by_hand() -> None:
    net = THING_BUILDERS["yolov1_fast"](classes=3, width=2)
    assert isinstance(net, YOLOv1)
    target = things((100, 200, 148, 312, 2), (102, 210, 146, 302, 1), (380, 0, 448, 128, 1))
    cells = net.cells_of(target)  # centres (124, 256), the same, (414, 64)
    assert list(cells) == [(4, 1), (1, 6)]
    assert [kind for _, kind in cells.values()] == [2, 1]  # the first of two
    wanted = net.wanted(target.boxes[0], 4, 1)
    want = torch.tensor([60 / 64, 0.0, math.sqrt(48 / 448), math.sqrt(112 / 448)])
    torch.testing.assert_close(wanted, want)


# --- losses


def test_v1_loss_by_hand() -> None:
    """Equation 3 with one object: box 1 of its cell is responsible; everything else is 0."""
    net = THING_BUILDERS["yolov1_fast"](classes=3, width=2, size=128)
    assert isinstance(net, YOLOv1)
    scores, confidences, boxes = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2, 4)
    target = things((64, 0, 128, 64, 2))  # centre (96, 32): row 0, column 1; half the image a side
    boxes[0, 0, 1, 1] = torch.tensor([0.5, 0.5, 0.5**0.5, 0.5])  # half as high as it should be: IoU 0.5
    confidences[0, 0, 1] = torch.tensor([0.3, 0.9])
    confidences[0, 1, 0, 0] = 0.2
    scores[0, 0, 1] = torch.tensor([0.25, 0.5])
    terms = net.loss_of((scores, confidences, boxes), [target])
    want = {
        "centre": 0.0,
        "size": 5 * (0.5**0.5 - 0.5) ** 2,
        "object": (0.9 - 0.5) ** 2,
        "nothing": 0.5 * (0.3**2 + 0.2**2),
        "class": 0.25**2 + 0.5**2,
    }
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(want, abs=1e-6)
    crowd = things((64, 0, 128, 64, 2), (0, 64, 64, 128, 1), crowd=(False, True))  # the cell of the 0.2
    assert net.loss_of((scores, confidences, boxes), [crowd])["nothing"].item() == pytest.approx(0.5 * 0.3**2)


def test_v2_loss_by_hand() -> None:
    net = THING_BUILDERS["yolov2_tiny"](classes=3, width=2, anchors=[(32, 32)])
    assert isinstance(net, YOLOv2)
    raw = torch.zeros(1, 1, 7, 1, 2)  # two cells; all boxes 32 x 32 in the middle of their cell
    target = things((0, 0, 32, 32, 2))
    terms = net.loss_of((raw,), [target])
    want = {"centre": 0, "size": 0, "object": 2.5 * 0.25, "nothing": 0.5 * 0.25, "class": math.log(2)}
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(want)
    wide = net.loss_of((raw,), [things((0, 0, 64, 32, 2))])  # centre on the border: cell 1, offset 0; all of the image
    assert wide["centre"].item() == pytest.approx(0.5 * 0.25)
    assert wide["size"].item() == pytest.approx(0.5 * math.log(2) ** 2)
    assert wide["object"].item() == pytest.approx(2.5 * (0.5 - 0.5) ** 2)  # IoU 0.5


def test_v2_draws_to_its_anchors_at_first() -> None:
    net = make(FORMS["v2-tiny"]).train()
    images, targets = noise(2, 3, 64, 64), [things((0, 0, 24, 24, 1)), things()]
    assert "prior" in net.loss(images, targets)
    assert net.seen.item() == 2
    net.seen.fill_(PRIOR_IMAGES)
    assert "prior" not in net.loss(images, targets)
    assert "prior" not in net.eval().loss(images, targets)
    assert net.seen.item() == PRIOR_IMAGES + 2


def test_v3_loss_by_hand() -> None:
    net = THING_BUILDERS["yolov3_tiny"](classes=3, width=2, anchors=SMALL6)
    assert isinstance(net, YOLOv3)
    outputs = (torch.zeros(1, 3, 7, 1, 1), torch.zeros(1, 3, 7, 2, 2))
    target = things((0, 0, 32, 32, 2))  # exactly anchor 3, the first of the coarse map; in the middle of the cell
    terms = net.loss_of(outputs, [target])
    # Nothing: the coarse map's others are 48 x 32 (IoU 0.67, excused) and 60 x 60 (cut by nothing: 0.28), and 12 fine.
    want = {"centre": 0, "size": 0, "object": math.log(2), "nothing": 13 * math.log(2), "class": 2 * math.log(2)}
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(want, abs=1e-5)
    both = net.loss_of(outputs, [things((0, 0, 32, 32, 2), (0, 0, 32, 32, 1))])
    assert both["class"].item() == pytest.approx(2 * math.log(2))
    outputs[0][0, 0, 5:] = 9.0  # of both classes
    assert net.loss_of(outputs, [things((0, 0, 32, 32, 2), (0, 0, 32, 32, 1))])["class"].item() < 0.01
    assert net.loss_of(outputs, [target])["class"].item() > 8


@every_form
def test_gradient_in_every_parameter(form: Form) -> None:
    net = make(form).train()
    size = size_of(form)
    targets = [things((4, 4, 40, 40, 1), (64, 16, 72, 24, 3)), things((10, 20, 34, 60, 2))]
    sum(net.loss(noise(2, 3, *size), targets).values()).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@every_form
def test_images_without_objects(form: Form) -> None:
    net = make(form).train()
    terms = net.loss(noise(2, 3, *size_of(form)), [things(), things()])
    assert all(torch.isfinite(value) for value in terms.values())
    assert [terms[name].item() for name in ("centre", "size", "object", "class")] == [0, 0, 0, 0]


# --- from the truth to raw outputs and back


def truthful(net: Any, target: ThingTarget, size_hw: tuple[int, int]) -> tuple[tuple[Tensor, ...], int]:
    """Raw outputs that say exactly what is there, and for how many objects."""
    kinds = net.classes - 1
    if isinstance(net, YOLOv1):
        side, boxes = net.side, net.boxes
        scores, confidences = torch.zeros(1, side, side, kinds), torch.zeros(1, side, side, boxes)
        raw = torch.zeros(1, side, side, boxes, 4)
        cells = net.cells_of(target)
        for (row, column), (box, kind) in cells.items():
            raw[0, row, column, 1] = net.wanted(box, row, column)
            confidences[0, row, column, 1] = 1
            scores[0, row, column, kind - 1] = 1
        return (scores, confidences, raw), len(cells)
    strides = net.strides if isinstance(net, YOLOv3) else [32]
    masks = net.masks if isinstance(net, YOLOv3) else [list(range(len(net.anchors)))]
    outputs, count = [], 0
    for stride, mask in zip(strides, masks, strict=True):
        raw = torch.zeros(1, len(mask), 5 + kinds, size_hw[0] // stride, size_hw[1] // stride)
        raw[:, :, 4:] = -20
        who = answers([target], net.anchors, mask, stride, tuple(raw.shape[3:]), kinds)
        wanted = who.wanted(net.anchors[mask], stride)
        centre = wanted[:, :2].clamp(1e-6, 1 - 1e-6).logit()
        found = torch.cat([centre, wanted[:, 2:], torch.full((len(centre), 1), 20.0), 40 * who.kinds - 20], dim=1)
        raw[who.image, who.anchor, :, who.row, who.column] = found
        outputs.append(raw)
        count += len(found)
    return tuple(outputs), count


@st.composite
def scenes(draw: st.DrawFn) -> ThingTarget:
    """One to four objects in 64 x 128 pixels."""
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        x, y = draw(st.integers(0, 110)), draw(st.integers(0, 50))
        width, height = draw(st.integers(3, 128 - x)), draw(st.integers(3, 64 - y))
        rows.append((x, y, x + width, y + height, draw(st.integers(1, 3))))
    return things(*rows)


NETS: dict[str, ThingNet] = {}


@pytest.mark.parametrize("name", ["v1", "v2", "v3", "v3-tiny"])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(target=scenes())
def test_the_truth_comes_back_and_costs_nothing(name: str, target: ThingTarget) -> None:
    net = NETS.setdefault(name, make(FORMS[name]))
    size = size_of(FORMS[name])
    outputs, count = truthful(net, target, size)
    assume(count == len(target.boxes))  # no two share a place
    net.iou = 1.0  # what overlaps stays
    found = net.decode(outputs, size)[0]
    assert len(found.boxes) == count
    for box, kind in zip(target.boxes, target.classes, strict=True):
        same = (found.boxes - box).abs().amax(dim=1) < 0.05
        assert kind in found.classes[same]
    assert (found.scores > 0.99).all()
    assert sum(net.loss_of(outputs, [target]).values()).item() < 0.01


# --- decoding


def test_choose_by_hand() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30], [-5, -5, 40, 70.0]])
    scores = torch.tensor([[0.9, 0.2], [0.8, 0.7], [0.3, 0.01], [0.0, 0.6]])
    found = choose(boxes, scores, (50, 40), 0.25, 0.5, 100)
    assert found.classes.tolist() == [1, 2, 2, 1]  # the second box is the first's in class 1, itself in class 2
    assert found.scores.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.3])
    assert found.boxes.tolist() == [[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 40, 50], [20, 20, 30, 30]]
    assert choose(boxes, scores, (50, 40), 0.25, 0.5, 2).scores.tolist() == pytest.approx([0.9, 0.7])
    assert len(choose(boxes, scores, (50, 40), 0.25, 0.95, 100).boxes) == 5
    assert len(choose(boxes, scores, (50, 40), 0.95, 0.5, 100).boxes) == 0


# --- learning


def drawn(size: int) -> tuple[Tensor, list[ThingTarget]]:
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
    return images, [things(*objects) for objects in rows]


def right(found: list[Found], targets: list[ThingTarget], score: float) -> bool:
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
@pytest.mark.parametrize("name", ["v1-fast", "v1", "v2-tiny", "v2", "v3-tiny", "v3", "v3-spp"])
def test_two_images_are_learnt(name: str) -> None:
    form = FORMS[name]
    net = make(form._replace(options={**form.options, "width": 8})).train()
    size = 128 if "size" in form.options else 96
    images, targets = drawn(size)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    for step in range(300):
        optimiser.zero_grad()
        sum(net.loss(images, targets).values()).backward()
        optimiser.step()
        if step % 20 == 19:
            with torch.no_grad():
                good = right(net.eval().decode(net(images), (size, size)), targets, 0.3)
            net.train()
            if good:
                return
    raise AssertionError("not learnt in 300 steps")
