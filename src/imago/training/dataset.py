"""Training pictures: which photo comes when, decoded once, augmented anew each time.

Every picture is a function of (seed, epoch, place in the epoch) alone. So a run that was killed goes on with exactly
the pictures that it would have seen, and the number of worker processes changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from torch.utils.data import Dataset, Sampler

from imago.core.input_spec import InputSpec
from imago.core.labels import IGNORE
from imago.data.augment.settings import Augmentation
from imago.data.dataset import Sample
from imago.files.images import image_size
from imago.training.config import TrainConfig

SURVEYED = 200  # photos whose sizes are looked at

AnySample = TypeVar("AnySample", bound=Sample)


class Key(NamedTuple):
    """One picture to make."""

    source: int
    sample: int
    seed: int
    frame_hw: tuple[int, int]


@dataclass(frozen=True)
class Source(Generic[AnySample]):
    """The training photos of one folder."""

    samples: tuple[AnySample, ...]
    weight: float
    augment: Augmentation
    lend: bool = True  # pictures may take backgrounds and second subjects from it


def read_label(sample: Sample, image: np.ndarray) -> tuple[np.ndarray, int]:
    """The label map uint8 (H, W), and its bytes."""
    label = sample.label_map()
    return label, label.nbytes


Read = Callable[[Any, np.ndarray], tuple[Any, int]]


class PhotoCache:
    """Decoded photos and what is known of them, as many as fit into ``budget_gb``. Filled before the workers are
    forked. ``read`` gives the truth of a sample and its image (a label map, objects), and its size in bytes."""

    def __init__(self, sources: Sequence[Source[Any]], budget_gb: float, read: Read = read_label) -> None:
        self.sources = sources
        self.read = read
        self.images: dict[Path, np.ndarray] = {}  # by file: two folders of a recipe may share their photos
        self.truths: dict[tuple[int, int], Any] = {}
        left = budget_gb * 1e9
        for s, source in enumerate(sources):
            for i, sample in enumerate(source.samples):
                if left <= 0:
                    return
                if sample.image_path not in self.images:
                    self.images[sample.image_path] = sample.image()
                    left -= self.images[sample.image_path].nbytes
                self.truths[s, i], size = read(sample, self.images[sample.image_path])
                left -= size

    def __getstate__(self) -> dict[str, Any]:
        """Workers that are not forked (macOS, Windows) decode for themselves: gigabytes are not sent to each."""
        return {"sources": self.sources, "read": self.read, "images": {}, "truths": {}}

    def get(self, source: int, index: int) -> tuple[np.ndarray, Any]:
        """Image uint8 (H, W, C) and its truth."""
        sample = self.sources[source].samples[index]
        image, truth = self.images.get(sample.image_path), self.truths.get((source, index))
        image = sample.image() if image is None else image
        return image, self.read(sample, image)[0] if truth is None else truth


class TrainDataset(Dataset[Any]):
    """Of a ``Key`` one training picture with its truth, in the task's own form."""

    def __init__(self, cache: PhotoCache, spec: InputSpec) -> None:
        self.cache = cache
        self.spec = spec
        self.lenders = [index for index, source in enumerate(cache.sources) if source.lend]


class ProcessInfo(NamedTuple):
    """Which of several processes this is."""

    rank: int
    world_size: int


ALONE = ProcessInfo(0, 1)


