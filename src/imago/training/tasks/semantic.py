"""Training nets that label pixels; with ``config.objects`` what they label are insides and borders of objects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from imago import losses, models
from imago.core.errors import ImagoError
from imago.core.labels import Labels
from imago.core.model_card import ModelCard
from imago.data.dataset import Sample
from imago.models.base import SegmentationNet, Target
from imago.training.config import TrainConfig
from imago.training.dataset import (
    EpochSampler,
    PhotoCache,
    ProcessInfo,
    TrainDataset,
    build_batch_sampler,
    measure_class_shares,
    read_label,
)
from imago.training.device import channels_last_is_faster
from imago.training.doubts import shown_in_label_map, with_doubts
from imago.training.finish import finish_semantic, finish_separated
from imago.training.net_options import refuse_parts
from imago.training.run import Run
from imago.training.sources import RunData, open_sources
from imago.training.tasks.base import FinishedRun, OnCount, OnStage, Validation
from imago.training.tasks.inapplicable import DETECTION_ONLY
from imago.training.validate import NetEngine, validate


class SemanticTask:
    """See ``Kind``."""

    def refuse(self, config: TrainConfig) -> None:
        refuse_parts(config.option, (), config.model)
        usual = TrainConfig()
        for name, instead in DETECTION_ONLY.items():
            if getattr(config, name) != getattr(usual, name):
                raise ImagoError(
                    f"--{name.replace('_', '-')} is for nets that find objects; {config.model} labels pixels: leave it "
                    f"out, and {instead}"
                )
        if not config.objects and config.uses_augmentation("touching"):
            raise ImagoError("--touching weighs what lies between two objects; it goes with --objects")

    def open_data(self, config: TrainConfig, root: Path, checking: OnCount | None = None) -> RunData[Sample]:
        data = open_sources(config, root, checking)
        return data if checking is None else with_doubts(data, shown_in_label_map)

    def build_net(self, config: TrainConfig, data: RunData[Sample]) -> SegmentationNet:
        net = build_net(config, data.labels)
        net.criterion = build_criterion(config, data)
        return net

    def build_card(
        self, config: TrainConfig, net: SegmentationNet, data: RunData[Sample], folder: Path, root: Path
    ) -> ModelCard:
        return ModelCard(
            name=config.name or folder.resolve().name,
            architecture=config.model,
            options={"classes": net.classes, "in_channels": net.in_channels, **config.net_options()},
            task="binary" if net.classes == 1 else "semantic",
            labels=data.labels,
            input=config.input_spec(net.multiple),
            output="logit",
            tta_flip=config.tta_flip,
            tta_scales=config.tta_scales,
            min_component_fraction=config.min_component_fraction,
            objects=config.objects,
            data=config.data_lines(root),
            license=config.license,
            note=config.note,
        )

    def prepare(
        self,
        config: TrainConfig,
        card: ModelCard,
        data: RunData[Sample],
        folder: Path,
        process: ProcessInfo,
        shown: OnStage,
    ) -> None:
        pass  # label maps are all that these nets learn from

    def build_sampler(
        self,
        config: TrainConfig,
        card: ModelCard,
        data: RunData[Sample],
        aspects: Sequence[float],
        process: ProcessInfo,
    ) -> EpochSampler:
        return build_batch_sampler(config, card.input, data.train, aspects, process)

    def build_dataset(
        self, config: TrainConfig, card: ModelCard, data: RunData[Sample], folder: Path, cache_gb: float
    ) -> Dataset[Any]:
        return TrainDataset(PhotoCache(data.train, cache_gb, read_label), card.input)

    def collate(self, pictures: Sequence[Any]) -> Any:
        return default_collate(list(pictures))

    def loss(self, run: Run, batch: Sequence[Tensor]) -> Mapping[str, Tensor]:
        """``batch``: images float32 (N, C, h, w), labels int64 (N, h, w), weights float32 (N, h, w)."""
        images, labels, weights = (run.fabric.to_device(part) for part in batch)
        if channels_last_is_faster(images.device.type):
            images = images.contiguous(memory_format=torch.channels_last)
        return run.module.loss(images, Target(labels, weights))  # type: ignore[operator, no-any-return]

    def validate(self, run: Run, folders: Mapping[str, Sequence[Sample]], shown: OnCount) -> Validation:
        assert isinstance(run.net, SegmentationNet)
        engine = NetEngine(run.net, run.card, run.fabric.device, run.autocast)
        return validate(engine, folders, shown)

    def finish(self, finished: FinishedRun) -> None:
        if finished.config.objects:
            finish_separated(finished)
        else:
            finish_semantic(finished)


def build_net(config: TrainConfig, labels: Labels) -> SegmentationNet:
    binary = config.head == "sigmoid" or (config.head == "auto" and len(labels) == 2)
    if binary and len(labels) != 2:
        raise ImagoError(f"a sigmoid head needs two classes; the data has {len(labels)}. Group them, or use softmax")
    classes = 1 if binary else len(labels)
    return models.build(config.model, classes=classes, in_channels=config.channels, **config.net_options())


def build_criterion(config: TrainConfig, data: RunData[Sample]) -> losses.Criterion:
    binary = len(data.labels) == 2 and config.head != "softmax"
    formula = config.loss if config.loss != "auto" else ("bce+dice" if binary else "ce+dice")
    weights = None
    if config.class_weights != "none":
        weights = class_weights(config.class_weights, [s for source in data.train for s in source.samples], data.labels)
    return losses.build(formula, classes=1 if binary else len(data.labels), class_weights=weights)


def class_weights(kind: str, samples: Sequence[Sample], labels: Labels) -> list[float]:
    """One a class; 0 for a class that no photo shows."""
    shares, frequency = measure_class_shares(samples, len(labels))
    if kind == "log":  # ENet, arXiv:1606.02147, section 5.2
        return [1 / math.log(1.02 + process) if process > 0 else 0.0 for process in shares]
    present = sorted(f for f in frequency if f > 0)
    return [present[len(present) // 2] / f if f > 0 else 0.0 for f in frequency]
