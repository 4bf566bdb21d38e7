"""``imago data from-edges``: masks of things on a plain background, by their edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from imago.cli.console import echo
from imago.cli.data_convert import report_written
from imago.cli.options import add_options, build_settings
from imago.core.edge_settings import EdgeSettings

SHOWN = 24  # photos of the sheet


@click.command("from-edges")
@click.argument("photos", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The new folder; nothing is replaced."
)
@click.option("--name", default="object", show_default=True, help="What the class is called.")
@click.option(
    "--photos", "placing", type=click.Choice(["copy", "link"]), default="copy", show_default=True,
    help="Copy the photos, or link to where they lie.",
)  # fmt: skip
@add_options(EdgeSettings)
@click.option("--json", "as_json", is_flag=True, help="For scripts: JSON on standard output.")
def from_edges_command(
    photos: Path, out: Path, name: str, placing: Literal["copy", "link"], as_json: bool, **values: Any
) -> None:
    """Make masks for the PHOTOS in a folder by their edges: of products, fruit, leaves or coins on a plain background.

    The new folder holds photos, masks and COCO's JSON, and sheet.jpg to look at: edges know nothing of things, so look
    before you train. Photos without an outline are left out, and end with exit code 1.
    """
    from imago.cli.data_sheet import make_tiles, save_sheet
    from imago.cli.progress import Meter
    from imago.core.errors import DataError
    from imago.data.edges import MASKS_AND_COCO, survey_photos
    from imago.data.faults import count_faults
    from imago.data.open_dataset import open_dataset
    from imago.data.write_dataset import write_dataset

    settings = build_settings(EdgeSettings, values)
    dataset = survey_photos(photos, settings, name)
    with Meter(len(dataset.split("all"))) as meter:
        written = write_dataset(dataset, MASKS_AND_COCO, out, photos=placing, progress=meter.advance)
    made = open_dataset(out, "detection")
    every = made.split("all")
    tiles, _ = make_tiles(made, every[:: -(-len(every) // SHOWN)])
    save_sheet(out / "sheet.jpg", tiles, made.labels, ["", f"{written.objects}"], settings.describe())
    report_written(photos, dataset, written, MASKS_AND_COCO.name, out, as_json)
    if not as_json:
        echo(f"sheet    {out / 'sheet.jpg'}: look at it before you train")
    if written.faults:
        raise DataError(
            f"{photos}: {count_faults(len(written.faults))}; these photos are left out", tuple(written.faults)
        )
