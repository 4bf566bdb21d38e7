"""What presets share: settings with their reasons, and the pace of a training (batch, rate, length)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imago.core.errors import ImagoError
from imago.core.text import plural
from imago.files.text import read_json
from imago.training.config import TrainConfig
from imago.training.presets.memory import Trial, largest_batch

CHOICES = "preset.json"


@dataclass(frozen=True)
class Pace:
    """What a preset aims at, whatever the net."""

    batch_size: int  # pictures that one move of the weights should see
    pictures: int  # that training should see in all, within ``epochs``
    epochs: tuple[int, int]  # fewest and most epochs
    validations: int = 40  # at the validation photos
    from_scratch_lr: float = 1e-3  # these three for a batch of 16
    fine_tuning_lr: float = 3e-4
    sgd_lr: float = 1e-2


@dataclass(frozen=True)
class Choice:
    """One setting, and why."""

    setting: str
    value: Any
    why: str


class PresetChoices:
    """Settings on their way: what is in ``given`` is the user's and stays, each other one is chosen once."""

    def __init__(self, config: TrainConfig, given: set[str]) -> None:
        self.config = config
        self.given = given
        self.choices: list[Choice] = []

    def choose(self, setting: str, value: Any, why: str) -> None:
        if setting not in self.given:
            self.config = self.config.with_(**{setting: value})
            self.choices.append(Choice(setting, value, why))

    def choose_option(self, name: str, value: Any, why: str) -> None:
        """An option of the net, beside those that the user gives."""
        if not any(text.partition("=")[0] == name for text in self.config.net.option):
            self.config = self.config.with_(option=(*self.config.net.option, f"{name}={json.dumps(value)}"))
            self.choices.append(Choice(f"option {name}", value, why))

    def choose_pace(
        self,
        name: str,
        pace: Pace,
        photos: int,
        memory_bytes: int,
        trials: Callable[[TrainConfig], tuple[Trial, ...]],
    ) -> None:
        """Batch, learning rate, length and what follows from them, for the preset ``name``."""
        if not self.given & {"batch_size", "grad_accum_steps"}:
            fits, tried = largest_batch(trials(self.config), memory_bytes, pace.batch_size)
            self.choose("batch_size", fits, f"{tried}; {pace.batch_size} are aimed at")
            steps = max(1, pace.batch_size // self.config.optimization.batch_size)
            self.choose("grad_accum_steps", steps, f"so that {plural(pace.batch_size, 'photo', 'move')} the weights")
        self.choose("lr", *_rate(self.config, pace))
        if not self.given & {"minutes", "epochs"}:
            self.choose("epochs", *_length(pace, photos, name))
        epochs = (
            self.config.optimization.epochs or _length(pace, photos, name)[0]
        )  # of minutes nobody knows how many they are
        looks = f"about {pace.validations} looks at the validation photos"
        self.choose("validate_every", max(1, epochs // pace.validations), looks)
        moves = epochs * max(1, photos // self.config.optimization.batch_size)
        self.choose("ema", 0.999 if moves > 5000 else 0.99, f"averages over the last part of about {moves} steps")


def _rate(config: TrainConfig, pace: Pace) -> tuple[float, str]:
    tuned = config.net.pretrained or bool(config.net.weights)
    adam = pace.fine_tuning_lr if tuned else pace.from_scratch_lr
    settings = config.optimization
    seen = settings.batch_size * settings.grad_accum_steps
    start = "ready weights" if tuned else "fresh weights"
    # Adam's steps have a size of their own; their noise falls with the root of the batch (Malladi et al. 2022).
    rate = pace.sgd_lr * seen / 16 if settings.optimizer == "sgd" else adam * math.sqrt(seen / 16)
    return float(f"{rate:.2g}"), f"{settings.optimizer} from {start}, {plural(seen, 'photo')} a move"


def _length(pace: Pace, photos: int, name: str) -> tuple[int, str]:
    fewest, most = pace.epochs
    epochs = min(most, max(fewest, round(pace.pictures / photos)))
    return epochs, f"{plural(photos, 'photo')}; {name} aims at {pace.pictures} pictures, in {fewest} to {most} rounds"


def format_choices(choices: Sequence[Choice]) -> list[str]:
    """A line a choice."""
    return [f"  {choice.setting} = {choice.value}: {choice.why}" for choice in choices]


def to_json(name: str, facts: Any, choices: Sequence[Choice]) -> str:
    """What ``preset.json`` in the run's folder holds; ``facts``: a dataclass, what the rules asked of the data."""
    table = {"preset": name, "data": asdict(facts), "choices": [asdict(choice) for choice in choices]}
    return json.dumps(table, indent=1)


def read_choices(folder: Path) -> list[str]:
    """The choices of the run in ``folder`` as lines, for its report; none where no preset chose."""
    path = folder / CHOICES
    if not path.is_file():
        return []
    try:
        kept = read_json(path)
        return [f"{c['setting']} = {c['value']}: {c['why']}" for c in kept["choices"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImagoError(f"{path}: damaged ({error}); remove it to write the report without it") from error
