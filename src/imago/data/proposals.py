"""Selective search (Uijlings, van de Sande, Gevers, Smeulders 2013, IJCV 104): about 2,000 boxes where things may be.

The image is cut into small even regions (Felzenszwalb and Huttenlocher 2004), and neighbours that are most alike in
colour, texture, size and fit are joined, again and again, until one is left; every region on the way gives its box.
The work is done by OpenCV's contrib module. Its two modes are the paper's table of strategies: "fast" takes two colour
spaces and two sets of weights, "quality" more of each and another scale of the first regions.

Differs from the paper:
- the image is first brought to a working size, as R-CNN's and Fast R-CNN's authors did (500 pixels wide). The time
  grows with the pixels, and the scale of the first regions (``first``) is in pixels, so that without it a photo of 12
  megapixels would take minutes and begin at other regions than one of 0.3;
- the order of the boxes has a random factor, as in the paper (section 3.4: it keeps the coarse levels of all strategies
  from coming first as a block). OpenCV draws it from C's ``rand``, which has no seed here: the set of boxes is the
  same each time, which of them are the first ``count`` is not quite. The cache keeps a training on one choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from imago.core import boxes as boxes_
from imago.core.setting import setting
from imago.core.spec import resize_image
from imago.data.array_cache import key_of, load_or_make
from imago.data.things import ThingSample
from imago.files.images import read_image

VERSION = "1"  # of this file's way; raised when its boxes change, so that cached ones are made again


@dataclass(frozen=True)
class ProposalOptions:
    """How selective search is done."""

    mode: Literal["fast", "quality"] = setting("quality", "fast: fewer strategies, a third of the time, fewer found.")
    count: int = setting(2000, "Most boxes an image.")
    side: int = setting(500, "Working size: pixels of the longer side.")
    least: int = setting(0, "Boxes with a side below this are left out, pixels of the image.")
    first: int = setting(150, "Scale of the first regions (k of Felzenszwalb and Huttenlocher); larger: fewer boxes.")
    step: int = setting(150, "What is added to that scale for the further sets of first regions.")
    blur: float = setting(0.8, "Spread of the blur before the first regions, pixels of the working size.")

    def __post_init__(self) -> None:
        if self.mode not in ("fast", "quality"):
            raise ValueError(f"mode of selective search is fast or quality; got {self.mode!r}")
        for name in ("count", "first", "step"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; got {getattr(self, name)}")
        if self.side < 16:
            raise ValueError(f"side must be 16 pixels or more; got {self.side}")
        if self.least < 0 or self.blur <= 0:
            raise ValueError(f"least must not be negative and blur be above 0; got {self.least} and {self.blur}")


def propose(image: np.ndarray, options: ProposalOptions | None = None) -> np.ndarray:
    """uint8 RGB (H, W, 3) -> float32 (K, 4) x1 y1 x2 y2 in pixels of the image, K at most ``count``, the likeliest
    first, no two the same. Raises ValueError for another kind of image."""
    options = options or ProposalOptions()
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"selective search takes uint8 (H, W, 3) images; got {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    scale = options.side / max(height, width)
    small = resize_image(image, (max(1, round(height * scale)), max(1, round(width * scale))))
    found = _search(small, options)
    ratio = np.array([width / small.shape[1], height / small.shape[0]] * 2, np.float32)
    found = boxes_.clip(found * ratio, (height, width))
    sides = found[:, 2:] - found[:, :2]
    return found[(sides > 0).all(axis=1) & (sides >= options.least).all(axis=1)][: options.count]


def _search(image: np.ndarray, options: ProposalOptions) -> np.ndarray:
    """All boxes of the working image, in OpenCV's order, the first of equal ones."""
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))  # it goes on to HSV, Lab and others from OpenCV's order
    switch = search.switchToSelectiveSearchFast if options.mode == "fast" else search.switchToSelectiveSearchQuality
    switch(options.first, options.step, options.blur)
    found = boxes_.from_xywh(search.process())
    _, first = np.unique(found, axis=0, return_index=True)
    return found[np.sort(first)]


def cached_proposals(sample: ThingSample, options: ProposalOptions, folder: Path) -> np.ndarray:
    """``propose`` of a sample's photo, kept in ``folder`` under a key of the photo file's content and the options."""
    content = sample.image_path.read_bytes()
    path = folder / f"{key_of(VERSION, content, asdict(options))}.npz"
    # From the bytes that the key was made of, so that a file that changes meanwhile cannot get a wrong key.
    return load_or_make(
        path, ("boxes",), lambda: {"boxes": propose(read_image(content, name=str(sample.image_path)).pixels, options)}
    )["boxes"]


def recall(truth: Sequence[np.ndarray], proposals: Sequence[np.ndarray], iou: float = 0.5) -> float:
    """Share of the true boxes, over all images, that some proposal of their image overlaps by ``iou`` or more.

    Both: float32 (K, 4) for each image. NaN where there is no true box.
    """
    best = [
        boxes_.iou_matrix(true, found).max(axis=1, initial=0.0) for true, found in zip(truth, proposals, strict=True)
    ]
    overlaps = np.concatenate([*best, np.zeros(0, np.float32)])
    return float((overlaps >= iou).mean()) if overlaps.size else float("nan")
