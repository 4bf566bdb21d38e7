"""Training nets that find objects: boxes, or boxes with masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from imago.core.errors import DataError, ImagoError
from imago.core.input_spec import InputSpec
from imago.core.model_card import ModelCard
from imago.core.proposal_options import ProposalOptions
from imago.data.dataset import Sample
from imago.evaluation.detection import DetectionScoring
from imago.evaluation.evaluate import evaluate
from imago.inference.engines.torch import TorchEngine
from imago.inference.options import PredictOptions
from imago.inference.predictor import Predictor
from imago.models.catalog import build
from imago.models.detection.base import DetectionModel
from imago.models.detection.builders import read_thresholds
from imago.models.memory_format import channels_last_is_faster
from imago.training.config import TrainConfig
from imago.training.dataset import PhotoCache, ProcessInfo
from imago.training.device import choose_device, worker_count
from imago.training.doubts import shown_as_instances, with_doubts
from imago.training.find_proposals import cache_proposals, find_proposals
from imago.training.net_options import read_part_options, refuse_parts
from imago.training.sources import RunData, open_detection_sources
from imago.training.tasks.base import OnCount, OnStage, Say, Task, Validation
from imago.training.tasks.instances import Batch, InstanceDataset, ReadInstances, collate_instances, move_target

PROPOSALS = "proposals"  # part of --option: how selective search is done


class DetectionTask(Task):
    """Boxes of objects, and their masks where net and data have them."""

    name = "detection"
    net: DetectionModel

    @classmethod
    def open_data(cls, config: TrainConfig, root: Path, checking: OnCount | None = None) -> RunData[Sample]:
        data = open_detection_sources(config, root, checking)
        return data if checking is None else with_doubts(data, shown_as_instances, first=1)

    def build_net(self, config: TrainConfig) -> DetectionModel:
        net = build(
            config.net.model,
            classes=len(self.data.labels),
            in_channels=config.input.channels,
            **config.net.options(),
        )
        assert isinstance(net, DetectionModel)
        refuse_parts(config.net.option, self.list_parts(net), config.net.model)
        if net.wants_proposals and config.input.channels != 3:
            raise ImagoError(
                f"{config.net.model} judges proposals of selective search, which takes photos of 3 channels; got "
                f"--channels {config.input.channels}"
            )
        self.refuse_data(config, net)
        spec = self.build_spec(config, net)
        try:
            net.check(torch.zeros(1, config.input.channels, *spec.size_hw))
        except ValueError as error:
            raise ImagoError(
                f"{config.net.model} at --size {config.input.size}, --rule {config.input.rule}: {error}"
            ) from error
        return net

    def refuse_data(self, config: TrainConfig, net: DetectionModel) -> None:
        """Raises DataError and ImagoError for data that ``net`` cannot learn from."""
        model, datasets = config.net.model, self.data.datasets
        without = [str(dataset.root) for dataset in datasets if not dataset.has_masks]
        if net.has_masks and without:
            raise DataError(
                f"{model} learns masks, and there are boxes alone in {', '.join(without)}; outline the objects, or "
                "choose a net that finds boxes"
            )
        partly = [str(d.root) for d in datasets if any(sample.unannotated for sample in d.split("all"))]
        if partly and not net.learns_partly:
            raise DataError(
                f"{model} learns from folders in which every class was annotated; the group of {', '.join(partly)} "
                "leaves some out. Name them (without members where there are none), or choose fasterrcnn or maskrcnn"
            )
        pastes = config.augment.copy_paste or any(source.augment.get("copy_paste") for source in config.data)
        if pastes and (without or net.wants_proposals):
            why = "proposals are those of the photo alone" if net.wants_proposals else f"{without[0]} has boxes alone"
            raise ImagoError(f"--copy-paste pastes objects by their masks, and {why}; leave it at 0")

    def list_parts(self, net: DetectionModel) -> tuple[str, ...]:
        """Names that --option may set something of, beside the net's own."""
        return (PROPOSALS,) if net.wants_proposals else ()

    def build_spec(self, config: TrainConfig, net: DetectionModel) -> InputSpec:
        if not net.crop:
            return super().build_spec(config, net)
        spec = config.input.build_spec(1)
        return InputSpec("resize", (net.crop, net.crop), 1, mean=spec.mean, std=spec.std)

    def build_card(self, root: Path) -> ModelCard:
        config, net = self.config, self.net
        options = {"classes": net.classes, "in_channels": net.in_channels, **config.net.options()}
        return ModelCard(
            name=config.export.name or self.folder.resolve().name,
            architecture=config.net.model,
            options=options | read_thresholds(net),
            task="instances" if net.has_masks else "boxes",
            labels=self.data.labels,
            input=self.build_spec(config, net),
            proposals=read_part_options(config.net.option, PROPOSALS, ProposalOptions) if net.wants_proposals else None,
            data=config.data_lines(root),
            license=config.export.license,
            note=config.export.note,
        )

    def prepare(self, process: ProcessInfo, shown: OnStage) -> None:
        """Proposals, for nets that want them."""
        if self.card.proposals is None:
            return
        samples = [*(sample for source in self.data.train for sample in source.samples), *self.data.val_samples]
        find_proposals(
            samples[process.rank :: process.world_size], self.card.proposals, cache_proposals(self.config, self.folder),
            worker_count(self.config.runtime) + 1, partial(shown, "proposals"),
        )  # fmt: skip

    def build_dataset(self, cache_gb: float) -> Dataset[Any]:
        read = ReadInstances(self.card.proposals, cache_proposals(self.config, self.folder))
        cache = PhotoCache(self.data.train, cache_gb, read)
        return InstanceDataset(cache, self.card.input, masks=self.card.task == "instances")

    def collate(self, pictures: Sequence[Any]) -> Any:
        return collate_instances(pictures)

    def loss(self, module: nn.Module, batch: Batch, device: torch.device) -> Mapping[str, Tensor]:
        images = batch.images.to(device)
        if channels_last_is_faster(device.type):
            images = images.contiguous(memory_format=torch.channels_last)
        targets = [move_target(target, device) for target in batch.targets]
        proposals = () if batch.proposals is None else ([boxes.to(device) for boxes in batch.proposals],)
        return module.loss(images, targets, *proposals)  # type: ignore[operator]

    def validate(
        self,
        folders: Mapping[str, Sequence[Sample]],
        device: torch.device,
        autocast: torch.dtype | None,
        shown: OnCount,
    ) -> Validation:
        """Average precision of masks where net and data have them, else of boxes; the mean over folders."""
        predictor = Predictor(TorchEngine.of_net(self.net, self.card, device, autocast), self.options)
        total, before = sum(len(samples) for samples in folders.values()), 0
        by_folder = {}
        for name, samples in folders.items():

            def count(done: int, before: int = before) -> None:
                shown(before + done, total)

            scoring = DetectionScoring(resamples=1)
            by_folder[name] = evaluate(predictor, samples, scoring=scoring, progress=count).score
            before += len(samples)
        known = [score for score in by_folder.values() if np.isfinite(score)]  # a folder without objects has none
        return Validation(float(np.mean(known)) if known else 0.0, by_folder)

    def open_predictor(self, card: ModelCard, say: Say) -> tuple[Predictor, ModelCard]:
        return Predictor(TorchEngine(self.best, choose_device(self.config.runtime.device)), self.options), card

    @property
    def options(self) -> PredictOptions:
        """How its models are run: with the proposals that the run keeps, where they judge some."""
        if self.card.proposals is None:
            return PredictOptions()
        return PredictOptions(find_proposals=cache_proposals(self.config, self.folder))
