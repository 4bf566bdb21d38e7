"""R-CNN's training, which is four trainings one after the other (Girshick et al. 2014, section 2.3 and appendix C).

    1 proposals    selective search of every photo, before the first step (as for Fast R-CNN)
    2 fine-tuning  the CNN learns crops by a softmax: the loop of all nets, with its budget, resume and validation
    3 features     of every box of every photo
    4 SVMs         one a class, hard negatives mined
    5 regressors   one a class

``--epochs`` and ``--minutes`` are those of fine-tuning (see crops.py for what an epoch is); the stages after it
take what they take, and are a part of the run's end, like its report. While it is fine-tuned the score is no average
precision, for there are no SVMs yet: it is the share of crops that are told right, objects and background half each.
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

from imago.core.errors import ImagoError
from imago.core.model_card import ModelCard
from imago.data.crops import crop_boxes
from imago.data.dataset import Sample
from imago.models import checkpoint
from imago.models.detection.base import DetectionModel
from imago.models.detection.rcnn import RCNN
from imago.training.config import TrainConfig
from imago.training.dataset import PhotoCache
from imago.training.device import choose_device
from imago.training.find_proposals import cache_proposals
from imago.training.interrupt import Interrupt, Stopped
from imago.training.net_options import read_part_options
from imago.training.rcnn.crops import CROPS_A_PHOTO, CropDataset, CropSampler, sample_crops
from imago.training.rcnn.features import Solver
from imago.training.rcnn.options import RcnnStages
from imago.training.rcnn.rois import ReadRois
from imago.training.run import Run
from imago.training.sources import RunData
from imago.training.tasks.base import FinishedRun, OnCount, ProcessInfo, Validation
from imago.training.tasks.detection import DetectionTask, refuse_settings

STAGES = "stages"  # part of --option

_STAGES = "presets choose for nets that are trained in one go; set --epochs, --lr and --option stages.NAME=VALUE"
_CROPS = "it looks at crops of one size, which --option crop=227 sets"
INAPPLICABLE = {
    "preset": _STAGES,
    "size": _CROPS,
    "inference_size": _CROPS,
    "start_size": _CROPS,
    "multiscale": _CROPS,
    "rule": _CROPS,
    "shapes": _CROPS,
    "multiple": _CROPS,
    "batch_size": "a step is 32 crops of objects and 96 of background, of all photos; set --option stages.positives=32 "
    "and stages.negatives=96",
}
INAPPLICABLE_AUGMENTATION = ("zoom_min", "zoom_max", "focus", "close_up", "aspect_jitter", "rotate_deg", "copy_paste")


class RcnnTask(DetectionTask):
    """See ``Kind``."""

    def refuse(self, config: TrainConfig) -> None:
        super().refuse(config)
        refuse_settings(config, INAPPLICABLE)
        usual = type(config.augment)()
        for how in (config.augment, *(replace(config.augment, **source.augment) for source in config.data)):
            for name in INAPPLICABLE_AUGMENTATION:
                if getattr(how, name) != getattr(usual, name):
                    raise ImagoError(
                        f"--{name.replace('_', '-')} moves whole photos; {config.model} learns crops, which proposals "
                        "choose: leave it out"
                    )
        if any(source.weight != 1 for source in config.data):
            raise ImagoError(f"{config.model} draws its crops from all photos alike; leave weight out of the recipe")

    def parts(self, net: DetectionModel) -> tuple[str, ...]:
        return (*super().parts(net), STAGES)

    def build_net(self, config: TrainConfig, data: RunData[Sample]) -> DetectionModel:
        net, padding = super().build_net(config, data), read_stages(config).padding
        if 2 * padding >= net.crop:
            raise ImagoError(
                f"--option stages.padding={padding} at each side leaves nothing of a crop of {net.crop} pixels; make "
                "it smaller, or crop larger"
            )
        return net

    def build_card(
        self, config: TrainConfig, net: DetectionModel, data: RunData[Sample], folder: Path, root: Path
    ) -> ModelCard:
        return super().build_card(config, net, data, folder, root).with_(crop_padding=read_stages(config).padding)

    def build_sampler(
        self,
        config: TrainConfig,
        card: ModelCard,
        data: RunData[Sample],
        aspects: Sequence[float],
        process: ProcessInfo,
    ) -> CropSampler:
        photos = config.epoch_photos or sum(len(source.samples) for source in data.train)
        stages = read_stages(config)
        return CropSampler(photos, stages.positives + stages.negatives, config.seed, process.rank, process.world_size)

    def build_dataset(
        self, config: TrainConfig, card: ModelCard, data: RunData[Sample], folder: Path, cache_gb: float
    ) -> Dataset[Any]:
        return CropDataset(
            PhotoCache(data.train, cache_gb, read_rois(config, card, folder)), card.input, read_stages(config)
        )

    def collate(self, pictures: Sequence[Any]) -> Any:
        """A "picture" is a whole step already."""
        (crops,) = pictures
        return crops

    def loss(self, run: Run, batch: Any) -> Mapping[str, Tensor]:
        crops, classes = (run.fabric.to_device(part) for part in batch)
        return run.module.loss(crops, classes)  # type: ignore[operator, no-any-return]

    def validate(self, run: Run, folders: Mapping[str, Sequence[Sample]], shown: OnCount) -> Validation:
        """The share of crops that the softmax tells right, of objects and of background half each."""
        total, done = sum(len(samples) for samples in folders.values()), 0
        losses: list[float] = []
        by_folder = {}
        for name, samples in folders.items():
            right: dict[bool, list[bool]] = {True: [], False: []}  # of objects, of background
            for number, sample in enumerate(samples):
                classes, found, loss = report_crops(run, sample, number)
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

    def finish(self, finished: FinishedRun) -> None:
        """The stages after fine-tuning, then as for every net."""
        config, folder = finished.config, finished.folder
        net, card = checkpoint.load(finished.best, choose_device(config.device))
        assert isinstance(net, RCNN)
        stages = read_stages(config)
        samples = [sample for source in finished.data.train for sample in source.samples]
        read = read_rois(config, card, folder)
        try:
            with Interrupt() as interrupt:
                rois = [read(sample, sample.image())[0] for sample in samples]
                Solver(
                    net, card.input, stages, samples, rois, finished.data.labels, config.seed, folder, finished.say,
                    interrupt,
                ).solve()  # fmt: skip
        except Stopped:
            finished.say(f"stopped after fine-tuning; go on with: imago train --resume --out {folder}")
            raise
        checkpoint.save(net, card.with_(crop_padding=stages.padding), finished.best)
        super().finish(finished)


def read_stages(config: TrainConfig) -> RcnnStages:
    return read_part_options(config.option, STAGES, RcnnStages)


def read_rois(config: TrainConfig, card: ModelCard, folder: Path) -> ReadRois:
    assert card.proposals is not None  # see DetectionTask.build_card
    return ReadRois(card.proposals, cache_proposals(config, folder))


def report_crops(run: Run, sample: Sample, number: int) -> tuple[np.ndarray, np.ndarray, float]:
    """True classes and those that the softmax says, int64 (n,) each, of the crops of one validation photo, the same
    ones each time; and its loss."""
    stages, image = read_stages(run.config), sample.image()
    rois, _ = read_rois(run.config, run.card, run.folder)(sample, image)
    windows = sample_crops(rois, stages.positive_from, CROPS_A_PHOTO, number)
    if not len(windows):
        return windows[:, 2], windows[:, 2], 0.0
    crops = torch.from_numpy(crop_boxes(image, rois.boxes[windows[:, 1]], run.card.input, stages.padding))
    classes = torch.from_numpy(windows[:, 2]).to(run.fabric.device)
    assert isinstance(run.net, RCNN)
    with torch.inference_mode(), run.fabric.autocast():
        logits = run.net.softmax(run.net.extract_features(crops.to(run.fabric.device))[0]).float()
    loss = float(F.cross_entropy(logits, classes))
    return windows[:, 2], logits.argmax(dim=1).cpu().numpy(), loss
