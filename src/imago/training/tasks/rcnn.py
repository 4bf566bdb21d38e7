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
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor, nn
from torch.utils.data import Dataset

from imago.core.errors import ImagoError
from imago.core.model_card import ModelCard
from imago.data.crops import crop_boxes
from imago.data.dataset import Sample
from imago.models import checkpoint
from imago.models.detection.base import DetectionModel
from imago.models.detection.rcnn import RCNN
from imago.training.config import TrainConfig
from imago.training.dataset import PhotoCache, ProcessInfo
from imago.training.device import choose_device
from imago.training.find_proposals import cache_proposals
from imago.training.interrupt import Interrupt, Stopped
from imago.training.net_options import read_part_options
from imago.training.rcnn.crops import CROPS_A_PHOTO, CropDataset, CropSampler, sample_crops
from imago.training.rcnn.features import Solver
from imago.training.rcnn.options import RcnnStages
from imago.training.rcnn.rois import ReadRois
from imago.training.tasks.base import OnCount, Say, Validation
from imago.training.tasks.detection import DetectionTask

STAGES = "stages"  # part of --option


class RcnnTask(DetectionTask):
    """Objects by R-CNN, in stages."""

    name = "rcnn"

    @classmethod
    def refuse(cls, config: TrainConfig) -> None:
        super().refuse(config)
        if any(source.weight != 1 for source in config.data):
            raise ImagoError(
                f"{config.net.model} draws its crops from all photos alike; leave weight out of the recipe"
            )

    def list_parts(self, net: DetectionModel) -> tuple[str, ...]:
        return (*super().list_parts(net), STAGES)

    def build_net(self, config: TrainConfig) -> DetectionModel:
        self.stages = read_part_options(config.net.option, STAGES, RcnnStages)
        net, padding = super().build_net(config), self.stages.padding
        if 2 * padding >= net.crop:
            raise ImagoError(
                f"--option stages.padding={padding} at each side leaves nothing of a crop of {net.crop} pixels; make "
                "it smaller, or crop larger"
            )
        return net

    def build_card(self, root: Path) -> ModelCard:
        return super().build_card(root).with_(crop_padding=self.stages.padding)

    def build_sampler(self, aspects: Sequence[float], process: ProcessInfo) -> CropSampler:
        photos = self.config.optimization.epoch_photos or sum(len(source.samples) for source in self.data.train)
        crops = self.stages.positives + self.stages.negatives
        return CropSampler(photos, crops, self.config.runtime.seed, process.rank, process.world_size)

    def build_dataset(self, cache_gb: float) -> Dataset[Any]:
        return CropDataset(PhotoCache(self.data.train, cache_gb, self.read_rois), self.card.input, self.stages)

    @property
    def read_rois(self) -> ReadRois:
        """What reads the boxes of a photo that crops are made of."""
        assert self.card.proposals is not None  # see DetectionTask.build_card
        return ReadRois(self.card.proposals, cache_proposals(self.config, self.folder))

    def collate(self, pictures: Sequence[Any]) -> Any:
        """A "picture" is a whole step already."""
        (crops,) = pictures
        return crops

    def loss(self, module: nn.Module, batch: Any, device: torch.device) -> Mapping[str, Tensor]:
        crops, classes = move_data_to_device(list(batch), device)
        return module.loss(crops, classes)  # type: ignore[operator]

    def validate(
        self,
        folders: Mapping[str, Sequence[Sample]],
        device: torch.device,
        autocast: torch.dtype | None,
        shown: OnCount,
    ) -> Validation:
        """The share of crops that the softmax tells right, of objects and of background half each."""
        total, done = sum(len(samples) for samples in folders.values()), 0
        losses: list[float] = []
        by_folder = {}
        for name, samples in folders.items():
            right: dict[bool, list[bool]] = {True: [], False: []}  # of objects, of background
            for number, sample in enumerate(samples):
                classes, found, loss = self.classify_crops(sample, number, device, autocast)
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

    def classify_crops(
        self, sample: Sample, number: int, device: torch.device, autocast: torch.dtype | None
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """True classes and those that the softmax says, int64 (n,) each, of the crops of one validation photo, the same
        ones each time; and its loss."""
        image = sample.image()
        rois, _ = self.read_rois(sample, image)
        windows = sample_crops(rois, self.stages.positive_from, CROPS_A_PHOTO, number)
        if not len(windows):
            return windows[:, 2], windows[:, 2], 0.0
        crops = torch.from_numpy(crop_boxes(image, rois.boxes[windows[:, 1]], self.card.input, self.stages.padding))
        classes = torch.from_numpy(windows[:, 2]).to(device)
        assert isinstance(self.net, RCNN)
        with torch.inference_mode(), torch.autocast(device.type, autocast, enabled=autocast is not None):
            logits = self.net.softmax(self.net.extract_features(crops.to(device))[0]).float()
        return windows[:, 2], logits.argmax(dim=1).cpu().numpy(), float(F.cross_entropy(logits, classes))

    def complete(self, say: Say) -> None:
        """The stages after fine-tuning."""
        net, card = checkpoint.load(self.best, choose_device(self.config.runtime.device))
        assert isinstance(net, RCNN)
        samples, read = [sample for source in self.data.train for sample in source.samples], self.read_rois
        try:
            with Interrupt() as interrupt:
                Solver(
                    net=net,
                    spec=card.input,
                    stages=self.stages,
                    samples=samples,
                    rois=[read(sample, sample.image())[0] for sample in samples],
                    labels=self.data.labels,
                    seed=self.config.runtime.seed,
                    folder=self.folder,
                    say=say,
                    interrupt=interrupt,
                ).solve()
        except Stopped:
            say(f"stopped after fine-tuning; go on with: imago train --resume --out {self.folder}")
            raise
        checkpoint.save(net, card.with_(crop_padding=self.stages.padding), self.best)
