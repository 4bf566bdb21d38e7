"""``imago data convert`` and ``imago data info``: a data set as another format, and in a few lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from imago.cli.console import echo, echo_json
from imago.cli.options import add_options, build_settings
from imago.core.read_settings import ReadSettings
from imago.core.text import plural

if TYPE_CHECKING:
    from imago.data.dataset import Dataset
    from imago.data.write_dataset import Written

NAMED = 30  # classes in a line


class WrittenFormat(click.ParamType):  # type: ignore[type-arg]
    """The name of a format that is written; the table is loaded when it is asked for."""

    name = "FORMAT"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"[{'|'.join(self._names())}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from imago.data.formats.catalog import FORMATS

        name = str(value).lower().replace("-", "_")
        if name not in FORMATS or FORMATS[name].writer is None:
            self.fail(f"{value!r} is no format that is written; choose from {', '.join(self._names())}", param, ctx)
        return FORMATS[name]

    @staticmethod
    def _names() -> list[str]:
        from imago.data.formats.catalog import FORMATS

        return [name for name, one in FORMATS.items() if one.writer is not None]


@click.command("convert")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--to", "format", type=WrittenFormat(), required=True, help="What is written.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The new folder; nothing is replaced."
)
@click.option(
    "--photos", type=click.Choice(["copy", "link"]), default="copy", show_default=True,
    help="Copy the photos, or link to where they lie.",
)  # fmt: skip
@click.option(
    "--outlines", type=click.Choice(["auto", "polygons", "rle"]), default="auto", show_default=True,
    help="COCO's masks. auto: polygons, and run lengths for masks with holes.",
)  # fmt: skip
@click.option(
    "--regions", type=click.Choice(["parts", "whole"]), default="parts", show_default=True,
    help="Objects of label maps: each connected part, or all pixels of a class.",
)  # fmt: skip
@add_options(ReadSettings)
@click.option("--json", "as_json", is_flag=True, help="For scripts: JSON on standard output.")
def convert_command(
    data: Path,
    format: Any,
    out: Path,
    photos: Literal["copy", "link"],
    outlines: Literal["auto", "polygons", "rle"],
    regions: Literal["parts", "whole"],
    as_json: bool,
    **values: Any,
) -> None:
    """Write DATA, in whatever format it is, as another; splits are kept. What the new format cannot hold is told in
    numbers. Photos that cannot be read are left out, and end with exit code 1."""
    from imago.cli.progress import Meter
    from imago.core.errors import DataError
    from imago.data.faults import count_faults, resolve_faults
    from imago.data.formats.format import WriteOptions
    from imago.data.open_dataset import survey_for
    from imago.data.write_dataset import write_dataset

    reading = build_settings(ReadSettings, values)
    dataset, faults = survey_for(data, format.writer.truth, regions, reading)
    dataset = resolve_faults(dataset, faults, reading)
    with Meter(len(dataset.split("all"))) as meter:
        written = write_dataset(
            dataset, format, out, photos=photos, options=WriteOptions(outlines), progress=meter.advance
        )
    report_written(data, dataset, written, format.name, out, as_json)
    if written.faults:
        raise DataError(
            f"{data}: {count_faults(len(written.faults))}; these photos are left out", tuple(written.faults)
        )


def report_written(data: Path, dataset: Dataset, written: Written, name: str, out: Path, as_json: bool) -> None:
    """Says what was written, and what was lost."""
    losses = written.losses
    if as_json:
        iou = losses.iou_sum / losses.outlined if losses.outlined else None
        found = {
            "data": str(data), "out": str(out), "from": dataset.format, "to": name, "photos": written.photos,
            "objects": written.objects, "lost": dict(losses.counts), "polygons": losses.outlined,
            "mean_iou": iou, "least_iou": losses.iou_least if losses.outlined else None,
            "notes": [*dataset.notes, *written.notes], "faults": written.faults,
        }  # fmt: skip
        echo_json(found, indent=1)
        return
    splits = ", ".join(f"{split} {count}" for split, count in written.photos.items())
    objects = f", {plural(written.objects, 'object')}" if written.objects else ""
    echo(f"{out}: {name}, from {dataset.format}: {splits}{objects}")
    for line in losses.lines():
        echo(f"  {line}")
    if not losses.counts:
        echo("  nothing was lost")
    for note in (*dataset.notes, *written.notes):
        echo(f"note: {note}")


@click.command("info")
@click.argument("data", type=click.Path(path_type=Path))
@add_options(ReadSettings)
@click.option("--json", "as_json", is_flag=True, help="For scripts: JSON on standard output.")
def info_command(data: Path, as_json: bool, **values: Any) -> None:
    """Say in a few lines what DATA was taken for: its format, splits and classes. Pixels are not looked at: check does
    that."""
    from imago.data.open_dataset import OpenOptions, guess_task, survey_dataset

    reading = build_settings(ReadSettings, values)
    task = guess_task(data, reading)
    dataset, faults = survey_dataset(data, OpenOptions(task, reading=reading))
    splits = {split: len(members) for split, members in dataset.splits.items()}
    names = [name for name in dataset.labels.names if task == "semantic" or name != "background"]
    truth = "label maps" if task == "semantic" else "objects with masks" if dataset.has_masks else "objects with boxes"
    if as_json:
        echo_json(
            {
                "data": str(data), "format": dataset.format, "task": task, "truth": truth, "photos": splits,
                "classes": names, "notes": dataset.notes, "faults": len(faults),
            }, indent=1,
        )  # fmt: skip
        return
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    echo(f"format   {dataset.format}: {truth}")
    echo(f"photos   {', '.join(f'{split} {count}' for split, count in splits.items())}")
    echo(f"classes  {len(names)}: {', '.join(names[:NAMED])}{more}")
    for note in dataset.notes:
        echo(f"note: {note}")
    if faults:
        echo(f"faults   {len(faults)}; imago data check lists them")
