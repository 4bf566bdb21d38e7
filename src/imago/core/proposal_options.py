"""How selective search is done (imago.data.selective_search): plain values, which a model card carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from imago.core.settings import check_values, setting


@dataclass(frozen=True)
class ProposalOptions:
    """How selective search is done."""

    mode: Literal["fast", "quality"] = setting("fast", "fast: 4 ways to join regions; quality: 24, six times as slow.")
    count: int = setting(2000, "Most boxes an image.")
    side: int = setting(500, "Working size: pixels of the longer side.")
    scale: int = setting(100, "Scale of the first regions (k of Felzenszwalb and Huttenlocher); larger: fewer boxes.")
    smallest: int = setting(20, "Least first region, pixels of the working size.")
    blur: float = setting(0.8, "Spread of the blur before the first regions, pixels of the working size.")
    same: float = setting(0.9, "Overlap (IoU) past which a box is left out beside an earlier one; 1: none is.")
    least: int = setting(0, "Boxes with a side below this are left out, pixels of the image.")

    def __post_init__(self) -> None:
        check_values(self)
        for name in ("count", "scale", "smallest"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; got {getattr(self, name)}")
        if self.side < 16:
            raise ValueError(f"side must be 16 pixels or more; got {self.side}")
        if self.least < 0 or self.blur <= 0:
            raise ValueError(f"least must not be negative and blur be above 0; got {self.least} and {self.blur}")
        if not 0 < self.same <= 1:
            raise ValueError(f"same is an overlap above 0, at most 1; got {self.same}")
