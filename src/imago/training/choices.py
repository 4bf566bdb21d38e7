"""What presets share: settings with their reasons, and the pace of a training (batch, rate, length)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from imago.core.errors import ImagoError
from imago.training.config import TrainConfig
from imago.training.memory import Trial, largest_batch

CHOICES = "preset.json"


@dataclass(frozen=True)
class Pace:
    """What a preset aims at, whatever the net."""

    batch: int  # pictures that one move of the weights should see
    pictures: int  # that training should see in all, within ``epochs``
    epochs: tuple[int, int]  # fewest and most rounds over the photos
    looks: int = 40  # at the validation photos
    from_scratch_lr: float = 1e-3  # these three for a batch of 16
    fine_tuning_lr: float = 3e-4
    sgd_lr: float = 1e-2


@dataclass(frozen=True)
class Choice:
    """One setting, and why."""

    setting: str
    value: Any
    why: str


class Chosen:
    """Settings on their way: what is in ``given`` is the user's and stays, each other one is chosen once."""

    def __init__(self, config: TrainConfig, given: set[str]) -> None:
        self.config = config
        self.given = given
        self.choices: list[Choice] = []

    def settle(self, setting: str, value: Any, why: str) -> None:
        if setting not in self.given:
            self.config = replace(self.config, **{setting: value})
            self.choices.append(Choice(setting, value, why))

    def settle_option(self, name: str, value: Any, why: str) -> None:
        """An option of the net, beside those that the user gives."""
        if not any(text.partition("=")[0] == name for text in self.config.option):
            self.config = replace(self.config, option=(*self.config.option, f"{name}={json.dumps(value)}"))
            self.choices.append(Choice(f"option {name}", value, why))

    def settle_pace(
        self,
        name: str,
        pace: Pace,
        photos: int,
        memory_bytes: int,
        trials: Callable[[TrainConfig], tuple[Trial, ...]],
    ) -> None:
        """Batch, learning rate, length and what follows from them, for the preset ``name``."""
        if not self.given & {"batch", "accumulate"}:
            fits, tried = largest_batch(trials(self.config), memory_bytes, pace.batch)
            self.settle("batch", fits, f"{tried}; {pace.batch} are aimed at")
            steps = max(1, pace.batch // self.config.batch)
            self.settle("accumulate", steps, f"so that {pace.batch} photos move the weights")
        self.settle("lr", *_rate(self.config, pace))
        if not self.given & {"minutes", "epochs"}:
            self.settle("epochs", *_length(pace, photos, name))
        epochs = self.config.epochs or _length(pace, photos, name)[0]  # of minutes nobody knows how many they are
        looks = f"about {pace.looks} looks at the validation photos"
        self.settle("validate_every", max(1, epochs // pace.looks), looks)
        moves = epochs * max(1, photos // self.config.batch)
        self.settle("ema", 0.999 if moves > 5000 else 0.99, f"averages over the last part of about {moves} steps")


def _rate(config: TrainConfig, pace: Pace) -> tuple[float, str]:
    tuned = config.pretrained or bool(config.init)
    adam = pace.fine_tuning_lr if tuned else pace.from_scratch_lr
    seen = config.batch * config.accumulate
    start = "ready weights" if tuned else "fresh weights"
    # Adam's steps have a size of their own; their noise falls with the root of the batch (Malladi et al. 2022).
    rate = pace.sgd_lr * seen / 16 if config.optimiser == "sgd" else adam * math.sqrt(seen / 16)
    return float(f"{rate:.2g}"), f"{config.optimiser} from {start}, {seen} photos a move"


def _length(pace: Pace, photos: int, name: str) -> tuple[int, str]:
    fewest, most = pace.epochs
    epochs = min(most, max(fewest, round(pace.pictures / photos)))
    return epochs, f"{photos} photos; {name} aims at {pace.pictures} pictures, in {fewest} to {most} rounds"


def told(choices: Sequence[Choice]) -> list[str]:
    """A line a choice."""
    return [f"  {choice.setting} = {choice.value}: {choice.why}" for choice in choices]


def stored(name: str, facts: Any, choices: Sequence[Choice]) -> str:
    """What ``preset.json`` in the run's folder holds; ``facts``: a dataclass, what the rules asked of the data."""
    table = {"preset": name, "data": asdict(facts), "choices": [asdict(choice) for choice in choices]}
    return json.dumps(table, indent=1)


def read_stored(folder: Path) -> list[str]:
    """The choices of the run in ``folder`` as lines, for its report; none where no preset chose."""
    path = folder / CHOICES
    if not path.is_file():
        return []
    try:
        kept = json.loads(path.read_text("utf-8"))
        return [f"{c['setting']} = {c['value']}: {c['why']}" for c in kept["choices"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ImagoError(f"{path}: damaged ({error}); remove it to write the report without it") from error
