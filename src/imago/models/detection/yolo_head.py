"""Boxes from cells and anchors, and which anchor predicts which object: what YOLO v2 and v3 share, and the base of all.

Direct location prediction (YOLO9000, arXiv:1612.08242, section 2; YOLO v3, arXiv:1804.02767, figure 2): in the cell of
column c and row r, of ``stride`` pixels, with an anchor of p_w x p_h pixels,

    centre x = (sigmoid(t_x) + c) stride        width  = p_w exp(t_w)
    centre y = (sigmoid(t_y) + r) stride        height = p_h exp(t_h)

Raw outputs are (N, A, 5 + C, h, w): t_x, t_y, t_w, t_h, t_o, then the classes. Anchors are (A, 2) width, height in
network pixels, for v2 too, whose .cfg files count them in cells of 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from imago.models.detection.base import DetectionModel, Detections, DetectionTarget
from imago.models.detection.crowd import IN_CROWD, measure_share_within, split_crowd
from imago.models.detection.suppression import nms_by_class

Anchors = Sequence[Sequence[float]]  # width and height of each, network pixels
CANDIDATES = 10  # boxes that non-maximum suppression looks at, for each that may be found


def as_anchors(anchors: Anchors, count: int = 0) -> Tensor:
    """float32 (A, 2). Raises ValueError; ``count`` 0 is any number."""
    pairs = [[float(value) for value in anchor] for anchor in anchors]
    fit = all(len(pair) == 2 and min(pair) > 0 for pair in pairs)
    if not pairs or not fit or (count and len(pairs) != count):
        raise ValueError(f"anchors must be {count or 'some'} pairs of width and height in pixels; got {anchors}")
    return torch.tensor(pairs)


def split_anchors(x: Tensor, anchors: int) -> Tensor:
    """The last layer's (N, A (5 + C), h, w) -> (N, A, 5 + C, h, w)."""
    return x.unflatten(1, (anchors, x.shape[1] // anchors))


def decode_boxes(raw: Tensor, anchors: Tensor, stride: int) -> Tensor:
    """(N, A, 5 + C, h, w) -> (N, A, h, w, 4) x1 y1 x2 y2 in network pixels."""
    rows = torch.arange(raw.shape[3], device=raw.device)[:, None]
    columns = torch.arange(raw.shape[4], device=raw.device)
    center_x = (raw[:, :, 0].sigmoid() + columns) * stride
    center_y = (raw[:, :, 1].sigmoid() + rows) * stride
    half_width = raw[:, :, 2].exp() * anchors[:, 0, None, None] / 2
    half_height = raw[:, :, 3].exp() * anchors[:, 1, None, None] / 2
    sides = (center_x - half_width, center_y - half_height, center_x + half_width, center_y + half_height)
    return torch.stack(sides, dim=-1)


@dataclass(frozen=True)
class AssignedTargets:
    """K places of the raw outputs that answer for an object, and for which."""

    image: Tensor  # int64 (K,), as the next three
    anchor: Tensor
    row: Tensor
    column: Tensor
    boxes: Tensor  # float32 (K, 4), the object's
    class_targets: Tensor  # float32 (K, C), 1 at the object's class (at several where objects of several share a place)

    def gather(self, maps: Tensor) -> Tensor:
        """(N, A, D, h, w) -> (K, D): what stands at the places."""
        return maps[self.image, self.anchor, :, self.row, self.column]

    def noobj_mask(self, like: Tensor) -> Tensor:
        """bool (N, A, h, w) of raw outputs ``like`` (N, A, D, h, w): False at the places."""
        free = torch.ones_like(like[:, :, 0], dtype=torch.bool)
        free[self.image, self.anchor, self.row, self.column] = False
        return free

    def encode(self, anchors: Tensor, stride: int) -> Tensor:
        """(K, 4): sigmoid(t_x), sigmoid(t_y), t_w, t_h that would give the boxes."""
        centers = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2 / stride
        offsets = centers - torch.stack([self.column, self.row], dim=1)
        sizes = ((self.boxes[:, 2:] - self.boxes[:, :2]) / anchors[self.anchor]).log()
        return torch.cat([offsets.clamp(0, 1), sizes], dim=1)

    def box_share(self, raw: Tensor, stride: int) -> Tensor:
        """(K,): width times height of each object, as a share of the image."""
        return area(self.boxes) / (raw.shape[3] * raw.shape[4] * stride**2)


def area(boxes: Tensor) -> Tensor:
    """(K, 4) -> (K,) square pixels."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def real_objects(target: DetectionTarget) -> tuple[Tensor, Tensor]:
    """Boxes (K, 4) and classes (K,) of what is to be found: no crowd, and nothing that has no area."""
    boxes, classes, _ = split_crowd(target)
    real = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    return boxes[real].float(), classes[real]


def assign_targets(
    targets: Sequence[DetectionTarget],
    anchors: Tensor,
    mine: Sequence[int],
    stride: int,
    cells_hw: tuple[int, int],
    classes_count: int,
) -> AssignedTargets:
    """For each object the cell that holds its centre, and of ``anchors`` (A, 2), all of the net, the one of the most
    like shape.

    Only objects whose anchor is one of ``mine`` (indices into ``anchors``, those of this map) come back. Where two have
    the same cell and anchor the later one's box counts, and the classes of both.
    """
    device = anchors.device
    chosen: dict[tuple[int, int, int, int], Tensor] = {}
    marked: dict[tuple[int, int, int, int], list[int]] = {}
    for image, target in enumerate(targets):
        boxes, classes = real_objects(target)
        if not len(boxes):
            continue
        best = shape_iou(boxes[:, 2:] - boxes[:, :2], anchors).argmax(dim=1).tolist()
        centers = ((boxes[:, :2] + boxes[:, 2:]) / 2 / stride).long().tolist()
        for box, kind, anchor, (column, row) in zip(boxes, classes.tolist(), best, centers, strict=True):
            if anchor not in mine:
                continue
            inside = (min(max(row, 0), cells_hw[0] - 1), min(max(column, 0), cells_hw[1] - 1))
            place = (image, mine.index(anchor), *inside)
            chosen[place] = box
            marked.setdefault(place, []).append(kind - 1)
    places = torch.tensor(list(chosen), dtype=torch.int64, device=device).reshape(-1, 4)
    hot = torch.zeros(len(chosen), classes_count, device=device)
    for index, place in enumerate(chosen):
        hot[index, marked[place]] = 1
    found = torch.stack(list(chosen.values())) if chosen else torch.zeros(0, 4, device=device)
    return AssignedTargets(places[:, 0], places[:, 1], places[:, 2], places[:, 3], found, hot)


def shape_iou(sizes: Tensor, anchors: Tensor) -> Tensor:
    """(K, 2) and (A, 2) width and height -> (K, A): IoU of boxes with one centre."""
    common = torch.minimum(sizes[:, None], anchors).prod(dim=2)
    return common / (sizes.prod(dim=1)[:, None] + anchors.prod(dim=1) - common)


def ignore_mask(boxes: Tensor, target: DetectionTarget, ignore_thresh: float) -> Tensor:
    """(A, h, w, 4) predicted boxes of one image -> bool (A, h, w): those that are not told to be background, since they
    overlap an object by more than ``iou`` or lie in a crowd region."""
    flat = boxes.reshape(-1, 4)
    true, _ = real_objects(target)
    free = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    if len(true):
        free |= box_iou(flat, true).amax(dim=1) > ignore_thresh
    free |= measure_share_within(flat, split_crowd(target)[2].float()) >= IN_CROWD
    return free.reshape(boxes.shape[:3])


class YOLO(DetectionModel):
    """Base of the three versions. A subclass writes ``forward``, ``compute_loss`` and ``score_boxes``."""

    def loss(self, images: Tensor, targets: list[DetectionTarget]) -> dict[str, Tensor]:
        return self.compute_loss(self(images), targets)

    def compute_loss(self, outputs: tuple[Tensor, ...], targets: list[DetectionTarget]) -> dict[str, Tensor]:
        """Named terms, each a scalar, of what ``forward`` gave."""
        raise NotImplementedError

    def score_boxes(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Boxes (N, M, 4) in network pixels, and a score for each class, (N, M, C)."""
        raise NotImplementedError

    def decode(self, outputs: tuple[Tensor, ...], frame_hw: tuple[int, int]) -> list[Detections]:
        boxes, scores = self.score_boxes(outputs)
        return [self.select_detections(b, s, frame_hw) for b, s in zip(boxes, scores, strict=True)]

    def select_detections(self, boxes: Tensor, scores: Tensor, frame_hw: tuple[int, int]) -> Detections:
        """What one image shows, of (M, 4) boxes with a score (M, C) for each class.

        Each pair of box and class with more than ``score_thresh`` is a candidate; of these the best 10 *
        ``detections_per_img`` pass non-maximum suppression class by class, and the best ``detections_per_img`` stay.
        Boxes are cut to the frame; what lies outside of it is none.
        """
        kinds = scores.shape[1]
        inside = torch.stack([boxes[:, 0::2].clamp(0, frame_hw[1]), boxes[:, 1::2].clamp(0, frame_hw[0])], dim=2)
        inside = inside.flatten(1)  # x1 y1 x2 y2 again
        seen = (inside[:, 2:] > inside[:, :2]).all(dim=1)
        flat = (scores * seen[:, None]).flatten()
        values, places = flat.topk(torch.sym_min(CANDIDATES * self.detections_per_img, flat.shape[0]))
        enough = values > self.score_thresh
        values, places = values[enough], places[enough]
        candidates, classes = inside[places // kinds], places % kinds
        stay = nms_by_class(candidates, values, classes, self.nms_thresh, kinds)
        stay = stay[: self.detections_per_img]
        return Detections(candidates[stay], values[stay], classes[stay] + 1)