class EpochSampler(Protocol):
    """The batches of one epoch for one process: lists of keys for the training pictures."""

    steps: int  # of an epoch

    def begin(self, epoch: int, start: int, frames: list[tuple[int, int]]) -> None:
        """``start``: steps that were done before a resume; ``frames``: sizes that pictures may have."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[list[Any]]: ...


class BatchSampler(Sampler[list[Key]]):
    """The ``EpochSampler`` of nets that look at whole photos."""

    def __init__(
        self,
        sources: Sequence[Source[Any]],
        frames: list[tuple[int, int]],
        batch_size: int,
        epoch_photos: int,
        seed: int,
        process: ProcessInfo = ALONE,
    ) -> None:
        self.sources = sources
        self.frames = frames
        self.batch_size = batch_size
        self.seed = seed
        self.rank, self.world_size = process
        total = epoch_photos or sum(len(s.samples) for s in sources)
        self.steps = max(1, total // (batch_size * self.world_size))  # each process takes as many steps
        self.epoch = 0
        self.start = 0

    def begin(self, epoch: int, start: int, frames: list[tuple[int, int]]) -> None:
        self.epoch, self.start, self.frames = epoch, start, frames

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        count = self.steps * self.batch_size * self.world_size
        weights = np.array([s.weight for s in self.sources])
        chosen = rng.choice(len(self.sources), size=count, p=weights / weights.sum())
        # Within a folder: whole shuffled rounds, so that no photo waits while another comes twice.
        queues = [self._shuffle(rng, len(s.samples), int((chosen == i).sum())) for i, s in enumerate(self.sources)]
        seeds = rng.integers(0, 2**62, count)
        frames = rng.integers(0, len(self.frames), self.steps)
        keys = [Key(int(s), int(next(queues[s])), int(seeds[n]), (0, 0)) for n, s in enumerate(chosen)]
        for step in range(self.start, self.steps):
            first = (step * self.world_size + self.rank) * self.batch_size
            frame = self.frames[frames[step]]
            yield [key._replace(frame_hw=frame) for key in keys[first : first + self.batch_size]]

    @staticmethod
    def _shuffle(rng: np.random.Generator, length: int, count: int) -> Iterator[np.integer]:
        rounds = [rng.permutation(length) for _ in range(-(-count // length))]
        return iter(np.concatenate(rounds) if rounds else np.empty(0, np.int64))


def build_batch_sampler(
    config: TrainConfig, spec: InputSpec, sources: Sequence[Source[Any]], aspects: Sequence[float], process: ProcessInfo
) -> BatchSampler:
    frames = choose_frames(spec, config.input.shapes, aspects)
    settings, seed = config.optimization, config.runtime.seed
    return BatchSampler(sources, frames, settings.batch_size, settings.epoch_photos, seed=seed, process=process)


def choose_frames(spec: InputSpec, shapes: bool, aspects: Sequence[float] = (1.0, 0.667, 1.5)) -> list[tuple[int, int]]:
    """The frames to train on: the square, or with rule area and ``shapes`` one for each of ``aspects`` (width by
    height), of about the square's area."""
    height, width = spec.size_hw
    if spec.rule != "area" or not shapes:
        step = spec.multiple
        if spec.rule == "pad":
            return [(max(step, height // step * step), max(step, width // step * step))]
        return [(height, width)]
    return list(dict.fromkeys(spec.plan((1000, max(1, round(1000 * aspect)))).frame_hw for aspect in aspects))


def measure_aspects(samples: Sequence[Sample]) -> tuple[float, ...]:
    """Width by height of a narrow, a middling and a wide photo: the 10th, 50th and 90th of a hundred."""
    sizes = [image_size(samples[int(index)].image_path) for index in np.linspace(0, len(samples) - 1, SURVEYED)]
    return tuple(float(a) for a in np.quantile([width / height for height, width in sizes], (0.1, 0.5, 0.9)))


def measure_class_shares(samples: Sequence[Sample], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """float64 (K,) twice: for each class its share of all pixels, and its pixels divided by all pixels of the photos in
    which it occurs (the frequency of SegNet, 2015)."""
    pixels = np.zeros(classes)
    area = np.zeros(classes)
    for sample in samples:
        label = sample.label_map()
        counts = np.bincount(label[label != IGNORE].ravel(), minlength=classes)[:classes]
        pixels += counts
        area += np.where(counts > 0, label.size, 0)
    frequency = np.divide(pixels, area, out=np.zeros(classes), where=area > 0)
    return pixels / max(1.0, pixels.sum()), frequency
