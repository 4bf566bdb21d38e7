"""How a predictor answers: plain values that do not change, made once and shared by all threads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from typing import Any

from imago.core.bands import check_shown
from imago.core.detection_options import DetectionOptions
from imago.core.errors import ImagoError
from imago.core.model_card import ModelCard
from imago.core.separation import Separation
from imago.core.settings import GROUP, LABELS_PIXELS, find_changed, find_inapplicable, flag, iter_settings, setting
from imago.core.tta import TTA
from imago.core.window import FROM_FILE, Window, parse_window
from imago.data.selective_search import propose
from imago.files.images import MAX_PIXELS
from imago.inference.crf import DenseCRF
from imago.inference.detection import Propose
from imago.inference.instances.postprocess import class_values
from imago.inference.tta import check_tta


@dataclass(frozen=True)
class PredictOptions:
    """What a ``Predictor`` is told beside its model."""

    tta: TTA = field(default_factory=TTA, metadata=GROUP)  # how the net looks at a photo
    detection: DetectionOptions = field(default_factory=DetectionOptions, metadata=GROUP)  # which objects are wanted
    crf: DenseCRF | None = setting(  # refines every answer
        None, models=LABELS_PIXELS, why="a net that finds objects has no probabilities for a CRF to refine"
    )
    separation: Separation | None = setting(  # how objects are made of insides and borders; None: as the card says
        None, models=("separation",), why="it does not make objects of insides and borders"
    )
    find_proposals: Propose = propose  # how proposals are found, where the card asks for some
    show_bands: tuple[int, ...] = ()  # which bands are shown as red, green and blue, from 1; empty: as the card says
    window: Window | str | None = None  # of DICOM and NIfTI: centre and width, or "file"; None: as the card says
    max_pixels: int = MAX_PIXELS  # photos with more are refused before they are decoded

    def __post_init__(self) -> None:
        if self.window is not None and self.window != FROM_FILE:
            parse_window(
                ",".join(map(str, self.window)) if isinstance(self.window, (tuple, list)) else str(self.window)
            )
        if isinstance(self.max_pixels, bool) or not isinstance(self.max_pixels, int) or self.max_pixels < 1:
            raise ValueError(f"max_pixels must be a whole number of 1 or more; got {self.max_pixels!r}")

    def with_(self, **changes: Any) -> PredictOptions:
        """A copy with other options, also those of its groups by the names that they have on the command line:
        ``with_(score_thresh=0.3, classes="cat,dog", tta_flip=True)``. Raises TypeError for a name that there is not,
        ValueError for a value that cannot be."""
        own = {one.name: changes.pop(one.name) for one in fields(self) if one.name in changes}
        for group in (one for one in fields(self) if "group" in one.metadata):
            before = own.get(group.name, getattr(self, group.name))
            names = {_python_name(inner): inner.name for inner in fields(before)}
            inside = {names[name]: changes.pop(name) for name in list(changes) if name in names}
            if inside:
                own[group.name] = replace(before, **inside)
        if changes:
            known = ", ".join(sorted(_python_name(one) for one, _ in iter_settings(PredictOptions)))
            raise TypeError(f"there is no option {', '.join(changes)}; there are {known}")
        return replace(self, **own)

    @property
    def changed(self) -> set[str]:
        """Names of the fields, its groups' included, that are not as they are by default."""
        return find_changed(self) | find_changed(self.tta) | find_changed(self.detection)


def _python_name(own: Any) -> str:
    return flag(own)[2:].replace("-", "_")


def check_options(card: ModelCard, options: PredictOptions) -> None:
    """Raises ImagoError for what would do nothing with that model, or cannot be done with it."""
    names = {one.name: _python_name(one) for one, _ in iter_settings(PredictOptions)}
    refuse_inapplicable(card, card.name, [PredictOptions], {name: names.get(name, name) for name in options.changed})
    if options.find_proposals is not propose and card.proposals is None:
        raise ImagoError(f"find_proposals does not go with model {card.name!r}: it judges no proposals")
    class_values(card.object_labels, options.detection.classes)  # raises for one that there is not
    check_tta(card.input, resolve_tta(card, options.tta), card.name, card.labels.background)
    try:
        check_shown(options.show_bands, card.input.channels)
    except ValueError as error:
        raise ImagoError(f"{card.name}: {error}") from error


def refuse_inapplicable(card: ModelCard, model: str, settings: Collection[type], given: dict[str, str]) -> None:
    """Raises ImagoError for those of ``given`` (names of fields of the dataclasses ``settings``, and how the user wrote
    them) that say nothing to the model; ``model``: as the user calls it."""
    reasons: dict[str, list[str]] = {}
    for one in settings:
        for name, why in find_inapplicable(one, card.model_type, "models").items():
            if name in given:
                reasons.setdefault(why, []).append(given[name])
    for why, written in reasons.items():
        do, them = ("do", "them") if written[1:] else ("does", "it")
        raise ImagoError(f"{', '.join(written)} {do} not go with model {model!r}: {why}; leave {them} out")


def resolve_tta(card: ModelCard, asked: TTA) -> TTA:
    """How a photo is looked at: as ``asked``, and where nothing is asked as the card says."""
    flip = card.tta_flip if asked.flip is None else asked.flip
    zoom = card.tta_zoom and card.has_background and not asked.slide if asked.zoom is None else asked.zoom
    return replace(asked, flip=flip, zoom=zoom, scales=asked.scales or card.tta_scales)
