"""The end of a run whose model finds objects: average precision, mistakes, report.html, and the exported model.

Two kinds of runs end here: nets that find objects, and nets that label insides and borders (``--objects``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from imago.core.instances import Instances
from imago.core.model_card import ModelCard
from imago.data.dataset import Sample
from imago.evaluation.detection import evaluate_detection
from imago.evaluation.detection_report import detection_examples, detection_sections, detection_tiles
from imago.evaluation.detection_results import DetectionEvaluation
from imago.inference.engines.torch import TorchEngine
from imago.inference.options import PredictOptions
from imago.inference.predictor import Predictor
from imago.training.choose_separation import choose_separation
from imago.training.device import choose_device
from imago.training.find_proposals import cache_proposals
from imago.training.finish import SHOWN, collect_notes, conclude, load_best, named_samples, score_folders
from imago.training.report import whole_page, write_page
from imago.training.tasks.base import FinishedRun

Predict = Callable[[np.ndarray], Instances]  # uint8 (H, W, C) -> its objects, low scores too


def finish_separated(finished: FinishedRun) -> None:
    """A semantic net of insides and borders, judged by the objects that are made of them."""
    net, card = load_best(finished)
    predictor = Predictor(TorchEngine(finished.best, choose_device(finished.config.device)))
    learnt = [sample for source in finished.data.train for sample in source.samples]
    how, reached = choose_separation(predictor.scores, learnt)
    predictor, card = predictor.with_options(separation=how), card.with_(separation=how)
    shape = f", split at necks below {how.neck:g}" if how.neck else ""
    finished.say(
        f"objects: seeds from {how.seed:g}, foreground from {how.foreground:g}{shape}; mean precision {reached:.3f} on "
        "training photos"
    )
    conclude(finished, net, card.with_(scores=evaluate_run(finished, card, predictor.objects, finished.data.val)))


def finish_detection(finished: FinishedRun) -> None:
    """A net that finds objects."""
    net, card = load_best(finished)
    options = PredictOptions(find_proposals=cache_proposals(finished.config, finished.folder))
    predictor = Predictor(TorchEngine(finished.best, choose_device(finished.config.device)), options)
    conclude(finished, net, card.with_(scores=evaluate_run(finished, card, predictor.objects, finished.data.val)))


def evaluate_run(
    finished: FinishedRun, card: ModelCard, predict: Predict, folders: Mapping[str, Sequence[Sample]]
) -> dict[str, float]:
    """Writes scores.json and report.html; the scores for the card, as "FOLDER/SCORE"."""

    def evaluated(samples: Sequence[Sample]) -> DetectionEvaluation:
        return evaluate_detection(predict, samples, card.object_labels, model=card.name)

    whole, scores = score_folders(finished, folders, evaluated)
    everything = named_samples(folders)
    best, worst = (
        detection_examples(rows, predict, everything, whole.score_threshold)
        for rows in (whole.best(SHOWN), whole.worst(SHOWN))
    )
    text = whole_page(
        card.name,
        detection_tiles(whole),
        detection_sections(whole, best, worst),
        finished.history,
        json.loads(finished.config.to_json()),
        collect_notes(finished, card),
    )
    write_page(finished.folder / "report.html", text)
    return scores
