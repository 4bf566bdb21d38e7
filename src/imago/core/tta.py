"""How often, how large and through which window a net looks at a photo; ``inference.tta`` does it."""

from __future__ import annotations

from dataclasses import dataclass

from imago.core.settings import setting


@dataclass(frozen=True)
class TTA:
    """What is looked at. The settings that ``imago segment`` and ``imago evaluate`` share."""

    flip: bool = setting(
        False, "Look at the mirror image too, and answer with the mean: twice the time.", name="tta-flip"
    )
    scales: tuple[float, ...] = setting(
        (1.0,),
        "Look at several sizes, and answer with the mean: 0.75,1,1.25 of the model's.",
        commas=True,
        name="tta-scales",
    )
    slide: bool = setting(
        False, "Slide a window of the model's size over the photo's own pixels, for models trained on windows."
    )

    def __post_init__(self) -> None:
        if not self.scales:
            raise ValueError("scales needs at least one size, such as 1 for the model's own")
        for scale in self.scales:
            if not 0.1 <= scale <= 8:
                raise ValueError(f"scales lie from 0.1 to 8 (1 is the model's own size); got {scale:g}")

    @property
    def is_plain(self) -> bool:
        """One look at the whole photo."""
        return self == TTA()
