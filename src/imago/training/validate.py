"""Validation while training: each photo through the same preparation as the user's, scored at its full size.

What it leaves out is what costs time and hardly moves the score: edge refinement, boundary scores, intervals. The
evaluation at the end of a run has them all.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch

from imago.core.input_spec import Fit
from imago.core.labels import IGNORE
from imago.data.dataset import Sample
from imago.inference.engines.torch import TorchEngine
from imago.metrics.confusion import ConfusionMatrix
from imago.models.base import SegmentationNet, Target
from imago.training.tasks.base import Validation


def validate(
    engine: TorchEngine, folders: dict[str, tuple[Sample, ...]], progress: Callable[[int, int], None] | None = None
) -> Validation:
    """Scores every folder: mean IoU of the foreground over photos (binary), or mean IoU of the classes. The run's score
    is the mean over folders, so that a large one does not drown a small. The net is in ``eval()`` mode."""
    criterion = engine.net.criterion if isinstance(engine.net, SegmentationNet) else None
    losses: list[float] = []
    by_folder: dict[str, float] = {}
    total = sum(len(samples) for samples in folders.values())
    for folder, samples in folders.items():
        pooled = ConfusionMatrix(len(engine.card.labels))
        foreground: list[float] = []
        for sample in samples:
            image, label = sample.image(), sample.label_map()
            fitted, plan = engine.card.input.fit(image)
            outputs = engine.outputs(fitted[None])
            if criterion is not None:
                target = Target(torch.from_numpy(fit_label(label, plan)[None].astype(np.int64)).to(engine.device))
                losses.append(float(criterion(outputs[0].float(), target)))
            scores = engine.card.input.undo(engine.decode(outputs)[0], plan)
            binary = engine.card.task == "binary"
            predicted = (scores[0] >= 0.5).astype(np.uint8) if binary else scores.argmax(0).astype(np.uint8)
            if binary:
                foreground.append(foreground_iou(predicted, label))
            pooled.update(predicted, label)
            if progress:
                progress(len(losses), total)
        by_folder[folder] = float(np.mean(foreground)) if foreground else float(pooled.mean_iou())
    return Validation(float(np.mean(list(by_folder.values()))), by_folder, float(np.mean(losses)))


def foreground_iou(predicted: np.ndarray, label: np.ndarray) -> float:
    """IoU of class 1; 1 where neither has any."""
    counts = label != IGNORE
    both = np.count_nonzero((predicted == 1) & (label == 1))
    either = np.count_nonzero(((predicted == 1) | (label == 1)) & counts)
    return both / either if either else 1.0


def fit_label(label: np.ndarray, plan: Fit) -> np.ndarray:
    """The label map (H, W) brought to the network's frame (h, w); padding is ignored."""
    frame = np.full(plan.frame_hw, IGNORE, np.uint8)
    (y, x), (height, width) = plan.offset_yx, plan.content_hw
    frame[y : y + height, x : x + width] = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return frame
