"""Selective search (Uijlings, van de Sande, Gevers, Smeulders 2013, IJCV 104): about 2,000 boxes where objects may be.

The image is cut into small even regions (Felzenszwalb and Huttenlocher 2004), and neighbours that are most alike in
colour, texture, size and fit are joined, again and again, until one is left; every region on the way gives its box.
This is done several times, for different colour spaces, scales of the first regions and kinds of likeness: "fast" in
the 4 ways of two spaces and two kinds, "quality" in the 24 of three spaces, two scales and four kinds (table 4 of the
paper: 8 and 80 ways). The work is done by OpenCV's contrib module.

Differs from the paper:
- the image is first brought to a working size, 500 pixels, as R-CNN's and Fast R-CNN's authors did. The time grows with
  the pixels, and the scales of the first regions are in pixels, so that without it a photo of 12 megapixels would take
  minutes and begin at other regions than one of 0.3;
- OpenCV's own two modes (switchToSelectiveSearchFast and -Quality) take no first region below 100 pixels, which loses
  small objects. Here it is ``smallest``. Measured on eight photos of coco128, "fast": of 43 true boxes 77 % are found
  with 100 pixels and scales 150 and 300, 86 % with 20 pixels and scale 100;
- OpenCV gives fine regions first, the paper (section 3.4) coarse ones. A cut after ``count`` boxes then takes large
  things away, so its order is turned round. Measured on 32 photos with 176 true boxes: 88 % are found by all boxes,
  73 % by the first 2,000 of OpenCV's order, 85 % by the last 2,000;
- boxes that are nearly the same as one before (IoU above ``same``) are left out before that cut;
- the order has a random factor, as in the paper. OpenCV draws it from C's ``rand``, which has no seed here: what is
  found is the same each time, which of near equals stays and which are the first ``count`` is not. The cache keeps a
  training on one choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from imago.core import boxes as boxes_
from imago.core.input_spec import resize_image
from imago.core.proposal_options import ProposalOptions
from imago.data.array_cache import load_or_make, make_key

VERSION = "2"  # of this file's way; raised when its boxes change, so that cached ones are made again


def propose(image: np.ndarray, options: ProposalOptions | None = None) -> np.ndarray:
    """uint8 RGB (H, W, 3) -> float32 (K, 4) x1 y1 x2 y2 in pixels of the image, K at most ``count``, large ones
    rather first, no two nearly the same. Raises ValueError for another kind of image."""
    options = options or ProposalOptions()
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"selective search takes uint8 (H, W, 3) images; got {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    ratio = options.side / max(height, width)
    small = resize_image(image, (max(1, round(height * ratio)), max(1, round(width * ratio))))
    found = _search(small, options) * np.array([width / small.shape[1], height / small.shape[0]] * 2, np.float32)
    found = boxes_.clip(found, (height, width))
    sides = found[:, 2:] - found[:, :2]
    found = found[(sides > 0).all(axis=1) & (sides >= options.least).all(axis=1)]
    order = -np.arange(len(found), dtype=np.float32)  # as scores: the earlier of two stays
    return found[boxes_.nms(found, order, options.same)[: options.count]]


def _search(image: np.ndarray, options: ProposalOptions) -> np.ndarray:
    """All boxes of the working image, coarse ones first but for chance, no two the same."""
    ways = cv2.ximgproc.segmentation
    search = ways.createSelectiveSearchSegmentation()
    spaces = [cv2.cvtColor(image, cv2.COLOR_RGB2HSV), cv2.cvtColor(image, cv2.COLOR_RGB2Lab)]
    scales = [options.scale]
    kinds = ["CFTS", "FTS"]  # colour, fit, texture, size
    if options.mode == "quality":
        spaces.append(_normalized_rgb(image))
        scales.append(2 * options.scale)
        kinds += ["F", "S"]
    for space in spaces:
        search.addImage(space)
    for scale in scales:
        search.addGraphSegmentation(ways.createGraphSegmentation(options.blur, scale, options.smallest))
    likeness = {
        "C": ways.createSelectiveSearchSegmentationStrategyColor,
        "F": ways.createSelectiveSearchSegmentationStrategyFill,
        "T": ways.createSelectiveSearchSegmentationStrategyTexture,
        "S": ways.createSelectiveSearchSegmentationStrategySize,
    }
    for kind in kinds:
        parts = [likeness[letter]() for letter in kind]
        search.addStrategy(
            ways.createSelectiveSearchSegmentationStrategyMultiple(*parts) if len(parts) > 1 else parts[0]
        )
    return boxes_.from_xywh(search.process()[::-1])


def _normalized_rgb(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3): the shares of red and green, and the intensity (the paper's rgI)."""
    values = image.astype(np.float32)
    whole = values.sum(axis=2, keepdims=True)
    shares = 255 * values[..., :2] / np.maximum(whole, 1)
    return np.concatenate([shares, whole / 3], axis=2).round().astype(np.uint8)


@dataclass(frozen=True)
class CachedProposals:
    """``propose``, which keeps what it found in a folder, under a key of the image's pixels and the options."""

    folder: Path

    def __call__(self, image: np.ndarray, options: ProposalOptions) -> np.ndarray:
        key = make_key(VERSION, str(image.shape), image.tobytes(), asdict(options))
        path = self.folder / f"{key}.npz"
        return load_or_make(path, ("boxes",), lambda: {"boxes": propose(image, options)})["boxes"]


def recall(truth: Sequence[np.ndarray], proposals: Sequence[np.ndarray], iou: float = 0.5) -> float:
    """Share of the true boxes, over all images, that some proposal of their image overlaps by ``iou`` or more.

    Both: float32 (K, 4) for each image. NaN where there is no true box.
    """
    best = [
        boxes_.iou_matrix(true, found).max(axis=1, initial=0.0) for true, found in zip(truth, proposals, strict=True)
    ]
    overlaps = np.concatenate([*best, np.zeros(0, np.float32)])
    return float((overlaps >= iou).mean()) if overlaps.size else float("nan")
