"""One photo, or several, through one model: the trip that every user takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np

from imago.core.card import THING_TASKS, ModelCard
from imago.core.choice import ObjectChoice
from imago.core.errors import ModelError
from imago.core.instances import Instances
from imago.core.separation import Separation
from imago.core.views import Views
from imago.data.proposals import propose
from imago.files.images import MAX_PIXELS, Photo, read_image
from imago.inference.alpha import AlphaMap
from imago.inference.crf import DenseCRF
from imago.inference.engine import Engine
from imago.inference.label_map import enlarge_labels
from imago.inference.objects import choose
from imago.inference.prediction import Prediction
from imago.inference.separate import separate_in
from imago.inference.specks import drop_specks
from imago.inference.things import FindsObjects, Propose, find_objects
from imago.inference.views import look

if TYPE_CHECKING:
    from PIL.Image import Image

    Picture = Path | str | bytes | np.ndarray | Image


def views_of(card: ModelCard, asked: Views) -> Views:
    """How a photo is looked at: as ``asked``, and as the card says; sizes that are asked for stand in place of its."""
    views = replace(asked, flip=asked.flip or card.mirror)
    return views if asked.scales != (1.0,) else replace(views, scales=card.scales)


class Predictor:
    """A model that is ready: ``model("photo.jpg")`` -> Prediction. May be called from several threads at once.

    ``max_pixels``: photos with more are refused before they are decoded. ``crf``: refines every answer. ``views``: how
    the net looks at a photo; the mirror image and other sizes are looked at too where the model's card says so.
    """

    def __init__(
        self,
        engine: Engine | FindsObjects,
        max_pixels: int = MAX_PIXELS,
        crf: DenseCRF | None = None,
        views: Views | None = None,
    ) -> None:
        self.engine = engine
        self.max_pixels = max_pixels
        self.crf = crf
        self.views = views or Views()
        self.choice = ObjectChoice()  # which objects are wanted
        self.separation = self.card.separation or Separation()  # how objects are made, if they are made
        self.propose: Propose = propose  # how proposals are found, where the card asks for some

    @property
    def card(self) -> ModelCard:
        return self.engine.card

    @property
    def finds_objects(self) -> bool:
        """Whether predictions hold ``instances``."""
        return self.card.finds_objects

    @overload
    def __call__(self, image: Picture) -> Prediction: ...
    @overload
    def __call__(self, image: list[Any] | tuple[Any, ...]) -> list[Prediction]: ...
    def __call__(self, image: Picture | list[Any] | tuple[Any, ...]) -> Prediction | list[Prediction]:
        """A path, the bytes of a file, an array (H, W, C) or (H, W), a Pillow image -> Prediction; a list -> a list.

        Raises ImageError, which names the file.
        """
        if isinstance(image, (list, tuple)):
            return [self._one(each) for each in image]
        return self._one(image)

    def _one(self, image: Picture) -> Prediction:
        return self.predict(read_image(image, channels=self.card.input.channels, max_pixels=self.max_pixels))

    def predict(self, photo: Photo) -> Prediction:
        """The same for a photo that has been read already."""
        if self.card.task in THING_TASKS:
            return self._find(cast(FindsObjects, self.engine), photo)
        scores = self.scores(photo.pixels)
        if self.crf is not None:
            both = np.stack([1 - scores[0], scores[0]]) if self.card.task == "binary" else scores
            refined = self.crf.refine(both, photo.pixels)
            scores = refined[1:] if self.card.task == "binary" else refined
        if self.card.task == "binary":
            mask = drop_specks(scores[0], self.card.specks)
            return Prediction(photo, self.card.labels, alpha_map=AlphaMap(mask, photo.pixels))
        if self.card.objects:
            labels = self.card.object_labels
            found = separate_in(scores, photo.size_hw, self.separation)
            return Prediction(photo, labels, instances=choose(found, labels, self.choice))
        return Prediction(photo, self.card.labels, label_map=enlarge_labels(scores, photo.size_hw), low_scores=scores)

    def scores(self, image: np.ndarray) -> np.ndarray:
        """What the net says of uint8 (H, W, C), looked at as asked and as its card says: float32 (K, h, w), 0..1."""
        views = views_of(self.card, self.views)
        return look(cast(Engine, self.engine).run, self.card.input, image, views, self.card.name)

    def objects(self, image: np.ndarray) -> Instances:
        """All objects that the model finds in uint8 (H, W, C), whatever their scores and classes: as average precision
        wants them. Of ``choice`` counts what it says of overlaps. Raises ModelError for a model that finds none."""
        if not self.finds_objects:
            raise ModelError(f"{self.card.name}: finds no single objects; its task is {self.card.task!r}")
        open_minded = Predictor(self.engine, self.max_pixels, self.crf, self.views)
        open_minded.separation, open_minded.propose = self.separation, self.propose
        open_minded.choice = replace(self.choice, score=0.0, classes=(), max_objects=0)
        found = open_minded(image).instances
        assert found is not None
        return found

    def _find(self, engine: FindsObjects, photo: Photo) -> Prediction:
        """With a net that finds objects. It looks at the photo once, and has no probabilities for a CRF to refine."""
        if self.crf is not None or self.views != Views():
            raise ModelError(
                f"{self.card.name}: a net that finds objects looks at a photo once; leave out the CRF, mirror images, "
                "scales and the sliding window"
            )
        found = find_objects(engine, photo.pixels, self.choice, self.propose)
        return Prediction(photo, self.card.labels, instances=found)
