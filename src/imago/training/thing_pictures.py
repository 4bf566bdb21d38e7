"""Training pictures with their objects, for nets that find objects. See pictures.py: the same rules hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from imago.core.instances import Instances
from imago.core.proposal_options import ProposalOptions
from imago.core.spec import InputSpec
from imago.data.augment_things import augment_things, warp_boxes
from imago.data.proposals import KeptProposals
from imago.data.things import ThingSample
from imago.models.thing_base import ThingTarget
from imago.training.pictures import Key, PhotoCache


class ThingPicture(NamedTuple):
    """One training picture."""

    image: Tensor  # float32 (C, h, w), prepared by the InputSpec
    target: ThingTarget
    proposals: Tensor | None  # float32 (K, 4), network pixels, for nets that want them


class Batch(NamedTuple):
    """As many of each as there are pictures."""

    images: Tensor  # float32 (N, C, h, w)
    targets: list[ThingTarget]
    proposals: list[Tensor] | None


class ThingPictures(Dataset[ThingPicture]):
    """``masks``: whether the net learns from them; boxes come from them in any case. ``cache`` is filled by
    ``ReadThings``."""

    def __init__(self, cache: PhotoCache, spec: InputSpec, masks: bool) -> None:
        self.cache = cache
        self.spec = spec
        self.masks = masks
        self.fill = tuple(round(255 * mean) for mean in spec.mean)  # what InputSpec pads with
        self.lenders = [index for index, source in enumerate(cache.sources) if source.lend]

    def __getitem__(self, key: Key) -> ThingPicture:
        image, (things, proposals) = self.cache.get(key.source, key.sample)
        how = self.cache.sources[key.source].augment
        own_scale = self.spec.rule == "pad"
        rng = np.random.default_rng(key.seed)
        # Nothing is drawn where nothing is asked for: older recipes see the pictures that they saw.
        lent = self._lent(rng) if how.second and self.lenders and rng.random() < how.second else None
        picture = augment_things(image, things, key.frame_hw, how, rng, self.fill, own_scale, lent)
        moved = None
        if proposals is not None:
            moved = torch.from_numpy(warp_boxes(proposals, picture.matrix, key.frame_hw))
        return ThingPicture(
            torch.from_numpy(self.spec.normalise(picture.image)),
            target_of(picture.things, self.masks, self.cache.sources[key.source].samples[key.sample].unannotated),
            moved,
        )

    def _lent(self, rng: np.random.Generator) -> tuple[np.ndarray, Instances]:
        """Another photo and its objects, by the weights of the folders."""
        weights = np.array([self.cache.sources[index].weight for index in self.lenders])
        source = self.lenders[int(rng.choice(len(self.lenders), p=weights / weights.sum()))]
        image, (things, _) = self.cache.get(source, int(rng.integers(len(self.cache.sources[source].samples))))
        return image, things


@dataclass(frozen=True)
class ReadThings:
    """What ``PhotoCache`` reads: objects, and proposals found as ``options`` say, where there are any."""

    options: ProposalOptions | None
    kept: KeptProposals

    def __call__(self, sample: ThingSample, image: np.ndarray) -> tuple[tuple[Instances, np.ndarray | None], int]:
        """Both, and about how many bytes they are."""
        things = sample.things()
        proposals = None if self.options is None else self.kept(image, self.options)
        size = 100 * len(things) + sum(len(mask.bits) for mask in things.cropped or ())
        return (things, proposals), size + (0 if proposals is None else proposals.nbytes)


def target_of(things: Instances, masks: bool, unannotated: tuple[int, ...] = ()) -> ThingTarget:
    """VOC's "difficult" objects count as crowd: what scores pass over is not taught as background either."""
    crowd = np.zeros(len(things), bool) if things.crowd is None else things.crowd
    if things.difficult is not None:
        crowd = crowd | things.difficult
    return ThingTarget(
        torch.from_numpy(things.boxes.astype(np.float32)),
        torch.from_numpy(things.classes.astype(np.int64)),
        torch.from_numpy(things.masks.astype(np.uint8)) if masks else None,
        torch.from_numpy(crowd),
        unannotated,
    )


def collate_things(pictures: Sequence[ThingPicture]) -> Batch:
    proposals = [picture.proposals for picture in pictures if picture.proposals is not None]
    return Batch(
        torch.stack([picture.image for picture in pictures]), [picture.target for picture in pictures],
        proposals or None,
    )  # fmt: skip


def moved_to(target: ThingTarget, device: Any) -> ThingTarget:
    masks, crowd = target.masks, target.crowd
    return ThingTarget(
        target.boxes.to(device),
        target.classes.to(device),
        None if masks is None else masks.to(device),
        None if crowd is None else crowd.to(device),
        target.unannotated,
    )
