"""Whole processes, timed from outside: wall time, processor time, peak memory. Linux and macOS.

    python benchmarks/whole_process.py -- imago cutout photo.jpg --overwrite

Each command is started by a launcher of its own (launcher.py), never by a benchmark, which may hold photos and nets.
MB is 1,000,000 bytes throughout.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from report import say

LAUNCHER = Path(__file__).with_name("launcher.py")


class CommandFailed(SystemExit):
    """A measured command went wrong: there is nothing to compare. Ends the benchmark with one line."""


@dataclass(frozen=True)
class Spent:
    """What one run of a command took."""

    wall_s: float
    cpu_s: float  # user + system, of all its threads
    peak_mb: float  # largest resident memory


@dataclass(frozen=True)
class Command:
    """A command line, and what makes its runs alike."""

    arguments: Sequence[str | Path]
    environment: Mapping[str, str] = field(default_factory=dict)  # beside what is set already
    fresh: Sequence[Path] = ()  # files and folders that it writes: removed before each run, looked for after it
    rounds: int | None = None  # instead of what ``alternate`` is told
    warmups: int | None = None


def measure(command: Command) -> Spent:
    """Runs ``command`` once. Raises CommandFailed if it fails, or leaves one of its outputs unwritten."""
    for path in command.fresh:
        _remove(path)
    words = [str(word) for word in command.arguments]
    with tempfile.NamedTemporaryFile("r", suffix=".log", errors="replace") as log:
        order = {"command": words, "environment": {**os.environ, **command.environment}, "log": log.name}
        answer = _run_launcher(json.dumps(order))
        if answer["exit"] != 0:
            raise CommandFailed(f"{' '.join(words)}\nended with {answer['exit']}:\n{log.read()[-2000:].strip()}")
        for path in command.fresh:
            if not _is_filled(path):
                raise CommandFailed(f"{' '.join(words)}\nwrote no {path}:\n{log.read()[-2000:].strip()}")
    return Spent(answer["wall_s"], answer["cpu_s"], answer["peak_mb"])


def alternate(commands: Mapping[str, Command], rounds: int, warmups: int = 1) -> dict[str, Spent]:
    """Medians of ``rounds`` runs of each, in turns (A B C A B C), so that a slow minute of the machine hits all alike.

    ``warmups`` runs of each come before and do not count: files get into memory, caches are filled.
    """
    counts = {name: rounds if c.rounds is None else c.rounds for name, c in commands.items()}
    before = {name: warmups if c.warmups is None else c.warmups for name, c in commands.items()}
    for name, command in commands.items():
        for _ in range(before[name]):
            measure(command)
            say(f"  {name}: warm-up")
    runs: dict[str, list[Spent]] = {name: [] for name in commands}
    for turn in range(max(counts.values())):
        for name, command in commands.items():
            if turn < counts[name]:
                runs[name].append(measure(command))
                say(f"  {name} {turn + 1}/{counts[name]}: {describe(runs[name][-1])}")
    return {name: median(spent) for name, spent in runs.items()}


def median(runs: Sequence[Spent]) -> Spent:
    """Of each figure by itself; of the peak the largest, for a limit on memory must hold every time."""
    return Spent(
        statistics.median(run.wall_s for run in runs),
        statistics.median(run.cpu_s for run in runs),
        max(run.peak_mb for run in runs),
    )


def describe(spent: Spent) -> str:
    return f"{spent.wall_s:.3f} s, processor {spent.cpu_s:.3f} s, peak {spent.peak_mb:.0f} MB"


def beside_python(name: str, python: str = sys.executable) -> Path:
    """The console script ``name`` of the environment of ``python``; only the name where there is none."""
    path = Path(python).parent / name
    return path if path.is_file() else Path(name)


def _is_filled(path: Path) -> bool:
    """A file of some bytes, or a folder that holds something."""
    if path.is_dir():
        return any(path.iterdir())
    return path.is_file() and path.stat().st_size > 0


def _remove(path: Path) -> None:
    if path.is_dir():
        import shutil

        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _run_launcher(order: str) -> dict:
    import subprocess

    # -I -S: nothing of the environment and no site-packages, for the launcher must stay small.
    bare = [sys.executable, "-I", "-S", str(LAUNCHER)]
    done = subprocess.run(bare, input=order, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CommandFailed(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout)


def main() -> None:
    import argparse

    parser = argparse.ArgumentParser(
        description="Time any command as a whole process: median wall time, processor time, peak memory."
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs that count (default 5)")
    parser.add_argument("command", nargs="+", help="the command, after --")
    options = parser.parse_args()
    print(describe(alternate({options.command[0]: Command(options.command)}, options.rounds)[options.command[0]]))


if __name__ == "__main__":
    main()
