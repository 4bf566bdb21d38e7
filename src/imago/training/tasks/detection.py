"""Training nets that find objects: boxes, or boxes with masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from imago.core.errors import DataError, ImagoError
from imago.core.model_card import ModelCard
from imago.core.proposal_options import ProposalOptions
from imago.data.detection import DetectionSample
from imago.evaluation.detection import DetectionScoring
from imago.evaluation.evaluate import evaluate
from imago.inference.detection import FrameDetections
from imago.inference.engines.torch_detection import run_net
from imago.inference.predictor import Predictor
from imago.models.detection.base import DetectionModel
from imago.models.detection.builders import build_detection, read_thresholds
from imago.training.config import TrainConfig
from imago.training.dataset import EpochSampler, PhotoCache, ProcessInfo, build_batch_sampler
from imago.training.detection_dataset import Batch, DetectionTrainDataset, ReadInstances, collate_detection, move_target
from imago.training.device import channels_last_is_faster, worker_count
from imago.training.find_proposals import cache_proposals, find_proposals
from imago.training.doubts import shown_as_instances, with_doubts
from imago.training.finish import build_input_spec, finish_detection
from imago.training.net_options import read_part_options, refuse_parts
from imago.training.run import Run
from imago.training.sources import RunData, open_detection_sources
from imago.training.tasks.base import FinishedRun, OnCount, OnStage, Validation
from imago.training.tasks.inapplicable import SEMANTIC_ONLY, SEMANTIC_ONLY_AUGMENTATION

PROPOSALS = "proposals"  # part of --option: how selective search is done


class DetectionTask:
    """See ``Kind``."""

    def refuse(self, config: TrainConfig) -> None:
        refuse_settings(config, SEMANTIC_ONLY)
        for name in SEMANTIC_ONLY_AUGMENTATION:
            if config.uses_augmentation(name):
                raise ImagoError(
                    f"--{name.replace('_', '-')} is for label maps; {config.model} learns objects: leave it at 0"
                )

    def open_data(self, config: TrainConfig, root: Path, checking: OnCount | None = None) -> RunData[DetectionSample]:
        data = open_detection_sources(config, root, checking)
        return data if checking is None else with_doubts(data, shown_as_instances, first=1)

    def build_net(self, config: TrainConfig, data: RunData[DetectionSample]) -> DetectionModel:
        net = build_detection(
            config.model, classes=len(data.labels), in_channels=config.channels, **config.net_options()
        )
        refuse_parts(config.option, self.parts(net), config.model)
        if net.wants_proposals and config.channels != 3:
            raise ImagoError(
                f"{config.model} judges proposals of selective search, which takes photos of 3 channels; got "
                f"--channels {config.channels}"
            )
        without = [str(dataset.root) for dataset in data.datasets if not dataset.has_masks]
        if net.has_masks and without:
            raise DataError(
                f"{config.model} learns masks, and there are boxes alone in {', '.join(without)}; outline the objects, "
                "or choose a net that finds boxes"
            )
        partly = [str(d.root) for d in data.datasets if any(sample.unannotated for sample in d.split("all"))]
        if partly and not net.learns_partly:
            raise DataError(
                f"{config.model} learns from folders in which every class was annotated; the group of "
                f"{', '.join(partly)} leaves some out. Name them (without members where there are none), or choose "
                "fasterrcnn or maskrcnn"
            )
        if config.uses_augmentation("copy_paste") and (without or net.wants_proposals):
            why = "proposals are those of the photo alone" if net.wants_proposals else f"{without[0]} has boxes alone"
            raise ImagoError(f"--copy-paste pastes objects by their masks, and {why}; leave it at 0")
        spec = build_input_spec(config, net)
        try:
            net.check(torch.zeros(1, config.channels, *spec.size_hw))
        except ValueError as error:
            raise ImagoError(f"{config.model} at --size {config.size}, --rule {config.rule}: {error}") from error
        return net

    def parts(self, net: DetectionModel) -> tuple[str, ...]:
        """Names that --option may set something of, beside the net's own."""
        return (PROPOSALS,) if net.wants_proposals else ()

    def build_card(
        self, config: TrainConfig, net: DetectionModel, data: RunData[DetectionSample], folder: Path, root: Path
    ) -> ModelCard:
        return ModelCard(
            name=config.name or folder.resolve().name,
            architecture=config.model,
            options={
                "classes": net.classes,
                "in_channels": net.in_channels,
                **config.net_options(),
                **read_thresholds(net),
            },
            task="instances" if net.has_masks else "boxes",
            labels=data.labels,
            input=build_input_spec(config, net),
            proposals=read_part_options(config.option, PROPOSALS, ProposalOptions) if net.wants_proposals else None,
            data=config.data_lines(root),
            license=config.license,
            note=config.note,
        )

    def prepare(
        self,
        config: TrainConfig,
        card: ModelCard,
        data: RunData[DetectionSample],
        folder: Path,
        process: ProcessInfo,
        shown: OnStage,
    ) -> None:
        """Proposals, for nets that want them."""
        if card.proposals is None:
            return
        samples = [*(sample for source in data.train for sample in source.samples), *data.val_samples]
        find_proposals(
            samples[process.rank :: process.world_size], card.proposals, cache_proposals(config, folder),
            worker_count(config) + 1, partial(shown, "proposals"),
        )  # fmt: skip

    def build_sampler(
        self,
        config: TrainConfig,
        card: ModelCard,
        data: RunData[DetectionSample],
        aspects: Sequence[float],
        process: ProcessInfo,
    ) -> EpochSampler:
        return build_batch_sampler(config, card.input, data.train, aspects, process)

    def build_dataset(
        self, config: TrainConfig, card: ModelCard, data: RunData[DetectionSample], folder: Path, cache_gb: float
    ) -> Dataset[Any]:
        read = ReadInstances(card.proposals, cache_proposals(config, folder))
        return DetectionTrainDataset(PhotoCache(data.train, cache_gb, read), card.input, card.task == "instances")

    def collate(self, pictures: Sequence[Any]) -> Batch:
        return collate_detection(pictures)

    def loss(self, run: Run, batch: Batch) -> Mapping[str, Tensor]:
        device = run.fabric.device
        images = batch.images.to(device)
        if channels_last_is_faster(device.type):
            images = images.contiguous(memory_format=torch.channels_last)
        targets = [move_target(target, device) for target in batch.targets]
        if batch.proposals is None:
            return run.module.loss(images, targets)  # type: ignore[operator, no-any-return]
        return run.module.loss(images, targets, [boxes.to(device) for boxes in batch.proposals])  # type: ignore[operator, no-any-return]

    def validate(self, run: Run, folders: Mapping[str, Sequence[DetectionSample]], shown: OnCount) -> Validation:
        """Average precision of masks where net and data have them, else of boxes; the mean over folders."""
        assert isinstance(run.net, DetectionModel)
        predictor = Predictor(NetDetectionEngine(run.net, run.card, run.fabric.device, run.autocast))
        predictor.propose = cache_proposals(run.config, run.folder)
        total, before = sum(len(samples) for samples in folders.values()), 0
        by_folder = {}
        for name, samples in folders.items():

            def counted(done: int, before: int = before) -> None:
                shown(before + done, total)

            found = evaluate(
                predictor, samples, labels=run.data.labels, scoring=DetectionScoring(resamples=0), progress=counted
            )
            by_folder[name] = found.score
            before += len(samples)
        known = [score for score in by_folder.values() if np.isfinite(score)]  # a folder without objects has none
        return Validation(float(np.mean(known)) if known else 0.0, by_folder)

    def finish(self, finished: FinishedRun) -> None:
        finish_detection(finished)


def refuse_settings(config: TrainConfig, inapplicable: Mapping[str, str]) -> None:
    """``inapplicable``: names of settings, and why they say nothing. Raises ImagoError where one is not as it usually is."""
    usual = {field.name: field.default for field in fields(TrainConfig)}
    for name, why in inapplicable.items():
        if getattr(config, name) != usual[name]:
            raise ImagoError(f"--{name.replace('_', '-')} does not go with --model {config.model}: {why}")


class NetDetectionEngine:
    """An engine (see ``imago.inference.detection.DetectionEngine``) over a net in memory, with its training's arithmetic."""

    def __init__(
        self, net: DetectionModel, card: ModelCard, device: torch.device, autocast: torch.dtype | None = None
    ) -> None:
        self.net = net
        self.card = card
        self.device = device
        self.autocast = autocast

    def run(self, frame: np.ndarray, proposals: np.ndarray | None = None) -> FrameDetections:
        """See ``DetectionEngine.run``."""
        return run_net(self.net, self.device, frame, proposals, self.autocast)
