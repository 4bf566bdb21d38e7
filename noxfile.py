"""The five words people try: ``nox -s test``, ``lint``, ``docs``, ``bench``, ``build``.

nox and not make: it runs on Windows too, and gives ``build`` the fresh environment that it needs.

The other four run in the environment that nox itself runs in (``pip install -e ".[dev]"``): one torch on the disk is
enough. What follows ``--`` goes on to the command: ``nox -s test -- tests/test_docs.py -k links``.
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
SAMPLE = "samples/astronaut.jpg"
IN_WHEEL = ("imago/py.typed", "imago/models/weights/subject.onnx", "/licenses/LICENSE")

nox.options.sessions = ["lint", "test"]


def run_here(session: nox.Session, *arguments: str) -> None:
    """``python -m ...`` with the Python that nox runs on, so that no other tool of the same name on PATH answers."""
    session.run(sys.executable, "-m", *arguments, external=True)


@nox.session(venv_backend="none")
def test(session: nox.Session) -> None:
    """The daily tests, on all cores; after -- options of pytest."""
    run_here(session, "pytest", *(session.posargs or ("-n", "auto")))


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Form and types, as the workflow checks them; changes nothing."""
    run_here(session, "ruff", "check", ".")
    run_here(session, "ruff", "format", "--check", ".")
    run_here(session, "mypy")


@nox.session(venv_backend="none")
def docs(session: nox.Session) -> None:
    """Renew the reference of the commands, then run every command and Python block of the documents."""
    session.run(sys.executable, "tests/test_docs.py", external=True)
    run_here(session, "pytest", "tests/test_docs.py", *(session.posargs or ("--slow", "-n", "auto")))


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Start-up times; after -- another script of benchmarks/ and its options."""
    script, *options = session.posargs or ("start.py",)
    session.run(sys.executable, f"benchmarks/{script}", *options, external=True)


@nox.session
def build(session: nox.Session) -> None:
    """Wheel and source archive into dist/ (emptied first); the wheel is installed afresh and cuts out a sample."""
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.install("build")
    session.run("python", "-m", "build", "--outdir", str(dist))
    wheel = next(dist.glob("*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    if missing := [end for end in IN_WHEEL if not any(name.endswith(end) for name in names)]:
        session.error(
            f"{wheel.name}: {', '.join(missing)} should be in it and is not; see [tool.hatch] in pyproject.toml"
        )
    session.install(str(wheel))
    out = Path(session.create_tmp()) / "cutouts"
    # Without PYTHONPATH, by which the sources could stand in for what the wheel lacks.
    session.run("imago", "cutout", SAMPLE, "--out", str(out), "--overwrite", env={"PYTHONPATH": None})
