"""``imago evaluate MODEL DATA``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imago.cli.console import echo, echo_json
from imago.cli.options import SHOW_BANDS, CountSettings, add_options, build_settings, find_asked, find_given
from imago.cli.photos import say_doubt
from imago.core.detection_options import DetectionOptions
from imago.core.panoptic_options import PanopticOptions
from imago.core.read_settings import ReadSettings
from imago.core.settings import LABELS_PIXELS, setting
from imago.core.table import terminal_width
from imago.core.text import to_json, to_utf8
from imago.core.tta import TTA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imago.core.labels import Labels
    from imago.data.dataset import Dataset
    from imago.data.selection import Selection
    from imago.evaluation.evaluate import Scoring
    from imago.evaluation.results import Evaluation


_FILES = {"json_out", "report", "overwrite"}  # options that say nothing of the scores


@dataclass(frozen=True)
class ScoreSettings:
    """What is measured."""

    boundary: bool = setting(
        True, "Also the boundary F-score.", models=("binary", "semantic"), why="objects have no boundary score"
    )
    crf: bool = setting(
        False,
        "Refine each answer with a dense CRF first.",
        models=LABELS_PIXELS,
        why="a net that finds objects has no probabilities for a CRF to refine",
    )
    show_bands: tuple[int, ...] = setting((), SHOW_BANDS, commas=True)


@click.command("evaluate")
@click.argument("model")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--stuff",
    default="",
    metavar="MODEL",
    help="A model that labels pixels beside MODEL, which then finds the things: panoptic quality of both together.",
)
@click.option("--split", default="val", show_default=True, help="Which photos: train, val, test, or all.")
@click.option(
    "--group",
    default="",
    metavar="MAPPING",
    help='Labels of the data to those of the model: "background=null; person=rest", or a .toml file.',
)
@click.option("--json", "json_out", metavar="FILE", help="Write all scores as JSON; - for standard output.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Write a page with the scores, the confusion matrix and the best and worst photos.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N photos.")
@add_options(ScoreSettings)
@add_options(CountSettings)
@add_options(DetectionOptions, without=("score_thresh", "classes", "detections_per_img"))
@add_options(PanopticOptions)
@add_options(ReadSettings)
@add_options(TTA)
@click.option("--overwrite", is_flag=True, help="Replace the files of --json and --report if they are there already.")
@click.pass_context
def evaluate_command(
    context: click.Context,
    /,
    model: str,
    data: Path,
    stuff: str,
    split: str,
    group: str,
    json_out: str | None,
    report: Path | None,
    limit: int | None,
    overwrite: bool,
    **values: Any,
) -> None:
    """Measure MODEL (a name, an .onnx or a .safetensors file) on the annotated photos in DATA.

    Each photo is scored at its full resolution. Intervals are 95 % bootstrap intervals over photos. A model that finds
    objects is measured by average precision, of masks and of boxes, on objects in any of the formats that train takes;
    together with --stuff by panoptic quality, on COCO's panoptic annotations.
    """
    score, count = build_settings(ScoreSettings, values), build_settings(CountSettings, values)
    views, choice = build_settings(TTA, values), build_settings(DetectionOptions, values)
    from imago.files.writing import exists

    if score.show_bands and report is None:
        raise click.UsageError("--show-bands would do nothing: it is for the pictures of --report")
    target = Path(json_out) if json_out not in (None, "-") else None
    if overwrite and target is None and report is None:
        raise click.UsageError("--overwrite would do nothing: it is for the files of --json FILE and --report")
    for path in (target, report):
        if path is not None and path.exists() and not overwrite:
            raise exists(path)  # before the work, not after it
    rule = build_settings(PanopticOptions, values)
    predictor = open_model(model, stuff, score, rule, tta=views, detection=choice)
    reading = build_settings(ReadSettings, values)
    chosen = open_data(predictor, data, group, reading, split, limit)
    dataset, samples, notes = chosen.dataset, chosen.samples, collect_notes(predictor, chosen.dataset, data)
    scoring = choose_scoring(predictor, score.boundary, count.most)
    result = measure(predictor, samples, dataset.labels, scoring, notes)
    scores = {"data": str(data), "split": split, **result.to_json()}
    if json_out == "-":
        echo_json(scores, indent=1)
    else:
        echo(result.table(width=terminal_width()))
    if target is not None:
        from imago.files.writing import atomic_write

        with atomic_write(target, overwrite=overwrite) as stream:
            stream.write(to_utf8(to_json(scores, indent=1) + "\n"))
    if report is not None:
        from imago.evaluation.report import ReportData, pick_examples, write_report

        best, worst = pick_examples(predictor, samples, result, scoring)
        title = f"{predictor.card.name} on {data.resolve().name}"
        page = ReportData(title, result, settings=list_settings(context), best=best, worst=worst, notes=notes)
        write_report(report, page, overwrite)
        echo(f"{report}: scores, best and worst photos", err=json_out == "-")


def list_settings(context: click.Context) -> dict[str, Any]:
    """What a report says that was asked."""
    given = {name: context.params[name] for name in sorted(find_given(context) - _FILES)}
    return {name: str(context.params[name]) for name in ("model", "data", "split")} | given


def open_model(model: str, stuff: str, score: ScoreSettings, rule: PanopticOptions, **options: Any) -> Any:
    """MODEL, or both together, answering as is asked. Raises ImagoError for options that say nothing to the model that
    they are for."""
    from imago.inference.crf import DenseCRF
    from imago.inference.load import load
    from imago.inference.options import refuse_inapplicable
    from imago.inference.panoptic import PanopticPredictor

    of_pixels: tuple[type, ...] = (ScoreSettings, TTA)
    of_objects: tuple[type, ...] = (DetectionOptions, CountSettings)
    options |= {"crf": DenseCRF() if score.crf else None, "show_bands": score.show_bands}
    predictor = load(model)
    if stuff:
        idle = find_asked(ReadSettings, CountSettings, ScoreSettings)
        idle = {
            name: written
            for name, written in idle.items()
            if name not in ("crf", "show_bands", "faulty", "split_dir", "fold")
        }
        if idle:
            raise click.UsageError(f"{next(iter(idle.values()))} would do nothing: segments have no use for it")
        pair = PanopticPredictor(predictor, load(stuff), rule)
        refuse_inapplicable(pair.things.card, model, of_objects, find_asked(*of_objects))
        refuse_inapplicable(pair.stuff.card, stuff, of_pixels, find_asked(*of_pixels))
        pair = pair.with_options(**options)
        say_doubt(pair.things)
        return pair
    if asked := find_asked(PanopticOptions):
        raise click.UsageError(f"{next(iter(asked.values()))} would do nothing: it is for two models, with --stuff")
    types = (*of_pixels, *of_objects, ReadSettings)
    refuse_inapplicable(predictor.card, model, types, find_asked(*types))
    predictor = predictor.with_options(**options)
    say_doubt(predictor)
    return predictor


def choose_scoring(predictor: Any, boundary: bool, max_found: int) -> Scoring[Any]:
    from imago.evaluation.detection import DetectionScoring
    from imago.evaluation.panoptic import PanopticScoring
    from imago.evaluation.semantic import SemanticScoring

    if predictor.card.task == "panoptic":
        return PanopticScoring()
    return DetectionScoring(most=max_found) if predictor.card.finds_objects else SemanticScoring(boundary=boundary)


def open_data(
    predictor: Any, data: Path, group: str, reading: ReadSettings, split: str, limit: int | None
) -> Selection:
    """What the model can be measured on, each photo looked at; ``group``: as ``--group``. Raises DataError."""
    from imago.cli.progress import Meter
    from imago.data.grouping import parse_grouping
    from imago.data.open_dataset import OpenOptions, survey_dataset
    from imago.data.selection import select_samples

    card = predictor.card
    pair = card.task == "panoptic"
    finds = not pair and card.finds_objects
    options = OpenOptions(
        "panoptic" if pair else "detection" if finds else "semantic",
        grouping=parse_grouping(group, least=1 if finds or pair else 2) if group else None,
        channels=card.input.channels,
        reading=reading,
        classes=card.object_labels.names[1:] if finds and group else (),
    )
    dataset, faults = survey_dataset(data, options)
    with Meter(len(dataset.split(split)[:limit])) as meter:
        return select_samples(dataset, faults, reading, split, limit, lambda done, total: meter.advance())


def collect_notes(predictor: Any, dataset: Dataset, data: Path) -> tuple[str, ...]:
    """What should be known of the data before its scores are. Raises DataError where it has other classes."""
    from imago.evaluation.classes import match_classes

    card = predictor.card
    match = match_classes(card.object_labels, dataset.labels, model=card.name, data=data)
    return tuple(note for note in (match.note, *dataset.notes) if note)


def measure(
    predictor: Any, samples: Sequence[Any], labels: Labels, scoring: Scoring[Any], notes: Sequence[str]
) -> Evaluation:
    """The samples, of classes ``labels``, through the model, with a bar."""
    from imago.cli.progress import Meter
    from imago.evaluation.evaluate import evaluate

    with Meter(len(samples)) as meter:
        for note in notes:
            meter.say(f"note: {note}")
        return evaluate(predictor, samples, labels=labels, scoring=scoring, progress=lambda done: meter.advance())
