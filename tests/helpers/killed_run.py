"""Trainings that are killed and resumed, and what they leave behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import torch
from safetensors.torch import load_file
from tiny_run import silent

from imago.training import loop
from imago.training.config import TrainConfig
from imago.training.loop import fit
from imago.training.run import Clock, Run
from imago.training.train import build


def fitted(config: TrainConfig, root: Path, resume: bool = False) -> Run:
    run = build(config, root, resume, silent)
    if not run.progress.done:
        fit(run)
    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All that a run leaves behind: averaged weights of the best and the last epoch, net, average, optimiser."""
    found = {}
    for file in ("best.safetensors", "last.safetensors", "resume.safetensors"):
        found |= {f"{file}/{name}": value for name, value in load_file(folder / file).items()}
    return found


def assert_same_weights(one: Path, other: Path) -> None:
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    different = [name for name in mine if not torch.equal(mine[name], theirs[name])]
    assert not different


def train_and_die(config: TrainConfig, root: Path, deaths: int, moment: str) -> None:
    """Runs in a process of its own, which ends itself with SIGKILL at the ``deaths``-th saving of the state."""
    save, replace_file, count = loop.save_resume, os.replace, 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def dying(run: Run, clock: Clock) -> None:
        nonlocal count
        count += 1
        if count == deaths:
            if moment == "before":
                die()
            if moment == "while":
                os.replace = lambda *names: die()  # type: ignore[assignment]
        save(run, clock)
        os.replace = replace_file
        if count == deaths:
            die()

    loop.save_resume = dying
    fitted(config, root, resume=(Path(config.out) / "config.json").is_file())


def killed(config: TrainConfig, root: Path, deaths: int, moment: str = "after") -> None:
    process = multiprocessing.get_context("fork").Process(target=train_and_die, args=(config, root, deaths, moment))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
