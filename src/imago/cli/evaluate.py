"""``imago evaluate MODEL DATA``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imago.cli.console import echo, echo_json
from imago.cli.options import MAX_FOUND, add_options, build_settings, max_found_option
from imago.cli.photos import say_doubt
from imago.core.detection_options import DetectionOptions
from imago.core.text import to_json, to_utf8
from imago.core.tta import TTA

if TYPE_CHECKING:
    import numpy as np

    from imago.core.instances import Instances
    from imago.evaluation.detection_results import DetectionEvaluation
    from imago.evaluation.results import Evaluation
    from imago.inference.predictor import Predictor

    Predict = Callable[[np.ndarray], Instances]  # uint8 (H, W, C) -> its objects


@click.command("evaluate")
@click.argument("model")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--split", default="val", show_default=True, help="Which photos: train, val, test, or all.")
@click.option(
    "--group",
    default="",
    metavar="MAPPING",
    help='Labels of the data to those of the model: "background=null; person=rest", or a .toml file.',
)
@click.option("--json", "json_out", metavar="FILE", help="Write all scores as JSON; - for standard output.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N photos.")
@click.option("--boundary/--no-boundary", default=True, help="Also the boundary F-score.  [default: on]")
@max_found_option
@click.option("--crf", is_flag=True, help="Refine each answer with a dense CRF first.")
@add_options(DetectionOptions, without=("score_thresh", "classes", "detections_per_img"))
@add_options(TTA)
@click.option("--overwrite", is_flag=True, help="Replace the JSON file if it is there already.")
def evaluate_command(
    model: str,
    data: Path,
    split: str,
    group: str,
    json_out: str | None,
    limit: int | None,
    boundary: bool,
    max_found: int,
    crf: bool,
    overwrite: bool,
    **values: Any,
) -> None:
    """Measure MODEL (a name, an .onnx or a .safetensors file) on the annotated photos in DATA.

    Each photo is scored at its full resolution. Intervals are 95 % bootstrap intervals over photos. A model that finds
    objects is measured by average precision, of masks and of boxes, on objects in any of the formats that train takes.
    """
    views, choice = build_settings(TTA, values), build_settings(DetectionOptions, values)
    from imago.core.errors import ImagoError
    from imago.files.writing import exists
    from imago.inference.crf import DenseCRF
    from imago.inference.load import load
    from imago.inference.options import PredictOptions

    target = Path(json_out) if json_out not in (None, "-") else None
    if target is not None and target.exists() and not overwrite:
        raise exists(target)  # before the work, not after it
    predictor = load(model, options=PredictOptions(tta=views, detection=choice, crf=DenseCRF() if crf else None))
    if choice != DetectionOptions() and not predictor.finds_objects:
        raise ImagoError(
            f"model {model!r} finds no single objects, for which --nms-thresh, --nms and --class-agnostic are; "
            "leave them out"
        )
    say_doubt(predictor)
    result: Evaluation | DetectionEvaluation
    if predictor.finds_objects:
        result = measure_detection(predictor, data, split, group, limit, max_found)
    else:
        result = measure_semantic(predictor, data, split, group, limit, boundary)
    scores = {"data": str(data), "split": split, **result.to_json()}
    if json_out == "-":
        echo_json(scores, indent=1)
        return
    echo(result.table())
    if target is not None:
        from imago.files.writing import atomic_write

        with atomic_write(target, overwrite=overwrite) as stream:
            stream.write(to_utf8(to_json(scores, indent=1) + "\n"))


def measure_semantic(
    predictor: Predictor, data: Path, split: str, group: str, limit: int | None, boundary: bool
) -> Evaluation:
    from imago.cli.progress import Meter
    from imago.core.errors import DataError
    from imago.data.grouping import parse_grouping
    from imago.data.open_dataset import open_dataset
    from imago.evaluation.semantic import evaluate

    card = predictor.card
    dataset = open_dataset(data, grouping=parse_grouping(group) if group else None, channels=card.input.channels)
    if len(dataset.labels) != len(card.labels):
        raise DataError(
            f"{data}: has {len(dataset.labels)} classes ({_shorten(dataset.labels.names)}), but the model "
            f"{card.name!r} has {len(card.labels)} ({_shorten(card.labels.names)}); bring them together with --group"
        )
    samples = dataset.split(split)[:limit]
    with Meter(len(samples)) as meter:
        if dataset.labels.names != card.labels.names:
            meter.say(
                f"note: the classes are matched by their order: {_shorten(dataset.labels.names)} in the data, "
                f"{_shorten(card.labels.names)} in the model"
            )
        for note in dataset.notes:
            meter.say(f"note: {note}")
        return evaluate(predictor, samples, boundary=boundary, progress=lambda done: meter.advance())


def measure_detection(
    predictor: Predictor, data: Path, split: str, group: str, limit: int | None, max_found: int = MAX_FOUND
) -> DetectionEvaluation:
    from imago.cli.progress import Meter
    from imago.core.errors import DataError
    from imago.data.grouping import common_labels, group_instances, parse_grouping
    from imago.data.open_dataset import open_dataset
    from imago.evaluation.detection import evaluate_detection
    from imago.inference.instances.postprocess import class_values

    card, labels = predictor.card, predictor.card.object_labels
    dataset = open_dataset(data, "detection", channels=card.input.channels)
    if group:
        grouping = parse_grouping(group, least=1)
        dataset = group_instances(dataset, grouping, common_labels(grouping, labels.names[1:], data))
    predict: Predict = predictor.objects
    if set(dataset.labels.names) <= set(labels.names):  # a model of COCO's classes knows more than most data have
        predict = keep_classes(predict, class_values(labels, dataset.labels.names[1:]))
        dataset = dataset.align_classes(labels)
    if len(dataset.labels) != len(labels):
        raise DataError(
            f"{data}: has {len(dataset.labels) - 1} classes of objects ({_shorten(dataset.labels.names[1:])}), but the "
            f"model {card.name!r} finds {len(labels) - 1} ({_shorten(labels.names[1:])}); both must have the same in "
            "one order, or the model all names of the data's"
        )
    samples = dataset.split(split)[:limit]
    with Meter(len(samples)) as meter:
        if dataset.labels.names != labels.names:
            meter.say(
                f"note: the classes are matched by their order: {_shorten(dataset.labels.names[1:])} in the data, "
                f"{_shorten(labels.names[1:])} in the model"
            )
        for note in dataset.notes:
            meter.say(f"note: {note}")
        return evaluate_detection(
            predict, samples, labels, model=card.name, most=max_found,
            progress=lambda done: meter.advance(),
        )  # fmt: skip


def keep_classes(predict: Predict, classes: list[int]) -> Predict:
    """``predict`` without objects of other classes, which the data do not mark: they are no mistakes."""
    import numpy as np

    def predict_some(image: np.ndarray) -> Instances:
        found = predict(image)
        return found[np.isin(found.classes, classes)]

    return predict_some


def _shorten(names: tuple[str, ...], limit: int = 6) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
