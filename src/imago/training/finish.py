"""The end of a run: the best weights measured as a user would, report.html, and the exported model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from imago.core.card import ModelCard
from imago.core.errors import ModelError
from imago.core.spec import InputSpec
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
from imago.training.report import Example, ReportData, write_report
from imago.training.sources import RunData

BEST = "best.safetensors"
SHOWN = 6  # best and worst photos in the report

AnySample = TypeVar("AnySample", Sample, ThingSample)
AnyNet = TypeVar("AnyNet", SegmentationNet, ThingNet)
Judged = TypeVar("Judged", Evaluation, ThingEvaluation)


def finish(
    config: TrainConfig,
    folder: Path,
    data: RunData[Sample],
    history: Sequence[Mapping[str, Any]],
    say: Callable[[str], None],
) -> None:
    """Writes scores.json, report.html and, where asked for, model.onnx; puts the scores into the checkpoint's card."""
    net, card = best_of(config, folder, checkpoint.load)
    predictor = Predictor(TorchEngine(folder / BEST, choose_device(config.device)))
    whole, scores = score_folders(folder, data.val, lambda samples: evaluate(predictor, samples), say)
    by_name = {sample.name: sample for sample in named_samples(data.val)}
    write_report(
        folder / "report.html",
        ReportData(
            title=card.name,
            labels=data.labels,
            evaluation=whole,
            history=list(history),
            settings=json.loads(config.to_json()),
            best=examples(predictor, by_name, [row.name for row in whole.best(SHOWN)], whole),
            worst=examples(predictor, by_name, [row.name for row in whole.worst(SHOWN)], whole),
            notes=notes_of(folder, card, data),
        ),
    )
    conclude(config, folder, net, card.with_(scores=scores), say)


def input_of(config: TrainConfig, net: SegmentationNet | ThingNet) -> InputSpec:
    """What the finished model is fed."""
    if isinstance(net, ThingNet) and net.crop:
        return InputSpec("squash", (net.crop, net.crop), 1)
    return config.input_spec(net.multiple)


def best_of(
    config: TrainConfig, folder: Path, load: Callable[[Path], tuple[AnyNet, ModelCard]]
) -> tuple[AnyNet, ModelCard]:
    """The best checkpoint, stored again with the card that ``config`` wants now: a finished run may be finished anew
    with another use_size, mirror, scales or specks in its config.json."""
    net, card = load(folder / BEST)
    card = card.with_(input=input_of(config, net), mirror=config.mirror, scales=config.scales, specks=config.specks)
    checkpoint.save(net, card, folder / BEST)
    return net, card


def score_folders(
    folder: Path,
    folders: Mapping[str, Sequence[AnySample]],
    evaluated: Callable[[Sequence[AnySample]], Judged],
    say: Callable[[str], None],
) -> tuple[Judged, dict[str, float]]:
    """Writes scores.json; the evaluation over all folders, and the scores for the card, as "FOLDER/SCORE"."""
    evaluations: dict[str, Judged] = {}
    scores: dict[str, float] = {}
    for name, samples in folders.items():
        evaluations[name] = evaluated(samples)
        scores |= {f"{name}/{score}": round(value, 4) for score, value in evaluations[name].scores.items()}
        say(f"\n{name}, {len(samples)} validation photos\n{evaluations[name].table()}")
    (folder / "scores.json").write_text(
        json.dumps({name: e.to_json() for name, e in evaluations.items()}, indent=1), "utf-8"
    )
    whole = next(iter(evaluations.values())) if len(evaluations) == 1 else evaluated(named_samples(folders))
    return whole, scores


def conclude(
    config: TrainConfig, folder: Path, net: SegmentationNet | ThingNet, card: ModelCard, say: Callable[[str], None]
) -> None:
    """The checkpoint with its scores, a word on the report, and the model where it is asked for."""
    checkpoint.save(net, card, folder / BEST)
    say(f"{folder / 'report.html'}: curves, scores, best and worst photos")
    if config.export:
        say(told(export_model(folder, config.half, say)))


def notes_of(folder: Path, card: ModelCard, data: RunData[Any]) -> list[str]:
    """What the report says below its tables: on the data, the preset and the arithmetic."""
    labels, size = card.object_labels, " x ".join(map(str, card.input.size_hw))
    arithmetic = f"{card.architecture}, {len(labels)} classes, size rule {card.input.rule} at {size}"
    return [*data.notes, *read_stored(folder), f"{arithmetic}; torch {torch.__version__}"]


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
