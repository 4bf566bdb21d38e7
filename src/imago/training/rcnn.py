"""R-CNN's training, which is four trainings one after the other (Girshick et al. 2014, section 2.3 and appendix C).

    1 proposals    selective search of every photo, before the first step (as for Fast R-CNN)
    2 fine-tuning  the CNN learns crops by a softmax: the loop of all nets, with its budget, resume and validation
    3 features     of every box of every photo
    4 SVMs         one a class, hard negatives mined
    5 regressors   one a class

``--epochs`` and ``--minutes`` are those of fine-tuning (see rcnn_crops.py for what an epoch is); the stages after it
take what they take, and are a part of the run's end, like its report. While it is fine-tuned the score is no average
precision, for there are no SVMs yet: it is the share of crops that are told right, things and background half each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from imago.core.card import ModelCard
from imago.core.errors import ImagoError
from imago.data.crops import crops_of
from imago.data.things import ThingSample
from imago.models import checkpoint
from imago.models.rcnn import RCNN
from imago.models.thing_base import ThingNet
from imago.training.config import TrainConfig
from imago.training.device import choose_device
from imago.training.find_proposals import kept_proposals
from imago.training.interrupt import Interrupt, Stopped
from imago.training.kind import Counted, Ending, Share, Validation
from imago.training.net_options import of_part
from imago.training.pictures import PhotoCache
from imago.training.rcnn_crops import CROPS_A_PHOTO, CropPictures, CropPlan, sampled
from imago.training.rcnn_features import Solver
from imago.training.rcnn_options import RcnnStages
from imago.training.rcnn_regions import ReadRegions
from imago.training.run import Run
from imago.training.sources import RunData
from imago.training.things import Things, refuse_settings

STAGES = "stages"  # part of --option

_STAGES = "presets choose for nets that are trained in one go; set --epochs, --lr and --option stages.NAME=VALUE"
_CROPS = "it looks at crops of one size, which --option crop=227 sets"
FOREIGN = {
    "preset": _STAGES,
    "size": _CROPS,
    "use_size": _CROPS,
    "start_size": _CROPS,
    "multiscale": _CROPS,
    "rule": _CROPS,
    "shapes": _CROPS,
    "multiple": _CROPS,
    "batch": "a step is 32 crops of things and 96 of background, of all photos; set --option stages.positives=32 and "
    "stages.negatives=96",
}
FOREIGN_AUGMENTATION = ("zoom_min", "zoom_max", "focus", "close_up", "stretch", "rotate_deg", "second")


class Rcnn(Things):
    """See ``Kind``."""

    def refuse(self, config: TrainConfig) -> None:
        super().refuse(config)
        refuse_settings(config, FOREIGN)
        usual = type(config.augment)()
        for how in (config.augment, *(replace(config.augment, **source.augment) for source in config.data)):
            for name in FOREIGN_AUGMENTATION:
                if getattr(how, name) != getattr(usual, name):
                    raise ImagoError(
                        f"--{name.replace('_', '-')} moves whole photos; {config.model} learns crops, which proposals "
                        "choose: leave it out"
                    )
        if any(source.weight != 1 for source in config.data):
            raise ImagoError(f"{config.model} draws its crops from all photos alike; leave weight out of the recipe")

    def parts(self, net: ThingNet) -> tuple[str, ...]:
        return (*super().parts(net), STAGES)

    def build_net(self, config: TrainConfig, data: RunData[ThingSample]) -> ThingNet:
        net, padding = super().build_net(config, data), stages_of(config).padding
        if 2 * padding >= net.crop:
            raise ImagoError(
                f"--option stages.padding={padding} at each side leaves nothing of a crop of {net.crop} pixels; make "
                "it smaller, or crop larger"
            )
        return net

    def build_card(
        self, config: TrainConfig, net: ThingNet, data: RunData[ThingSample], folder: Path, root: Path
    ) -> ModelCard:
        return super().build_card(config, net, data, folder, root).with_(crop_padding=stages_of(config).padding)

    def plan(
        self, config: TrainConfig, card: ModelCard, data: RunData[ThingSample], aspects: Sequence[float], share: Share
    ) -> CropPlan:
        photos = config.epoch_photos or sum(len(source.samples) for source in data.train)
        stages = stages_of(config)
        return CropPlan(photos, stages.positives + stages.negatives, config.seed, share.rank, share.world)

    def pictures(
        self, config: TrainConfig, card: ModelCard, data: RunData[ThingSample], folder: Path, cache_gb: float
    ) -> Dataset[Any]:
        return CropPictures(
            PhotoCache(data.train, cache_gb, read_regions(config, card, folder)), card.input, stages_of(config)
        )

    def collate(self, pictures: Sequence[Any]) -> Any:
        """A "picture" is a whole step already."""
        (crops,) = pictures
        return crops

    def loss(self, run: Run, batch: Any) -> Mapping[str, Tensor]:
        crops, classes = (run.fabric.to_device(part) for part in batch)
        return run.module.loss(crops, classes)  # type: ignore[operator, no-any-return]

    def look(self, run: Run, folders: Mapping[str, Sequence[ThingSample]], shown: Counted) -> Validation:
        """The share of crops that the softmax tells right, of things and of background half each."""
        total, done = sum(len(samples) for samples in folders.values()), 0
        losses: list[float] = []
        by_folder = {}
        for name, samples in folders.items():
            right: dict[bool, list[bool]] = {True: [], False: []}  # of things, of background
            for number, sample in enumerate(samples):
                classes, found, loss = tell_crops(run, sample, number)
                for truth, answer in zip(classes, found, strict=True):
                    right[bool(truth)].append(truth == answer)
                losses += [loss] if len(classes) else []
                done += 1
                shown(done, total)
            shares = [float(np.mean(hits)) for hits in right.values() if hits]
            by_folder[name] = float(np.mean(shares)) if shares else 0.0
        return Validation(
            float(np.mean(list(by_folder.values()))), by_folder, float(np.mean(losses)) if losses else None
        )

    def finish(self, ending: Ending) -> None:
        """The stages after fine-tuning, then as for every net."""
        config, folder = ending.config, ending.folder
        net, card = checkpoint.load_things(ending.best, choose_device(config.device))
        assert isinstance(net, RCNN)
        stages = stages_of(config)
        samples = [sample for source in ending.data.train for sample in source.samples]
        read = read_regions(config, card, folder)
        try:
            with Interrupt() as interrupt:
                regions = [read(sample, sample.image())[0] for sample in samples]
                Solver(
                    net, card.input, stages, samples, regions, ending.data.labels, config.seed, folder, ending.say,
                    interrupt,
                ).solve()  # fmt: skip
        except Stopped:
            ending.say(f"stopped after fine-tuning; go on with: imago train --resume --out {folder}")
            raise
        checkpoint.save(net, card.with_(crop_padding=stages.padding), ending.best)
        super().finish(ending)


def stages_of(config: TrainConfig) -> RcnnStages:
    return of_part(config.option, STAGES, RcnnStages)


def read_regions(config: TrainConfig, card: ModelCard, folder: Path) -> ReadRegions:
    assert card.proposals is not None  # see Things.build_card
    return ReadRegions(card.proposals, kept_proposals(config, folder))


def tell_crops(run: Run, sample: ThingSample, number: int) -> tuple[np.ndarray, np.ndarray, float]:
    """True classes and those that the softmax says, int64 (n,) each, of the crops of one validation photo, the same
    ones each time; and its loss."""
    stages, image = stages_of(run.config), sample.image()
    regions, _ = read_regions(run.config, run.card, run.folder)(sample, image)
    windows = sampled(regions, stages.positive_from, CROPS_A_PHOTO, number)
    if not len(windows):
        return windows[:, 2], windows[:, 2], 0.0
    crops = torch.from_numpy(crops_of(image, regions.boxes[windows[:, 1]], run.card.input, stages.padding))
    classes = torch.from_numpy(windows[:, 2]).to(run.fabric.device)
    assert isinstance(run.net, RCNN)
    with torch.inference_mode(), run.fabric.autocast():
        logits = run.net.softmax(run.net.describe(crops.to(run.fabric.device))[0]).float()
    loss = float(F.cross_entropy(logits, classes))
    return windows[:, 2], logits.argmax(dim=1).cpu().numpy(), loss
