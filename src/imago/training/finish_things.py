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
from imago.core.spec import InputSpec
from imago.data.borders import thing_samples
from imago.data.dataset import Sample
from imago.data.things import ThingSample
from imago.evaluation.thing_report import thing_examples, thing_sections, thing_tiles
from imago.evaluation.thing_result import ThingEvaluation
from imago.evaluation.things import evaluate_things
from imago.inference.predictor import Predictor
from imago.inference.things_torch import TorchObjectEngine
from imago.inference.torch_engine import TorchEngine
from imago.models import checkpoint
from imago.models.thing_base import ThingNet
from imago.training.config import TrainConfig
from imago.training.device import choose_device
from imago.training.find_proposals import kept_proposals
from imago.training.finish import BEST, SHOWN, arithmetic_notes, best_of, export_model, named_samples, told
from imago.training.preset import read_stored
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
    net, card = best_of(config, folder)
    predictor = Predictor(TorchEngine(folder / BEST, choose_device(config.device)))
    folders = {name: thing_samples(samples) for name, samples in data.val.items()}
    scores = judge(config, folder, card, predictor.objects, folders, history, data.notes, say)
    checkpoint.save(net, card.with_(scores=scores), folder / BEST)
    if config.export:
        say(told(export_model(folder, config.half, say)))


def finish_things(
    config: TrainConfig,
    folder: Path,
    data: RunData[ThingSample],
    history: Sequence[Mapping[str, Any]],
    say: Callable[[str], None],
) -> None:
    """A net that finds objects."""
    net, card = checkpoint.load_things(folder / BEST)
    card = card.with_(input=input_of(config, net))  # a finished run may be finished anew with another use_size
    checkpoint.save(net, card, folder / BEST)
    predictor = Predictor(TorchObjectEngine(folder / BEST, choose_device(config.device)))
    predictor.propose = kept_proposals(config, folder)
    scores = judge(config, folder, card, predictor.objects, data.val, history, data.notes, say)
    checkpoint.save(net, card.with_(scores=scores), folder / BEST)
    if config.export:
        say(told(export_model(folder, config.half, say)))


def input_of(config: TrainConfig, net: ThingNet) -> InputSpec:
    """What the finished model is fed."""
    if net.crop:
        return InputSpec("squash", (net.crop, net.crop), 1)
    return config.input_spec(net.multiple)


def judge(
    config: TrainConfig,
    folder: Path,
    card: ModelCard,
    predict: Predict,
    folders: dict[str, tuple[ThingSample, ...]],
    history: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
    say: Callable[[str], None],
) -> dict[str, float]:
    """Writes scores.json and report.html; the scores for the card, as "FOLDER/SCORE"."""
    labels = card.object_labels

    def evaluated(samples: Sequence[ThingSample]) -> ThingEvaluation:
        return evaluate_things(predict, samples, labels, model=card.name)

    evaluations: dict[str, ThingEvaluation] = {}
    scores: dict[str, float] = {}
    for name, samples in folders.items():
        evaluations[name] = evaluated(samples)
        scores |= {f"{name}/{score}": round(value, 4) for score, value in evaluations[name].scores.items()}
        say(f"\n{name}, {len(samples)} validation photos\n{evaluations[name].table()}")
    everything = named_samples(folders)
    whole = next(iter(evaluations.values())) if len(evaluations) == 1 else evaluated(everything)
    (folder / "scores.json").write_text(
        json.dumps({name: e.to_json() for name, e in evaluations.items()}, indent=1), "utf-8"
    )
    best, worst = (
        thing_examples(rows, predict, everything, whole.least_score) for rows in (whole.best(SHOWN), whole.worst(SHOWN))
    )
    text = whole_page(
        card.name,
        thing_tiles(whole),
        thing_sections(whole, best, worst),
        history,
        json.loads(config.to_json()),
        [*notes, *read_stored(folder), *arithmetic_notes(card, labels)],
    )
    write_page(folder / "report.html", text)
    say(f"{folder / 'report.html'}: curves, scores, best and worst photos")
    return scores
