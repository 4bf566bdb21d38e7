"""Trains the contestants that are no models yet, one after the other, each in a process of its own.

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

from imago.comparison.contestants import Contestant
from imago.core.errors import ImagoError
from imago.core.text import to_utf8
from imago.files.writing import atomic_write
from imago.models import BUILDERS
from imago.models.things import THING_BUILDERS

if TYPE_CHECKING:
    from imago.training.config import TrainConfig

OWN_SESSION = hasattr(os, "setsid")  # the terminal's Ctrl-C does not reach the trainings: they are told from here, once
SETTINGS = "compare.json"
FAILURE = "failure.txt"


def settle(config: TrainConfig, root: Path, out: Path) -> None:
    """Writes the common settings, or holds them against those that the folder was begun with."""
    values = {name: value for name, value in json.loads(config.to_json()).items() if name not in ("model", "encoder")}
    now: dict[str, Any] = {"root": str(root.resolve()), "settings": {**values, "out": "", "name": ""}}
    path = out / SETTINGS
    if path.is_file():
        before = json.loads(path.read_text("utf-8"))
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


def check_options(config: TrainConfig, contestants: Sequence[Contestant]) -> None:
    """Raises ImagoError for options of a net that takes no part: they would be passed over."""
    there = {name for contestant in contestants for name in names_of(contestant)}
    for text in config.option:
        net = text.partition("=")[0].partition(".")[0]
        if net in {*BUILDERS, *THING_BUILDERS} - there and "." in text.partition("=")[0]:
            nets = ", ".join(sorted(there))
            raise ImagoError(f"--option {text}: there is no {net} among --models; name one of {nets}")


def settings_of(contestant: Contestant, config: TrainConfig, contestants: Sequence[Contestant]) -> TrainConfig:
    """What ``contestant`` is trained with: the common settings, and of ``--option NET.NAME=VALUE`` its own.

    It goes without settings that say nothing to its kind of net, if they say something to another one that is trained;
    where they say nothing to any they are refused. Raises ImagoError for settings that its net cannot have.
    """
    usual = type(config)()
    trained = [other for other in contestants if other.file is None]
    each = zip(*(foreign_to(other.architecture) for other in trained), strict=True)
    settings, augmentation = (
        own - first.intersection(*others)
        for own, (first, *others) in zip(foreign_to(contestant.architecture), each, strict=True)
    )
    try:
        return replace(
            config,
            **{name: getattr(usual, name) for name in settings},
            augment=replace(config.augment, **{name: getattr(usual.augment, name) for name in augmentation}),
            data=tuple(
                replace(source, augment={name: v for name, v in source.augment.items() if name not in augmentation})
                for source in config.data
            ),
            model=contestant.architecture,
            encoder=contestant.encoder,
            option=own_options(config.option, contestant, trained),
        )
    except ValueError as error:
        raise ImagoError(f"{contestant.name}: {error}") from error


def foreign_to(architecture: str) -> tuple[set[str], set[str]]:
    """Names of settings, and of what photos are augmented by, that say nothing to it."""
    from imago.training.foreign import (
        AUGMENTATION_OF_LABEL_MAPS,
        AUGMENTATION_OF_OBJECTS,
        OF_LABEL_MAPS,
        OF_OBJECTS,
    )
    from imago.training.rcnn import FOREIGN, FOREIGN_AUGMENTATION

    if architecture not in THING_BUILDERS:
        return set(OF_OBJECTS), set(AUGMENTATION_OF_OBJECTS)
    if architecture != "rcnn":
        return set(OF_LABEL_MAPS), set(AUGMENTATION_OF_LABEL_MAPS)
    return {*OF_LABEL_MAPS, *FOREIGN}, {*AUGMENTATION_OF_LABEL_MAPS, *FOREIGN_AUGMENTATION}


def own_options(option: Sequence[str], contestant: Contestant, trained: Sequence[Contestant]) -> tuple[str, ...]:
    """Without those of the others; its own name before an option falls away (unet.width=8, but proposals.count=500)."""
    others = {name for other in trained for name in names_of(other)} - set(names_of(contestant))
    found = []
    for text in option:
        if any(text.startswith(f"{name}.") for name in others):
            continue
        own = next((name for name in names_of(contestant) if text.startswith(f"{name}.")), None)
        found.append(text if own is None else text[len(own) + 1 :])
    return tuple(found)


def names_of(contestant: Contestant) -> tuple[str, ...]:
    """What it is called by: with its encoder, and the net alone."""
    return tuple(name for name in (contestant.name, contestant.architecture) if name)


def train_contestant(
    contestant: Contestant, config: TrainConfig, root: Path, out: Path, say: Callable[[str], None]
) -> Path:
    """The model file of ``contestant``, trained with ``config`` in ``out/NAME`` unless it is there. Raises ImagoError
    where it failed."""
    folder = out / contestant.name
    model = folder / "model.onnx"
    if model.is_file():
        say(f"{contestant.name}: trained already")
        return model
    own = replace(config, out=str(folder), name=contestant.name)
    resume = (folder / "config.json").is_file()
    say(f"{contestant.name}: {'goes on' if resume else 'training'}")
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
    reason = failure.read_text("utf-8") if failure.is_file() else f"the process ended with {process.exitcode}"
    raise ImagoError(f"{contestant.name}: {reason}")


def _train(settings: str, root: str, resume: bool, folder: str) -> None:
    """In the process of its own."""
    import sys

    from imago.training.config import TrainConfig
    from imago.training.interrupt import Stopped
    from imago.training.train import train

    if OWN_SESSION:
        os.setsid()
    failure = Path(folder) / FAILURE
    failure.unlink(missing_ok=True)
    try:
        train(TrainConfig.from_values(json.loads(settings), folder), Path(root), resume=resume)
    except Stopped:
        sys.exit(130)
    except (ImagoError, RuntimeError, MemoryError, ValueError) as error:
        lines = [str(error) or type(error).__name__, *getattr(error, "faults", ())]
        failure.parent.mkdir(parents=True, exist_ok=True)
        failure.write_bytes(to_utf8("; ".join(line.splitlines()[0] for line in lines[:4])))
        sys.exit(1)
