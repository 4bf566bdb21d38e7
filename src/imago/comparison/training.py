"""Trains the candidates that are no models yet, one after the other, each in a process of its own.

What fails (a net that the memory cannot hold, say) takes nobody along; what was stopped goes on where it was.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.comparison.candidates import Candidate
from imago.core.errors import ImagoError
from imago.core.settings import find_inapplicable
from imago.core.text import to_utf8
from imago.data.augment.settings import Augmentation
from imago.files.stopping import STOPPED, watch_signals
from imago.files.text import read_json, read_text
from imago.files.writing import atomic_write
from imago.models.catalog import ARCHITECTURES

if TYPE_CHECKING:
    from imago.training.config import TrainConfig

OWN_SESSION = hasattr(os, "setsid")  # the terminal's Ctrl-C does not reach the trainings: they are told from here, once
SETTINGS = "compare.json"
FAILURE = "failure.txt"


def resolve_config(config: TrainConfig, root: Path, out: Path) -> None:
    """Writes the common settings, or holds them against those that the folder was begun with."""
    values = {name: value for name, value in json.loads(config.to_json()).items() if name not in ("model", "encoder")}
    now: dict[str, Any] = {"root": str(root.resolve()), "settings": {**values, "out": "", "name": ""}}
    path = out / SETTINGS
    if path.is_file():
        before = _read_settings(path)
        usual = json.loads(type(config)().to_json())  # for settings that the Imago which began it did not have
        other = sorted(
            name for name, value in now["settings"].items() if before["settings"].get(name, usual[name]) != value
        ) + (["root"] if before["root"] != now["root"] else [])
        if other:
            raise ImagoError(
                f"{out}: was begun with other settings ({', '.join(other)}), and a comparison is of like with like; "
                "give those again to go on, or choose another --out"
            )
        return
    with atomic_write(path) as stream:
        stream.write(json.dumps(now, indent=1).encode("utf-8"))


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        before = read_json(path)
    except (OSError, ValueError) as error:
        raise ImagoError(f"{path}: damaged ({error}); choose another --out") from error
    if not isinstance(before, dict) or not isinstance(before.get("settings"), dict) or "root" not in before:
        raise ImagoError(f"{path}: damaged (expected the root and the settings of a comparison); choose another --out")
    return before


def check_options(config: TrainConfig, candidates: Sequence[Candidate]) -> None:
    """Raises ImagoError for options of a net that takes no part: they would be passed over."""
    there = {name for candidate in candidates for name in option_names(candidate)}
    for text in config.net.option:
        net = text.partition("=")[0].partition(".")[0]
        if net in ARCHITECTURES.keys() - there and "." in text.partition("=")[0]:
            nets = ", ".join(sorted(there))
            raise ImagoError(f"--option {text}: there is no {net} among --models; name one of {nets}")


def build_settings(candidate: Candidate, config: TrainConfig, candidates: Sequence[Candidate]) -> TrainConfig:
    """What ``candidate`` is trained with: the common settings, and of ``--option NET.NAME=VALUE`` its own.

    It goes without settings that do not apply to its kind of net, if they say something to another one that is trained;
    where they say nothing to any they are refused. Raises ImagoError for settings that its net cannot have.
    """
    trained = [other for other in candidates if other.file is None]
    own, *each = (
        [find_names(kind, one, config) for kind in (type(config), Augmentation)] for one in (candidate, *trained)
    )
    settings, augmentation = (
        names - set.intersection(*all_) for names, all_ in zip(own, zip(*each, strict=True), strict=True)
    )
    values, usual = type(config)().flat(), Augmentation()
    try:
        return config.with_(
            **{name: values[name] for name in settings},
            augment=replace(config.augment, **{name: getattr(usual, name) for name in augmentation}),
            data=tuple(
                replace(source, augment={name: v for name, v in source.augment.items() if name not in augmentation})
                for source in config.data
            ),
            model=candidate.architecture,
            encoder=candidate.encoder,
            option=select_own_options(config.net.option, candidate, trained),
        )
    except ValueError as error:
        raise ImagoError(f"{candidate.name}: {error}") from error


def find_names(settings: type, candidate: Candidate, config: TrainConfig) -> set[str]:
    """Names of those ``settings`` (a dataclass) that say nothing to the training of ``candidate``."""
    task = replace(config.net, model=candidate.architecture, encoder="", pretrained=False).task
    return set(find_inapplicable(settings, task))


def select_own_options(option: Sequence[str], candidate: Candidate, trained: Sequence[Candidate]) -> tuple[str, ...]:
    """Without those of the others; its own name before an option falls away (unet.width=8, but proposals.count=500)."""
    others = {name for other in trained for name in option_names(other)} - set(option_names(candidate))
    found = []
    for text in option:
        if any(text.startswith(f"{name}.") for name in others):
            continue
        own = next((name for name in option_names(candidate) if text.startswith(f"{name}.")), None)
        found.append(text if own is None else text[len(own) + 1 :])
    return tuple(found)


def option_names(candidate: Candidate) -> tuple[str, ...]:
    """What it is called by: with its encoder, and the net alone."""
    return tuple(name for name in (candidate.name, candidate.architecture) if name)


def train_candidate(
    candidate: Candidate, config: TrainConfig, root: Path, out: Path, say: Callable[[str], None]
) -> Path:
    """The model file of ``candidate``, trained with ``config`` in ``out/NAME`` unless it is there. Raises ImagoError
    where it failed."""
    folder = out / candidate.name
    model = folder / "model.onnx"
    if model.is_file():
        say(f"{candidate.name}: trained already")
        return model
    own = config.with_(out=str(folder), name=candidate.name)
    resume = (folder / "config.json").is_file()
    say(f"{candidate.name}: {'goes on' if resume else 'training'}")
    process = multiprocessing.get_context("spawn").Process(
        target=_train, args=(own.to_json(), str(root), resume, str(folder))
    )
    process.start()
    try:
        process.join()
    except KeyboardInterrupt:  # Ctrl-C, or a polite kill of this process alone
        if OWN_SESSION:
            process.terminate()  # it saves its state
        process.join()
        raise
    if process.exitcode == 0 and model.is_file():
        return model
    failure = folder / FAILURE
    reason = read_text(failure, "replace") if failure.is_file() else f"the process ended with {process.exitcode}"
    raise ImagoError(f"{candidate.name}: {reason}")


def _train(settings: str, root: str, resume: bool, folder: str) -> None:
    """In the process of its own."""
    import sys

    from imago.training.config import TrainConfig
    from imago.training.train import train

    if OWN_SESSION:
        os.setsid()
    watch_signals()
    failure = Path(folder) / FAILURE
    failure.unlink(missing_ok=True)
    try:
        train(TrainConfig.from_values(json.loads(settings), folder), Path(root), resume=resume)
    except KeyboardInterrupt:  # Stopped is one
        sys.exit(STOPPED)
    except (ImagoError, RuntimeError, MemoryError, ValueError) as error:
        lines = [str(error) or type(error).__name__, *getattr(error, "faults", ())]
        failure.parent.mkdir(parents=True, exist_ok=True)
        failure.write_bytes(to_utf8("; ".join(line.splitlines()[0] for line in lines[:4])))
        sys.exit(1)
