"""What differs between trainings: a task knows its data, its net, its loss, and how its net is judged.

The loop and the end of a run (``imago.training.finish``) know only ``Task``. Each file beside this one is a task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from imago.core.errors import ImagoError
from imago.core.input_spec import InputSpec
from imago.core.model_card import ModelCard
from imago.core.settings import find_changed, find_inapplicable, find_needless
from imago.data.augment.settings import Augmentation
from imago.data.band_statistics import measure_bands
from imago.export.export import BEST
from imago.files.images import read_values
from imago.files.model_file import find_safetensors_card
from imago.inference.predictor import Predictor
from imago.models.base import SegmentationNet
from imago.models.detection.base import DetectionModel
from imago.models.encoders import find_normalization
from imago.training.config import TrainConfig
from imago.training.dataset import EpochSampler, ProcessInfo, build_batch_sampler
from imago.training.sources import RunData

Net = SegmentationNet | DetectionModel
OnCount = Callable[[int, int], None]  # told how many are done, of how many
OnStage = Callable[[str, int, int], None]  # told of what as well
Say = Callable[[str], None]


@dataclass(frozen=True)
class Validation:
    """One look at the validation photos."""

    score: float  # 0..1, mean over folders; what the best epoch is chosen by
    by_folder: dict[str, float]
    loss: float | None = None  # mean over photos, where it is worked out


class Task(ABC):
    """One training's own part, made once when its settings and its data are known.

    Building the net and the card is a part of making it. Raises ImagoError and DataError where settings and data do not
    go together, WeightsUnavailable where published weights are wanted and not to be had.
    """

    name: ClassVar[str]  # one of ``core.settings.TASKS``

    def __init__(self, config: TrainConfig, data: RunData[Any], folder: Path, root: Path) -> None:
        self.data = data
        self.folder = folder  # of the run
        self.net = self.build_net(config)
        self.config = with_statistics(with_normalization(config, self.net), data)
        self.data = data.with_ranges(self.config.input.ranges)
        self.card = self.build_card(root)

    @classmethod
    def refuse(cls, config: TrainConfig) -> None:
        """Raises ImagoError for settings that say nothing to this task, rather than pass over them."""
        given, usual = config.flat(), TrainConfig().flat()
        augmentations = [config.augment, *(replace(config.augment, **source.augment) for source in config.data)]
        refused = [(n, w) for n, w in find_inapplicable(TrainConfig, cls.name).items() if given[n] != usual[n]]
        for name, why in find_inapplicable(Augmentation, cls.name).items():
            if any(getattr(how, name) != getattr(Augmentation(), name) for how in augmentations):
                refused.append((name, why))
        for name, why in find_idle(config, augmentations).items():
            raise ImagoError(f"--{name.replace('_', '-')} would do nothing: {why}")
        for name, why in refused:
            raise ImagoError(f"--{name.replace('_', '-')} does not go with --model {config.net.model}: {why}")

    @classmethod
    @abstractmethod
    def open_data(cls, config: TrainConfig, root: Path, checking: OnCount | None = None) -> RunData[Any]:
        """The data; with ``checking`` every pixel and object of it is looked at. Raises DataError with all faults."""

    @abstractmethod
    def build_net(self, config: TrainConfig) -> Net:
        """A net with fresh weights that can be asked for its loss."""

    @abstractmethod
    def build_card(self, root: Path) -> ModelCard:
        """``root``: what the data's folders are seen from."""

    def build_spec(self, config: TrainConfig, net: Any) -> InputSpec:
        """What the finished model is fed."""
        return config.input.build_spec(net.multiple)

    def prepare(self, process: ProcessInfo, shown: OnStage) -> None:  # noqa: B027  most have nothing to prepare
        """What is found once, before the training, and kept on disk; several processes each do their share."""

    def build_sampler(self, aspects: Sequence[float], process: ProcessInfo) -> EpochSampler:
        """What comes when. ``aspects``: of the training photos, width by height."""
        return build_batch_sampler(self.config, self.card.input, self.data.train, aspects, process)

    @abstractmethod
    def build_dataset(self, cache_gb: float) -> Dataset[Any]:
        """What the sampler's keys stand for: one training picture each, with its truth. ``cache_gb``: memory for
        decoded photos."""

    @abstractmethod
    def collate(self, pictures: Sequence[Any]) -> Any:
        """Pictures become the batch that ``loss`` takes."""

    @abstractmethod
    def loss(self, module: nn.Module, batch: Any, device: torch.device) -> Mapping[str, Tensor]:
        """Named terms, each a scalar, to be added up. ``module``: the net as Fabric wraps it, on ``device``."""

    @abstractmethod
    def validate(
        self,
        folders: Mapping[str, Sequence[Any]],
        device: torch.device,
        autocast: torch.dtype | None,
        shown: OnCount,
    ) -> Validation:
        """Scores the weights that the net has now on validation photos. ``autocast``: what the training's arithmetic is
        rounded to, None for float32."""

    # The end of a run.

    @property
    def best(self) -> Path:
        """The checkpoint with the best weights."""
        return self.folder / BEST

    def complete(self, say: Say) -> None:  # noqa: B027  most have learnt all by then
        """What is still to be learnt when the loop is done; stored in ``best``."""

    @abstractmethod
    def open_predictor(self, card: ModelCard, say: Say) -> tuple[Predictor, ModelCard]:
        """The best weights as a user would run them, and ``card`` with what is chosen on training photos."""


