"""R-CNN's later learning: an SVM a class with mining of hard negatives, then a box regressor a class.

Positives of an SVM are the true boxes alone; negatives are the boxes that overlap all of the class by less than 0.3;
what lies between counts for nothing (section 2.3, appendix B). There are far too many negatives for one problem, so of
each image only those are taken that the SVM of the moment gets wrong, it is trained again when enough have come
together, and those that have become easy are let go (Felzenszwalb et al. 2010, "data mining"). One round over the
images is enough (section 2.3).

Regressors are ridge regressions from pool5 (here "places") to the deltas of appendix C, over the proposals that
overlap a thing by more than 0.6. Both are solved at features of a mean length of 20, as the authors' code does (their
C and lambda mean that), and the scale is then taken into the weights.

Differs from the paper: the deltas are not whitened before the regression; features rest in memory and on disk as
float16, which halves both (fc7 and pool5 of nets like these stay far below its limit; else it is said).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from imago.core.errors import DataError
from imago.core.labels import Labels
from imago.models.box_deltas import deltas_between
from imago.models.rcnn import RCNN
from imago.training.interrupt import Interrupt
from imago.training.rcnn_options import RcnnOptions
from imago.training.rcnn_regions import Regions
from imago.training.svm import Svm, fit_ridge, fit_svm

LENGTH = 20.0  # mean length of the features that the SVMs and regressors are solved at
LOOKED_AT = 200  # images whose features that mean is taken from
NEVER = -10.0  # the offset of a class that has no example: a score of 0.00005

# What a stage asks of the one before: of image n float16 features (boxes, D), and places (near proposals, P).
ReadFeatures = Callable[[int], dict[str, np.ndarray]]


@dataclass
class Mined:
    """One class's examples, and the SVM of the moment."""

    positives: np.ndarray  # float16 (n, D)
    svm: Svm
    negatives: list[np.ndarray] = field(default_factory=list)  # float16 (k, D) each
    places: list[np.ndarray] = field(default_factory=list)  # int64 (k, 2) each: image and row of the negatives
    new: int = 0  # negatives since the last training

    def taken(self, number: int) -> np.ndarray:
        """Rows of image ``number`` that are among the negatives already."""
        return np.concatenate([rows[rows[:, 0] == number, 1] for rows in self.places] or [np.zeros(0, np.int64)])


def mean_length(read: ReadFeatures, count: int, name: str) -> float:
    """Mean length of the arrays ``name`` over at most ``LOOKED_AT`` of the ``count`` images."""
    numbers = np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(int))
    lengths = np.concatenate([np.linalg.norm(read(int(n))[name].astype(np.float32), axis=1) for n in numbers])
    mean = float(lengths.mean()) if len(lengths) else 0.0
    if len(lengths) and not 0 < mean < float("inf"):
        raise DataError(
            f"the CNN's {name} have a mean length of {mean}; it has died or exploded in fine-tuning. Try a smaller lr"
        )
    return mean or 1.0


