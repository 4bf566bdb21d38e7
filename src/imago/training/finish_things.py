"""The end of a run whose model finds objects: average precision, mistakes, report.html, and the exported model.

Two kinds of runs end here: nets that find objects, and nets that label insides and borders (``--objects``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imago.core.card import ModelCard
from imago.core.instances import Instances
from imago.core.views import Views
from imago.data.borders import thing_samples
from imago.data.dataset import Sample
from imago.data.things import ThingSample
from imago.evaluation.thing_report import thing_examples, thing_sections, thing_tiles
from imago.evaluation.thing_result import ThingEvaluation
from imago.evaluation.things import evaluate_things
from imago.inference.predictor import Predictor, views_of
from imago.inference.things_torch import TorchObjectEngine
from imago.inference.torch_engine import TorchEngine
from imago.inference.views import look
from imago.models import checkpoint
from imago.training.choose_separation import choose_separation
from imago.training.config import TrainConfig
from imago.training.device import choose_device
from imago.training.find_proposals import kept_proposals
from imago.training.finish import BEST, SHOWN, best_of, conclude, named_samples, notes_of, score_folders
from imago.training.report import whole_page, write_page
from imago.training.sources import RunData

Predict = Callable[[np.ndarray], Instances]  # uint8 (H, W, C) -> its objects, low scores too


def finish_separated(
    config: TrainConfig,
    folder: Path,
    data: RunData[Sample],
    history: Sequence[Mapping[str, Any]],
    say: Callable[[str], None],
) -> None:
    """A semantic net of insides and borders, judged by the objects that are made of them."""
    net, card = best_of(config, folder, checkpoint.load)
    engine = TorchEngine(folder / BEST, choose_device(config.device))
    learnt = [sample for source in data.train for sample in thing_samples(source.samples)]
    views = views_of(card, Views())
    separation, reached = choose_separation(lambda image: look(engine.run, card.input, image, views), learnt)
    say(
        f"objects: seeds from {separation.seed:g}, foreground from {separation.foreground:g}; mean precision "
        f"{reached:.3f} on training photos"
    )
    card = card.with_(separation=separation)
    checkpoint.save(net, card, folder / BEST)
    predictor = Predictor(TorchEngine(folder / BEST, choose_device(config.device)))
    folders = {name: thing_samples(samples) for name, samples in data.val.items()}
    scores = judge(config, folder, card, predictor.objects, folders, history, notes_of(folder, card, data), say)
    conclude(config, folder, net, card.with_(scores=scores), say)


def finish_things(
    config: TrainConfig,
    folder: Path,
    data: RunData[ThingSample],
    history: Sequence[Mapping[str, Any]],
    say: Callable[[str], None],
) -> None:
    """A net that finds objects."""
    net, card = best_of(config, folder, checkpoint.load_things)
    predictor = Predictor(TorchObjectEngine(folder / BEST, choose_device(config.device)))
    predictor.propose = kept_proposals(config, folder)
    scores = judge(config, folder, card, predictor.objects, data.val, history, notes_of(folder, card, data), say)
    conclude(config, folder, net, card.with_(scores=scores), say)


def judge(
    config: TrainConfig,
    folder: Path,
    card: ModelCard,
    predict: Predict,
    folders: Mapping[str, Sequence[ThingSample]],
    history: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
    say: Callable[[str], None],
) -> dict[str, float]:
    """Writes scores.json and report.html; the scores for the card, as "FOLDER/SCORE"."""

    def evaluated(samples: Sequence[ThingSample]) -> ThingEvaluation:
        return evaluate_things(predict, samples, card.object_labels, model=card.name)

    whole, scores = score_folders(folder, folders, evaluated, say)
    everything = named_samples(folders)
    best, worst = (
        thing_examples(rows, predict, everything, whole.least_score) for rows in (whole.best(SHOWN), whole.worst(SHOWN))
    )
    text = whole_page(
        card.name,
        thing_tiles(whole),
        thing_sections(whole, best, worst),
        history,
        json.loads(config.to_json()),
        list(notes),
    )
    write_page(folder / "report.html", text)
    return scores
