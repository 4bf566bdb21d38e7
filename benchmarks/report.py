"""What the benchmarks print: progress, tables as markdown, the line about the machine."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def say(text: str) -> None:
    """Progress goes to standard error; standard output holds only the table."""
    print(text, file=sys.stderr, flush=True)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def verdict(*within: bool) -> str:
    return "yes" if all(within) else "NO"


def machine() -> str:
    """One line about this machine, for the head of the tables. Warns where something else is running."""
    import platform

    model, memory = platform.processor() or platform.machine(), ""
    for path, key in ((Path("/proc/cpuinfo"), "model name"), (Path("/proc/meminfo"), "MemTotal")):
        if path.is_file():
            found = next((line for line in path.read_text().splitlines() if line.startswith(key)), "")
            value = found.partition(":")[2].strip()
            if key == "MemTotal" and value:
                memory = f", {int(value.split()[0]) * 1024 / 1e9:.0f} GB"
            elif value:
                model = value
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0]
    if load > 0.5:
        say(f"warning: the load of this machine is {load:.1f} before the start; the figures will not be clean")
    system = f"{platform.system()} {platform.release()}"
    day = time.strftime("%Y-%m-%d")
    return (
        f"Machine: {model}, {cores} cores{memory}, {system}, Python {platform.python_version()}, {day}, load {load:.1f}"
    )
