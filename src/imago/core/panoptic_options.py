"""How a model of things and one of stuff are put together."""

from __future__ import annotations

from dataclasses import dataclass

from imago.core.settings import check_values, setting


@dataclass(frozen=True)
class PanopticOptions:
    """The rule of Panoptic FPN (Kirillov et al. 2019, arXiv:1901.02446, section 3); see ``inference.panoptic``."""

    overlap_thresh: float = setting(
        0.5, "Things: an object of which better ones cover more than this share is left out, 0 to 1."
    )
    stuff_area_limit: float = setting(
        0.013, "Stuff: a class with less than this share of the photo is left out, 0 to 1."
    )  # 4,096 pixels of COCO's 640 x 480, as the paper's authors have it
    stuff_classes: tuple[str, ...] = setting(
        (),
        "Stuff: only these classes of its model.  [default: all but its background and what the other model finds]",
        commas=True,
        metavar="NAME,...",
    )

    def __post_init__(self) -> None:
        if isinstance(self.stuff_classes, str):  # "sky,road", as on the command line
            names = tuple(name.strip() for name in self.stuff_classes.split(",") if name.strip())
            object.__setattr__(self, "stuff_classes", names)
        check_values(self)
        for name in ("overlap_thresh", "stuff_area_limit"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} lies from 0 to 1; got {getattr(self, name):g}")
