"""The end of a run: the best weights measured as a user would, report.html, and the exported model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from imago.core.card import ModelCard
from imago.core.errors import ModelError
from imago.core.spec import InputSpec
from imago.core.text import escape, to_json, to_utf8
from imago.data.dataset import Sample
from imago.data.things import ThingSample
from imago.evaluation.evaluate import evaluate
from imago.evaluation.result import Evaluation
from imago.evaluation.thing_result import ThingEvaluation
from imago.export.onnx import ExportReport
from imago.export.run import export_run
from imago.inference.predictor import Predictor
from imago.inference.torch_engine import TorchEngine
from imago.models import checkpoint
from imago.models.base import SegmentationNet
from imago.models.thing_base import ThingNet
from imago.training.choices import read_stored
from imago.training.config import TrainConfig
from imago.training.device import choose_device
from imago.training.kind import Ending
from imago.training.report import Example, ReportData, write_report

SHOWN = 6  # best and worst photos in the report

AnySample = TypeVar("AnySample", Sample, ThingSample)
AnyNet = TypeVar("AnyNet", SegmentationNet, ThingNet)
Judged = TypeVar("Judged", Evaluation, ThingEvaluation)


def finish(ending: Ending) -> None:
    """Writes scores.json, report.html and, where asked for, model.onnx; puts the scores into the checkpoint's card."""
    config, data = ending.config, ending.data
    net, card = best_of(ending, checkpoint.load)
    predictor = Predictor(TorchEngine(ending.best, choose_device(config.device)))
    whole, scores = score_folders(ending, data.val, lambda samples: evaluate(predictor, samples))
    by_name = {sample.name: sample for sample in named_samples(data.val)}
    write_report(
        ending.folder / "report.html",
        ReportData(
            title=card.name,
            labels=data.labels,
            evaluation=whole,
            history=list(ending.history),
            settings=json.loads(config.to_json()),
            best=examples(predictor, by_name, [row.name for row in whole.best(SHOWN)], whole),
            worst=examples(predictor, by_name, [row.name for row in whole.worst(SHOWN)], whole),
            notes=notes_of(ending, card),
        ),
    )
    conclude(ending, net, card.with_(scores=scores))


def input_of(config: TrainConfig, net: SegmentationNet | ThingNet) -> InputSpec:
    """What the finished model is fed."""
    if isinstance(net, ThingNet) and net.crop:
        spec = config.input_spec(1)
        return InputSpec("squash", (net.crop, net.crop), 1, mean=spec.mean, std=spec.std)
    return config.input_spec(net.multiple)


def best_of(ending: Ending, load: Callable[[Path], tuple[AnyNet, ModelCard]]) -> tuple[AnyNet, ModelCard]:
    """The best checkpoint, stored again with the card that the settings want now: a finished run may be finished anew
    with another use_size, mirror, scales or specks in its config.json."""
    config = ending.config
    net, card = load(ending.best)
    card = card.with_(input=input_of(config, net), mirror=config.mirror, scales=config.scales, specks=config.specks)
    checkpoint.save(net, card, ending.best)
    return net, card


def score_folders(
    ending: Ending,
    folders: Mapping[str, Sequence[AnySample]],
    evaluated: Callable[[Sequence[AnySample]], Judged],
) -> tuple[Judged, dict[str, float]]:
    """Writes scores.json; the evaluation over all folders, and the scores for the card, as "FOLDER/SCORE"."""
    evaluations: dict[str, Judged] = {}
    scores: dict[str, float] = {}
    for name, samples in folders.items():
        evaluations[name] = evaluated(samples)
        scores |= {f"{escape(name)}/{score}": round(value, 4) for score, value in evaluations[name].scores.items()}
        ending.say(f"\n{name}, {len(samples)} validation photos\n{evaluations[name].table()}")
    told = to_json({name: e.to_json() for name, e in evaluations.items()}, indent=1)
    (ending.folder / "scores.json").write_bytes(to_utf8(told))
    whole = next(iter(evaluations.values())) if len(evaluations) == 1 else evaluated(named_samples(folders))
    return whole, scores


def conclude(ending: Ending, net: SegmentationNet | ThingNet, card: ModelCard) -> None:
    """The checkpoint with its scores, a word on the report, and the model where it is asked for."""
    checkpoint.save(net, card, ending.best)
    ending.say(f"{ending.folder / 'report.html'}: curves, scores, best and worst photos")
    if ending.config.export:
        ending.say(told(export_model(ending.folder, ending.config.half, ending.say)))


def notes_of(ending: Ending, card: ModelCard) -> list[str]:
    """What the report says below its tables: on the data, the preset and the arithmetic."""
    labels, size = card.object_labels, " x ".join(map(str, card.input.size_hw))
    arithmetic = f"{card.architecture}, {len(labels)} classes, size rule {card.input.rule} at {size}"
    return [*ending.data.notes, *read_stored(ending.folder), f"{arithmetic}; torch {torch.__version__}"]


def told(report: ExportReport) -> str:
    """A line on what was exported."""
    return (
        f"{report.path}: {report.bytes / 1e6:.1f} MB, {report.sizes}; differs from torch by at most "
        f"{report.largest_difference:.1e} on {report.samples}" + (f". {report.remark}" if report.remark else "")
    )


def export_model(folder: Path, half: bool, say: Callable[[str], None]) -> ExportReport:
    """``model.onnx`` of the run in ``folder``; a run does not end without one because its weights do not bear rounding.

    Raises ModelError where the net as float32 cannot be exported either.
    """
    out = folder / "model.onnx"
    try:
        return export_run(folder, out, half=half, overwrite=True)
    except ModelError as error:
        if not half:
            raise
        say(f"stored as float32 instead of float16, which did not go: {error}")
        return export_run(folder, out, overwrite=True)


def named_samples(folders: Mapping[str, Sequence[AnySample]]) -> list[AnySample]:
    """All samples; with several folders the folder stands before the name, for two may use the same one."""
    if len(folders) == 1:
        return list(next(iter(folders.values())))
    return [
        replace(sample, name=f"{folder}/{sample.name}") for folder, samples in folders.items() for sample in samples
    ]


def examples(
    predictor: Predictor, samples: dict[str, Sample], names: Sequence[str], evaluation: Evaluation
) -> list[Example]:
    score = {row.name: row.score for row in evaluation.images}
    found = []
    for name in names:
        image = samples[name].image()
        found.append(Example(name, image, samples[name].label(), predictor(image).label_map, score[name]))
    return found