def solve_svms(
    net: RCNN, read: ReadFeatures, regions: Sequence[Regions], labels: Labels, options: RcnnOptions,
    say: Callable[[str], None], interrupt: Interrupt,
) -> None:  # fmt: skip
    """Fills ``net.svm``. A class without an example is said, and is never found."""
    scale = LENGTH / mean_length(read, len(regions), "features")
    mined = start_mining(net, read, regions)
    for turn in range(options.rounds):
        for number, one in enumerate(regions):
            interrupt.check()
            features = read(number)["features"]
            for value, cache in mined.items():
                take_hard(cache, number, one.negatives(value, options.negative_below), features, scale, options)
            if (number + 1) % max(1, len(regions) // 10) == 0:
                held = sum(len(rows) for cache in mined.values() for rows in cache.places)
                say(f"SVMs: round {turn + 1}, image {number + 1} of {len(regions)}, {held} hard negatives held")
    weights, offsets = torch.zeros_like(net.svm.weight), torch.full_like(net.svm.bias, NEVER)
    for value in range(1, len(labels)):
        if value not in mined or not mined[value].negatives:
            missing = "no example" if value not in mined else "no negatives"
            say(f"SVMs: {labels.names[value]} has {missing}; it will never be found")
            continue
        retrain(mined[value], scale, options)
        svm = mined[value].svm
        if not svm.solved:
            say(f"SVMs: {labels.names[value]} was not solved to the end in {svm.passes} passes; a smaller svm_c would")
        weights[value - 1] = torch.from_numpy(svm.weights * scale)
        offsets[value - 1] = svm.offset
    net.svm.weight.data.copy_(weights)
    net.svm.bias.data.copy_(offsets)


def start_mining(net: RCNN, read: ReadFeatures, regions: Sequence[Regions]) -> dict[int, Mined]:
    """Of each class that has things, their features, and an SVM that finds every negative hard."""
    parts: dict[int, list[np.ndarray]] = {}
    for number, one in enumerate(regions):
        if one.things:
            features = read(number)["features"][: one.things]
            for value in np.unique(one.names):
                parts.setdefault(int(value), []).append(features[one.names == value])
    blank = Svm(np.zeros(net.body.features, np.float32), 0.0, 0, False)
    return {value: Mined(np.concatenate(found), blank) for value, found in sorted(parts.items())}


def take_hard(
    cache: Mined, number: int, rows: np.ndarray, features: np.ndarray, scale: float, options: RcnnOptions
) -> None:
    """Takes those negatives ``rows`` of an image that score too high, and trains again when enough have come."""
    rows = np.setdiff1d(rows, cache.taken(number))
    hard = rows[cache.svm.scores(features[rows].astype(np.float32) * scale) > options.hard_from]
    if len(hard):
        cache.negatives.append(features[hard])
        cache.places.append(np.stack([np.full(len(hard), number), hard], axis=1))
        cache.new += len(hard)
    if cache.new >= options.retrain_after:
        retrain(cache, scale, options)


def retrain(cache: Mined, scale: float, options: RcnnOptions) -> None:
    """Trains on all that is held, then lets go what is easy."""
    negatives, places = np.concatenate(cache.negatives), np.concatenate(cache.places)
    features = np.concatenate([cache.positives, negatives]).astype(np.float32) * scale
    positive = np.arange(len(features)) < len(cache.positives)
    cache.svm = fit_svm(features, positive, options.svm_c, options.positive_weight, options.svm_bias, seed=options.seed)
    stay = cache.svm.scores(features[len(cache.positives) :]) >= options.easy_below
    if not stay.any():
        stay[:1] = True  # an SVM needs both kinds the next time too
    cache.negatives, cache.places, cache.new = [negatives[stay]], [places[stay]], 0


def solve_boxes(
    net: RCNN, read: ReadFeatures, regions: Sequence[Regions], labels: Labels, options: RcnnOptions,
    say: Callable[[str], None], interrupt: Interrupt,
) -> None:  # fmt: skip
    """Fills ``net.boxes``, class by class, so that only one class's places are in memory at a time."""
    scale = LENGTH / mean_length(read, len(regions), "places")
    weights, offsets = torch.zeros_like(net.boxes.weight), torch.zeros_like(net.boxes.bias)
    for value in range(1, len(labels)):
        pairs = list(_pairs(value, read, regions, options, interrupt))
        count = sum(len(targets) for _, targets in pairs)
        if count < 2:
            say(f"regressors: {labels.names[value]} has {count} proposals near its things; its boxes stay as they are")
            continue
        places = np.concatenate([found for found, _ in pairs]).astype(np.float32) * scale
        found, offset = fit_ridge(places, np.concatenate([targets for _, targets in pairs]), options.penalty)
        rows = slice(4 * (value - 1), 4 * value)
        weights[rows] = torch.from_numpy(found * scale)
        offsets[rows] = torch.from_numpy(offset)
        say(f"regressors: {labels.names[value]}, {count} proposals")
    net.boxes.weight.data.copy_(weights)
    net.boxes.bias.data.copy_(offsets)


def _pairs(
    value: int, read: ReadFeatures, regions: Sequence[Regions], options: RcnnOptions, interrupt: Interrupt
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each image with the class: places float16 (m, P) and deltas float32 (m, 4) of its near proposals."""
    for number, one in enumerate(regions):
        if value not in one.names:
            continue
        interrupt.check()
        near = one.near(options.near)
        own = one.names[one.which[near]] == value
        things = one.boxes[one.which[near[own]]]  # the true boxes come first among the boxes
        deltas = deltas_between(torch.from_numpy(one.boxes[near[own]]), torch.from_numpy(things))
        yield read(number)["places"][own], deltas.numpy()
