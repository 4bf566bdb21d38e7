"""Validation of label maps while training: the evaluation that every user gets, over the net in memory.

What costs time is left out: boundary scores, intervals, the refinement of a mask's edges, test-time augmentation. The
evaluation at the end of a run has them all; what both work out is worked out by the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from imago.core.input_spec import Fit
from imago.core.labels import IGNORE
from imago.core.model_card import ModelCard
from imago.data.dataset import Sample
from imago.evaluation.evaluate import evaluate
from imago.evaluation.semantic import SemanticScoring
from imago.inference.engines.torch import TorchEngine
from imago.inference.predictor import Predictor
from imago.models.base import SegmentationNet, Target
from imago.training.tasks.base import Validation

SCORING = SemanticScoring(boundary=False, alpha=False, refine_edges=False, resamples=0)


class ValidationEngine(TorchEngine):
    """An engine over the net in memory that keeps its last outputs, for the loss."""

    last: tuple[Tensor, ...] = ()

    def outputs(self, batch: np.ndarray) -> tuple[Tensor, ...]:
        """See ``TorchEngine.outputs``."""
        self.last = super().outputs(batch)
        return self.last

    def decode(self, outputs: tuple[Tensor, ...]) -> np.ndarray:
        """See ``TorchEngine.decode``; without a distance map, which is no class."""
        return super().decode(outputs)[:, : self.net.classes]

    def loss(self, image: np.ndarray, label_map: np.ndarray) -> float:
        """Of the last outputs, which were those of ``image`` uint8 (H, W, C); nan for a net without a criterion."""
        if not isinstance(self.net, SegmentationNet) or self.net.criterion is None:
            return float("nan")
        fitted = fit_label(label_map, self.card.input.plan((image.shape[0], image.shape[1])))
        target = Target(torch.from_numpy(fitted[None].astype(np.int64)).to(self.device))
        return float(self.net.judge(self.last[0].float(), target))


def watch_net(
    net: SegmentationNet, card: ModelCard, device: torch.device, autocast: torch.dtype | None = None
) -> ValidationEngine:
    """The engine of a net in training, with its arithmetic. Its card asks for no second look at a photo, and for label
    maps even where objects are made of them later."""
    plain = card.with_(
        tta_flip=False, tta_scales=(1.0,), tta_zoom=False, objects=False, distance=False, separation=None
    )
    engine = ValidationEngine.of_net(net, plain, device, autocast)
    assert isinstance(engine, ValidationEngine)
    return engine


def validate(
    engine: ValidationEngine,
    folders: Mapping[str, Sequence[Sample]],
    progress: Callable[[int, int], None] | None = None,
) -> Validation:
    """Scores every folder, by what the evaluation compares models by. The run's score is the mean over folders, so that
    a large one does not drown a small. The net is in ``eval()`` mode."""
    predictor = Predictor(engine)
    losses: list[float] = []
    total = sum(len(samples) for samples in folders.values())

    def observe(image: np.ndarray, label_map: np.ndarray) -> None:
        losses.append(engine.loss(image, label_map))
        if progress is not None:
            progress(len(losses), total)

    by_folder = {
        folder: evaluate(predictor, samples, scoring=SCORING, observe=observe).score
        for folder, samples in folders.items()
    }
    known = [score for score in by_folder.values() if np.isfinite(score)]  # a folder without foreground has none
    return Validation(float(np.mean(known)) if known else 0.0, by_folder, float(np.mean(losses)))


def fit_label(label: np.ndarray, plan: Fit) -> np.ndarray:
    """The label map (H, W) brought to the network's frame (h, w); padding is ignored."""
    frame = np.full(plan.frame_hw, IGNORE, np.uint8)
    (y, x), (height, width) = plan.offset_yx, plan.content_hw
    frame[y : y + height, x : x + width] = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return frame
