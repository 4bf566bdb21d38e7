"""Training pictures with their objects. The rules of imago.training.dataset hold: a key alone decides a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from imago.core.input_spec import InputSpec
from imago.core.instances import Instances
from imago.core.proposal_options import ProposalOptions
from imago.data.augment.instances import augment_instances, warp_boxes
from imago.data.dataset import Sample
from imago.data.selective_search import CachedProposals
from imago.models.detection.base import DetectionTarget
from imago.training.dataset import Key, PhotoCache, TrainDataset


class DetectionExample(NamedTuple):
    """One training picture."""

    image: Tensor  # float32 (C, h, w), prepared by the InputSpec
    target: DetectionTarget
    proposals: Tensor | None  # float32 (K, 4), network pixels, for nets that want them


class Batch(NamedTuple):
    """As many of each as there are pictures."""

    images: Tensor  # float32 (N, C, h, w)
    targets: list[DetectionTarget]
    proposals: list[Tensor] | None


class InstanceDataset(TrainDataset):
    """``masks``: whether the net learns from them; boxes come from them in any case. ``cache`` is filled by
    ``ReadInstances``."""

    def __init__(self, cache: PhotoCache, spec: InputSpec, masks: bool) -> None:
        super().__init__(cache, spec)
        self.masks = masks
        self.fill = tuple(round(255 * mean) for mean in spec.mean)  # what InputSpec pads with

    def __getitem__(self, key: Key) -> DetectionExample:
        image, (instances, proposals) = self.cache.get(key.source, key.sample)
        how = self.cache.sources[key.source].augment
        own_scale = self.spec.rule == "pad"
        rng = np.random.default_rng(key.seed)
        # Nothing is drawn where nothing is asked for: older recipes see the pictures that they saw.
        lent = self._lent(rng) if how.copy_paste and self.lenders and rng.random() < how.copy_paste else None
        picture = augment_instances(
            image, instances, key.frame_hw, how, rng, fill=self.fill, own_scale=own_scale, lent=lent
        )
        moved = None
        if proposals is not None:
            moved = torch.from_numpy(warp_boxes(proposals, picture.matrix, key.frame_hw))
        return DetectionExample(
            torch.from_numpy(self.spec.normalize(picture.image)),
            build_target(picture.instances, self.masks, self.cache.sources[key.source].samples[key.sample].unannotated),
            moved,
        )

    def _lent(self, rng: np.random.Generator) -> tuple[np.ndarray, Instances]:
        """Another photo and its objects, by the weights of the folders."""
        weights = np.array([self.cache.sources[index].weight for index in self.lenders])
        source = self.lenders[int(rng.choice(len(self.lenders), p=weights / weights.sum()))]
        image, (instances, _) = self.cache.get(source, int(rng.integers(len(self.cache.sources[source].samples))))
        return image, instances


@dataclass(frozen=True)
class ReadInstances:
    """What ``PhotoCache`` reads: objects, and proposals found as ``options`` say, where there are any."""

    options: ProposalOptions | None
    kept: CachedProposals

    def __call__(self, sample: Sample, image: np.ndarray) -> tuple[tuple[Instances, np.ndarray | None], int]:
        """Both, and about how many bytes they are."""
        instances = sample.instances()
        proposals = None if self.options is None else self.kept(image, self.options)
        size = 100 * len(instances) + sum(len(mask.bits) for mask in instances.cropped or ())
        return (instances, proposals), size + (0 if proposals is None else proposals.nbytes)


def build_target(instances: Instances, masks: bool, unannotated: tuple[int, ...] = ()) -> DetectionTarget:
    """VOC's "difficult" objects count as crowd: what scores pass over is not taught as background either."""
    crowd = np.zeros(len(instances), bool) if instances.crowd is None else instances.crowd
    if instances.difficult is not None:
        crowd = crowd | instances.difficult
    return DetectionTarget(
        torch.from_numpy(instances.boxes.astype(np.float32)),
        torch.from_numpy(instances.classes.astype(np.int64)),
        torch.from_numpy(instances.masks.astype(np.uint8)) if masks else None,
        torch.from_numpy(crowd),
        unannotated,
    )


def collate_instances(pictures: Sequence[DetectionExample]) -> Batch:
    proposals = [picture.proposals for picture in pictures if picture.proposals is not None]
    return Batch(
        torch.stack([picture.image for picture in pictures]), [picture.target for picture in pictures],
        proposals or None,
    )  # fmt: skip


def move_target(target: DetectionTarget, device: Any) -> DetectionTarget:
    masks, crowd = target.masks, target.crowd
    return DetectionTarget(
        target.boxes.to(device),
        target.classes.to(device),
        None if masks is None else masks.to(device),
        None if crowd is None else crowd.to(device),
        target.unannotated,
    )
