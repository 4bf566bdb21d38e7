"""``imago data``: look at a data set, and measure its boxes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from imago.cli.console import echo, echo_json
from imago.cli.options import SizeHW
from imago.core.text import plural

if TYPE_CHECKING:
    from imago.data.check import CheckReport
    from imago.data.dataset import Dataset


@click.group()
def data_command() -> None:
    """Look at annotated photos: check a data set, find anchors."""


@data_command.command("check")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--task", type=click.Choice(["auto", "detection", "semantic"]), default="auto", show_default=True,
    help="Look at objects or at label maps; auto: as the folder looks.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="For scripts: JSON on standard output.")
def check_command(data: Path, task: Literal["auto", "detection", "semantic"], as_json: bool) -> None:
    """Read every photo and annotation in DATA: what there is of each class, and all faults (exit code 1)."""
    from imago.cli.progress import Meter
    from imago.core.errors import DataError
    from imago.data.check import check_samples
    from imago.data.open_dataset import OpenOptions, guess_task, survey_dataset

    if task == "auto":
        task = guess_task(data)
    dataset, faults = survey_dataset(data, OpenOptions(task))
    samples = dataset.split("all")
    with Meter(len(samples)) as meter:
        checked = check_samples(samples, dataset.labels, lambda done, total: meter.advance())
    faults = tuple(dict.fromkeys((*faults, *checked.faults)))
    show = _describe_objects if task == "detection" else _describe_label_maps
    found, lines = show(dataset, checked)
    if as_json:
        splits = {split: len(members) for split, members in dataset.splits.items()}
        echo_json({"data": str(data), "photos": splits, **found, "notes": dataset.notes, "faults": faults}, indent=1)
    else:
        echo("\n".join([*lines, *(f"note: {note}" for note in dataset.notes)]))
    if faults:
        raise DataError(f"{data}: {len(faults)} fault{'s' if len(faults) > 1 else ''} in the data set", faults)


def _describe_objects(dataset: Dataset, checked: CheckReport) -> tuple[dict[str, Any], list[str]]:
    """For JSON, and in lines."""
    counts = dict(zip(dataset.labels.names[1:], checked.objects[1:].tolist(), strict=True))
    found = {
        "empty": checked.empty, "masks": dataset.has_masks, "crowds": checked.crowds, "objects": counts,
    }  # fmt: skip
    unused = sum(not count for count in counts.values())
    lines = [
        f"photos   {_describe_splits(dataset)}; {checked.empty} without objects",
        f"objects  {sum(counts.values())} with {'masks' if dataset.has_masks else 'boxes alone'}, and "
        f"{checked.crowds} crowd or difficult regions",
        f"classes  {len(counts)}, {unused} of them without an object",
    ]
    width = max(map(len, counts))
    ordered = sorted(counts.items(), key=lambda entry: -entry[1])
    return found, lines + [f"  {name.ljust(width)}  {count:>7}" for name, count in ordered if count]


def _describe_label_maps(dataset: Dataset, checked: CheckReport) -> tuple[dict[str, Any], list[str]]:
    """For JSON, and in lines."""
    counts = dict(zip(dataset.labels.names, checked.pixels.tolist(), strict=True))
    found = {"empty": checked.empty, "pixels": counts}
    total, width = max(1, sum(counts.values())), max(map(len, counts))
    lines = [
        f"photos   {_describe_splits(dataset)}; {checked.empty} of {dataset.labels.names[0]} alone",
        f"classes  {len(counts)}, in shares of the pixels",
    ]
    return found, lines + [f"  {name.ljust(width)}  {count / total:>7.2%}" for name, count in counts.items()]


def _describe_splits(dataset: Dataset) -> str:
    return ", ".join(f"{split} {len(members)}" for split, members in dataset.splits.items())


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
