"""``--preset``: settings that follow from the data and the machine by fixed rules, each with its reason.

In the spirit of nnU-Net (Isensee et al. 2021, "nnU-Net: a self-configuring method"): the data's fingerprint (number and
sizes of photos, shares of classes) and the memory decide; what the user sets himself stays as he set it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from imago.core.errors import ImagoError
from imago.data.dataset import Sample
from imago.files.images import image_size
from imago.training.config import TrainConfig
from imago.training.memory import Trial, largest_batch, try_batches
from imago.training.pictures import SURVEYED, class_shares

CHOICES = "preset.json"


@dataclass(frozen=True)
class Preset:
    """What a preset aims at."""

    model: str  # where the user names none
    gpu_model: str
    side_px: int  # at most
    gpu_side_px: int
    batch: int  # pictures that one move of the weights should see
    pictures: int  # that training should see in all, within ``epochs``
    epochs: tuple[int, int]  # fewest and most rounds over the photos
    mirror: bool


PRESETS: dict[str, Preset] = {
    "fast": Preset("unet:resnet18_half", "unet:resnet34_slim", 192, 256, 16, 15_000, (10, 200), False),
    "balanced": Preset("unet:resnet34_slim", "unet:resnet34", 288, 512, 16, 60_000, (20, 400), False),
    "accurate": Preset("unet:resnet34", "deeplabv3plus:resnet50", 416, 768, 16, 150_000, (40, 800), True),
}
RARE = 0.02  # share of pixels under which a class is drowned by the others
FROM_SCRATCH_LR, FINE_TUNING_LR, SGD_LR = 1e-3, 3e-4, 1e-2  # for a batch of 16


@dataclass(frozen=True)
class Fingerprint:
    """What the rules ask of the data and of the machine."""

    photos: int
    side_px: int  # square root of the median photo's pixels
    classes: int
    rarest_share: float  # of pixels, of the classes that are shown at all
    device: str  # "cpu", "cuda" or "mps"
    memory_bytes: int  # free for the training


@dataclass(frozen=True)
class Choice:
    """One setting, and why."""

    setting: str
    value: Any
    why: str


def fingerprint(samples: Sequence[Sample], classes: int, device: str, memory_bytes: int) -> Fingerprint:
    looked_at = [samples[index] for index in np.linspace(0, len(samples) - 1, SURVEYED).astype(int)]
    looked_at = list({sample.name: sample for sample in looked_at}.values())
    areas = [math.prod(image_size(sample.image_path)) for sample in looked_at]
    shares, _ = class_shares(looked_at, classes)
    shown = [float(share) for share in shares if share > 0]
    rarest = min(shown) if shown else 1.0
    return Fingerprint(len(samples), round(math.sqrt(np.median(areas))), classes, rarest, device, memory_bytes)


def choose(
    name: str,
    facts: Fingerprint,
    config: TrainConfig,
    given: set[str],
    trials: Callable[[TrainConfig], tuple[Trial, ...]] | None = None,
) -> tuple[TrainConfig, tuple[Choice, ...]]:
    """``config`` with what the preset ``name`` chooses; fields in ``given`` are the user's and stay.

    ``trials`` runs a few steps of the chosen net in the chosen size and says what memory and time they took;
    ``try_batches`` in real life. Raises ImagoError where not even two photos fit into the memory.
    """
    preset = PRESETS[name]
    trials = trials or (lambda settled: try_batches(settled, facts.classes, facts.device))
    choices: list[Choice] = []

    def settle(setting: str, value: Any, why: str) -> None:
        nonlocal config
        if setting not in given:
            config = replace(config, **{setting: value})
            choices.append(Choice(setting, value, why))

    gpu = facts.device != "cpu"
    model, _, encoder = (preset.gpu_model if gpu else preset.model).partition(":")
    if not given & {"model", "encoder"}:
        settle("model", model, f"what {name} takes on {'a GPU' if gpu else 'a CPU'}")
        settle("encoder", encoder, "goes with it")
    settle("size", *_side(preset, facts, name, config.multiple))
    if not given & {"batch", "accumulate"}:
        fits, tried = largest_batch(trials(config), facts.memory_bytes, preset.batch)
        settle("batch", fits, f"{tried}; {preset.batch} are aimed at")
        settle("accumulate", max(1, preset.batch // config.batch), f"so that {preset.batch} photos move the weights")
    settle("lr", *_rate(config))
    if not given & {"minutes", "epochs"}:
        settle("epochs", *_length(preset, facts, name))
    settle("validate_every", max(1, config.epochs // 40), "about forty looks at the validation photos")
    steps = config.epochs * max(1, facts.photos // config.batch)
    settle("ema", 0.999 if steps > 5000 else 0.99, f"averages over the last part of about {steps} steps")
    if facts.classes > 2 and facts.rarest_share < RARE:
        settle("class_weights", "log", f"the rarest class has {facts.rarest_share:.2%} of the pixels")
    if preset.mirror:
        settle("mirror", True, f"{name}: photo and mirror image, for twice the time at use")
    return config, tuple(choices)


def _side(preset: Preset, facts: Fingerprint, name: str, multiple: int) -> tuple[int, str]:
    most = preset.side_px if facts.device == "cpu" else preset.gpu_side_px
    side = max(multiple, min(most, facts.side_px) // multiple * multiple)
    median = f"the median photo has the pixels of a square of {facts.side_px}"
    return side, f"{median}; {name} goes up to {most} on {facts.device}"


def _rate(config: TrainConfig) -> tuple[float, str]:
    tuned = config.pretrained or bool(config.init)
    base = SGD_LR if config.optimiser == "sgd" else FINE_TUNING_LR if tuned else FROM_SCRATCH_LR
    seen = config.batch * config.accumulate
    start = "ready weights" if tuned else "fresh weights"
    # Adam's steps have a size of their own; their noise falls with the root of the batch (Malladi et al. 2022).
    factor = seen / 16 if config.optimiser == "sgd" else math.sqrt(seen / 16)
    return float(f"{base * factor:.2g}"), f"{config.optimiser} from {start}, {seen} photos a move"


def _length(preset: Preset, facts: Fingerprint, name: str) -> tuple[int, str]:
    fewest, most = preset.epochs
    epochs = min(most, max(fewest, round(preset.pictures / facts.photos)))
    return epochs, f"{facts.photos} photos; {name} aims at {preset.pictures} pictures, in {fewest} to {most} rounds"


def told(choices: Sequence[Choice]) -> list[str]:
    """A line a choice."""
    return [f"  {choice.setting} = {choice.value}: {choice.why}" for choice in choices]


def stored(name: str, facts: Fingerprint, choices: Sequence[Choice]) -> str:
    """What ``preset.json`` in the run's folder holds."""
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
