"""`imago cutout` of one photo on a quiet machine, and with one core taken by another process.

    python benchmarks/load.py --photo photo.jpg

The other process works without pause at the usual priority (nice 0). Runs with and without it take turns.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from material import add_tools, cutout_words, make_photo, model_for, sample_photo
from report import machine, say, table, verdict
from whole_process import Command, Spent, describe, measure, median

LIMIT = 2.2  # times slower, at most
SETTLE_S = 0.5  # until the other process has its core, or has left it


def main() -> None:
    parser = argparse.ArgumentParser(
        description="How much slower imago cutout is while one core is taken (at most 2.2 times)."
    )
    add_tools(parser, rembg=False)
    parser.add_argument("--rounds", type=int, default=7, help="runs of each that count (default 7)")
    parser.add_argument("--megapixels", type=float, default=0.7, help="size of the photo (default 0.7)")
    parser.add_argument("--busy", type=int, default=1, help="processes that take a core each (default 1)")
    parser.add_argument("--photo", type=Path, help="a sample photo, which is brought to that size")
    parser.add_argument("--model", type=Path, help="an .onnx file (default: U2-Net-p with random weights)")
    options = parser.parse_args()
    print(machine(), end="\n\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sample = sample_photo(options.photo)
        photo = make_photo(sample, options.megapixels, folder / "photo.jpg")
        model = model_for(options.model, folder, sample)
        words = cutout_words(options.imago, photo, model, folder / "out")
        command = Command(words, fresh=[folder / "out"])
        measure(command)  # warm-up
        quiet: list[Spent] = []
        loaded: list[Spent] = []
        for turn in range(options.rounds):
            quiet.append(measure(command))
            with busy(options.busy):
                loaded.append(measure(command))
            say(f"  {turn + 1}/{options.rounds}: quiet {describe(quiet[-1])}; loaded {describe(loaded[-1])}")
    alone, beside = median(quiet), median(loaded)
    ratio = beside.wall_s / alone.wall_s
    rows = [["imago cutout", "wall s", "processor s", "times slower", "at most", "reached"]]
    rows.append(["alone", f"{alone.wall_s:.2f}", f"{alone.cpu_s:.2f}", "", "", ""])
    title = f"{options.busy} core{'s' if options.busy > 1 else ''} taken"
    rows.append(
        [title, f"{beside.wall_s:.2f}", f"{beside.cpu_s:.2f}", f"{ratio:.2f}", f"{LIMIT}", verdict(ratio <= LIMIT)]
    )
    print(table(rows))


@contextmanager
def busy(count: int) -> Iterator[None]:
    """``count`` processes that compute without pause."""
    processes = [subprocess.Popen([sys.executable, "-I", "-S", "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(SETTLE_S)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
        time.sleep(SETTLE_S)


if __name__ == "__main__":
    main()
