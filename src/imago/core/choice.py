"""Which of the objects that a model finds are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from imago.core.setting import setting

SUPPRESSION = ("iou", "nms", "agnostic")  # the fields that say what becomes of overlaps


@dataclass(frozen=True)
class ObjectChoice:
    """The settings of the commands that find objects; a model's own thresholds may be stricter."""

    score: float = setting(0.5, "Objects: the least score, 0 to 1.")
    iou: float = setting(
        0.0, "Objects: leave out the weaker of two of a class that overlap by more; 0: as the model has it."
    )
    nms: Literal["hard", "soft"] = setting(
        "hard",
        "Objects: whether overlap with a better one of its class leaves an object out, or lowers its score. soft is "
        "for models exported with --iou 1: others have left out overlaps themselves, and these do not come back.",
    )
    agnostic: bool = setting(
        False, "Objects: overlaps between classes count as those within one.", name="class-agnostic"
    )
    classes: tuple[str, ...] = setting((), "Objects: only these classes.", commas=True, metavar="NAME,...")
    max_objects: int = setting(0, "Objects: so many a photo at most, the surest; 0: all.")

    def __post_init__(self) -> None:
        for name in ("score", "iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} lies from 0 to 1; got {getattr(self, name):g}")
        if self.nms == "soft" and self.iou:
            raise ValueError(f"soft suppression has no threshold; leave out iou (got {self.iou:g}), or take hard")
        if self.max_objects < 0:
            raise ValueError(f"max_objects must not be negative; got {self.max_objects}")
