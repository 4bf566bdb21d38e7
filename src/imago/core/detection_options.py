"""Which of the objects that a model finds are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from imago.core.settings import setting

SUPPRESSION = ("nms_thresh", "nms", "class_agnostic")  # the fields that say what becomes of overlaps


@dataclass(frozen=True)
class DetectionOptions:
    """The settings of the commands that find objects; a model's own thresholds may be stricter."""

    score_thresh: float = setting(0.5, "Objects: the least score, 0 to 1.")
    nms_thresh: float = setting(
        0.0, "Objects: leave out the weaker of two of a class that overlap by more; 0: as the model has it."
    )
    nms: Literal["hard", "soft"] = setting(
        "hard",
        "Objects: whether overlap with a better one of its class leaves an object out, or lowers its score. soft is "
        "for models exported with --nms-thresh 1: others have left out overlaps themselves, and these do not come "
        "back.",
    )
    class_agnostic: bool = setting(False, "Objects: overlaps between classes count as those within one.")
    classes: tuple[str, ...] = setting((), "Objects: only these classes.", commas=True, metavar="NAME,...")
    detections_per_img: int = setting(0, "Objects: so many a photo at most, the surest; 0: all.")

    def __post_init__(self) -> None:
        for name in ("score_thresh", "nms_thresh"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} lies from 0 to 1; got {getattr(self, name):g}")
        if self.nms == "soft" and self.nms_thresh:
            raise ValueError(
                f"soft suppression has no threshold; leave out nms_thresh (got {self.nms_thresh:g}), or take hard"
            )
        if self.detections_per_img < 0:
            raise ValueError(f"detections_per_img must not be negative; got {self.detections_per_img}")
