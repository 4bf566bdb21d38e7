"""The end of a run: the best weights measured as a user would, report.html, and the exported model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.core.model_card import ModelCard
from imago.core.text import escape, to_json, to_utf8
from imago.data.dataset import Sample
from imago.evaluation.detection_results import DetectionEvaluation
from imago.evaluation.results import Evaluation
from imago.evaluation.semantic import evaluate
from imago.export.export import export_run
from imago.export.semantic import ExportReport
from imago.inference.engines.torch import TorchEngine
from imago.inference.predictor import Predictor
from imago.models import checkpoint
from imago.models.catalog import Net
from imago.models.detection.base import DetectionModel
from imago.training.config import TrainConfig
from imago.training.device import choose_device
from imago.training.presets.choices import read_choices
from imago.training.report import Example, ReportData, write_report
from imago.training.tasks.base import FinishedRun

SHOWN = 6  # best and worst photos in the report

AnySample = TypeVar("AnySample", bound=Sample)
AnyEvaluation = TypeVar("AnyEvaluation", Evaluation, DetectionEvaluation)


def finish_semantic(finished: FinishedRun) -> None:
    """Writes scores.json, report.html and, where asked for, model.onnx; puts the scores into the checkpoint's card."""
    config, data = finished.config, finished.data
    net, card = load_best(finished)
    predictor = Predictor(TorchEngine(finished.best, choose_device(config.device)))
    whole, scores = score_folders(finished, data.val, lambda samples: evaluate(predictor, samples))
    by_name = {sample.name: sample for sample in named_samples(data.val)}
    write_report(
        finished.folder / "report.html",
        ReportData(
            title=card.name,
            labels=data.labels,
            evaluation=whole,
            history=list(finished.history),
            settings=json.loads(config.to_json()),
            best=examples(predictor, by_name, [row.name for row in whole.best(SHOWN)], whole),
            worst=examples(predictor, by_name, [row.name for row in whole.worst(SHOWN)], whole),
            notes=collect_notes(finished, card),
        ),
    )
    conclude(finished, net, card.with_(scores=scores))


def build_input_spec(config: TrainConfig, net: Net) -> InputSpec:
    """What the finished model is fed."""
    if isinstance(net, DetectionModel) and net.crop:
        spec = config.input_spec(1)
        return InputSpec("resize", (net.crop, net.crop), 1, mean=spec.mean, std=spec.std)
    return config.input_spec(net.multiple)


def load_best(finished: FinishedRun) -> tuple[Net, ModelCard]:
    """The best checkpoint, stored again with the card that the settings want now: a finished run may be finished anew
    with another inference_size, tta_flip, tta_scales or min_component_fraction in its config.json."""
    config = finished.config
    net, card = checkpoint.load(finished.best)
    card = card.with_(
        input=build_input_spec(config, net),
        tta_flip=config.tta_flip,
        tta_scales=config.tta_scales,
        min_component_fraction=config.min_component_fraction,
    )
    checkpoint.save(net, card, finished.best)
    return net, card


def score_folders(
    finished: FinishedRun,
    folders: Mapping[str, Sequence[AnySample]],
    evaluated: Callable[[Sequence[AnySample]], AnyEvaluation],
) -> tuple[AnyEvaluation, dict[str, float]]:
    """Writes scores.json; the evaluation over all folders, and the scores for the card, as "FOLDER/SCORE"."""
    evaluations: dict[str, AnyEvaluation] = {}
    scores: dict[str, float] = {}
    for name, samples in folders.items():
        evaluations[name] = evaluated(samples)
        scores |= {f"{escape(name)}/{score}": round(value, 4) for score, value in evaluations[name].scores.items()}
        finished.say(f"\n{name}, {len(samples)} validation photos\n{evaluations[name].table()}")
    told = to_json({name: e.to_json() for name, e in evaluations.items()}, indent=1)
    (finished.folder / "scores.json").write_bytes(to_utf8(told))
    whole = next(iter(evaluations.values())) if len(evaluations) == 1 else evaluated(named_samples(folders))
    return whole, scores


def conclude(finished: FinishedRun, net: Net, card: ModelCard) -> None:
    """The checkpoint with its scores, a word on the report, and the model where it is asked for."""
    checkpoint.save(net, card, finished.best)
    finished.say(f"{finished.folder / 'report.html'}: curves, scores, best and worst photos")
    if finished.config.export:
        finished.say(format_export(export_model(finished.folder, finished.config.half, finished.say)))


def collect_notes(finished: FinishedRun, card: ModelCard) -> list[str]:
    """What the report says below its tables: on the data, the preset and the arithmetic."""
    labels, size = card.object_labels, " x ".join(map(str, card.input.size_hw))
    arithmetic = f"{card.architecture}, {len(labels)} classes, size rule {card.input.rule} at {size}"
    return [*finished.data.notes, *read_choices(finished.folder), f"{arithmetic}; torch {torch.__version__}"]


def format_export(report: ExportReport) -> str:
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
        found.append(Example(name, image, samples[name].label_map(), predictor(image).label_map, score[name]))
    return found
