"""How far training photos are changed: the settings of augmentation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from imago.core.settings import LABEL_MAPS, NOT_RCNN, check_values, setting

_LABEL_MAPS = "it is for label maps"
_CROPS = "it moves whole photos, and this net learns crops, which proposals choose"
_ELASTIC = ("elastic", "no photo is pulled about; give --elastic a share")
_TOUCHING = "it weighs what lies between two objects of a label map; it goes with --objects"


@dataclass(frozen=True)
class Augmentation:
    """How far the training photos are changed. Everything at 0 leaves only the resize to the frame."""

    flip: float = setting(0.5, "Share of photos mirrored left to right.")
    flip_vertical: float = setting(0.0, "Share of photos mirrored top to bottom (microscopy, aerial photos).")
    rot90: float = setting(0.0, "Share of photos turned by 90, 180 or 270 degrees.")
    zoom_min: float = setting(
        0.7,
        "Window's side relative to the photo's (--rule pad: to the frame's); below 1 zooms in.",
        tasks=NOT_RCNN,
        why=_CROPS,
    )
    zoom_max: float = setting(
        1.25, "Above 1 shows the photo smaller, with its border repeated.", tasks=NOT_RCNN, why=_CROPS
    )
    focus: float = setting(
        0.5,
        "Share of windows that are laid around a point of the subject (any class but 0).",
        tasks=NOT_RCNN,
        why=_CROPS,
    )
    close_up: float = setting(
        0.0,
        "Share of windows that zoom in on a part of the subject, down to a fifth of the photo.",
        tasks=NOT_RCNN,
        why=_CROPS,
    )
    aspect_jitter: float = setting(0.15, "Largest change of aspect, as a share.", tasks=NOT_RCNN, why=_CROPS)
    rotate_deg: float = setting(10.0, "Largest turn to either side, in degrees.", tasks=NOT_RCNN, why=_CROPS)
    elastic: float = setting(
        0.0, "Share of photos pulled about as if they were elastic: tissue, cells.", tasks=LABEL_MAPS, why=_LABEL_MAPS
    )
    elastic_px: float = setting(
        10.0, "How far, as a standard deviation in pixels of a frame of 512 x 512.", needs=_ELASTIC
    )
    elastic_grid: int = setting(3, "Points a side of the grid that is pulled; more make smaller waves.", needs=_ELASTIC)
    color: float = setting(0.3, "Strength of brightness, contrast, saturation and tint, 0 to 1.")
    to_gray: float = setting(0.05, "Share of photos without colour.")
    blur: float = setting(0.15, "Share of photos blurred.")
    noise: float = setting(0.15, "Share of photos with noise.")
    jpeg: float = setting(0.2, "Share of photos with JPEG artefacts.")
    low_light: float = setting(0.0, "Share of photos darkened as at night: a colour cast, and noise.")
    motion_blur: float = setting(0.0, "Share of photos blurred along a line of 3 to 15 pixels, as by a moving hand.")
    background: float = setting(
        0.0,
        "Share of photos whose background is replaced (cut-out models: class 0 is background).",
        tasks=LABEL_MAPS,
        why=_LABEL_MAPS,
    )
    copy_paste: float = setting(
        0.0,
        "Share of photos that get another photo's subject, or some of its objects by their masks, pasted in.",
        tasks=NOT_RCNN,
        why=_CROPS,
    )
    pasted_max: int = setting(
        1,
        "Most subjects that --copy-paste pastes in; above 1 they are small and large, and half take on the scene's "
        "light.",
        needs=("copy_paste", "nothing is pasted in; give --copy-paste a share"),
    )
    shadow: float = setting(
        0.0,
        "Share of replaced backgrounds and of pasted subjects that get a drawn shadow; the mask stays as it is.",
        needs=("composes", "nothing is laid on another photo; give --background or --copy-paste a share"),
        tasks=LABEL_MAPS,
        why=_LABEL_MAPS,
    )
    collage: float = setting(
        0.0,
        "Share of pictures shown as a print, page or screen in another photo; small ones are background.",
        tasks=LABEL_MAPS,
        why=_LABEL_MAPS,
    )
    empty: float = setting(
        0.0,
        "Share of pictures that show a part of another photo without any subject: all of it class 0.",
        tasks=LABEL_MAPS,
        why=_LABEL_MAPS,
    )
    border_px: float = setting(
        0.0,
        "Width of the band along outlines that counts --border-weight, in pixels of the frame.",
        tasks=LABEL_MAPS,
        why=_LABEL_MAPS,
    )
    border_weight: float = setting(
        1.0,
        "What a pixel along an outline counts (below 1 where outlines are sloppy).",
        needs=("border_px", "the band along outlines has no width; give --border-px"),
    )
    touching: float = setting(
        0.0,
        "How much more a pixel between two that touch counts, 10 in the U-Net paper.",
        tasks=("separation",),
        why=_TOUCHING,
    )

    def __post_init__(self) -> None:
        check_values(self)
        if not 0 < self.zoom_min <= self.zoom_max:
            raise ValueError(f"zoom must satisfy 0 < zoom_min <= zoom_max; got {self.zoom_min} and {self.zoom_max}")
        if self.zoom_max > 10:
            raise ValueError(f"zoom_max is at most 10 (the photo a tenth of the window); got {self.zoom_max}")
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} lies from 0 to 1; got {getattr(self, name)}")
        if not 0 <= self.rotate_deg <= 180:
            raise ValueError(f"rotate_deg lies from 0 to 180; got {self.rotate_deg}")
        if self.elastic_grid not in range(2, 33):
            raise ValueError(f"elastic_grid must be a whole number from 2 to 32; got {self.elastic_grid}")
        if self.pasted_max not in range(1, 17):
            raise ValueError(f"pasted_max must be a whole number from 1 to 16; got {self.pasted_max}")
        for name in ("elastic_px", "border_px", "border_weight", "touching"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more; got {getattr(self, name)}")

    @property
    def composes(self) -> bool:
        """Whether subjects are laid on other photos."""
        return self.background > 0 or self.copy_paste > 0


SHARES = (
    "flip", "flip_vertical", "rot90", "focus", "close_up", "aspect_jitter", "elastic", "color", "to_gray", "blur",
    "noise", "jpeg", "background", "copy_paste", "shadow", "collage", "empty", "low_light", "motion_blur",
)  # fmt: skip
CLOSEST = 1 / 5  # the closest close-up's side relative to the photo's

NO_AUGMENTATION = Augmentation(
    flip=0, zoom_min=1, zoom_max=1, focus=0, aspect_jitter=0, rotate_deg=0, color=0, to_gray=0, blur=0, noise=0, jpeg=0
)

Pair = tuple[np.ndarray, np.ndarray]  # image uint8 (H, W, C), label uint8 (H, W)
