"""One photo, or several, through one model: the trip that every user takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast, overload

import numpy as np

from imago.core.errors import ModelError
from imago.core.instances import Instances
from imago.core.model_card import DETECTION_TASKS, ModelCard
from imago.core.page_ranges import choose_pages, is_open
from imago.core.separation import Separation
from imago.files.images import Damaged, Photo, count_pages, read_image
from imago.inference.components import drop_small_components
from imago.inference.cutout.alpha import AlphaMap
from imago.inference.detection import find_objects
from imago.inference.engines.base import DetectionEngine, Engine
from imago.inference.instances.postprocess import select
from imago.inference.instances.separation import separate_in
from imago.inference.label_map import enlarge_labels
from imago.inference.options import PredictOptions, check_options, resolve_tta
from imago.inference.prediction import Prediction
from imago.inference.tta import predict_tta, resize_plane

if TYPE_CHECKING:
    from PIL.Image import Image

    from imago.inference.crf import DenseCRF

    Picture = Path | str | bytes | BinaryIO | np.ndarray | Image
    Pictures = list[Any] | tuple[Any, ...] | Iterator[Any]


class Asked(Protocol):
    """What reads photos and answers: ``Predictor``, or two of them put together."""

    def read(
        self, image: Picture | BinaryIO, *, name: str | None = None, damaged: Damaged | None = None, page: int = 0
    ) -> Photo:
        """The image as it is seen. Raises ImageError."""
        ...

    def predict(self, photo: Photo) -> Prediction:
        """What is found in it."""
        ...


def ask(model: Asked, image: Picture | Pictures) -> Prediction | list[Prediction]:
    """What ``model`` says of a path, the bytes of a file, an array (H, W, C) or (H, W), a Pillow image; a list, a tuple
    or an iterator of such gives a list. Raises ImageError."""
    if isinstance(image, (list, tuple, Iterator)) and not hasattr(image, "read"):  # files iterate too
        return [_ask_one(model, each) for each in image]
    return _ask_one(model, image)  # type: ignore[arg-type]  # read_image says what is wrong with it


def _ask_one(model: Asked, image: Picture) -> Prediction:
    photo = model.read(image)
    if isinstance(image, np.ndarray) and np.may_share_memory(photo.pixels, image):
        photo = replace(photo, pixels=photo.pixels.copy())  # a loop over a video fills its buffer anew
    return model.predict(photo)


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model that is ready: ``model("photo.jpg")`` -> Prediction. It does not change, and may be called from several
    threads at once; ``with_options`` gives another one over the same model. It can be pickled, copied and forked: a
    model's file goes to another process by its path, and is opened there anew.

    Raises ImagoError for options that say nothing to the model: none is passed over.
    """

    engine: Engine | DetectionEngine
    options: PredictOptions = field(default_factory=PredictOptions)

    def __post_init__(self) -> None:
        check_options(self.card, self.options)

    def with_options(self, **changes: Any) -> Predictor:
        """The same model, answering in another way: ``model.with_options(score_thresh=0.3, classes=["cat"])``,
        ``model.with_options(tta_flip=True, crf=DenseCRF())``.

        ``changes``: fields of ``PredictOptions``, and of its groups by the names of the command line; what is not named
        stays. Raises TypeError for a name that there is not, ValueError for a value that cannot be, ImagoError for an
        option that says nothing to this model.
        """
        return replace(self, options=self.options.with_(**changes))

    @property
    def card(self) -> ModelCard:
        """What the model says of itself."""
        return self.engine.card

    @property
    def finds_objects(self) -> bool:
        """Whether predictions hold ``instances``."""
        return self.card.finds_objects

    @property
    def separation(self) -> Separation:
        """How objects are made, if they are made: as the options say, else the card."""
        return self.options.separation or self.card.separation or Separation()

    @overload
    def __call__(self, image: Picture, **changes: Any) -> Prediction: ...
    @overload
    def __call__(self, image: Pictures, **changes: Any) -> list[Prediction]: ...
    def __call__(self, image: Picture | Pictures, **changes: Any) -> Prediction | list[Prediction]:
        """A path, the bytes of a file, an array (H, W, C) or (H, W), a Pillow image -> Prediction; a list, a tuple or
        an iterator of such -> a list. ``changes``: as for ``with_options``, for this call alone.

        Raises ImageError, which names the file, and what ``with_options`` raises.
        """
        if changes:
            return self.with_options(**changes)(image)
        return ask(self, image)

    def predict_pages(self, image: Path | str | bytes, pages: str = "all") -> Iterator[Prediction]:
        """Of a file of several pages (TIFF, animations) one prediction after the other. ``pages``: numbers from 1, as
        ``1,3-5``, ``4-`` to the end, or ``all``. Raises ValueError for other words, ImageError for pages that there
        are not, and as a call."""
        for page in choose_pages(pages, count_pages(image) if is_open(pages) else 0):
            yield self.predict(self.read(image, page=page))

    def read(
        self, image: Picture | BinaryIO, *, name: str | None = None, damaged: Damaged | None = None, page: int = 0
    ) -> Photo:
        """The image as the model sees it: its channels, their ranges, the bands that are shown. ``page``: of a file of
        several, from 1. Raises ImageError."""
        spec = self.card.input
        photo = read_image(
            image, channels=spec.channels, ranges=spec.ranges, max_pixels=self.options.max_pixels, name=name,
            damaged=damaged, page=page, window=self.options.window,
        )  # fmt: skip
        return replace(photo, show_bands=self.show_bands)

    @property
    def show_bands(self) -> tuple[int, ...]:
        """Which bands are shown as red, green and blue: as the options say, else the card."""
        return self.options.show_bands or self.card.input.show_bands

    def predict(self, photo: Photo) -> Prediction:
        """The same for a photo that has been read already, and whose pixels nobody changes any more."""
        if self.card.task in DETECTION_TASKS:
            return self._find(cast(DetectionEngine, self.engine), photo)
        scores = self.scores(photo.pixels)
        if self.options.crf is not None:
            scores = self._refine(self.options.crf, scores, photo)
        if self.card.task == "binary":
            mask = drop_small_components(scores[0], self.card.min_component_fraction)
            return Prediction(photo, self.card.labels, alpha_map=AlphaMap(mask, photo.rgb))
        if self.card.objects:
            labels = self.card.object_labels
            found = separate_in(scores, photo.size_hw, self.separation, self.card.distance)
            return Prediction(photo, labels, instances=select(found, labels, self.options.detection))
        return Prediction(photo, self.card.labels, label_map=enlarge_labels(scores, photo.size_hw), low_scores=scores)

    def _refine(self, crf: DenseCRF, scores: np.ndarray, photo: Photo) -> np.ndarray:
        """``scores`` float32 (K, h, w) as ``crf`` refines them; a distance map is no probability, and stays."""
        if self.card.task == "binary":
            return crf.refine(np.stack([1 - scores[0], scores[0]]), photo.rgb)[1:]
        if not self.card.distance:
            return crf.refine(scores, photo.rgb)
        refined = crf.refine(scores[:-1], photo.rgb)
        return np.concatenate([refined, resize_plane(scores[-1], refined.shape[1:])[None]])

    def scores(self, image: np.ndarray) -> np.ndarray:
        """What the net says of uint8 (H, W, C), looked at as asked and as its card says: float32 (K, h, w), 0..1.
        Where the card speaks of a distance map it is the last channel.

        Raises ModelError for a model that finds objects.
        """
        if self.card.task in DETECTION_TASKS:
            raise ModelError(
                f"{self.card.name}: finds objects (task {self.card.task!r}), it labels no pixels; ask for objects()"
            )
        tta = resolve_tta(self.card, self.options.tta)
        card = self.card
        return predict_tta(cast(Engine, self.engine).run, card.input, image, tta, card.name, card.labels.background)

    def objects(self, image: np.ndarray) -> Instances:
        """All objects that the model finds in uint8 (H, W, C), whatever their scores and classes: as average precision
        wants them. Of ``options.detection`` counts what it says of overlaps. Raises ModelError for a model that finds
        none."""
        if not self.finds_objects:
            raise ModelError(f"{self.card.name}: finds no single objects; its task is {self.card.task!r}")
        everything = replace(self.options.detection, score_thresh=0.0, classes=(), detections_per_img=0)
        found = self.with_options(detection=everything)(image).instances
        assert found is not None
        return found

    def _find(self, engine: DetectionEngine, photo: Photo) -> Prediction:
        """With a net that finds objects."""
        found = find_objects(engine, photo.pixels, self.options.detection, self.options.find_proposals)
        return Prediction(photo, self.card.labels, instances=found)
