"""Objects in photos with models that find them: ``.onnx`` files with decoding inside. No torch.

engine = OnnxDetectionEngine("cells.onnx")
found = find_objects(engine, photo, ObjectChoice(score=0.6))  # Instances, in pixels of the photo
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from imago.core.boxes import area, clip, nms_by_class
from imago.core.detection_options import DetectionOptions
from imago.core.errors import ModelError
from imago.core.input_spec import Fit
from imago.core.instances import Instances
from imago.core.model_card import DETECTION_TASKS, ModelCard
from imago.core.proposal_options import ProposalOptions
from imago.data.crops import crop_boxes
from imago.data.selective_search import propose
from imago.inference.engines.onnx import first_line, open_session, read_card
from imago.inference.instances.paste_masks import paste
from imago.inference.instances.postprocess import model_nms_thresh, pick
from imago.inference.runtime import runtime_errors
from imago.inference.threads import free_cores

CROPS = 64  # at a time, so that a photo's 2,000 proposals do not lie in memory as pictures
# uint8 RGB (H, W, 3) -> float32 (K, 4): boxes in it where objects may be; data.selective_search has two.
Propose = Callable[[np.ndarray, ProposalOptions], np.ndarray]


@dataclass(frozen=True)
class FrameDetections:
    """What a model found in one prepared image, the best score first. NumPy's twin of ``models.detection.base``'s."""

    boxes: np.ndarray  # float32 (K, 4) x1 y1 x2 y2, pixels of the network's frame
    scores: np.ndarray  # float32 (K,), 0..1
    classes: np.ndarray  # int64 (K,), 1 and more
    masks: np.ndarray | None = None  # float32 (K, m, m), 0..1: what lies in each box, stretched to a square


NO_DETECTIONS = FrameDetections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


class DetectionEngine(Protocol):
    """``OnnxDetectionEngine`` and ``TorchDetectionEngine`` are two. ``run`` may be called from several threads."""

    @property
    def card(self) -> ModelCard: ...

    def run(self, frame: np.ndarray, proposals: np.ndarray | None = None) -> FrameDetections:
        """``frame`` float32 (1, C, h, w): one image prepared by ``card.input.fit``. ``proposals`` float32 (K, 4) in its
        pixels, K 1 or more, where ``card.proposals`` says that the model judges such. Where ``card.crop_padding`` says
        that it looks at each by itself, ``frame`` is (K, C, h, w) crops, and all boxes are in pixels of the image."""
        ...


class OnnxDetectionEngine:
    """One ``.onnx`` file that ``imago.export.detection`` wrote, ready to run.

    ``source``: a path, or the bytes of a file. ``threads``, ``device``, ``card``: as
    ``OnnxEngine``'s. Raises ModelError.
    """

    def __init__(
        self,
        source: Path | str | bytes,
        threads: int | None = None,
        device: str | None = None,
        card: ModelCard | None = None,
    ) -> None:
        source = Path(source) if isinstance(source, str) else source
        self.name = str(source) if isinstance(source, Path) else "model"
        if isinstance(source, Path) and not source.is_file():
            raise ModelError(f"{source}: there is no such model file")
        self.card = card or read_card(source, self.name)
        check_task(self.card, self.name)
        self.session = open_session(source, self.name, threads or free_cores(), device, keep_memory=True)
        self._outputs = ["boxes", "scores", "classes"] + (["masks"] if self.card.task == "instances" else [])
        given = [value.name for value in self.session.get_outputs()]
        missing = [name for name in self._outputs if name not in given]
        self._inputs = [value.name for value in self.session.get_inputs()]
        wanted = 1 if self.card.proposals is None else 2
        if missing or len(self._inputs) != wanted:
            raise ModelError(
                f"{self.name}: expected {('one input', 'two inputs')[wanted - 1]} and the outputs "
                f"{', '.join(self._outputs)} for its task {self.card.task!r}; it has {', '.join(self._inputs)} and "
                f"{', '.join(given)}. Mend the card or export the model again"
            )

    def run(self, frame: np.ndarray, proposals: np.ndarray | None = None) -> FrameDetections:
        """See ``DetectionEngine.run``."""
        given = [frame] if proposals is None else [frame, proposals]
        try:
            answer = self.session.run(
                self._outputs,
                {name: a.astype(np.float32, copy=False) for name, a in zip(self._inputs, given, strict=True)},
            )
        except runtime_errors() as error:
            raise ModelError(
                f"{self.name}: cannot run on input of shape {frame.shape} ({first_line(error)}); "
                "does the size rule in its card fit the network?"
            ) from error
        return FrameDetections(*answer)


def check_task(card: ModelCard, name: str) -> None:
    """Raises ModelError for a model that finds no objects."""
    if card.task not in DETECTION_TASKS:
        raise ModelError(
            f"{name}: its task is {card.task!r}; objects are found by models of the tasks "
            f"{' and '.join(DETECTION_TASKS)}"
        )


def predict_frame(
    engine: DetectionEngine, image: np.ndarray, propose: Propose = propose
) -> tuple[FrameDetections, Fit]:
    """What the model says of uint8 (H, W, C), and the way from its frame to the image."""
    card, size_hw = engine.card, (image.shape[0], image.shape[1])
    found = [engine.run(*given) for given in iter_inputs(card, image, propose)]
    if card.crop_padding is not None:  # boxes lie in the image already
        return merge_crops(found, size_hw, card.options["nms_thresh"], card.options["detections_per_img"]), Fit.none(
            size_hw
        )
    return found[0] if found else NO_DETECTIONS, card.input.plan(size_hw)


def iter_inputs(card: ModelCard, image: np.ndarray, propose: Propose = propose) -> Iterator[list[np.ndarray]]:
    """What ``DetectionEngine.run`` is given for uint8 (H, W, C): once, or for each ``CROPS`` proposals that are shown
    by themselves, or never, where there are no proposals."""
    if card.proposals is None:
        yield [card.input.fit(image)[0][None]]
        return
    proposals = propose(image, card.proposals)
    if card.crop_padding is not None:
        for start in range(0, len(proposals), CROPS):
            some = proposals[start : start + CROPS]
            yield [crop_boxes(image, some, card.input, card.crop_padding), some]
    elif len(proposals):
        frame, fit = card.input.fit(image)
        yield [frame[None], fit.boxes_to_frame(proposals)]


def merge_crops(found: Sequence[FrameDetections], size_hw: tuple[int, int], iou: float, most: int) -> FrameDetections:
    """The finds of all batches of crops, cut to the image, without those that better ones of their class overlap."""
    found = found or [NO_DETECTIONS]
    boxes = clip(np.concatenate([one.boxes for one in found]), size_hw)
    scores, classes = (np.concatenate([getattr(one, name) for one in found]) for name in ("scores", "classes"))
    real = np.flatnonzero(area(boxes) > 0)
    kept = real[nms_by_class(boxes[real], scores[real], classes[real], iou)[:most]]
    return FrameDetections(boxes[kept], scores[kept], classes[kept])


def find_objects(
    engine: DetectionEngine, image: np.ndarray, choice: DetectionOptions | None = None, propose: Propose = propose
) -> Instances:
    """uint8 (H, W, C) -> its objects, the best score first, boxes and masks in pixels of the image.

    ``choice``: which are wanted; ``DetectionOptions()`` if None. The model has thresholds of its own (its card's
    options), by which fewer may come: a choice can only be stricter. ``propose``: how proposals are found, for models
    that judge such. Raises ImagoError for a class that the model has not.
    """
    choice = choice or DetectionOptions()
    card = engine.card
    found, fit = predict_frame(engine, image, propose)
    boxes = fit.boxes_to_image(found.boxes)
    visible = np.flatnonzero(area(boxes) > 0)  # a box in the padding has no part in the image
    picked, scores = pick(
        boxes[visible], found.scores[visible], found.classes[visible], card.labels, choice, model_nms_thresh(card)
    )
    chosen = visible[picked]
    cropped = None
    if found.masks is not None:
        whole = fit.boxes_to_image(found.boxes[chosen], cut=False)
        cropped = [paste(found.masks[index], box, fit.image_hw) for index, box in zip(chosen, whole, strict=True)]
    return Instances.make(fit.image_hw, boxes[chosen], found.classes[chosen], scores, cropped)
