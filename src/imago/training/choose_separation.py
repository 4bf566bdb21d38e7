"""The thresholds by which objects are made of insides and borders, chosen on photos that the net has learnt from.

How sure a net is of its borders hangs on its loss, its weights and how long it has learnt (with a Dice term masks come
out an eighth too large at one half: nuclei, 40 epochs); whether shape may split what it took for one hangs on how round
the objects are; whether a distance map tells them apart better than insides do, on how well it was learnt. So some
thresholds are tried, as nnU-Net tries its postprocessing (Isensee et al. 2021), and the best mean precision over IoU
0.5 to 0.95 wins. The validation photos have no part in it: their scores stay honest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from imago.core.detection_options import DetectionOptions
from imago.core.instances import Instances
from imago.core.separation import Separation
from imago.data.dataset import Sample
from imago.inference.instances.separation import separate_in
from imago.metrics.detection_overlap import compare_masks
from imago.metrics.nuclei import mean_precision

PHOTOS = 40
SEEDS = (0.5, 0.6, 0.7, 0.8, 0.9)
FOREGROUNDS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SEED_DISTANCES = (0.3, 0.4, 0.5, 0.6, 0.7)
NECKS = (0.0, 0.8)  # 0.75 to 0.9 do alike where objects are round

ScoresOf = Callable[[np.ndarray], np.ndarray]  # uint8 (H, W, C) -> float32 (K, h, w), see ``separate``


def choose_separation(
    scores_of: ScoresOf, samples: Sequence[Sample], with_distance: bool = False
) -> tuple[Separation, float]:
    """The best thresholds on at most ``PHOTOS`` of ``samples``, and their mean precision there (0..1).

    ``with_distance``: the last channel of the scores is a distance map, and its seeds are tried as well. Among equals
    those next to ``Separation()`` win. One photo is held at a time.
    """
    tried = list_tries(with_distance)
    chosen = np.unique(np.linspace(0, len(samples) - 1, min(PHOTOS, len(samples))).astype(int))
    precisions = np.zeros((len(chosen), len(tried)))
    for row, index in enumerate(chosen):
        sample = samples[index]
        truth, scores = sample.instances(), scores_of(sample.image())
        precisions[row] = [_precision(separate_in(scores, truth.size_hw, how, with_distance), truth) for how in tried]
    means = precisions.mean(axis=0)
    best = int(np.argmax(means))
    return tried[best], float(means[best])


def list_tries(with_distance: bool) -> list[Separation]:
    """What is tried, the usual first."""
    usual = Separation()
    seeds = [Separation(seed) for seed in SEEDS]
    seeds += [Separation(seed_distance=distance) for distance in SEED_DISTANCES if with_distance]
    return sorted(
        (replace(how, foreground=least, neck=neck) for neck in NECKS for how in seeds for least in FOREGROUNDS),
        key=lambda how: (
            how.neck + how.seed_distance + abs(how.seed - usual.seed) + abs(how.foreground - usual.foreground)
        ),
    )


def _precision(found: Instances, truth: Instances) -> float:
    return mean_precision(compare_masks(found, truth).above(DetectionOptions().score_thresh))
