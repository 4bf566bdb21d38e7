"""How often, how large and through which window a net looks at a photo; ``inference.tta`` does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imago.core.settings import LABELS_PIXELS, check_values, setting

_ONCE: dict[str, Any] = {"models": LABELS_PIXELS, "why": "a net that finds objects looks at a photo once"}


@dataclass(frozen=True)
class TTA:
    """What is looked at. The settings that ``imago segment`` and ``imago evaluate`` share; what is not said (None, no
    scales) is as the model's card says."""

    flip: bool | None = setting(
        None,
        "Look at the mirror image too, and answer with the mean: twice the time.  [default: as the model's card says]",
        name="tta-flip",
        **_ONCE,
    )
    scales: tuple[float, ...] = setting(
        (),
        "Look at several sizes, and answer with the mean: 0.75,1,1.25 of the model's.  [default: as the model's card "
        "says]",
        commas=True,
        name="tta-scales",
        **_ONCE,
    )
    zoom: bool | None = setting(
        None,
        "Look again at what was found, cut out and enlarged, where it is not most of the photo: up to twice the time.  "
        "[default: as the model's card says]",
        name="tta-zoom",
        **_ONCE,
    )
    slide: bool = setting(
        False,
        "Slide a window of the model's size over the photo's own pixels, for models trained on windows.",
        **_ONCE,
    )

    def __post_init__(self) -> None:
        check_values(self)
        if self.zoom and self.slide:
            raise ValueError("zoom and slide do not go together: a sliding window sees all of the photo enlarged")
        for scale in self.scales:
            if not 0.1 <= scale <= 8:
                raise ValueError(f"scales lie from 0.1 to 8 (1 is the model's own size); got {scale:g}")
