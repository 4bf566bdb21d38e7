"""The end of a run: the best weights measured as a user would, report.html, and the exported model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.core.model_card import ModelCard
from imago.core.text import escape, to_json, to_utf8
from imago.data.borders import detection_samples
from imago.evaluation.evaluate import evaluate
from imago.evaluation.report import ReportData, pick_examples, write_report
from imago.evaluation.results import Evaluation
from imago.export.export import export_run
from imago.export.semantic import ExportReport
from imago.inference.engines.torch import TorchEngine
from imago.inference.engines.torch_detection import TorchDetectionEngine
from imago.inference.predictor import Predictor
from imago.models import checkpoint
from imago.models.base import SegmentationNet
from imago.models.detection.base import DetectionModel
from imago.training.choose_separation import choose_separation
from imago.training.config import TrainConfig
from imago.training.device import choose_device
from imago.training.find_proposals import cache_proposals
from imago.training.presets.choices import read_choices
from imago.training.tasks.base import FinishedRun

AnyNet = TypeVar("AnyNet", SegmentationNet, DetectionModel)
Folders = Mapping[str, Sequence[Any]]  # name of a data folder -> its annotated photos


def finish_semantic(finished: FinishedRun) -> None:
    """A net that labels pixels."""
    net, card = load_best(finished, checkpoint.load)
    predictor = Predictor(TorchEngine(finished.best, choose_device(finished.config.device)))
    conclude(finished, net, card, predictor, finished.data.val)


def finish_separated(finished: FinishedRun) -> None:
    """A semantic net of insides and borders, judged by the objects that are made of them."""
    net, card = load_best(finished, checkpoint.load)
    predictor = Predictor(TorchEngine(finished.best, choose_device(finished.config.device)))
    learnt = [sample for source in finished.data.train for sample in detection_samples(source.samples)]
    how, reached = choose_separation(predictor.scores, learnt)
    predictor.separation, card = how, card.with_(separation=how)
    shape = f", split at necks below {how.neck:g}" if how.neck else ""
    finished.say(
        f"objects: seeds from {how.seed:g}, foreground from {how.foreground:g}{shape}; mean precision {reached:.3f} on "
        "training photos"
    )
    folders = {name: detection_samples(samples) for name, samples in finished.data.val.items()}
    conclude(finished, net, card, predictor, folders)


def finish_detection(finished: FinishedRun) -> None:
    """A net that finds objects."""
    net, card = load_best(finished, checkpoint.load_detection)
    predictor = Predictor(TorchDetectionEngine(finished.best, choose_device(finished.config.device)))
    predictor.propose = cache_proposals(finished.config, finished.folder)
    conclude(finished, net, card, predictor, finished.data.val)


def conclude(
    finished: FinishedRun,
    net: SegmentationNet | DetectionModel,
    card: ModelCard,
    predictor: Predictor,
    folders: Folders,
) -> None:
    """Writes scores.json, report.html, the checkpoint with its scores, and the model where it is asked for."""
    whole, scores = score_folders(finished, predictor, folders)
    best, worst = pick_examples(predictor, name_samples(folders), whole)
    report = ReportData(
        title=card.name,
        evaluation=whole,
        history=list(finished.history),
        settings=json.loads(finished.config.to_json()),
        best=best,
        worst=worst,
        notes=collect_notes(finished, card),
    )
    write_report(finished.folder / "report.html", report)
    checkpoint.save(net, card.with_(scores=scores), finished.best)
    finished.say(f"{finished.folder / 'report.html'}: curves, scores, best and worst photos")
    if finished.config.export:
        finished.say(format_export(export_model(finished.folder, finished.config.half, finished.say)))


def score_folders(finished: FinishedRun, predictor: Predictor, folders: Folders) -> tuple[Evaluation, dict[str, float]]:
    """Writes scores.json; the evaluation over all folders, and the scores for the card, as "FOLDER/SCORE"."""
    evaluations: dict[str, Evaluation] = {}
    scores: dict[str, float] = {}
    for name, samples in folders.items():
        evaluations[name] = evaluate(predictor, samples)
        scores |= {f"{escape(name)}/{score}": round(value, 4) for score, value in evaluations[name].scores.items()}
        finished.say(f"\n{name}, {len(samples)} validation photos\n{evaluations[name].table()}")
    told = to_json({name: e.to_json() for name, e in evaluations.items()}, indent=1)
    (finished.folder / "scores.json").write_bytes(to_utf8(told))
    if len(evaluations) == 1:
        return next(iter(evaluations.values())), scores
    return evaluate(predictor, name_samples(folders)), scores


def build_input_spec(config: TrainConfig, net: SegmentationNet | DetectionModel) -> InputSpec:
    """What the finished model is fed."""
    if isinstance(net, DetectionModel) and net.crop:
        spec = config.input_spec(1)
        return InputSpec("resize", (net.crop, net.crop), 1, mean=spec.mean, std=spec.std)
    return config.input_spec(net.multiple)


def load_best(finished: FinishedRun, load: Callable[[Path], tuple[AnyNet, ModelCard]]) -> tuple[AnyNet, ModelCard]:
    """The best checkpoint, stored again with the card that the settings want now: a finished run may be finished anew
    with another use_size, mirror, scales or specks in its config.json."""
    config = finished.config
    net, card = load(finished.best)
    card = card.with_(
        input=build_input_spec(config, net),
        tta_flip=config.tta_flip,
        tta_scales=config.tta_scales,
        min_component_fraction=config.min_component_fraction,
    )
    checkpoint.save(net, card, finished.best)
    return net, card


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


def name_samples(folders: Folders) -> list[Any]:
    """All samples; with several folders the folder stands before the name, for two may use the same one."""
    if len(folders) == 1:
        return list(next(iter(folders.values())))
    return [
        replace(sample, name=f"{folder}/{sample.name}") for folder, samples in folders.items() for sample in samples
    ]
