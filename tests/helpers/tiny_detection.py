"""A net that finds objects in a hundredth of a second: one object at most in each cell of 8 x 8 pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imago.models.detection.base import DetectionModel, Detections, DetectionTarget

CELL = 8


class CellNet(DetectionModel):
    """Of each cell: whether the middle of an object is in it, and the object's width and height over 16 pixels."""

    multiple = least = CELL

    def __init__(self, classes: int = 2, in_channels: int = 3, width: int = 8) -> None:
        super().__init__(classes, in_channels)
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 2, 1), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(width, 3, 3, 2, 1),
        )  # fmt: skip

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        return (self.body(images),)  # (N, 3, H/8, W/8)

    def loss(self, images: Tensor, targets: list[DetectionTarget]) -> dict[str, Tensor]:
        (out,) = self(images)
        wanted = torch.zeros_like(out)
        for number, target in enumerate(targets):
            assert target.crowd is not None
            boxes = target.boxes[~target.crowd]
            cells = ((boxes[:, :2] + boxes[:, 2:]) / 2 / CELL).long()
            cells = torch.minimum(cells, torch.tensor([out.shape[3] - 1, out.shape[2] - 1]))
            wanted[number, 0, cells[:, 1], cells[:, 0]] = 1
            wanted[number, 1:, cells[:, 1], cells[:, 0]] = ((boxes[:, 2:] - boxes[:, :2]) / 16).T
        there = wanted[:, :1]
        return {
            "there": F.binary_cross_entropy_with_logits(out[:, :1], there),
            "size": (there * (out[:, 1:] - wanted[:, 1:]).abs()).sum() / there.sum().clamp(min=1),
        }

    def decode(self, outputs: tuple[Tensor, ...], frame_hw: tuple[int, int]) -> list[Detections]:
        found = []
        for chance, wide, high in outputs[0].float().unbind(0):
            y, x = torch.where(chance.sigmoid() > self.score_thresh)
            scores = chance.sigmoid()[y, x]
            middle = torch.stack([x, y], dim=1) * CELL + CELL / 2
            half = torch.stack([wide[y, x], high[y, x]], dim=1).clamp(min=0.05) * 8
            boxes = torch.cat([middle - half, middle + half], dim=1)
            best = scores.argsort(descending=True, stable=True)[: self.detections_per_img]
            found.append(Detections(boxes[best], scores[best], torch.ones(len(best), dtype=torch.int64)))
        return found
