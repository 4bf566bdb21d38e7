"""A model that finds things and one that labels stuff, put together: every pixel in one segment at most.

The rule is that of Panoptic FPN (Kirillov et al. 2019, arXiv:1901.02446, section 3): objects by falling score, each
with the pixels that no better one has; an object of which more than half is taken is left out. What is left belongs to
the stuff class of its pixel; classes of stuff with too few pixels are left out. Differs from the paper: the least area
is a share of the photo, so that the answer does not depend on the photo's size.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, overload

import numpy as np

from imago.core.detection_options import DetectionOptions
from imago.core.errors import ImagoError
from imago.core.input_spec import InputSpec
from imago.core.instances import Instances
from imago.core.labels import Labels, default_colors
from imago.core.panoptic import Panoptic, Segment
from imago.core.panoptic_options import PanopticOptions
from imago.files.images import Damaged, Photo
from imago.inference.load import load
from imago.inference.prediction import Prediction
from imago.inference.predictor import Predictor, ask

if TYPE_CHECKING:
    from imago.inference.predictor import Picture, Pictures

NOTHING = "background"  # what lies in no segment


@dataclass(frozen=True)
class PanopticCard:
    """What a pair of models says of itself."""

    name: str
    labels: Labels  # the background, things, stuff
    things: tuple[int, ...]  # values of the thing classes
    input: InputSpec  # of the model that finds things
    task: str = "panoptic"

    @property
    def object_labels(self) -> Labels:
        return self.labels


@dataclass(frozen=True, eq=False)
class PanopticPredictor:
    """Two models that are ready, used like one: ``pair("photo.jpg")`` -> Prediction with ``panoptic``.

    It does not change, and may be called from several threads at once. A class of the stuff model that the other one
    finds as objects, by its name, is no stuff. Raises ImagoError for models that do not go together.
    """

    things: Predictor
    stuff: Predictor
    options: PanopticOptions = field(default_factory=PanopticOptions)

    def __post_init__(self) -> None:
        things, stuff = self.things.card, self.stuff.card
        if not things.finds_objects or things.task == "boxes":
            what = "finds boxes without masks" if things.task == "boxes" else "finds no single objects"
            raise ImagoError(f"things: model {things.name!r} {what}; use one that finds objects with masks")
        if stuff.finds_objects:
            raise ImagoError(f"stuff: model {stuff.name!r} finds objects; use one that labels pixels")
        for what in ("channels", "ranges"):
            one, other = getattr(things.input, what), getattr(stuff.input, what)
            if one != other:
                raise ImagoError(
                    f"both models must read the same photos; {what} of {things.name!r} are {one}, of {stuff.name!r} "
                    f"{other}"
                )
        _ = self.card

    @cached_property
    def card(self) -> PanopticCard:
        """Classes of both. Raises ImagoError for ``stuff_classes`` that are none."""
        things, stuff = self.things.card.object_labels, self.stuff.card.labels
        names = things.names[1:]
        chosen = choose_stuff(names, stuff, self.options.stuff_classes, self.stuff.card.name)
        every = (NOTHING, *names, *(stuff.names[value] for value in chosen))
        usual = default_colors(len(every))
        own = [stuff.colors[value] for value in chosen]
        colors = (*usual[: len(names) + 1], *own)
        if len(set(colors)) < len(colors):  # two models, two palettes
            colors = usual
        name = f"{self.things.card.name} + {self.stuff.card.name}"
        labels = Labels(every, colors, ignore=255 if len(every) <= 255 else 65_535, background=0)
        return PanopticCard(name, labels, tuple(range(1, len(names) + 1)), self.things.card.input)

    @cached_property
    def stuff_table(self) -> np.ndarray:
        """uint16 (classes of the stuff model,): the joint class of each, 0 where it is no stuff."""
        names = self.card.labels.names
        stuff = {name: value for value, name in enumerate(names) if value > len(self.card.things)}
        return np.array([stuff.get(name, 0) for name in self.stuff.card.labels.names], np.uint16)

    @property
    def show_bands(self) -> tuple[int, ...]:
        """Which bands are shown as red, green and blue; see ``Predictor.show_bands``."""
        return self.things.show_bands

    def names_of(self, are_things: bool) -> tuple[str, ...]:
        """Names of the classes of things, or of stuff."""
        names, count = self.card.labels.names[1:], len(self.card.things)
        return names[:count] if are_things else names[count:]

    def with_options(self, **changes: Any) -> PanopticPredictor:
        """The same models, answering in another way: fields of ``PanopticOptions``; of ``DetectionOptions`` for the
        things, of ``TTA`` and ``crf`` for the stuff, as ``Predictor.with_options`` takes them; ``max_pixels``,
        ``show_bands`` and ``window`` for both. Raises what that raises."""
        own = {one.name: changes.pop(one.name) for one in fields(PanopticOptions) if one.name in changes}
        found = {one.name for one in fields(DetectionOptions)} | {"detection", "separation", "find_proposals"}
        both = {"max_pixels", "show_bands", "window"}
        things = {name: value for name, value in changes.items() if name in found | both}
        stuff = {name: value for name, value in changes.items() if name not in found}
        return replace(
            self,
            things=self.things.with_options(**things),
            stuff=self.stuff.with_options(**stuff),
            options=replace(self.options, **own),
        )

    @overload
    def __call__(self, image: Picture, **changes: Any) -> Prediction: ...
    @overload
    def __call__(self, image: Pictures, **changes: Any) -> list[Prediction]: ...
    def __call__(self, image: Picture | Pictures, **changes: Any) -> Prediction | list[Prediction]:
        """As ``Predictor``: a path, bytes, an array (H, W, C) or (H, W), a Pillow image -> Prediction; a list, a tuple
        or an iterator of such -> a list. ``changes``: as for ``with_options``, for this call alone."""
        return ask(self.with_options(**changes) if changes else self, image)

    def read(
        self, image: Picture | BinaryIO, *, name: str | None = None, damaged: Damaged | None = None, page: int = 0
    ) -> Photo:
        """The image as both models see it; ``page``: of a file of several, from 1. Raises ImageError."""
        return self.things.read(image, name=name, damaged=damaged, page=page)

    def predict(self, photo: Photo) -> Prediction:
        """The same for a photo that has been read already."""
        things, stuff = self.things.predict(photo).instances, self.stuff.predict(photo).label_map
        assert things is not None
        found = join(things, self.stuff_table[stuff], self.options)
        return Prediction(photo, self.card.labels, panoptic=found)


def choose_stuff(things: tuple[str, ...], stuff: Labels, wanted: tuple[str, ...], model: str) -> list[int]:
    """Values of ``stuff`` that are stuff: those ``wanted``, or all but the background and the names of ``things``.
    Raises ImagoError."""
    known = [
        value for value, name in enumerate(stuff.names)
        if value != stuff.background and name not in things and name != NOTHING
    ]  # fmt: skip
    names = [stuff.names[value] for value in known]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        has = f"it has {', '.join(names)}" if names else "it has none"
        found = " (found as objects by the other model)" if unknown[0] in things else ""
        raise ImagoError(f"stuff_classes: model {model!r} has no stuff {', '.join(map(repr, unknown))}{found}; {has}")
    if not known:
        raise ImagoError(
            f"stuff: model {model!r} has no class that is stuff ({', '.join(stuff.names)}): all are background, or "
            "found as objects by the other model"
        )
    return [value for value in known if not wanted or stuff.names[value] in wanted]


def join(things: Instances, stuff: np.ndarray, options: PanopticOptions) -> Panoptic:
    """The rule. ``things``: objects with masks; ``stuff``: uint16 (H, W), the class of each pixel, 0 for none; classes
    of both are values of one set of labels. Ids are 1, 2, ...: things by falling score, then stuff by class.

    Raises ValueError for sizes that differ."""
    if things.size_hw != stuff.shape:
        raise ValueError(f"things are of {things.size_hw} pixels, stuff of {stuff.shape}; both must be of one image")
    ids = np.zeros(things.size_hw, np.int32)
    segments: list[Segment] = []
    for index in np.argsort(-things.scores, kind="stable"):
        where, crop = things.region(int(index))
        free = crop & (ids[where] == 0)
        area, left = int(crop.sum()), int(free.sum())
        if not left or area - left > options.overlap_thresh * area:
            continue
        number = len(segments) + 1
        ids[where][free] = number
        score = float(things.scores[index])
        segments.append(Segment(number, int(things.classes[index]), True, left, score))
    rest = np.where(ids == 0, stuff, stuff.dtype.type(0))
    for value, area in enumerate(np.bincount(rest.ravel()).tolist()):
        if value and area and area >= options.stuff_area_limit * ids.size:
            segments.append(Segment(len(segments) + 1, value, False, area))
            ids[rest == value] = len(segments)
    return Panoptic(ids, tuple(segments))


def panoptic(
    things: str | Path | Predictor,
    stuff: str | Path | Predictor,
    *,
    device: str | int | None = None,
    options: PanopticOptions | None = None,
    **changes: Any,
) -> PanopticPredictor:
    """A model that finds objects with masks (Mask R-CNN, or one that separates objects) and one that labels pixels ->
    one that gives segments: ``imago.panoptic("street.onnx", "scene.onnx")("photo.jpg").panoptic.segments``.

    ``things``, ``stuff``: names or files as for ``load``, or predictors. ``device``: as for ``load``. ``options``: the
    rule, ``PanopticOptions()`` if None, and ``changes`` to it as ``PanopticPredictor.with_options`` takes them.
    Raises ModelError for what cannot be loaded, ImagoError for models that do not go together.
    """
    first, second = (one if isinstance(one, Predictor) else load(one, device=device) for one in (things, stuff))
    whole = PanopticPredictor(first, second, options or PanopticOptions())
    return whole.with_options(**changes) if changes else whole