def with_statistics(config: TrainConfig, data: RunData[Any]) -> TrainConfig:
    """``config`` with the ranges of deep values, mean and spread of the training photos, where neither the user nor
    weights name others. Photos of three channels of 8 bits keep ImageNet's."""
    given = config.input
    if given.ranges or ((given.mean or given.std) and given.channels == 3 and not is_deep(data)):
        return config
    if given.channels == 3 and not is_deep(data):
        return config
    found = measure_bands([sample for source in data.train for sample in source.samples], given.channels)
    config = config.with_(ranges=found.ranges)
    return config if given.mean or given.std else config.with_(mean=found.mean, std=found.std)


def is_deep(data: RunData[Any]) -> bool:
    """Whether the first training photo may have more than 8 bits: JPEGs, the usual case, are not opened."""
    first = [source.samples[0] for source in data.train if source.samples]
    return any(
        sample.image_path.suffix.lower() in (".tif", ".tiff", ".png", ".dcm", ".nii")
        and read_values(sample.image_path, sample.channels)[0].dtype != np.uint8
        for sample in first
    )


def with_normalization(config: TrainConfig, net: Net) -> TrainConfig:
    """``config`` with the mean and spread that the net's weights want: they stand in config.json, so that a resumed run
    prepares its photos alike. What the user gave stays."""
    if config.input.mean or config.input.std:
        return config
    wanted, weights = find_normalization(net), config.net.weights
    if wanted is None and weights.endswith(".safetensors"):
        card = find_safetensors_card(Path(weights))
        if card is not None and card.input.channels == config.input.channels:
            wanted = card.input.mean, card.input.std
            config = config.with_(ranges=card.input.ranges)
    return config if wanted is None else config.with_(mean=wanted[0], std=wanted[1])


def find_idle(config: TrainConfig, augmentations: Sequence[Augmentation]) -> dict[str, str]:
    """Settings that were changed and say nothing beside the others, and why. ``augmentations``: of all folders, of
    which some may do without what others want."""
    found: dict[str, str] = {}
    for group in config.groups:
        found |= find_needless(group, find_changed(group))
    for name in set().union(*map(find_changed, augmentations)):
        needless = [find_needless(how, {name}) for how in augmentations]
        if all(needless):
            found |= needless[0]
    return found
