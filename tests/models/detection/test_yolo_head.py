"""YOLO's cells: who answers for what, and what is chosen of the answers."""

from __future__ import annotations

import math

import pytest
import torch
from yolo_forms import instances

from imago.models.catalog import ARCHITECTURES
from imago.models.detection.base import Detections
from imago.models.detection.yolo_head import YOLO, as_anchors, assign_targets, ignore_mask
from imago.models.detection.yolov1 import YOLOv1

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
    who = assign_targets([instances((*box, 2))], ANCHORS, [0, 1, 2], 32, (3, 4), 3)
    assert [t.tolist() for t in (who.image, who.anchor, who.row, who.column)] == [[v] for v in place]
    assert who.class_targets.tolist() == [[0, 1, 0]]
    torch.testing.assert_close(who.encode(ANCHORS, 32), torch.tensor([wanted], dtype=torch.float32))


def test_anchors_of_another_map_do_not_answer() -> None:
    target = [instances((50, 25, 110, 55, 2))]  # anchor 1
    assert len(assign_targets(target, ANCHORS, [0, 2], 32, (3, 4), 3).boxes) == 0
    assert assign_targets(target, ANCHORS, [1, 2], 32, (3, 4), 3).anchor.tolist() == [0]  # the first of the map's own


def test_two_objects_in_one_place() -> None:
    """The later box, and both classes; of two images each has its own."""
    one = instances((50, 25, 110, 55, 2), (52, 25, 112, 55, 3))
    who = assign_targets([one, instances(), instances((50, 25, 110, 55, 1))], ANCHORS, [0, 1, 2], 32, (3, 4), 3)
    assert who.boxes.tolist() == [[52, 25, 112, 55], [50, 25, 110, 55]]
    assert who.class_targets.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert who.image.tolist() == [0, 2]


def test_crowds_and_boxes_without_area_have_no_answer() -> None:
    target = instances((50, 25, 110, 55, 1), (10, 10, 10, 40, 1), crowd=(True, False))
    assert len(assign_targets([target], ANCHORS, [0, 1, 2], 32, (3, 4), 3).boxes) == 0


def test_excused() -> None:
    """IoU with the object 1, 0.5, 0; half in the crowd, and a little less."""
    boxes = torch.tensor([[0, 0, 20, 20], [0, 0, 20, 40], [40, 0, 60, 20], [70, 0, 90, 20], [69, 0, 89, 20.0]])
    target = instances((0, 0, 20, 20, 1), (80, 0, 120, 60, 1), crowd=(False, True))
    assert ignore_mask(boxes.reshape(5, 1, 1, 4), target, 0.6).flatten().tolist() == [True, False, False, True, False]
    assert ignore_mask(boxes.reshape(5, 1, 1, 4), target, 0.4).flatten().tolist() == [True, True, False, True, False]


def test_v1_cells_by_hand() -> None:
    net = ARCHITECTURES["yolov1_fast"].builder(classes=3, width=2)
    assert isinstance(net, YOLOv1)
    target = instances((100, 200, 148, 312, 2), (102, 210, 146, 302, 1), (380, 0, 448, 128, 1))
    cells = net.assign_cells(target)  # centres (124, 256), the same, (414, 64)
    assert list(cells) == [(4, 1), (1, 6)]
    assert [kind for _, kind in cells.values()] == [2, 1]  # the first of two
    wanted = net.encode_box(target.boxes[0], 4, 1)
    want = torch.tensor([60 / 64, 0.0, math.sqrt(48 / 448), math.sqrt(112 / 448)])
    torch.testing.assert_close(wanted, want)


def test_choose_by_hand() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30], [-5, -5, 40, 70.0]])
    scores = torch.tensor([[0.9, 0.2], [0.8, 0.7], [0.3, 0.01], [0.0, 0.6]])
    net = ARCHITECTURES["yolov2_tiny"].builder(classes=3, width=2)
    assert isinstance(net, YOLO)

    def select(frame_hw: tuple[int, int], score: float, nms: float, most: int) -> Detections:
        net.score_thresh, net.nms_thresh, net.detections_per_img = score, nms, most
        return net.select_detections(boxes, scores, frame_hw)

    found = select((50, 40), 0.25, 0.5, 100)
    assert found.classes.tolist() == [1, 2, 2, 1]  # the second box is the first's in class 1, itself in class 2
    assert found.scores.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.3])
    assert found.boxes.tolist() == [[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 40, 50], [20, 20, 30, 30]]
    assert select((50, 40), 0.25, 0.5, 2).scores.tolist() == pytest.approx([0.9, 0.7])
    assert len(select((50, 40), 0.25, 0.95, 100).boxes) == 5
    assert len(select((50, 40), 0.95, 0.5, 100).boxes) == 0
    assert select((50, 15), 0.25, 0.5, 100).classes.tolist() == [
        1,
        2,
        2,
    ]  # the third lies outside
