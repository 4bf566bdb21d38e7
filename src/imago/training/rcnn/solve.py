"""R-CNN's later learning: an SVM a class with mining of hard negatives, then a box regressor a class.

Positives of an SVM are the true boxes alone; negatives are the boxes that overlap all of the class by less than 0.3;
what lies between counts for nothing (section 2.3, appendix B). There are far too many negatives for one problem, so of
each image only those are taken that the SVM of the moment gets wrong, it is trained again when enough have come
together, and those that have become easy are let go (Felzenszwalb et al. 2010, "data mining"). One round over the
images is enough (section 2.3).

Regressors are ridge regressions from pool5 (here "places") to the deltas of appendix C, over the proposals that
overlap an object by more than 0.6. Both are solved at features of a mean length of 20, as the authors' code does (their
C and lambda mean that), and the scale is then taken into the weights.

Differs from the paper:
- C grows where a class has fewer than ``ENOUGH`` objects, about VOC 2007's mean, for which the paper's 1e-3 was chosen:
  its objects together weigh as much as those. Measured on 45 drawn ones: at 1e-3 all of them lie on the wrong side of
  the border, at 0.013 their median margin is 0.9;
- margins are then stretched and moved so that a sigmoid of them is the chance that a box shows an object of the class
  (overlap of 0.5 or more; Platt 1999, "Probabilistic outputs for support vector machines"). Within a class the order
  stays as it is, so that its average precision does, and 0.5 means of R-CNN what it means of other nets;
- the deltas are not whitened before the regression; a regressor learns from no more proposals than ``MOST_VALUES``
  allows (3,000 on VGG's pool5);
- features rest in memory and on disk as float16, which halves both (fc7 and pool5 of nets like these stay far below its
  limit; else it is said).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from imago.core.errors import DataError
from imago.core.labels import Labels
from imago.data.array_cache import Arrays
from imago.models.detection.box_deltas import encode_deltas
from imago.models.detection.rcnn import NEVER
from imago.training.interrupt import Interrupt
from imago.training.rcnn.options import RcnnStages
from imago.training.rcnn.rois import Rois
from imago.training.rcnn.svm import Svm, fit_ridge, fit_sigmoid, fit_svm

LENGTH = 20.0  # mean length of the features that the SVMs and regressors are solved at
LOOKED_AT = 200  # images whose features that mean is taken from
ENOUGH = 600  # objects of a class
REACH, BINS = 10.0, 4000  # of the margins that are counted
MOST_VALUES = 75_000_000  # of places that a regressor is solved over: under 1 GB while it is

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

    def add(self, number: int) -> np.ndarray:
        """int64 (k,): rows of image ``number`` that are among the negatives already."""
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
    read: ReadFeatures, rois: Sequence[Rois], labels: Labels, options: RcnnStages, seed: int,
    say: Callable[[str], None], interrupt: Interrupt,
) -> Arrays:  # fmt: skip
    """``weights`` float32 (classes - 1, D) and ``offsets`` (classes - 1,). A class without an example is said, and is
    never found."""
    scale = LENGTH / mean_length(read, len(rois), "features")
    mined = start_mining(read, rois)
    for turn in range(options.rounds):
        for number, one in enumerate(rois):
            interrupt.check()
            features = read(number)["features"]
            for value, cache in mined.items():
                rows = one.negatives(value, options.negative_below)
                take_hard(cache, number, rows, features, scale, options=options, seed=seed)
            if (number + 1) % max(1, len(rois) // 10) == 0:
                held = sum(len(rows) for cache in mined.values() for rows in cache.places)
                say(f"SVMs: round {turn + 1}, image {number + 1} of {len(rois)}, {held} hard negatives held")
    weights = np.zeros((len(labels) - 1, read(0)["features"].shape[1]), np.float32)
    offsets = np.full(len(labels) - 1, NEVER, np.float32)
    for value in range(1, len(labels)):
        if value not in mined or not mined[value].negatives:
            missing = "no example" if value not in mined else "no negatives"
            say(f"SVMs: {labels.names[value]} has {missing}; it will never be found")
            continue
        retrain(mined[value], scale, options, seed)
        svm = mined[value].svm
        if not svm.solved:
            say(f"SVMs: {labels.names[value]} was not solved to the end in {svm.passes} passes; a smaller svm_c would")
        weights[value - 1], offsets[value - 1] = svm.weights * scale, svm.offset
    slopes, shifts = calibrate(read, rois, weights, offsets, options.positive_from)
    return {"weights": weights * slopes[:, None], "offsets": offsets * slopes + shifts}


def calibrate(
    read: ReadFeatures, rois: Sequence[Rois], weights: np.ndarray, offsets: np.ndarray, positive_from: float
) -> tuple[np.ndarray, np.ndarray]:
    """float32 (classes - 1,) each: slopes and shifts of the margins, see the head of this file."""
    edges = np.linspace(-REACH, REACH, BINS + 1)
    counts = np.zeros((len(offsets), 2, BINS))  # of background and of objects, by margin
    for number, one in enumerate(rois):
        margins = read(number)["features"].astype(np.float32) @ weights.T + offsets
        for index, own in enumerate(margins.T.clip(-REACH, REACH)):
            shows = one.overlaps[:, one.names == index + 1].max(axis=1, initial=0.0) >= positive_from
            shows[: one.instances] = False  # on these it was trained
            clear = ~one.crowded & (np.arange(len(own)) >= one.instances)
            counts[index, 0] += np.histogram(own[clear & ~shows], edges)[0]
            counts[index, 1] += np.histogram(own[shows], edges)[0]
    middles = (edges[:-1] + edges[1:]) / 2
    found = [fit_sigmoid(middles, background, instances) for background, instances in counts]
    slopes, shifts = np.array(found, np.float32).T
    return slopes, shifts


def start_mining(read: ReadFeatures, rois: Sequence[Rois]) -> dict[int, Mined]:
    """Of each class that has objects, their features, and an SVM that finds every negative hard."""
    parts: dict[int, list[np.ndarray]] = {}
    for number, one in enumerate(rois):
        if one.instances:
            features = read(number)["features"][: one.instances]
            for value in np.unique(one.names):
                parts.setdefault(int(value), []).append(features[one.names == value])
    mined = {}
    for value, found in sorted(parts.items()):
        features = np.concatenate(found)
        mined[value] = Mined(features, Svm(np.zeros(features.shape[1], np.float32), 0.0, 0, False))
    return mined


def take_hard(
    cache: Mined, number: int, rows: np.ndarray, features: np.ndarray, scale: float, options: RcnnStages, seed: int
) -> None:
    """Takes those negatives ``rows`` (k,) of an image, with ``features`` (n, D), that score too high, and trains again
    when enough have come."""
    rows = np.setdiff1d(rows, cache.add(number))
    hard = rows[cache.svm.scores(features[rows].astype(np.float32) * scale) > options.hard_from]
    if len(hard):
        cache.negatives.append(features[hard])
        cache.places.append(np.stack([np.full(len(hard), number), hard], axis=1))
        cache.new += len(hard)
    if cache.new >= options.retrain_after:
        retrain(cache, scale, options, seed)


def retrain(cache: Mined, scale: float, options: RcnnStages, seed: int) -> None:
    """Trains on all that is held, then lets go what is easy."""
    negatives, places = np.concatenate(cache.negatives), np.concatenate(cache.places)
    features = np.concatenate([cache.positives, negatives]).astype(np.float32) * scale
    positive = np.arange(len(features)) < len(cache.positives)
    c = options.svm_c * max(1.0, ENOUGH / len(cache.positives))
    cache.svm = fit_svm(features, positive, c, options.positive_weight, options.svm_bias, seed=seed)
    stay = cache.svm.scores(features[len(cache.positives) :]) >= options.easy_below
    if not stay.any():
        stay[:1] = True  # an SVM needs both kinds the next time too
    cache.negatives, cache.places, cache.new = [negatives[stay]], [places[stay]], 0


def solve_boxes(
    read: ReadFeatures, rois: Sequence[Rois], labels: Labels, options: RcnnStages,
    say: Callable[[str], None], interrupt: Interrupt,
) -> Arrays:  # fmt: skip
    """``weights`` float32 (4 * (classes - 1), P) and ``offsets``, class by class, so that only one class's places are
    in memory at a time."""
    scale = LENGTH / mean_length(read, len(rois), "places")
    width = read(0)["places"].shape[1]
    weights = np.zeros((4 * (len(labels) - 1), width), np.float32)
    offsets = np.zeros(4 * (len(labels) - 1), np.float32)
    for value in range(1, len(labels)):
        count = sum(int(_select_class(one, value, options).sum()) for one in rois)
        if count < 2:
            say(f"regressors: {labels.names[value]} has {count} proposals near its objects; its boxes stay as they are")
            continue
        share = min(1.0, MOST_VALUES / width / count)
        pairs = list(_pairs(value, read, rois, options, share, interrupt))
        places = np.concatenate([found for found, _ in pairs]).astype(np.float32) * scale
        found, offset = fit_ridge(places, np.concatenate([targets for _, targets in pairs]), options.penalty)
        rows = slice(4 * (value - 1), 4 * value)
        weights[rows], offsets[rows] = found * scale, offset
        say(f"regressors: {labels.names[value]}, {len(places)} proposals")
    return {"weights": weights, "offsets": offsets}


def _select_class(one: Rois, value: int, options: RcnnStages) -> np.ndarray:
    """bool, one for each near proposal: whether the object that it is near to is of class ``value``."""
    return one.names[one.which[one.near(options.near)]] == value


def _pairs(
    value: int, read: ReadFeatures, rois: Sequence[Rois], options: RcnnStages, share: float, interrupt: Interrupt
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each image with the class: places float16 (m, P) and deltas float32 (m, 4) of a ``share`` of its near
    proposals, evenly."""
    for number, one in enumerate(rois):
        own = np.flatnonzero(_select_class(one, value, options))
        if not len(own):
            continue
        interrupt.check()
        own = own[np.linspace(0, len(own) - 1, max(1, round(share * len(own)))).astype(int)]
        near = one.near(options.near)[own]
        instances = one.boxes[one.which[near]]  # the true boxes come first among the boxes
        deltas = encode_deltas(torch.from_numpy(one.boxes[near]), torch.from_numpy(instances))
        yield read(number)["places"][own], deltas.numpy()
