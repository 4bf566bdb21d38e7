"""Objects in photos with models that find them, on any engine.

engine = OnnxEngine("cells.onnx")
found = find_objects(engine, photo, DetectionOptions(score_thresh=0.6))  # Instances, in pixels of the photo
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

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
from imago.inference.engines.base import DetectionEngine, FrameDetections
from imago.inference.instances.paste_masks import paste
from imago.inference.instances.postprocess import model_nms_thresh, pick

CROPS = 64  # at a time, so that a photo's 2,000 proposals do not lie in memory as pictures
# uint8 RGB (H, W, 3) -> float32 (K, 4): boxes in it where objects may be; data.selective_search has two.
Propose = Callable[[np.ndarray, ProposalOptions], np.ndarray]


NO_DETECTIONS = FrameDetections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def predict_frame(
    engine: DetectionEngine, image: np.ndarray, propose: Propose = propose
) -> tuple[FrameDetections, Fit]:
    """What the model says of uint8 (H, W, C), and the way from its frame to the image. Raises ModelError for a model
    that finds no objects."""
    card, size_hw = engine.card, (image.shape[0], image.shape[1])
    if card.task not in DETECTION_TASKS:
        raise ModelError(
            f"{card.name}: its task is {card.task!r}; objects are found by models of the tasks "
            f"{' and '.join(DETECTION_TASKS)}"
        )
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
    that judge such. Raises ImagoError for a class that the model has not, ModelError for one that finds no objects.
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
