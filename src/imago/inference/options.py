"""How a predictor answers: plain values that do not change, made once and shared by all threads."""

from __future__ import annotations

from dataclasses import dataclass, field

from imago.core.detection_options import DetectionOptions
from imago.core.separation import Separation
from imago.core.tta import TTA
from imago.data.selective_search import propose
from imago.files.images import MAX_PIXELS
from imago.inference.crf import DenseCRF
from imago.inference.detection import Propose


@dataclass(frozen=True)
class PredictOptions:
    """What a ``Predictor`` is told beside its model."""

    tta: TTA = field(default_factory=TTA)  # how the net looks at a photo, beside what the model's card says
    detection: DetectionOptions = field(default_factory=DetectionOptions)  # which objects are wanted
    crf: DenseCRF | None = None  # refines every answer of a model that labels pixels
    separation: Separation | None = None  # how objects are made of insides and borders; None: as the card says
    find_proposals: Propose = propose  # how proposals are found, where the card asks for some
    max_pixels: int = MAX_PIXELS  # photos with more are refused before they are decoded

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels must be 1 or more; got {self.max_pixels}")
