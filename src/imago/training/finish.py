"""The end of a run: the best weights measured as a user would, report.html, and the exported model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from imago.core.errors import ModelError
from imago.core.model_card import ModelCard
from imago.core.table import terminal_width
from imago.core.text import escape, plural, to_json, to_utf8
from imago.evaluation.evaluate import evaluate
from imago.evaluation.report import ReportData, pick_examples, write_report
from imago.evaluation.results import Evaluation
from imago.export.export import export_run
from imago.export.semantic import ExportReport
from imago.inference.predictor import Predictor
from imago.models import checkpoint
from imago.training.presets.choices import read_choices
from imago.training.tasks.base import Net, Say, Task


def finish(task: Task, history: Sequence[Mapping[str, Any]], say: Say) -> None:
    """Writes scores.json, report.html and, where asked for, model.onnx; puts the scores into the checkpoint's card.

    ``history``: rows of metrics.csv.
    """
    task.complete(say)
    net, card = load_best(task)
    predictor, card = task.open_predictor(card, say)
    everything = name_samples(task.data.val)
    evaluations = evaluate_folders(task, predictor, say)
    (whole,) = evaluations.values() if len(evaluations) == 1 else (evaluate(predictor, everything),)
    best, worst = pick_examples(predictor, everything, whole)
    report = ReportData(
        title=card.name,
        evaluation=whole,
        history=history,
        settings=json.loads(task.config.to_json()),
        best=best,
        worst=worst,
        notes=collect_notes(task, card),
    )
    write_report(task.folder / "report.html", report)
    scores = {
        f"{escape(folder)}/{score}": round(value, 4)
        for folder, evaluation in evaluations.items()
        for score, value in evaluation.scores.items()
    }
    checkpoint.save(net, card.with_(scores=scores), task.best)
    say(f"{task.folder / 'report.html'}: curves, scores, best and worst photos")
    if task.config.export.export:
        say(format_export(export_model(task.folder, task.config.export.half, say)))


def load_best(task: Task) -> tuple[Net, ModelCard]:
    """The best checkpoint, stored again with the card that the settings want now: a finished run may be finished anew
    with another inference_size, tta_flip, tta_scales, tta_zoom or min_component_fraction in its config.json."""
    export = task.config.export
    net, card = checkpoint.load(task.best)
    card = card.with_(
        input=task.build_spec(task.config, net),
        tta_flip=export.tta_flip,
        tta_scales=export.tta_scales,
        tta_zoom=export.tta_zoom,
        min_component_fraction=export.min_component_fraction,
    )
    checkpoint.save(net, card, task.best)
    return net, card


def evaluate_folders(task: Task, predictor: Predictor, say: Say) -> dict[str, Evaluation]:
    """The evaluation of each folder, said and written to scores.json."""
    evaluations = {}
    for name, samples in task.data.val.items():
        evaluations[name] = evaluate(predictor, samples)
        say(f"\n{name}, {len(samples)} validation photos\n{evaluations[name].table(width=terminal_width())}")
    text = to_json({name: evaluation.to_json() for name, evaluation in evaluations.items()}, indent=1)
    (task.folder / "scores.json").write_bytes(to_utf8(text))
    return evaluations


def collect_notes(task: Task, card: ModelCard) -> list[str]:
    """What the report says below its tables: on the data, the preset and the arithmetic."""
    labels, size = card.object_labels, " x ".join(map(str, card.input.size_hw))
    arithmetic = f"{card.architecture}, {plural(len(labels), 'class')}, size rule {card.input.rule} at {size}"
    return [*task.data.notes, *read_choices(task.folder), f"{arithmetic}; torch {torch.__version__}"]


def format_export(report: ExportReport) -> str:
    """A line on what was exported."""
    return (
        f"{report.path}: {report.bytes / 1e6:.1f} MB, {report.sizes}; differs from torch by at most "
        f"{report.largest_difference:.1e} on {report.samples}" + (f". {report.remark}" if report.remark else "")
    )


def export_model(folder: Path, half: bool, say: Say) -> ExportReport:
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


def name_samples(folders: Mapping[str, Sequence[Any]]) -> list[Any]:
    """All samples; with several folders the folder stands before the name, for two may use the same one."""
    if len(folders) == 1:
        return list(next(iter(folders.values())))
    return [
        replace(sample, name=f"{folder}/{sample.name}") for folder, samples in folders.items() for sample in samples
    ]
