"""``imago data check``: what a folder was taken for, what is in it, and a sheet that shows how it was understood."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from imago.cli.console import echo, echo_json
from imago.cli.options import add_options, build_settings
from imago.core.read_settings import ReadSettings

if TYPE_CHECKING:
    from imago.data.check import CheckReport
    from imago.data.dataset import Dataset

SHOWN = 12  # photos of the sheet
LISTED = 40  # classes in lines


@click.command("check")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--task", type=click.Choice(["auto", "detection", "semantic"]), default="auto", show_default=True,
    help="Look at objects or at label maps; auto: as the folder looks.",
)  # fmt: skip
@click.option(
    "--sheet", type=click.Path(path_type=Path), metavar="FILE",
    help="Where the contact sheet is written (.jpg, .png).  [default: NAME.check.jpg, of DATA's name, in this folder]",
)  # fmt: skip
@click.option("--no-sheet", is_flag=True, help="Write no contact sheet.")
@click.option(
    "--fix", type=click.Path(path_type=Path), metavar="DIR",
    help="Write a repaired copy to a new folder: boxes and outlines cut to their photos, annotations turned that EXIF "
    "did not turn, objects without a pixel and what cannot be read left out.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the sheet if it is there already.")
@add_options(ReadSettings)
@click.option("--json", "as_json", is_flag=True, help="For scripts: JSON on standard output.")
def check_command(
    data: Path,
    task: Literal["auto", "detection", "semantic"],
    sheet: Path | None,
    no_sheet: bool,
    fix: Path | None,
    overwrite: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Read every photo and annotation in DATA: what it was taken for, what there is of each class, and all faults (exit
    code 1). A contact sheet shows photos beside what their annotations were understood to say."""
    from imago.cli.progress import Meter
    from imago.core.errors import DataError
    from imago.data.check import check_samples, unseen_fault
    from imago.data.check_warnings import find_warnings
    from imago.data.faults import advise, count_faults, resolve_faults
    from imago.data.open_dataset import OpenOptions, guess_task, survey_dataset

    target = choose_sheet(data, sheet, no_sheet, overwrite)
    reading = build_settings(ReadSettings, values)
    if task == "auto":
        task = guess_task(data, reading)
    if fix is not None:
        write_fixed(data, task, reading, fix)
        return
    dataset, faults = survey_dataset(data, OpenOptions(task, reading=reading))
    samples = dataset.split("all")
    with Meter(2 * len(samples)) as meter:
        checked = check_samples(samples, dataset.labels, lambda done, total: meter.advance())
        warnings = find_warnings(dataset, checked, meter.advance)
    faults = tuple(dict.fromkeys((*faults, *checked.faults)))
    unseen = unseen_fault(checked.unseen, bool(faults))
    stops = bool(unseen) and reading.faulty == "stop" and not dataset.has_own_list
    if reading.faulty != "stop":
        dataset, faults = resolve_faults(dataset, faults, reading, checked.damaged), ()
    found, lines = describe(dataset, checked, task)
    notes = [*dataset.notes, *([unseen] if unseen and not stops else [])]
    if target is not None and samples and target.exists() and not overwrite:
        notes.append(f"{target} is there already and stays as it is; --overwrite replaces it, --sheet names another")
    elif target is not None and samples:
        write_sheet(target, dataset, checked, overwrite)
        found["sheet"] = str(target)
        lines.append(f"sheet    {target}")
    if stops:
        faults = (*faults, unseen)
    if as_json:
        splits = {split: len(members) for split, members in dataset.splits.items()}
        echo_json(
            {"data": str(data), "photos": splits, **found, "notes": notes, "warnings": warnings, "faults": faults},
            indent=1,
        )
    else:
        echo("\n".join([*lines, *(f"note: {note}" for note in notes), *(f"warning: {line}" for line in warnings)]))
    if faults:
        raise DataError(f"{data}: {count_faults(len(faults))} in the data set; {advise(faults)}", faults)


def choose_sheet(data: Path, sheet: Path | None, no_sheet: bool, overwrite: bool) -> Path | None:
    """Where the contact sheet goes, if there is to be one. A file that was named must not be there yet."""
    from imago.files.writing import exists

    if sheet is not None and no_sheet:
        raise click.UsageError("--sheet and --no-sheet contradict each other; leave one out")
    if sheet is not None and sheet.exists() and not overwrite:
        raise exists(sheet)
    return None if no_sheet else sheet or Path(f"{data.resolve().name}.check.jpg")


