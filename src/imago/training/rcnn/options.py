"""The settings of R-CNN's own stages, ``--option stages.NAME=VALUE``. The figures are the paper's and its code's."""

from __future__ import annotations

from dataclasses import dataclass

from imago.core.settings import setting


@dataclass(frozen=True)
class RcnnStages:
    """What decides R-CNN's training beside what decides every training."""

    padding: int = setting(16, "Surroundings at each side of a crop, pixels of the crop.")

    positives: int = setting(32, "Fine-tuning: crops of objects in a step.")
    negatives: int = setting(96, "Fine-tuning: crops of background in a step.")
    positive_from: float = setting(0.5, "Fine-tuning: overlap (IoU) with an object from which a proposal shows it.")

    svm_c: float = setting(1e-3, "SVM: weight of the errors, at features of mean length 20; more with few objects.")
    positive_weight: float = setting(2.0, "SVM: how much more an error at an object costs.")
    svm_bias: float = setting(10.0, "SVM: value of the constant feature.")
    negative_below: float = setting(0.3, "SVM: overlap with every object of the class below which a box is a negative.")
    rounds: int = setting(1, "SVM: how often all images are searched for hard negatives.")
    hard_from: float = setting(-1.0001, "SVM: a negative that scores above this is hard, and is taken in.")
    easy_below: float = setting(-1.2, "SVM: a taken negative that scores below this after a training is let go.")
    retrain_after: int = setting(2000, "SVM: newly taken negatives of a class after which it is trained again.")

    near: float = setting(0.6, "Regressors: overlap above which a proposal is led to its object.")
    penalty: float = setting(1000.0, "Regressors: ridge regression's lambda, at places of a mean length of 20.")

    def __post_init__(self) -> None:
        for name in ("positives", "negatives", "rounds", "retrain_after"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; got {getattr(self, name)}")
        for name in ("svm_c", "positive_weight", "svm_bias", "penalty"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0; got {getattr(self, name)}")
        if self.padding < 0:
            raise ValueError(f"padding must not be negative; got {self.padding}")
        for name in ("positive_from", "negative_below", "near"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is an overlap above 0, at most 1; got {getattr(self, name)}")
        if self.easy_below > self.hard_from:
            raise ValueError(f"easy_below ({self.easy_below}) must not be above hard_from ({self.hard_from})")
