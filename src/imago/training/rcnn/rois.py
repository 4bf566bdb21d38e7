"""The boxes of R-CNN's training: of each image the true ones, then the proposals, and what each of them shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imago.core import boxes as boxes_
from imago.core.proposal_options import ProposalOptions
from imago.data.dataset import Sample
from imago.data.selective_search import CachedProposals


@dataclass(frozen=True)
class Rois:
    """One image's boxes: ``instances`` true ones (crowds are none), behind them the proposals."""

    boxes: np.ndarray  # float32 (n, 4), pixels of the image
    instances: int
    names: np.ndarray  # int64 (objects,): classes, 1 and more
    overlaps: np.ndarray  # float32 (n, objects): IoU with each object
    crowded: np.ndarray  # bool (n,): half of the box or more lies in a crowd region, so it is no negative

    @property
    def best(self) -> np.ndarray:
        """float32 (n,): the largest overlap with an object; 0 where there is none."""
        return self.overlaps.max(axis=1, initial=0.0)

    @property
    def which(self) -> np.ndarray:
        """int64 (n,): the object that a box overlaps most."""
        return self.overlaps.argmax(axis=1) if self.instances else np.zeros(len(self.boxes), np.int64)

    def negatives(self, value: int, below: float) -> np.ndarray:
        """int64 (k,): rows of the boxes that overlap every object of class ``value`` by less than ``below``."""
        most = self.overlaps[:, self.names == value].max(axis=1, initial=0.0)
        return np.flatnonzero((most < below) & ~self.crowded)

    def near(self, above: float) -> np.ndarray:
        """int64 (k,): rows of the proposals that overlap an object by more than ``above``, what the regressors learn
        from."""
        return np.flatnonzero((self.best > above) & (np.arange(len(self.boxes)) >= self.instances))


def match_rois(sample: Sample, proposals: np.ndarray) -> Rois:
    """A sample's objects, and its proposals float32 (n, 4)."""
    found = sample.instances()
    crowd = found.crowd if found.crowd is not None else np.zeros(len(found), bool)
    if found.difficult is not None:  # as for the other nets: what scores pass over is not taught
        crowd = crowd | found.difficult
    real = ~crowd & (boxes_.area(found.boxes) > 0)
    instances = found.boxes[real]
    boxes = np.concatenate([instances, proposals]).astype(np.float32)
    rois = found.boxes[crowd]
    inside = boxes_.intersections(boxes, rois).max(axis=1, initial=0.0) / np.maximum(boxes_.area(boxes), 1e-6)
    return Rois(boxes, len(instances), found.classes[real], boxes_.iou_matrix(boxes, instances), inside >= 0.5)


@dataclass(frozen=True)
class ReadRois:
    """Of a sample and its image, for ``PhotoCache``: the regions, and about how many bytes they are."""

    options: ProposalOptions
    kept: CachedProposals

    def __call__(self, sample: Sample, image: np.ndarray) -> tuple[Rois, int]:
        rois = match_rois(sample, self.kept(image, self.options))
        return rois, rois.boxes.nbytes + rois.overlaps.nbytes
