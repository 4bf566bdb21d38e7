"""How masks are made from the edges in photos of things on a plain background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from imago.core.settings import check_values, setting


@dataclass(frozen=True)
class EdgeSettings:
    """The steps in their order. Lengths are shares of the photo's longer side, so that its size does not matter."""

    blur: float = setting(1.4, "Gaussian blur before edges are looked for, its sigma in pixels; 0: none.")
    high: float = setting(0.0, "Canny: gradients from here on begin an edge; 0: half of Otsu's threshold.")
    low: float = setting(0.0, "Canny: gradients from here on go on with an edge; 0: half of --high.")
    close: float = setting(0.03, "Gaps in outlines up to this share of the longer side are closed.")
    open: float = setting(0.012, "Threads thinner than this share of the longer side are taken away.")
    fill: bool = setting(True, "What outlines enclose is filled.")
    min_area: float = setting(0.01, "Regions below this share of the photo are left out.")
    keep: Literal["largest", "all"] = setting("largest", "Which regions are objects.")
    grabcut: bool = setting(False, "Refine the rim by GrabCut, which compares colours (slow).")

    def __post_init__(self) -> None:
        check_values(self)
        if not 0 <= self.blur <= 20:
            raise ValueError(f"blur is from 0 to 20 pixels; got {self.blur}")
        if self.low < 0 or self.high < 0 or (self.high and self.low > self.high):
            raise ValueError(f"low and high are gradients, 0 <= low <= high; got {self.low} and {self.high}")
        for name in ("close", "open", "min_area"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is a share, from 0 to below 1; got {getattr(self, name)}")

    def describe(self) -> str:
        """In a line."""
        given = f"{self.low or 'half'} / {self.high}" if self.high else "Otsu"
        words = [f"Canny {given}", f"blur {self.blur:g}", f"close {self.close:g}", f"open {self.open:g}"]
        words += [] if self.fill else ["not filled"]
        words += [f"min area {self.min_area:g}", f"keep {self.keep}"] + (["GrabCut"] if self.grabcut else [])
        return ", ".join(words)
