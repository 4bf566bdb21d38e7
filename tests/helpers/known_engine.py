"""Objects without a net: an engine that always finds the same, and a card for it."""

from __future__ import annotations

from typing import Any

import numpy as np
from tiny_onnx import PLAIN

from imago.core.input_spec import InputSpec
from imago.core.labels import Labels
from imago.core.model_card import ModelCard
from imago.inference.detection import FrameDetections

LABELS = Labels(("background", "disc", "box"))


def detection_card(task: Any = "instances", spec: InputSpec = PLAIN, **changes: Any) -> ModelCard:
    return ModelCard(
        "instances", "", {"score_thresh": 0.05, "nms_thresh": 0.5, "detections_per_img": 100}, task, LABELS, spec
    ).with_(**changes)


class Known:
    """An engine that always finds the same."""

    def __init__(self, found: FrameDetections, card: ModelCard) -> None:
        self.found, self.card = found, card

    def run(self, frame: np.ndarray) -> FrameDetections:
        return self.found


def objects(boxes: list[list[float]], scores: list[float], classes: list[int], masks: bool = False) -> FrameDetections:
    return FrameDetections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(classes, np.int64),
        np.ones((len(boxes), 28, 28), np.float32) if masks else None,
    )  # fmt: skip


KNOWN = objects([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [30, 30, 40, 40]], [0.9, 0.8, 0.7, 0.3], [1, 1, 2, 1])
