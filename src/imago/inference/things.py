"""Objects in photos with models that find them: ``.onnx`` files with decoding inside. No torch.

engine = ObjectEngine("cells.onnx")
found = find_objects(engine, photo, ObjectChoice(score=0.6))  # Instances, in pixels of the photo
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from imago.core.boxes import area
from imago.core.card import THING_TASKS, ModelCard
from imago.core.choice import ObjectChoice
from imago.core.errors import ModelError
from imago.core.instances import Instances
from imago.inference.objects import left_in_by, pick
from imago.inference.onnx_engine import RUNTIME_ERRORS, card_of, first_line, open_session
from imago.inference.paste import paste
from imago.inference.threads import free_cores


@dataclass(frozen=True)
class FrameObjects:
    """What a model found in one prepared image, the best score first. NumPy's twin of ``thing_base.Found``."""

    boxes: np.ndarray  # float32 (K, 4) x1 y1 x2 y2, pixels of the network's frame
    scores: np.ndarray  # float32 (K,), 0..1
    classes: np.ndarray  # int64 (K,), 1 and more
    masks: np.ndarray | None = None  # float32 (K, m, m), 0..1: what lies in each box, stretched to a square


class FindsObjects(Protocol):
    """``ObjectEngine`` and ``TorchObjectEngine`` are two. ``run`` may be called from several threads at once."""

    @property
    def card(self) -> ModelCard: ...

    def run(self, frame: np.ndarray) -> FrameObjects:
        """float32 (1, C, h, w), one image prepared by ``card.input.fit``."""
        ...


class ObjectEngine:
    """One ``.onnx`` file that ``imago.export.things`` wrote, ready to run.

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
        self.card = card or card_of(source, self.name)
        check_task(self.card, self.name)
        self.session = open_session(source, self.name, threads or free_cores(), device, keep_memory=True)
        self._outputs = ["boxes", "scores", "classes"] + (["masks"] if self.card.task == "instances" else [])
        given = [value.name for value in self.session.get_outputs()]
        missing = [name for name in self._outputs if name not in given]
        if missing or len(self.session.get_inputs()) != 1:
            raise ModelError(
                f"{self.name}: expected one input and the outputs {', '.join(self._outputs)} for its task "
                f"{self.card.task!r}; it has {', '.join(given)}. Mend the card or export the model again"
            )
        self._input = self.session.get_inputs()[0].name

    def run(self, frame: np.ndarray) -> FrameObjects:
        """See ``FindsObjects.run``."""
        try:
            answer = self.session.run(self._outputs, {self._input: frame.astype(np.float32, copy=False)})
        except RUNTIME_ERRORS as error:
            raise ModelError(
                f"{self.name}: cannot run on input of shape {frame.shape} ({first_line(error)}); "
                "does the size rule in its card fit the network?"
            ) from error
        return FrameObjects(*answer)


def check_task(card: ModelCard, name: str) -> None:
    """Raises ModelError for a model that finds no objects."""
    if card.task not in THING_TASKS:
        raise ModelError(
            f"{name}: its task is {card.task!r}; objects are found by models of the tasks {' and '.join(THING_TASKS)}"
        )


def find_objects(engine: FindsObjects, image: np.ndarray, choice: ObjectChoice | None = None) -> Instances:
    """uint8 (H, W, C) -> its objects, the best score first, boxes and masks in pixels of the image.

    ``choice``: which are wanted; ``ObjectChoice()`` if None. The model has thresholds of its own (its card's options),
    by which fewer may come: a choice can only be stricter. Raises ImagoError for a class that the model has not.
    """
    choice = choice or ObjectChoice()
    card = engine.card
    frame, fit = card.input.fit(image)
    found = engine.run(frame[None])
    boxes = fit.boxes_to_image(found.boxes)
    visible = np.flatnonzero(area(boxes) > 0)  # a box in the padding has no part in the image
    picked, scores = pick(
        boxes[visible], found.scores[visible], found.classes[visible], card.labels, choice, left_in_by(card)
    )
    chosen = visible[picked]
    cropped = None
    if found.masks is not None:
        whole = fit.boxes_to_image(found.boxes[chosen], cut=False)
        cropped = [paste(found.masks[index], box, fit.image_hw) for index, box in zip(chosen, whole, strict=True)]
    return Instances.make(fit.image_hw, boxes[chosen], found.classes[chosen], scores, cropped)
