"""Which of the objects that a model finds are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from imago.core.settings import FINDS_OBJECTS, check_values, setting

SUPPRESSION = ("nms_thresh", "nms", "class_agnostic")  # the fields that say what becomes of overlaps
_OBJECTS: dict[str, Any] = {"models": FINDS_OBJECTS, "why": "it finds no single objects"}


@dataclass(frozen=True)
class DetectionOptions:
    """The settings of the commands that find objects; a model's own thresholds may be stricter."""

    score_thresh: float = setting(0.5, "Objects: the least score, 0 to 1.", **_OBJECTS)
    nms_thresh: float = setting(
        0.0,
        "Objects: leave out the weaker of two of a class that overlap by more; 0: as the model has it.",
        **_OBJECTS,
    )
    nms: Literal["hard", "soft"] = setting(
        "hard",
        "Objects: whether overlap with a better one of its class leaves an object out, or lowers its score. soft is "
        "for models exported with --nms-thresh 1: others have left out overlaps themselves, and these do not come "
        "back.",
        **_OBJECTS,
    )
    class_agnostic: bool = setting(False, "Objects: overlaps between classes count as those within one.", **_OBJECTS)
    classes: tuple[str, ...] = setting((), "Objects: only these classes.", commas=True, metavar="NAME,...", **_OBJECTS)
    detections_per_img: int = setting(0, "Objects: so many a photo at most, the surest; 0: all.", **_OBJECTS)

    def __post_init__(self) -> None:
        if isinstance(self.classes, str):  # "cat,dog", as on the command line
            names = tuple(name.strip() for name in self.classes.split(",") if name.strip())
            object.__setattr__(self, "classes", names)
        check_values(self)
        for name in ("score_thresh", "nms_thresh"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} lies from 0 to 1; got {getattr(self, name):g}")
        if self.nms == "soft" and self.nms_thresh:
            raise ValueError(
                f"soft suppression has no threshold; leave out nms_thresh (got {self.nms_thresh:g}), or take hard"
            )
        if self.detections_per_img < 0:
            raise ValueError(f"detections_per_img must not be negative; got {self.detections_per_img}")
