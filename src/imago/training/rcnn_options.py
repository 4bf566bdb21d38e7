"""The settings of R-CNN's training, stage by stage. The figures are the paper's and its published code's."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from imago.core.setting import setting
from imago.core.spec import InputSpec
from imago.data.proposals import ProposalOptions


@dataclass(frozen=True)
class RcnnOptions:
    """Everything that decides what a training of R-CNN does."""

    encoder: str = setting("vgg16", "CNN: vgg16, alexnet (the paper's two), or any encoder, such as resnet18_half.")
    pretrained: bool = setting(False, "Start from published ImageNet weights (needs a network once).")
    width: int = setting(64, "VGG-16: channels of its first stage.")
    fc_width: int = setting(4096, "VGG-16: width of its fully connected layers.")
    crop: int = setting(227, "Side of the crops, pixels.")
    padding: int = setting(16, "Surroundings at each side of a crop, pixels of the crop.")

    steps: int = setting(50_000, "Fine-tuning: steps. 0: none, the CNN stays as it started.")
    lr: float = setting(1e-3, "Fine-tuning: learning rate; from random weights 1e-2.")
    drop_after: int = setting(20_000, "Fine-tuning: the learning rate falls to a tenth each so many steps.")
    momentum: float = setting(0.9, "Fine-tuning: momentum of SGD.")
    weight_decay: float = setting(5e-4, "Fine-tuning: weight decay.")
    positives: int = setting(32, "Fine-tuning: crops of things in a step.")
    negatives: int = setting(96, "Fine-tuning: crops of background in a step.")
    positive_from: float = setting(0.5, "Fine-tuning: overlap (IoU) with a thing from which a proposal shows it.")
    mirror: bool = setting(True, "Fine-tuning: half of the crops are mirrored.")
    clip: float = setting(0.0, "Fine-tuning: largest norm of the gradient; 0, as in the paper: no clipping.")
    save_steps: int = setting(500, "Fine-tuning: steps between saved states.")
    cache_photos: int = setting(256, "Fine-tuning: decoded photos that are kept in memory.")

    svm_c: float = setting(1e-3, "SVM: weight of the errors, at features of a mean length of 20.")
    positive_weight: float = setting(2.0, "SVM: how much more an error at a thing costs.")
    svm_bias: float = setting(10.0, "SVM: value of the constant feature.")
    negative_below: float = setting(0.3, "SVM: overlap with every thing of the class below which a box is a negative.")
    rounds: int = setting(1, "SVM: how often all images are searched for hard negatives.")
    hard_from: float = setting(-1.0001, "SVM: a negative that scores above this is hard, and is taken in.")
    easy_below: float = setting(-1.2, "SVM: a taken negative that scores below this after a training is let go.")
    retrain_after: int = setting(2000, "SVM: newly taken negatives of a class after which it is trained again.")

    near: float = setting(0.6, "Regressors: overlap above which a proposal is led to its thing.")
    penalty: float = setting(1000.0, "Regressors: ridge regression's lambda, at places of a mean length of 20.")

    batch: int = setting(64, "Crops at a time where nothing is learned.")
    device: str = setting("auto", "auto, cpu, cuda or mps.")
    seed: int = setting(0, "Seed of everything random but the order of selective search.")
    name: str = setting("rcnn", "Name of the model.")
    licence: str = setting("unknown", "Licence of the weights.")
    data: tuple[str, ...] = setting((), "What it is trained on, with licences, for the model card.")
    proposals: ProposalOptions = field(default_factory=ProposalOptions)

    def __post_init__(self) -> None:
        whole = ("width", "fc_width", "positives", "negatives", "drop_after", "save_steps", "cache_photos", "rounds",
                 "retrain_after", "batch")  # fmt: skip
        for name in whole:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; got {getattr(self, name)}")
        for name in ("lr", "svm_c", "positive_weight", "svm_bias", "penalty"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0; got {getattr(self, name)}")
        for name in ("steps", "weight_decay", "clip", "seed", "padding"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative; got {getattr(self, name)}")
        for name in ("positive_from", "negative_below", "near"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is an overlap above 0, at most 1; got {getattr(self, name)}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum lies from 0 up to 1; got {self.momentum}")
        if 2 * self.padding >= self.crop:
            raise ValueError(f"padding {self.padding} at each side leaves nothing of a crop of {self.crop} pixels")
        if self.easy_below > self.hard_from:
            raise ValueError(f"easy_below ({self.easy_below}) must not be above hard_from ({self.hard_from})")

    def net_options(self) -> dict[str, Any]:
        """Keyword arguments of ``build_rcnn``, but classes and pretrained."""
        return {name: getattr(self, name) for name in ("encoder", "crop", "width", "fc_width")}

    def input_spec(self) -> InputSpec:
        """Of one crop."""
        return InputSpec("squash", (self.crop, self.crop), 1)

    def deciding(self) -> dict[str, Any]:
        """What the result depends on; the rest may differ when a killed training goes on."""
        free = ("batch", "device", "save_steps", "cache_photos", "name", "licence", "data")
        return {name: value for name, value in asdict(self).items() if name not in free}
