"""``imago compare DATA... --models a,b,c``."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imago.cli.console import echo
from imago.cli.options import CountSettings, add_options, build_settings, find_asked, find_given
from imago.cli.train import add_data_options, build_config
from imago.core.text import plural
from imago.data.augment.settings import Augmentation
from imago.training.config import TrainConfig

if TYPE_CHECKING:
    from imago.comparison.candidates import Candidate

# Fields that a comparison sets for each of its candidates; a preset would give each a training of its own.
READ = ("channels", "objects")  # how the data is read, where nothing is trained too
OWN = ("model", "encoder", "out", "name", "preset")


@click.command("compare")
@click.option(
    "--models",
    required=True,
    multiple=True,
    metavar="A,B,...",
    help="Architectures to train (with :ENCODER), run folders, model files, names of models.",
)
@add_data_options
@click.option("--split", default="val", show_default=True, help="Photos to compare on: val, test, train, or all.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N photos of each folder.")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("runs/compare"), show_default=True)
@add_options(CountSettings)
@add_options(TrainConfig, without=OWN)
@add_options(Augmentation)
@click.pass_context
def compare_command(
    context: click.Context,
    /,
    data: tuple[str, ...],
    models: tuple[str, ...],
    recipe: Path | None,
    root: Path | None,
    group: str,
    split: str,
    limit: int | None,
    out: Path,
    **values: Any,
) -> int:
    """Train architectures on DATA under one budget, measure them and ready models on the same photos, and say which is
    the most accurate, the fastest, the smallest, and whether the difference is real.

    Nets that find objects are compared by average precision on data of objects; with --objects nets that label pixels
    learn to separate them and take part. --option NET.NAME=VALUE is for one of the nets alone.

    Writes OUT/comparison.html, .json and .csv. Called again with the same settings it goes on where it stopped; a model
    that fails is reported, and the others go on.
    """
    config = build_config(data, recipe, group, find_given(context) - {"out"}, values)
    root = root or Path()
    from imago.comparison.candidates import parse_candidates
    from imago.comparison.choose import choose_task
    from imago.comparison.compare import compare, write
    from imago.comparison.page import render

    candidates = parse_candidates(models)
    if all(candidate.file is not None for candidate in candidates):
        check_nothing_to_train()
    kind = choose_task(candidates, config.net.objects)
    if find_asked(CountSettings):
        kind = kind.counting(build_settings(CountSettings, values).most)
    # Before any training: what is amiss is told now.
    samples, labels, notes = kind.open_data(config, root, split, limit)
    for note in notes:
        echo(f"note: {note}")
    ready, failed = prepare_candidates(candidates, config, root, out)
    result = compare(kind, ready, samples, labels, echo, failed=failed)
    title = f"{plural(len(result.entries), 'model')} on {plural(len(samples), 'image')}"
    given = (budget(config),) if any(entry.candidate.architecture for entry in result.entries) else ()
    for path in write(result, render(result, title, (*given, *notes)), out):
        echo(path)
    return 1 if result.failed else 0


def prepare_candidates(
    candidates: Sequence[Candidate], config: TrainConfig, root: Path, out: Path
) -> tuple[list[Candidate], list[str]]:
    """Trains those that have no file yet. Gives all that have one now, and a line for each that failed."""
    from imago.comparison.training import build_settings as build_own
    from imago.comparison.training import check_options, resolve_config, train_candidate
    from imago.core.errors import ImagoError

    if any(candidate.file is None for candidate in candidates):
        check_options(config, candidates)
        if importlib.util.find_spec("torch") is None:
            raise ImagoError('training needs torch, which is not installed; run: pip install "imago-seg[train]"')
        resolve_config(config, root, out)
    ready, failed = [], []
    for candidate in candidates:
        try:
            if candidate.file is None:
                own = build_own(candidate, config, candidates)
                candidate = replace(candidate, file=train_candidate(candidate, own, root, out, echo))
            ready.append(candidate)
        except ImagoError as error:
            failed.append(str(error))
            echo(f"imago: {error}", err=True)
    return ready, failed


def check_nothing_to_train() -> None:
    """Raises a usage error for a setting of trainings where all models are ready."""
    asked = find_asked(TrainConfig, Augmentation)
    written = [name for field, name in asked.items() if field not in ("out", *READ)]
    if written:
        raise click.UsageError(f"{', '.join(written)} would do nothing: all of --models are trained already")


def budget(config: TrainConfig) -> str:
    """What every trained candidate was given, in a line."""
    settings = config.optimization
    count, unit = (settings.minutes, "minute") if settings.minutes else (settings.most_epochs, "epoch")
    length = f"{count:g} {unit}{'s' if count != 1 else ''}"
    values, usual = config.flat(), TrainConfig().flat()
    names = ("size", "batch_size", "loss", "lr", "schedule", "class_weights", "pretrained", "seed")
    told = [f"{name} {values[name]}" for name in names if values[name] != usual[name]]
    return f"trained for {length} each, with one seed, split and augmentation" + (
        f"; {', '.join(told)}" if told else ""
    )
