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

from imago.core.card import ModelCard
from imago.core.errors import DataError, ImagoError
from imago.core.proposal_options import ProposalOptions
from imago.data.things import ThingSample
from imago.evaluation.things import evaluate_things
from imago.inference.predictor import Predictor
from imago.inference.things import FrameObjects
from imago.inference.things_torch import run_net
from imago.models.thing_base import ThingNet
from imago.models.things import build_things, thresholds_of
from imago.training.config import TrainConfig
from imago.training.device import channels_last_is_faster, worker_count
from imago.training.find_proposals import find_proposals, kept_proposals
from imago.training.finish import input_of
from imago.training.finish_things import finish_things
from imago.training.foreign import AUGMENTATION_OF_LABEL_MAPS, OF_LABEL_MAPS
from imago.training.kind import Counted, Ending, Stage, Validation
from imago.training.net_options import of_part, refuse_parts
from imago.training.pictures import PhotoCache, Plan, Share, plan_photos
from imago.training.run import Run
from imago.training.sources import RunData, open_thing_sources
from imago.training.thing_pictures import Batch, ReadThings, ThingPictures, collate_things, moved_to

PROPOSALS = "proposals"  # part of --option: how selective search is done


class Things:
    """See ``Kind``."""

    def refuse(self, config: TrainConfig) -> None:
        refuse_settings(config, OF_LABEL_MAPS)
        for name in AUGMENTATION_OF_LABEL_MAPS:
            if config.augments(name):
                raise ImagoError(
                    f"--{name.replace('_', '-')} is for label maps; {config.model} learns objects: leave it at 0"
                )

    def open_data(self, config: TrainConfig, root: Path, checking: Counted | None = None) -> RunData[ThingSample]:
        return open_thing_sources(config, root, checking)

    def build_net(self, config: TrainConfig, data: RunData[ThingSample]) -> ThingNet:
        net = build_things(config.model, classes=len(data.labels), in_channels=config.channels, **config.net_options())
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
        if config.augments("second") and (without or net.wants_proposals):
            why = "proposals are those of the photo alone" if net.wants_proposals else f"{without[0]} has boxes alone"
            raise ImagoError(f"--second pastes objects by their masks, and {why}; leave it at 0")
        spec = input_of(config, net)
        try:
            net.check(torch.zeros(1, config.channels, *spec.size_hw))
        except ValueError as error:
            raise ImagoError(f"{config.model} at --size {config.size}, --rule {config.rule}: {error}") from error
        return net

    def parts(self, net: ThingNet) -> tuple[str, ...]:
        """Names that --option may set something of, beside the net's own."""
        return (PROPOSALS,) if net.wants_proposals else ()

    def build_card(
        self, config: TrainConfig, net: ThingNet, data: RunData[ThingSample], folder: Path, root: Path
    ) -> ModelCard:
        return ModelCard(
            name=config.name or folder.resolve().name,
            architecture=config.model,
            options={
                "classes": net.classes,
                "in_channels": net.in_channels,
                **config.net_options(),
                **thresholds_of(net),
            },
            task="instances" if net.has_masks else "boxes",
            labels=data.labels,
            input=input_of(config, net),
            proposals=of_part(config.option, PROPOSALS, ProposalOptions) if net.wants_proposals else None,
            data=config.data_lines(root),
            licence=config.licence,
            note=config.note,
        )

    def prepare(
        self, config: TrainConfig, card: ModelCard, data: RunData[ThingSample], folder: Path, share: Share, shown: Stage
    ) -> None:
        """Proposals, for nets that want them."""
        if card.proposals is None:
            return
        samples = [*(sample for source in data.train for sample in source.samples), *data.val_samples]
        find_proposals(
            samples[share.rank :: share.world], card.proposals, kept_proposals(config, folder),
            worker_count(config) + 1, partial(shown, "proposals"),
        )  # fmt: skip

    def plan(
        self, config: TrainConfig, card: ModelCard, data: RunData[ThingSample], aspects: Sequence[float], share: Share
    ) -> Plan:
        return plan_photos(config, card.input, data.train, aspects, share)

    def pictures(
        self, config: TrainConfig, card: ModelCard, data: RunData[ThingSample], folder: Path, cache_gb: float
    ) -> Dataset[Any]:
        read = ReadThings(card.proposals, kept_proposals(config, folder))
        return ThingPictures(PhotoCache(data.train, cache_gb, read), card.input, card.task == "instances")

    def collate(self, pictures: Sequence[Any]) -> Batch:
        return collate_things(pictures)

    def loss(self, run: Run, batch: Batch) -> Mapping[str, Tensor]:
        device = run.fabric.device
        images = batch.images.to(device)
        if channels_last_is_faster(device.type):
            images = images.contiguous(memory_format=torch.channels_last)
        targets = [moved_to(target, device) for target in batch.targets]
        if batch.proposals is None:
            return run.module.loss(images, targets)  # type: ignore[operator, no-any-return]
        return run.module.loss(images, targets, [boxes.to(device) for boxes in batch.proposals])  # type: ignore[operator, no-any-return]

    def look(self, run: Run, folders: Mapping[str, Sequence[ThingSample]], shown: Counted) -> Validation:
        """Average precision of masks where net and data have them, else of boxes; the mean over folders."""
        assert isinstance(run.net, ThingNet)
        predictor = Predictor(NetObjectEngine(run.net, run.card, run.fabric.device, run.autocast))
        predictor.propose = kept_proposals(run.config, run.folder)
        total, before = sum(len(samples) for samples in folders.values()), 0
        by_folder = {}
        for name, samples in folders.items():

            def counted(done: int, before: int = before) -> None:
                shown(before + done, total)

            found = evaluate_things(predictor.objects, samples, run.data.labels, resamples=1, progress=counted)
            by_folder[name] = found.score
            before += len(samples)
        known = [score for score in by_folder.values() if np.isfinite(score)]  # a folder without objects has none
        return Validation(float(np.mean(known)) if known else 0.0, by_folder)

    def finish(self, ending: Ending) -> None:
        finish_things(ending)


def refuse_settings(config: TrainConfig, foreign: Mapping[str, str]) -> None:
    """``foreign``: names of settings, and why they say nothing. Raises ImagoError where one is not as it usually is."""
    usual = {field.name: field.default for field in fields(TrainConfig)}
    for name, why in foreign.items():
        if getattr(config, name) != usual[name]:
            raise ImagoError(f"--{name.replace('_', '-')} does not go with --model {config.model}: {why}")


class NetObjectEngine:
    """An engine (see ``imago.inference.things.FindsObjects``) over a net in memory, with its training's arithmetic."""

    def __init__(
        self, net: ThingNet, card: ModelCard, device: torch.device, autocast: torch.dtype | None = None
    ) -> None:
        self.net = net
        self.card = card
        self.device = device
        self.autocast = autocast

    def run(self, frame: np.ndarray, proposals: np.ndarray | None = None) -> FrameObjects:
        """See ``FindsObjects.run``."""
        return run_net(self.net, self.device, frame, proposals, self.autocast)
