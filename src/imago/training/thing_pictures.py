"""Training pictures with their objects, for nets that find objects. See pictures.py: the same rules hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from imago.core.instances import Instances
from imago.core.spec import InputSpec
from imago.data.augment_things import augment_things
from imago.data.things import ThingSample
from imago.models.thing_base import ThingTarget
from imago.training.pictures import Key, PhotoCache

Batch = tuple[Tensor, list[ThingTarget]]  # float32 (N, C, h, w), and one target an image


class ThingPictures(Dataset[tuple[Tensor, ThingTarget]]):
    """``pictures[key]``: image float32 (C, h, w) prepared by the InputSpec, and its objects.

    ``masks``: whether the net learns from them; boxes come from them in any case. ``cache`` is filled by
    ``read_things``.
    """

    def __init__(self, cache: PhotoCache, spec: InputSpec, masks: bool) -> None:
        self.cache = cache
        self.spec = spec
        self.masks = masks
        self.fill = tuple(round(255 * mean) for mean in spec.mean)  # what InputSpec pads with

    def __getitem__(self, key: Key) -> tuple[Tensor, ThingTarget]:
        image, things = self.cache.get(key.source, key.sample)
        how = self.cache.sources[key.source].augment
        own_scale = self.spec.rule == "pad"
        rng = np.random.default_rng(key.seed)
        picture, shown = augment_things(image, things, key.frame_hw, how, rng, self.fill, own_scale)
        return torch.from_numpy(self.spec.normalise(picture)), target_of(shown, self.masks)


def read_things(sample: ThingSample) -> tuple[Instances, int]:
    """The photo's objects, and about how many bytes they are."""
    things = sample.things()
    return things, 100 * len(things) + sum(len(mask.bits) for mask in things.cropped or ())


def target_of(things: Instances, masks: bool) -> ThingTarget:
    """VOC's "difficult" objects count as crowd: what scores pass over is not taught as background either."""
    crowd = np.zeros(len(things), bool) if things.crowd is None else things.crowd
    if things.difficult is not None:
        crowd = crowd | things.difficult
    return ThingTarget(
        torch.from_numpy(things.boxes.astype(np.float32)),
        torch.from_numpy(things.classes.astype(np.int64)),
        torch.from_numpy(things.masks.astype(np.uint8)) if masks else None,
        torch.from_numpy(crowd),
    )


def collate_things(pictures: Sequence[tuple[Tensor, ThingTarget]]) -> Batch:
    return torch.stack([image for image, _ in pictures]), [target for _, target in pictures]


def moved_to(target: ThingTarget, device: Any) -> ThingTarget:
    masks, crowd = target.masks, target.crowd
    return ThingTarget(
        target.boxes.to(device),
        target.classes.to(device),
        None if masks is None else masks.to(device),
        None if crowd is None else crowd.to(device),
    )
