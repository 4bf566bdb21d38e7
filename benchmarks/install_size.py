"""What the base install takes on disk: a fresh virtual environment, `pip install .`, megabytes in all and by package.

    python benchmarks/install_size.py

Bytes are those of the blocks taken, as `du` counts them; compiled .pyc files are in it, pip's cache is not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from importlib.metadata import Distribution, distributions
from pathlib import Path

from report import machine, say, table, verdict

LIMIT_MB = 400
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Disk space of the base install in a fresh environment (at most 400 MB)."
    )
    parser.add_argument("--python", default=sys.executable, help="the Python to make the environment with")
    parser.add_argument("--what", default=str(ROOT), help="what pip installs (default: this repository)")
    parser.add_argument("--environment", type=Path, help="measure this environment instead; nothing is installed")
    options = parser.parse_args()
    print(machine(), end="\n\n")
    if options.environment:
        report(options.environment)
        return
    with tempfile.TemporaryDirectory(prefix="imago-size-") as name:
        environment = Path(name) / "venv"
        run([options.python, "-m", "venv", str(environment)])
        run([str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", options.what])
        report(environment)


def run(words: list[str]) -> None:
    say(" ".join(words))
    done = subprocess.run(words, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}\nended with {done.returncode}")


def report(environment: Path) -> None:
    sites = sorted(environment.glob("lib/python*/site-packages"))
    if not sites:
        raise SystemExit(f"{environment}: no virtual environment (no lib/python*/site-packages in it)")
    sizes = {f"{d.name} {d.version}": distribution_mb(d) for d in distributions(path=[str(sites[0])])}
    whole = folder_mb(environment)
    sizes["not of a package"] = whole - sum(sizes.values())
    rows = [["package", "MB"]]
    rows += [[name, f"{size:.1f}"] for name, size in sorted(sizes.items(), key=lambda item: -item[1])]
    rows.append(["in all", f"{whole:.0f}"])
    print(table(rows))
    print(f"\nat most {LIMIT_MB} MB: {verdict(whole <= LIMIT_MB)}")


def distribution_mb(distribution: Distribution) -> float:
    """The files that its RECORD names, compiled ones included."""
    return sum(disk_bytes(Path(str(file.locate()))) for file in distribution.files or ()) / 1e6


def folder_mb(folder: Path) -> float:
    """All files, links themselves and not what they lead to; folders take a block each too."""
    total = 0
    for place, folders, files in os.walk(folder):
        total += sum(disk_bytes(Path(place, name)) for name in (*folders, *files))
    return total / 1e6


def disk_bytes(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512  # POSIX counts in 512 bytes, whatever the file system does
    except FileNotFoundError:
        return 0  # RECORD may name a .pyc that was not made


if __name__ == "__main__":
    main()
