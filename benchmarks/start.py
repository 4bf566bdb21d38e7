"""How long Imago takes to start: --version, --help, import, and the first run after installing.

python benchmarks/start.py --rembg /path/to/rembg --photo photo.jpg
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from material import add_tools, imago_command
from report import machine, say, table, verdict
from whole_process import Command, alternate, beside_python, measure, median

VERSION_S, HELP_S, IMPORT_S, FIRST_RUN_S = 0.15, 0.15, 0.10, 0.5


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Start-up times against 0.15 s (commands), 0.10 s (import), +0.5 s (first run)."
    )
    add_tools(parser)
    parser.add_argument("--rounds", type=int, default=15, help="runs of each that count (default 15)")
    parser.add_argument("--first-rounds", type=int, default=5, help="first runs that count (default 5)")
    parser.add_argument("--photo", type=Path, help="also the first `imago cutout` after installing, of this photo")
    parser.add_argument("--model", default="subject", help="its model (default subject)")
    options = parser.parse_args()
    imago = imago_command(options.imago)
    python = beside_python("python", str(imago))

    print(machine(), end="\n\n")
    usual(options, imago, python)
    first(options, imago, python)


def usual(options: argparse.Namespace, imago: Path, python: Path) -> None:
    commands = {
        "python -c pass": Command([python, "-c", "pass"]),
        "import imago": Command([python, "-c", "import imago"]),
        "imago --version": Command([imago, "--version"]),
        "imago --help": Command([imago, "--help"]),
    }
    if options.rembg:
        commands["rembg --version"] = Command([options.rembg, "--version"])
    limits = {"import imago": IMPORT_S, "imago --version": VERSION_S, "imago --help": HELP_S}
    spent = alternate(commands, options.rounds)
    bare_s = spent["python -c pass"].wall_s
    rows = [["whole process", "wall s", "above bare Python s", "limit s", "peak MB", "reached"]]
    for name, one in spent.items():
        limit = limits.get(name)
        rows.append(
            [
                name, f"{one.wall_s:.3f}", f"{one.wall_s - bare_s:.3f}", f"{limit:.2f}" if limit else "",
                f"{one.peak_mb:.0f}", verdict(one.wall_s <= limit) if limit else "",
            ]
        )  # fmt: skip
    print(table(rows), end="\n\n")


def first(options: argparse.Namespace, imago: Path, python: Path) -> None:
    """The first run ever: no package is compiled to .pyc yet, as after an installer that does not compile."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands: dict[str, Command] = {"imago --version": Command([imago, "--version"])}
        if options.photo:
            words = [imago, "cutout", options.photo, "--model", options.model, "--out", folder / "out"]
            commands["imago cutout"] = Command(words, fresh=[folder / "out"])
        rows = [["first run", "wall s", "usual s", "more s", "limit s", "reached"]]
        for title, command in commands.items():
            cache = folder / "pycache"
            cached = Command(
                command.arguments, {"PYTHONPYCACHEPREFIX": str(cache), "PYTHONDONTWRITEBYTECODE": ""}, command.fresh
            )
            firsts, usuals = [], []
            for turn in range(options.first_rounds):
                measure(cached)
                forget_packages(cache, standard_library(python))
                firsts.append(measure(cached))
                usuals.append(measure(cached))
                say(f"  {title} {turn + 1}: first {firsts[-1].wall_s:.3f} s, then {usuals[-1].wall_s:.3f} s")
            early, late = median(firsts).wall_s, median(usuals).wall_s
            rows.append(
                [title, f"{early:.3f}", f"{late:.3f}", f"{early - late:.3f}", f"{FIRST_RUN_S:.2f}",
                 verdict(early - late <= FIRST_RUN_S)]
            )  # fmt: skip
    print(table(rows))


def standard_library(python: Path) -> Path:
    """It comes compiled with Python, so its files stay in the cache."""
    ask = "import sysconfig; print(sysconfig.get_path('stdlib'))"
    return Path(subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip())


def forget_packages(cache: Path, library: Path) -> None:
    """Removes every compiled file from ``cache`` but those of the standard library."""
    kept = cache / library.resolve().relative_to("/")
    forgotten = 0
    for path in cache.rglob("*.pyc"):
        if not path.is_relative_to(kept) or {"site-packages", "dist-packages"} & set(path.parts):
            path.unlink()
            forgotten += 1
    if not forgotten:
        raise SystemExit(f"{cache}: nothing of the packages was cached there; this first run would be none")


if __name__ == "__main__":
    main()
