"""``imago data``: look at a data set, and measure its boxes."""

from __future__ import annotations

from pathlib import Path

import click

from imago.cli.console import echo, echo_json
from imago.cli.data_check import check_command
from imago.cli.data_convert import convert_command, info_command
from imago.cli.data_edges import from_edges_command
from imago.cli.data_show import show_command, stats_command
from imago.cli.data_split import split_command
from imago.cli.options import SizeHW
from imago.core.text import plural

COMMANDS = {
    "info": info_command,
    "check": check_command,
    "convert": convert_command,
    "split": split_command,
    "show": show_command,
    "stats": stats_command,
    "from-edges": from_edges_command,
}


@click.group(commands=COMMANDS)
def data_command() -> None:
    """Look at annotated photos and write them anew: info, check, convert, split, show, stats, from-edges, anchors."""


@data_command.command("anchors")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(min=1), default=9, show_default=True, help="How many anchors.")
@click.option("--size", "size_hw", type=SizeHW(), default="416", show_default=True, help="Of the net's input, pixels.")
@click.option("--split", default="train", show_default=True, help="Which photos: train, val, test, or all.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random beginnings.")
@click.option("--json", "as_json", is_flag=True, help="For scripts: JSON on standard output.")
def anchors_command(data: Path, count: int, size_hw: tuple[int, int], split: str, seed: int, as_json: bool) -> None:
    """Find the box sizes for a YOLO net on DATA: width,height in pixels of the net's input, the smallest first.

    k-means with the distance 1 - IoU (YOLO v2). Photos are fitted into the input with their aspect kept.
    """
    from imago.core.errors import DataError
    from imago.data.anchors import collect_box_sizes, find_anchors
    from imago.data.open_dataset import open_dataset

    samples = open_dataset(data, "detection", masks=False).split(split)  # drawing COCO's polygons would take an hour
    sizes = collect_box_sizes(samples, size_hw)
    if not len(sizes):
        raise DataError(f"{data}: the {plural(len(samples), 'photo', 'have')} no object (split {split!r})")
    anchors, iou = find_anchors(sizes, count, seed)
    if as_json:
        found = {
            "anchors": [[round(side, 2) for side in anchor] for anchor in anchors.tolist()],
            "mean_iou": round(iou, 4),
            "boxes": len(sizes),
            "size_hw": size_hw,
        }
        echo_json(found)
        return
    echo(", ".join(f"{width:.0f},{height:.0f}" for width, height in anchors.tolist()))
    echo(f"mean IoU {iou:.3f} over {plural(len(sizes), 'box')} of {plural(len(samples), 'photo')} ({split})")
