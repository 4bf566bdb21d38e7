"""``imago data split``: lists of photos to train on, to validate and to test with, or folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from imago.cli.console import echo, echo_json
from imago.cli.options import add_options, build_settings
from imago.core.read_settings import ReadSettings
from imago.core.text import plural

LISTED = 40  # classes in lines


@click.command("split")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR",
    help="The new folder of lists.  [default: NAME.split, of DATA's name, in this folder]",
)  # fmt: skip
@click.option("--val", type=click.FloatRange(0, 0.9), default=0.2, show_default=True, help="Share for validation.")
@click.option("--test", type=click.FloatRange(0, 0.9), default=0.0, show_default=True, help="Share for a test split.")
@click.option("--folds", type=click.IntRange(0, 100), default=0, help="Folds of equal size, in place of --val.")
@click.option(
    "--group-by", default="", metavar="REGEX|prefix",
    help="Photos whose names give the same for its first bracket stay together; prefix: names without the number at "
    "their end.",
)  # fmt: skip
@click.option(
    "--duplicates/--no-duplicates", default=True, show_default=True,
    help="Keep photos together that show the same.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is by chance.")
@add_options(ReadSettings, without=("split_dir", "fold"))
@click.option("--json", "as_json", is_flag=True, help="For scripts: JSON on standard output.")
def split_command(
    data: Path,
    out: Path | None,
    val: float,
    test: float,
    folds: int,
    group_by: str,
    duplicates: bool,
    seed: int,
    as_json: bool,
    **values: Any,
) -> None:
    """Divide DATA so that every class has the same share in each part, and photos that belong together are in one.

    Lists are written to a new folder; DATA stays as it is. train, compare and evaluate take them with --split-dir
    DIR, and folds with --fold K.
    """
    from imago.cli.progress import Meter
    from imago.core.errors import DataError
    from imago.data import divide as dividing
    from imago.data.duplicates import find_duplicates
    from imago.data.open_dataset import guess_task, open_dataset

    if val + test >= 1 or folds == 1:
        raise click.UsageError("--val and --test leave photos to train on together; --folds are two or more")
    reading = build_settings(ReadSettings, values)
    dataset = open_dataset(data, guess_task(data, reading), reading=reading)
    samples = list({sample.image_path: sample for sample in dataset.split("all")}.values())
    with Meter(len(samples) * (1 + duplicates)) as meter:
        shown, faults = dividing.read_classes(samples, len(dataset.labels), meter.advance)
        alike = find_duplicates([sample.image_path for sample in samples], meter.advance) if duplicates else []
    if faults:
        raise DataError(f"{data}: {plural(len(faults), 'photo')} cannot be read; see imago data check", tuple(faults))
    groups = dividing.group_samples(samples, group_by, alike)
    rest = 1 - test
    shares = {f"fold{number}": rest / folds for number in range(1, folds + 1)}
    shares = shares or {"train": rest - val, **({"val": val} if val else {})}
    shares |= {"test": test} if test else {}
    if len(groups) < len(shares):
        raise DataError(f"{data}: {plural(len(groups), 'group')} of photos cannot be divided in {len(shares)} parts")
    parts = dividing.divide(groups, shown, shares, seed)
    out = out or dividing.default_folder(data)
    keys = [dividing.photo_key(sample, dataset.root) for sample in samples]
    dividing.write_lists(out, {name: [keys[index] for index in found] for name, found in parts.items()})
    counts = {name: shown[found].sum(axis=0).tolist() for name, found in parts.items()}
    names = dataset.labels.names
    if as_json:
        told = {
            "data": str(data), "out": str(out), "photos": {name: len(found) for name, found in parts.items()},
            "groups": len(groups), "alike": sum(map(len, alike)),
            "classes": {name: dict(zip(names, counts[name], strict=True)) for name in parts},
        }  # fmt: skip
        echo_json(told, indent=1)
        return
    echo(f"{out}: {', '.join(f'{name} {len(found)}' for name, found in parts.items())}")
    together = f"{len(groups)} groups, {plural(sum(map(len, alike)), 'photo')} that show the same as another"
    echo(f"  {plural(len(samples), 'photo')} in {together}")
    _say_classes(names, counts)


def _say_classes(names: Sequence[str], counts: Mapping[str, Sequence[int]]) -> None:
    """A line a class: in how many photos of each part it is."""
    width = max(map(len, names[:LISTED]))
    for value, name in enumerate(names[:LISTED]):
        if any(found[value] for found in counts.values()):
            echo(f"  {name.ljust(width)}  " + "  ".join(f"{part} {found[value]}" for part, found in counts.items()))
