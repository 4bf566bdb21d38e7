"""One model over one set of annotated images, at the images' full resolution: the trip, the same for every task.

What the task owns is its ``Tally``: how truth is read, what is asked of the model, what is counted of each image, and
what scores follow. Of each image only its counts are kept, so the memory does not grow with the images' sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar, overload, runtime_checkable

import numpy as np

from imago.core.errors import DataError
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.core.model_card import ModelCard
from imago.data.read_ahead import read_ahead
from imago.evaluation.classes import ClassMatch, match_classes
from imago.evaluation.detection import DetectionScoring
from imago.evaluation.panoptic import PanopticScoring
from imago.evaluation.reading import read_for
from imago.evaluation.results import Evaluation
from imago.evaluation.semantic import SemanticScoring

Found = TypeVar("Found", bound=Evaluation, covariant=True)


class Sample(Protocol):
    """One annotated image, with what its task reads of it: ``label_map()``, ``instances()`` or ``panoptic()``."""

    @property
    def name(self) -> str: ...

    def image(self) -> np.ndarray:
        """uint8 (H, W, C)."""
        ...


@runtime_checkable
class Dataset(Protocol):
    """Annotated images and their classes."""

    @property
    def labels(self) -> Labels: ...

    def split(self, name: str) -> tuple[Any, ...]: ...


class Model(Protocol):
    """Anything that can be evaluated; ``imago.inference.predictor.Predictor`` is one."""

    @property
    def card(self) -> ModelCard: ...

    def __call__(self, image: np.ndarray, /) -> Any: ...

    def objects(self, image: np.ndarray, /) -> Instances:
        """All that it finds in uint8 (H, W, C), down to the lowest scores; asked of models that find objects."""
        ...


class Tally(Protocol[Found]):
    """What is kept of the images seen so far."""

    def read(self, sample: Any) -> Any:
        """The truth of one image; runs in another thread, ahead of the model."""
        ...

    def predict(self, predictor: Any, image: np.ndarray) -> Any:
        """The model's answer for uint8 (H, W, C), in the classes of the data."""
        ...

    def add(self, name: str, answer: Any, truth: Any) -> None:
        """Raises DataError, which names the image, where the two cannot be compared."""
        ...

    def show(self, truth: Any, answer: Any) -> tuple[Any, Any]:
        """Both as they are drawn: label maps (H, W), or Instances."""
        ...

    def evaluation(self) -> Found:
        """What all images together say."""
        ...


class Scoring(Protocol[Found]):
    """How a task is scored, as the user wants it: a small frozen dataclass of settings."""

    def start(self, card: ModelCard, labels: Labels, match: ClassMatch) -> Tally[Found]:
        """``labels``: of the data. Raises ImagoError for a model of another task."""
        ...


def choose_scoring(card: Any) -> Scoring[Any]:
    """The usual one of the model's task; ``card``: a ModelCard, or that of two models put together."""
    if card.task == "panoptic":
        return PanopticScoring()
    return DetectionScoring() if card.finds_objects else SemanticScoring()


@overload
def evaluate(
    predictor: Any, samples: Iterable[Sample] | Dataset, *, scoring: Scoring[Found], labels: Labels | None = ...,
    split: str = ..., progress: Callable[[int], None] | None = ...,
    observe: Callable[[np.ndarray, Any], None] | None = ...,
) -> Found: ...  # fmt: skip
@overload
def evaluate(
    predictor: Any, samples: Iterable[Sample] | Dataset, *, scoring: None = ..., labels: Labels | None = ...,
    split: str = ..., progress: Callable[[int], None] | None = ...,
    observe: Callable[[np.ndarray, Any], None] | None = ...,
) -> Evaluation: ...  # fmt: skip
def evaluate(
    predictor: Any,
    samples: Iterable[Sample] | Dataset,
    *,
    scoring: Scoring[Any] | None = None,
    labels: Labels | None = None,
    split: str = "val",
    progress: Callable[[int], None] | None = None,
    observe: Callable[[np.ndarray, Any], None] | None = None,
) -> Evaluation:
    """Runs ``predictor`` (see ``Model``) over ``samples`` and scores it.

    ``samples``: annotated images, or a data set, of which ``split`` is taken. ``labels``: the data's; None: those of
    the data set, else those of the model. The model's answers are brought to them by name, see ``match_classes``.
    ``scoring``: ``SemanticScoring(...)``, ``DetectionScoring(...)`` or ``PanopticScoring(...)``; None: the usual one of
    the model's task.
    ``progress`` is told the count of images done; ``observe`` is handed each image and its truth after the model's
    answer. Raises DataError (or what the sample raises) for the first image that cannot be scored: a mean over the rest
    would be another score.
    """
    if isinstance(samples, Dataset):
        labels, samples = labels or samples.labels, samples.split(split)
    tally = start_tally(predictor.card, labels, scoring)

    def read(sample: Sample) -> tuple[str, np.ndarray, Any]:
        return sample.name, read_for(predictor.card.input, sample), tally.read(sample)

    done = 0
    for done, (name, image, truth) in enumerate(read_ahead(samples, read), 1):
        tally.add(name, tally.predict(predictor, image), truth)
        if observe is not None:
            observe(image, truth)
        if progress is not None:
            progress(done)
    if not done:
        raise DataError("there is nothing to evaluate: the list of images is empty; choose another split or folder")
    return tally.evaluation()


def start_tally(card: ModelCard, labels: Labels | None = None, scoring: Scoring[Any] | None = None) -> Tally[Any]:
    """An empty one, for a model of ``card`` on data of ``labels``."""
    wanted = labels or card.object_labels
    match = match_classes(card.object_labels, wanted, model=card.name)
    return (scoring or choose_scoring(card)).start(card, wanted, match)
