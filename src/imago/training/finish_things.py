"""The end of a run whose model finds objects: average precision, mistakes, report.html, and the exported model.

Two kinds of runs end here: nets that find objects, and nets that label insides and borders (``--objects``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from imago.core.card import ModelCard
from imago.core.instances import Instances
from imago.data.borders import thing_samples
from imago.data.things import ThingSample
from imago.evaluation.thing_report import thing_examples, thing_sections, thing_tiles
from imago.evaluation.thing_result import ThingEvaluation
from imago.evaluation.things import evaluate_things
from imago.inference.predictor import Predictor
from imago.inference.things_torch import TorchObjectEngine
from imago.inference.torch_engine import TorchEngine
from imago.models import checkpoint
from imago.training.choose_separation import choose_separation
from imago.training.device import choose_device
from imago.training.find_proposals import kept_proposals
from imago.training.finish import SHOWN, best_of, conclude, named_samples, notes_of, score_folders
from imago.training.kind import Ending
from imago.training.report import whole_page, write_page

Predict = Callable[[np.ndarray], Instances]  # uint8 (H, W, C) -> its objects, low scores too


def finish_separated(ending: Ending) -> None:
    """A semantic net of insides and borders, judged by the objects that are made of them."""
    net, card = best_of(ending, checkpoint.load)
    predictor = Predictor(TorchEngine(ending.best, choose_device(ending.config.device)))
    learnt = [sample for source in ending.data.train for sample in thing_samples(source.samples)]
    how, reached = choose_separation(predictor.scores, learnt)
    predictor.separation, card = how, card.with_(separation=how)
    shape = f", split at necks below {how.neck:g}" if how.neck else ""
    ending.say(
        f"objects: seeds from {how.seed:g}, foreground from {how.foreground:g}{shape}; mean precision {reached:.3f} on "
        "training photos"
    )
    folders = {name: thing_samples(samples) for name, samples in ending.data.val.items()}
    conclude(ending, net, card.with_(scores=judge(ending, card, predictor.objects, folders)))


def finish_things(ending: Ending) -> None:
    """A net that finds objects."""
    net, card = best_of(ending, checkpoint.load_things)
    predictor = Predictor(TorchObjectEngine(ending.best, choose_device(ending.config.device)))
    predictor.propose = kept_proposals(ending.config, ending.folder)
    conclude(ending, net, card.with_(scores=judge(ending, card, predictor.objects, ending.data.val)))


def judge(
    ending: Ending, card: ModelCard, predict: Predict, folders: Mapping[str, Sequence[ThingSample]]
) -> dict[str, float]:
    """Writes scores.json and report.html; the scores for the card, as "FOLDER/SCORE"."""

    def evaluated(samples: Sequence[ThingSample]) -> ThingEvaluation:
        return evaluate_things(predict, samples, card.object_labels, model=card.name)

    whole, scores = score_folders(ending, folders, evaluated)
    everything = named_samples(folders)
    best, worst = (
        thing_examples(rows, predict, everything, whole.least_score) for rows in (whole.best(SHOWN), whole.worst(SHOWN))
    )
    text = whole_page(
        card.name,
        thing_tiles(whole),
        thing_sections(whole, best, worst),
        ending.history,
        json.loads(ending.config.to_json()),
        notes_of(ending, card),
    )
    write_page(ending.folder / "report.html", text)
    return scores
