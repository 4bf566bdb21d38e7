"""How objects are made of a semantic net's answer: the thresholds. They travel in the model's card."""

from __future__ import annotations

from dataclasses import dataclass

from imago.core.settings import check_values


@dataclass(frozen=True)
class Separation:
    """See ``imago.inference.instances.separation``. Areas are in pixels of the photo (of the map that is worked on)."""

    seed: float = 0.7  # least probability of "inside" in a seed
    foreground: float = 0.5  # least probability of "not background" in an object
    least_seed_px: int = 4  # smaller seeds are noise
    least_area_px: int = 12  # smaller objects are left out
    seed_distance: float = 0.0  # least distance (0..1) in a seed, of models with a distance map; 0: insides are seeds
    neck: float = 0.0  # objects are split at necks of less than this share of a part's depth; 0: nowhere

    def __post_init__(self) -> None:
        check_values(self)
        for name in ("seed", "foreground"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is a probability between 0 and 1; got {getattr(self, name)}")
        for name, what in (("seed_distance", "an object's largest distance"), ("neck", "a depth")):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is a share of {what}, 0 or more and below 1; got {getattr(self, name)}")
        for name in ("least_seed_px", "least_area_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 pixel or more; got {getattr(self, name)}")
