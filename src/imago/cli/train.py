"""``imago train DATA... --model ... --out runs/NAME``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click

from imago.cli.console import echo
from imago.cli.options import add_options, build_settings, find_given
from imago.core.settings import iter_settings
from imago.data.augment.settings import Augmentation
from imago.training.config import DataSource, TrainConfig, read_given, read_recipe


def add_data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """DATA and how to look at it, for the commands that train on it."""
    for option in (
        click.option(
            "--group",
            default="",
            metavar="MAPPING",
            help='Groups of labels: "background=null; person=rest", or a .toml file.',
        ),
        click.option(
            "--root", type=click.Path(path_type=Path), default=None, help="Folder that DATA is seen from.  [default: .]"
        ),
        click.option(
            "--recipe", type=click.Path(path_type=Path), help="A TOML file of settings; options given here win."
        ),
        click.argument("data", nargs=-1),
    ):
        command = option(command)
    return command


@click.command("train")
@add_data_options
@click.option("--resume", is_flag=True, help="Go on with the run in --out, with its own settings.")
@add_options(TrainConfig)
@add_options(Augmentation)
@click.pass_context
def train_command(
    context: click.Context,
    /,
    data: tuple[str, ...],
    recipe: Path | None,
    root: Path | None,
    group: str,
    resume: bool,
    **values: Any,
) -> None:
    """Train a model on the annotated photos in DATA: folders with images/ and masks/ (and classes.txt, train.txt,
    val.txt where there are any), or COCO's annotations.

    Ends with RUN/report.html and RUN/model.onnx. A run that was killed goes on with --resume.
    """
    chosen = find_given(context)
    if resume:
        settings = {name for name in chosen if name not in ("resume", "out")}
        if settings or data:
            raise click.UsageError("--resume goes on with the run's own settings; give --out only")
        config, root = read_run(Path(values["out"]))
    else:
        config = build_config(data, recipe, group, chosen, values)
        root = root or Path()
    try:
        from imago.training.train import train
    except ModuleNotFoundError as error:
        raise explain_missing(error) from error
    named = chosen | (read_given(recipe) if recipe is not None else set())
    train(config, root, resume=resume, say=echo, given=named)


def build_config(
    data: tuple[str, ...], recipe: Path | None, group: str, chosen: set[str], values: dict[str, Any]
) -> TrainConfig:
    """The recipe, with what was said on the command line over it."""
    if recipe is None:
        config = replace(build_settings(TrainConfig, values), augment=build_settings(Augmentation, values))
    else:
        config = read_recipe(recipe)
        settings = {f.name for f, _ in iter_settings(TrainConfig)} & chosen
        augment = {f.name for f in fields(Augmentation)} & chosen
        try:
            config = config.with_(
                augment=replace(config.augment, **{name: values[name] for name in augment}),
                **{name: values[name] for name in settings},
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    if data:
        config = replace(config, data=tuple(DataSource(path, group=group) for path in data))
    elif group:
        raise click.UsageError("--group goes with DATA; a recipe has its own groups")
    if not config.data:
        raise click.UsageError("name a folder of data, or a --recipe that does")
    return config


def read_run(folder: Path) -> tuple[TrainConfig, Path]:
    """The settings and the data root of a run that was begun."""
    from imago.core.errors import DataError, ImagoError
    from imago.core.upgrade import upgrade_settings
    from imago.files.text import read_json

    path = folder / "config.json"
    try:
        stored = read_json(path)
        if not isinstance(stored, dict) or not isinstance(stored.get("root"), str):
            raise ValueError("expected a table of settings with the data's root")
        if type(stored.get("version", 1)) is not int:
            raise ValueError(f"version must be a whole number; got {stored['version']!r}")
        root = Path(stored.pop("root"))
        stored.pop("imago", None)
        stored = upgrade_settings(stored)
        stored.pop("version", None)
        return replace(TrainConfig.from_values(stored, str(path)), out=str(folder)), root
    except FileNotFoundError as error:
        raise ImagoError(f"{folder}: there is no run to resume (no config.json); start it without --resume") from error
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise ImagoError(f"{path}: damaged ({error}); start anew in another --out") from error


def explain_missing(error: ModuleNotFoundError) -> Exception:
    from imago.core.errors import ImagoError

    return ImagoError(f'training needs {error.name}, which is not installed; run: pip install "imago-seg[train]"')
