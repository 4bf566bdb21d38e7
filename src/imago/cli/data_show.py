"""``imago data show`` and ``imago data stats``: a data set to look at, as a sheet and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imago.cli.console import echo
from imago.cli.options import add_options, build_settings
from imago.core.read_settings import ReadSettings
from imago.core.text import plural

if TYPE_CHECKING:
    from imago.data.dataset import Dataset


@click.command("show")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE",
    help="A picture (.jpg, .png) or a page (.html).  [default: NAME.show.jpg, of DATA's name, in this folder]",
)  # fmt: skip
@click.option("--count", type=click.IntRange(1, 1000), default=24, show_default=True, help="How many photos.")
@click.option("--split", "which", default="all", show_default=True, help="Which photos: train, val, test, or all.")
@click.option("--seed", type=int, help="Photos by chance; else evenly from first to last.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there already.")
@add_options(ReadSettings)
def show_command(
    data: Path, out: Path | None, count: int, which: str, seed: int | None, overwrite: bool, **values: Any
) -> None:
    """Make a contact sheet: photos of DATA beside what their annotations were understood to say."""
    import random

    from imago.cli.data_sheet import make_tiles, save_sheet
    from imago.core.errors import DataError
    from imago.files.writing import exists

    out = out or Path(f"{data.resolve().name}.show.jpg")
    if out.exists() and not overwrite:
        raise exists(out)
    dataset = _open(data, values)
    samples = list(dataset.split(which))
    if seed is None:
        samples = samples[:: max(1, -(-len(samples) // count))]
    else:
        samples = random.Random(seed).sample(samples, min(count, len(samples)))
    tiles, faults = make_tiles(dataset, samples)
    if not tiles:
        raise DataError(f"{data}: none of {plural(len(samples), 'photo')} can be shown", tuple(faults))
    seen = {value for tile in tiles for value in tile.classes} - {dataset.labels.background}
    words = [" " if value in seen else "" for value in range(len(dataset.labels))]
    save_sheet(out, tiles, dataset.labels, words, f"{data.resolve().name}: {dataset.format}", overwrite)
    echo(f"{out}: {len(tiles)} of {plural(len(dataset.split(which)), 'photo')}")
    if faults:
        raise DataError(f"{data}: {plural(len(faults), 'photo')} could not be shown", tuple(faults))


@click.command("stats")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE",
    help="The page.  [default: NAME.stats.html, of DATA's name, in this folder]",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there already.")
@add_options(ReadSettings)
def stats_command(data: Path, out: Path | None, overwrite: bool, **values: Any) -> None:
    """Write a page of what is in DATA: classes, sizes of photos and objects, colours, and which classes are seen
    together."""
    from imago.cli.progress import Meter
    from imago.core.errors import DataError
    from imago.data.stats import measure_dataset
    from imago.evaluation.data_page import render_stats
    from imago.files.writing import atomic_write, exists

    out = out or Path(f"{data.resolve().name}.stats.html")
    if out.exists() and not overwrite:
        raise exists(out)
    dataset = _open(data, values)
    with Meter(len(dataset.split("all"))) as meter:
        stats = measure_dataset(dataset, meter.advance)
    with atomic_write(out, overwrite) as stream:
        stream.write(render_stats(dataset, stats).encode("utf-8", "replace"))
    echo(f"{out}: {plural(len(stats.sizes_hw), 'photo')}, {plural(int(stats.shown.any(axis=0).sum()), 'class')} seen")
    if stats.faults:
        raise DataError(f"{data}: {plural(len(stats.faults), 'photo')} could not be read, left out here", stats.faults)


def _open(data: Path, values: dict[str, Any]) -> Dataset:
    from imago.data.open_dataset import guess_task, open_dataset

    reading = build_settings(ReadSettings, values)
    return open_dataset(data, guess_task(data, reading), reading=reading)
