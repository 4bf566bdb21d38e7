"""Training nets that label pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from imago import losses, models
from imago.core.errors import ImagoError
from imago.core.labels import Labels
from imago.core.model_card import ModelCard
from imago.data.augment.pipeline import augment
from imago.data.borders import DEEPEST, distance_map, pack_distance, unpack_distance
from imago.data.dataset import Sample
from imago.inference.engines.torch import TorchEngine
from imago.inference.predictor import Predictor
from imago.models.base import SegmentationNet, Target
from imago.models.memory_format import channels_last_is_faster
from imago.training.config import TrainConfig
from imago.training.dataset import Key, PhotoCache, TrainDataset, measure_class_shares, read_label
from imago.training.device import choose_device
from imago.training.doubts import shown_in_label_map, with_doubts
from imago.training.net_options import refuse_parts
from imago.training.sources import RunData, open_sources
from imago.training.tasks.base import OnCount, Say, Task, Validation
from imago.training.validate import validate, watch_net


class SemanticTask(Task):
    """A label for every pixel."""

    name = "semantic"
    net: SegmentationNet

    @classmethod
    def refuse(cls, config: TrainConfig) -> None:
        refuse_parts(config.net.option, (), config.net.model)
        super().refuse(config)

    @classmethod
    def open_data(cls, config: TrainConfig, root: Path, checking: OnCount | None = None) -> RunData[Sample]:
        data = open_sources(config, root, checking)
        return data if checking is None else with_doubts(data, shown_in_label_map)

    def build_net(self, config: TrainConfig) -> SegmentationNet:
        net = build_net(config, self.data.labels)
        net.criterion = build_criterion(config, self.data)
        return net

    def build_card(self, root: Path) -> ModelCard:
        config, net, export = self.config, self.net, self.config.export
        return ModelCard(
            name=export.name or self.folder.resolve().name,
            architecture=config.net.model,
            options={"classes": net.classes, "in_channels": net.in_channels, **config.net.options()},
            task="binary" if net.classes == 1 else "semantic",
            labels=self.data.labels,
            input=self.build_spec(config, net),
            output="logit",
            tta_flip=export.tta_flip,
            tta_scales=export.tta_scales,
            tta_zoom=export.tta_zoom,
            min_component_fraction=export.min_component_fraction,
            objects=config.net.objects,
            distance=net.distance,
            data=config.data_lines(root),
            license=export.license,
            note=export.note,
        )

    def build_dataset(self, cache_gb: float) -> Dataset[Any]:
        read = read_packed if self.net.distance else read_label
        return LabelMapDataset(PhotoCache(self.data.train, cache_gb, read), self.card.input)

    def collate(self, pictures: Sequence[Any]) -> Any:
        return default_collate(list(pictures))

    def loss(self, module: nn.Module, batch: Sequence[Tensor], device: torch.device) -> Mapping[str, Tensor]:
        """``batch``: images float32 (N, C, h, w), labels int64 (N, h, w), weights float32 (N, h, w), and float32
        (N, h, w) distances, 0..1, where the net says them."""
        images, labels, *more = move_data_to_device(list(batch), device)
        if channels_last_is_faster(device.type):
            images = images.contiguous(memory_format=torch.channels_last)
        return module.loss(images, Target(labels, *more))  # type: ignore[operator]

    def validate(
        self,
        folders: Mapping[str, Sequence[Sample]],
        device: torch.device,
        autocast: torch.dtype | None,
        shown: OnCount,
    ) -> Validation:
        return validate(watch_net(self.net, self.card, device, autocast), folders, shown)

    def open_predictor(self, card: ModelCard, say: Say) -> tuple[Predictor, ModelCard]:
        return Predictor(TorchEngine(self.best, choose_device(self.config.runtime.device))), card


class LabelMapDataset(TrainDataset):
    """A picture: image float32 (C, h, w) prepared by the InputSpec, labels int64 (h, w), weights float32 (h, w); and
    float32 (h, w) distances, 0..1, where the label maps carry them."""

    def __getitem__(self, key: Key) -> tuple[Tensor, ...]:
        rng = np.random.default_rng(key.seed)
        image, label = self.cache.get(key.source, key.sample)
        how = self.cache.sources[key.source].augment
        borrows = self.lenders and (how.background or how.copy_paste or how.collage or how.empty)
        others = [self._other(rng) for _ in range(2 + how.pasted_max)] if borrows else None
        image, label, weight = augment(image, label, key.frame_hw, how, rng, others, own_scale=self.spec.rule == "pad")
        more: tuple[Tensor, ...] = ()
        if label.dtype == np.uint16:
            label, distance = unpack_distance(label)
            more = (torch.from_numpy(distance.astype(np.float32) / DEEPEST),)
        return (
            torch.from_numpy(self.spec.normalize(image)),
            torch.from_numpy(label.astype(np.int64)),
            torch.from_numpy(weight),
            *more,
        )

    def _other(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        source = self.lenders[int(rng.integers(len(self.lenders)))]
        return self.cache.get(source, int(rng.integers(len(self.cache.sources[source].samples))))


def read_packed(sample: Sample, image: np.ndarray) -> tuple[np.ndarray, int]:
    """The border map with the distance map in its upper byte, uint16 (H, W), and its bytes."""
    packed = pack_distance(sample.label_map(), distance_map(sample.instances()))
    return packed, packed.nbytes


def build_net(config: TrainConfig, labels: Labels) -> SegmentationNet:
    head = config.net.head
    binary = head == "sigmoid" or (head == "auto" and len(labels) == 2)
    if binary and len(labels) != 2:
        raise ImagoError(f"a sigmoid head needs two classes; the data has {len(labels)}. Group them, or use softmax")
    classes = 1 if binary else len(labels)
    net = models.build(config.net.model, classes=classes, in_channels=config.input.channels, **config.net.options())
    assert isinstance(net, SegmentationNet)
    return net


def build_criterion(config: TrainConfig, data: RunData[Sample]) -> losses.Criterion:
    settings = config.optimization
    binary = len(data.labels) == 2 and config.net.head != "softmax"
    formula = settings.loss if settings.loss != "auto" else ("bce+dice" if binary else "ce+dice")
    weights = None
    if settings.class_weights != "none":
        samples = [sample for source in data.train for sample in source.samples]
        weights = class_weights(settings.class_weights, samples, data.labels)
    return losses.build(formula, classes=1 if binary else len(data.labels), class_weights=weights)


def class_weights(kind: str, samples: Sequence[Sample], labels: Labels) -> list[float]:
    """One a class; 0 for a class that no photo shows."""
    shares, frequency = measure_class_shares(samples, len(labels))
    if kind == "log":  # ENet, arXiv:1606.02147, section 5.2
        return [1 / math.log(1.02 + share) if share > 0 else 0.0 for share in shares]
    present = sorted(f for f in frequency if f > 0)
    return [present[len(present) // 2] / f if f > 0 else 0.0 for f in frequency]
