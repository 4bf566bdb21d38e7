"""What R-CNN's CNN is fine-tuned on (section 2.3): crops of the classes and of background, to be told apart.

Each step draws 32 proposals of objects (overlap of 0.5 or more with a true box, whose class they take; the true boxes
are among them) and 96 of background, from all photos alike. What a step draws hangs on its seed alone, so a killed
training goes on as if nothing had been. An epoch shows 64 crops for each photo, as many as Fast R-CNN's; the paper's
50,000 steps of VOC 2007 are 20 such epochs.
Differs from the paper: light and colour are changed as for the other nets (the paper mirrors alone).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from imago.core.errors import DataError
from imago.core.input_spec import InputSpec
from imago.core.text import plural
from imago.data.augment.photometric import photometric_distort
from imago.data.augment.settings import Augmentation
from imago.data.crops import add_padding, warp_crop
from imago.training.dataset import PhotoCache
from imago.training.rcnn.options import RcnnStages
from imago.training.rcnn.rois import Rois

CROPS_A_PHOTO = 64  # in an epoch

Crops = tuple[Tensor, Tensor]  # float32 (N, 3, S, S), and int64 (N,) classes, 0 the background


def select_crops(rois: Sequence[Rois], positive_from: float) -> tuple[np.ndarray, np.ndarray]:
    """int64 (P, 3) and (M, 3): photo, row of its boxes, class; first those of objects, then those of background."""
    positives, negatives = [np.zeros((0, 3), np.int64)], [np.zeros((0, 3), np.int64)]
    for number, one in enumerate(rois):
        shows = one.best >= positive_from
        rows = np.flatnonzero(shows)
        positives.append(_windows(number, rows, one.names[one.which[rows]]))
        rows = np.flatnonzero(~shows & ~one.crowded)
        negatives.append(_windows(number, rows, np.zeros(len(rows), np.int64)))
    return np.concatenate(positives), np.concatenate(negatives)


def _windows(number: int, rows: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return np.stack([np.full(len(rows), number, np.int64), rows, classes], axis=1)


class CropSampler(Sampler[list[int]]):
    """The steps of one epoch for one process: each is a seed, from which ``CropDataset`` makes the whole step."""

    def __init__(self, photos: int, crops: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.seed, self.rank, self.world = seed, rank, world_size
        self.steps = max(1, round(photos * CROPS_A_PHOTO / (crops * world_size)))
        self.epoch = self.start = 0

    def begin(self, epoch: int, start: int, frames: list[tuple[int, int]]) -> None:
        """Crops have one size: ``frames`` are for nets that look at whole photos."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[int]]:
        seeds = np.random.default_rng((self.seed, self.epoch)).integers(0, 2**62, (self.steps, self.world))
        return iter([[int(seed)] for seed in seeds[self.start :, self.rank]])


class CropDataset(Dataset[Crops]):
    """``pictures[seed]``: the crops of one step. ``cache`` is filled by ``ReadRois``. Raises DataError where there
    are no crops of objects, or none of background."""

    def __init__(self, cache: PhotoCache, spec: InputSpec, stages: RcnnStages) -> None:
        self.cache, self.spec, self.stages = cache, spec, stages
        self.photos = [(s, i) for s, source in enumerate(cache.sources) for i in range(len(source.samples))]
        self.rois: list[Rois] = [cache.get(*photo)[1] for photo in self.photos]
        self.positive, self.negative = select_crops(self.rois, stages.positive_from)
        if not len(self.positive) or not len(self.negative):
            raise DataError(
                f"fine-tuning needs boxes of objects and of background; the "
                f"{plural(len(self.photos), 'photo', 'have')} {len(self.positive)} and "
                f"{len(self.negative)}. Is anything outlined in them?"
            )

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """The windows of a step, photo by photo, so that few are decoded twice: int64 (positives + negatives, 3)."""
        chosen = np.concatenate(
            [
                self.positive[rng.integers(len(self.positive), size=self.stages.positives)],
                self.negative[rng.integers(len(self.negative), size=self.stages.negatives)],
            ]
        )
        return chosen[np.argsort(chosen[:, 0], kind="stable")]

    def __getitem__(self, seed: int) -> Crops:
        rng = np.random.default_rng(seed)
        chosen = self.draw(rng)
        crop = self.spec.size_hw[0]
        made = np.empty((len(chosen), 3, crop, crop), np.float32)
        last, image = -1, np.zeros(0)
        for place, (number, row, _) in enumerate(chosen):
            source, index = self.photos[number]
            if number != last:
                last, (image, _) = int(number), self.cache.get(source, index)
            roi = add_padding(self.rois[number].boxes[row : row + 1], crop, self.stages.padding)[0]
            how = self.cache.sources[source].augment
            made[place] = self.spec.normalize(augment_crop(warp_crop(image, roi, crop, self.spec), how, rng))
        return torch.from_numpy(made), torch.from_numpy(chosen[:, 2])


def augment_crop(crop: np.ndarray, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """uint8 (S, S, 3): mirrored, turned by quarters, in another light, as often as ``how`` says."""
    if rng.random() < how.flip:
        crop = crop[:, ::-1]
    if rng.random() < how.flip_vertical:
        crop = crop[::-1]
    if rng.random() < how.rot90:
        crop = np.rot90(crop, int(rng.integers(1, 4)))
    return photometric_distort(np.ascontiguousarray(crop), how, rng)


def sample_crops(rois: Rois, positive_from: float, most: int, seed: int) -> np.ndarray:
    """int64 (n, 3), see ``select_crops``: at most ``most`` windows of one photo, a quarter objects where there are
    so many; the same ones each time."""
    rng = np.random.default_rng(seed)
    positive, negative = (rng.permutation(windows) for windows in select_crops([rois], positive_from))
    positive = positive[: most // 4]
    return np.concatenate([positive, negative[: most - len(positive)]])