def write_fixed(data: Path, task: Literal["detection", "semantic"], reading: ReadSettings, out: Path) -> None:
    """The repaired copy, in the format that the data has; says what was mended."""
    from imago.cli.data_convert import report_written
    from imago.core.errors import DataError
    from imago.data.faults import count_faults, resolve_faults
    from imago.data.formats.catalog import FORMATS
    from imago.data.open_dataset import OpenOptions, survey_dataset
    from imago.data.turned import turn_annotations
    from imago.data.write_dataset import write_dataset

    reading = replace(reading, faulty="clip")
    dataset, faults = survey_dataset(data, OpenOptions(task, reading=reading))
    format = next(one for one in FORMATS.values() if one.name == dataset.format)
    if format.writer is None:
        raise DataError(
            f"{data}: {format.name} can be read, not written; imago data convert --faulty clip writes another"
        )
    dataset = turn_annotations(resolve_faults(dataset, faults, reading))
    written = write_dataset(dataset, format, out)
    report_written(data, dataset, written, format.name, out, as_json=False)
    for fault in (*faults, *written.faults):
        echo(f"mended or left out: {fault}")
    echo(f"{count_faults(len(faults) + len(written.faults))}; look at {out} with imago data check")


def describe(dataset: Dataset, checked: CheckReport, task: str) -> tuple[dict[str, Any], list[str]]:
    """For JSON, and in lines."""
    sizes = checked.sizes_hw
    found: dict[str, Any] = {"format": dataset.format, "task": task, "empty": checked.empty}
    empty = "without objects" if task == "detection" else "that show the background alone"
    splits = ", ".join(f"{split} {len(members)}" for split, members in dataset.splits.items())
    lines = [f"format   {dataset.format}, read as {'objects' if task == 'detection' else 'label maps'}"]
    lines.append(f"photos   {splits}; {checked.empty} {empty}")
    if sizes:
        areas = sorted(sizes, key=lambda size: size[0] * size[1])
        least, middle, most = areas[0], areas[len(areas) // 2], areas[-1]
        found["sizes_hw"] = {"smallest": least, "median": middle, "largest": most, "different": len(set(sizes))}
        if len(set(sizes)) == 1:
            lines.append(f"sizes    all {least[0]} x {least[1]} (height x width)")
        else:
            lines.append(
                f"sizes    {len(set(sizes))} different, {least[0]} x {least[1]} to {most[0]} x {most[1]} (height x "
                f"width), the median {middle[0]} x {middle[1]}"
            )
    more, told = (_describe_objects if task == "detection" else _describe_label_maps)(dataset, checked)
    return found | more, lines + told


def _describe_objects(dataset: Dataset, checked: CheckReport) -> tuple[dict[str, Any], list[str]]:
    names = dataset.labels.names[1:]
    counts = dict(zip(names, checked.objects[1:].tolist(), strict=True))
    images = dict(zip(names, checked.images[1:].tolist(), strict=True))
    found = {"masks": dataset.has_masks, "crowds": checked.crowds, "objects": counts, "images": images}
    lines = [
        f"objects  {sum(counts.values())} with {'masks' if dataset.has_masks else 'boxes alone'}, and "
        f"{checked.crowds} crowd or difficult regions",
        f"classes  {len(counts)}, {sum(not count for count in counts.values())} of them without an object",
    ]
    rows = [
        (name, f"{count}", images[name]) for name, count in sorted(counts.items(), key=lambda one: -one[1]) if count
    ]
    return found, lines + _table(rows)


def _describe_label_maps(dataset: Dataset, checked: CheckReport) -> tuple[dict[str, Any], list[str]]:
    labels = dataset.labels
    counts = dict(zip(labels.names, checked.pixels.tolist(), strict=True))
    images = dict(zip(labels.names, checked.images.tolist(), strict=True))
    found = {"pixels": counts, "ignored_pixels": checked.ignored, "images": images}
    total = max(1, sum(counts.values()) + checked.ignored)
    rows = [(name, f"{count / total:.2%}", images[name]) for name, count in counts.items()]
    lines = [f"classes  {len(counts)}, in shares of the pixels; {checked.ignored / total:.2%} count for nothing"]
    return found, lines + _table(rows)


def _table(rows: list[tuple[str, str, int]]) -> list[str]:
    from imago.core.table import align_columns, terminal_width
    from imago.core.text import plural

    cells = [("", name, count, f"in {plural(images, 'photo')}") for name, count, images in rows[:LISTED]]
    lines = align_columns(cells, terminal_width(), right=False, rule=False).splitlines() if cells else []
    return lines + ([f"  and {len(rows) - LISTED} more (--json lists all)"] if len(rows) > LISTED else [])


def write_sheet(target: Path, dataset: Dataset, checked: CheckReport, overwrite: bool) -> None:
    """The contact sheet: photos in which, together, as many classes as can be are seen."""
    from imago.cli.data_sheet import make_tiles, save_sheet
    from imago.data.check import pick_shown

    tiles, _ = make_tiles(dataset, pick_shown(dataset.split("all"), checked, SHOWN))
    maps = any(sample.has_label_map for sample in dataset.split("all"))
    total = max(1, int(checked.pixels.sum()) + checked.ignored)
    words = [
        (f"{pixels / total:.1%}" if pixels else "") if maps else (f"{objects}" if objects else "")
        for pixels, objects in zip(checked.pixels.tolist(), checked.objects.tolist(), strict=True)
    ]
    title = f"{dataset.root.resolve().name}: {dataset.format}"
    save_sheet(target, tiles, dataset.labels, words, title, overwrite)
