"""`imago cutout` beside `rembg i`, as whole processes with the same U2-Net-p on photos of 0.7, 12 and 100 megapixels.

    python benchmarks/cutout.py --rembg /path/to/rembg --photo photo.jpg

Both get one file: a U2-Net-p with random weights (or --model). They run in turns; medians count, of memory the peak.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from material import (
    add_tools,
    cutout_words,
    make_photo,
    model_for,
    rembg_environment,
    rembg_words,
    sample_photo,
)
from report import machine, say, table, verdict
from whole_process import Command, Spent, alternate


@dataclass(frozen=True)
class Row:
    """One size of photo and what is asked of Imago there."""

    megapixels: float
    matting: bool
    wall_s: float  # at most
    peak_mb: float  # at most
    ratio: float  # rembg's wall time by ours, at least


ROWS = {
    "0.7": Row(0.7, False, 0.9, 350, 2.5),
    "12": Row(12, False, 2, 500, 4),
    "12-matting": Row(12, True, 6, 1500, 10),
    "100": Row(100, False, 12, 1000, 3),
}
HEAD = ["row", "imago s", "at most", "imago MB", "at most", "rembg s", "rembg MB", "ratio", "at least", "reached"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of imago cutout beside rembg, with the same net.")
    add_tools(parser)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="which rows (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each that count (default 5)")
    parser.add_argument("--warmups", type=int, default=1, help="runs of each before (default 1)")
    parser.add_argument("--photo", type=Path, help="a sample photo, which is brought to each size")
    parser.add_argument("--model", type=Path, help="an .onnx file for both (default: U2-Net-p with random weights)")
    parser.add_argument("--no-rembg-matting", action="store_true", help="leave rembg -a out (82 s, 15.4 GB)")
    parser.add_argument("--no-subject", action="store_true", help="leave the rows with the shipped model out")
    parser.add_argument("--subject", default="subject", help="the model of the extra rows (default subject)")
    parser.add_argument(
        "--work", type=Path, help="folder for photos and results, which stay (default: a temporary one)"
    )
    options = parser.parse_args()
    print(machine(), end="\n\n")
    folder = options.work or Path(tempfile.mkdtemp(prefix="imago-cutout-"))
    try:
        run(options, folder)
    finally:
        if options.work is None:
            shutil.rmtree(folder, ignore_errors=True)


def run(options: argparse.Namespace, folder: Path) -> None:
    sample = sample_photo(options.photo)
    model = model_for(options.model, folder, sample)
    photos = {
        ROWS[name].megapixels: make_photo(sample, ROWS[name].megapixels, folder / f"{ROWS[name].megapixels:g}mp.jpg")
        for name in options.rows
    }
    lines = [HEAD]
    try:
        measure_rows(options, folder, model, photos, lines)
    finally:  # what was measured before something failed is worth having
        print(table(lines))


def measure_rows(
    options: argparse.Namespace, folder: Path, model: Path, photos: dict[float, Path], lines: list[list[str]]
) -> None:
    """Adds a line to ``lines`` for each row, and one for the shipped model."""
    subject = not options.no_subject and is_there(options.subject)
    for name in options.rows:
        row = ROWS[name]
        photo = photos[row.megapixels]
        say(f"{name}, U2-Net-p:")
        commands = {"imago": imago(options, row, photo, model, folder)}
        if options.rembg and not (row.matting and options.no_rembg_matting):
            commands["rembg"] = rembg(options, row, photo, model, folder)
        spent = alternate(commands, options.rounds, options.warmups)
        lines.append(line(name, row, spent["imago"], spent.get("rembg")))
        if subject:
            say(f"{name}, {options.subject}:")
            ours = {"imago": imago(options, row, photo, options.subject, folder)}
            alone = alternate(ours, options.rounds, options.warmups)["imago"]
            lines.append([f"{name}, {options.subject}", f"{alone.wall_s:.2f}", "", f"{alone.peak_mb:.0f}", *[""] * 6])


def is_there(model: str) -> bool:
    from imago.core.errors import ModelError
    from imago.models.find import find_model

    try:
        find_model(model)
    except ModelError as error:
        say(f"no rows with {model}: {error}")
        return False
    return True


def imago(options: argparse.Namespace, row: Row, photo: Path, model: Path | str, folder: Path) -> Command:
    words = cutout_words(options.imago, photo, model, folder / "imago")
    if row.matting:
        words.append("--matting")
    return Command(words, fresh=[folder / "imago" / f"{photo.stem}.cutout.png"])


def rembg(options: argparse.Namespace, row: Row, photo: Path, model: Path, folder: Path) -> Command:
    out = folder / "rembg" / f"{photo.stem}.png"
    out.parent.mkdir(parents=True, exist_ok=True)
    words = [options.rembg, "i", *rembg_words(model), *(["-a"] if row.matting else []), photo, out]
    # Its matting takes more than a minute and most of the memory: once is enough.
    counts = (1, 0) if row.matting else (None, None)
    return Command(words, rembg_environment(model), [out], *counts)


def line(name: str, row: Row, ours: Spent, theirs: Spent | None) -> list[str]:
    within = [ours.wall_s <= row.wall_s, ours.peak_mb <= row.peak_mb]
    peer = ["", "", "not run"]
    if theirs is not None:
        ratio = theirs.wall_s / ours.wall_s
        within.append(ratio >= row.ratio)
        peer = [f"{theirs.wall_s:.2f}", f"{theirs.peak_mb:.0f}", f"{ratio:.1f}"]
    return [
        name, f"{ours.wall_s:.2f}", f"{row.wall_s:g}", f"{ours.peak_mb:.0f}", f"{row.peak_mb:g}",
        *peer, f"{row.ratio:g}", verdict(*within),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
