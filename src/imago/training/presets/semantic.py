"""``--preset``: settings that follow from the data and the machine by fixed rules, each with its reason.

In the spirit of nnU-Net (Isensee et al. 2021, "nnU-Net: a self-configuring method"): the data's fingerprint (number and
sizes of photos, shares of classes) and the memory decide; what the user sets himself stays as he set it. Here for nets
that label pixels; detection.py has the rules for nets that find objects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from imago import losses
from imago.core.labels import Labels
from imago.data.dataset import Sample
from imago.files.images import image_size
from imago.models.base import Target
from imago.training.config import TrainConfig
from imago.training.dataset import SURVEYED, measure_class_shares
from imago.training.presets.choices import Choice, Pace, PresetChoices
from imago.training.presets.memory import Trial, try_batches
from imago.training.sources import RunData
from imago.training.tasks.semantic import build_net


@dataclass(frozen=True)
class Preset:
    """What a preset aims at."""

    model: str  # where the user names none
    gpu_model: str
    side_px: int  # at most
    gpu_side_px: int
    pace: Pace
    tta_flip: bool


PRESETS: dict[str, Preset] = {
    "fast": Preset("unet:resnet18_half", "unet:resnet34_slim", 192, 256, Pace(16, 15_000, (10, 200)), False),
    "balanced": Preset("unet:resnet34_slim", "unet:resnet34", 288, 512, Pace(16, 60_000, (20, 400)), False),
    "accurate": Preset("unet:resnet34", "deeplabv3plus:resnet50", 416, 768, Pace(16, 150_000, (40, 800)), True),
}
RARE = 0.02  # share of pixels under which a class is drowned by the others


@dataclass(frozen=True)
class DataFacts:
    """What the rules ask of the data and of the machine."""

    photos: int
    side_px: int  # square root of the median photo's pixels
    classes: int
    rarest_share: float  # of pixels, of the classes that are shown at all
    device: str  # "cpu", "cuda" or "mps"
    memory_bytes: int  # free for the training


def measure_data(samples: Sequence[Sample], classes: int, device: str, memory_bytes: int) -> DataFacts:
    looked_at = [samples[index] for index in np.linspace(0, len(samples) - 1, SURVEYED).astype(int)]
    looked_at = list({sample.name: sample for sample in looked_at}.values())
    areas = [math.prod(image_size(sample.image_path)) for sample in looked_at]
    shares, _ = measure_class_shares(looked_at, classes)
    shown = [float(share) for share in shares if share > 0]
    rarest = min(shown) if shown else 1.0
    return DataFacts(len(samples), round(math.sqrt(np.median(areas))), classes, rarest, device, memory_bytes)


def apply_rules(
    config: TrainConfig, data: RunData[Sample], given: set[str], device: str, memory_bytes: int
) -> tuple[TrainConfig, DataFacts, tuple[Choice, ...]]:
    """What the preset of ``config`` makes of it on ``data``, what it asked of the data, and its choices."""
    photos = [sample for source in data.train for sample in source.samples]
    facts = measure_data(photos, len(data.labels), device, memory_bytes)
    config, choices = choose(config.preset, facts, config, given)
    return config, facts, choices


def choose(
    name: str,
    facts: DataFacts,
    config: TrainConfig,
    given: set[str],
    trials: Callable[[TrainConfig], tuple[Trial, ...]] | None = None,
) -> tuple[TrainConfig, tuple[Choice, ...]]:
    """``config`` with what the preset ``name`` chooses; fields in ``given`` are the user's and stay.

    ``trials`` runs a few steps of the chosen net in the chosen size and says what memory and time they took;
    ``try_batches`` in real life. Raises ImagoError where not even two photos fit into the memory.
    """
    preset = PRESETS[name]
    trials = trials or (
        lambda resolved: try_batches(resolved, partial(make_batch, classes=facts.classes), facts.device)
    )
    chosen = PresetChoices(config, given)
    gpu = facts.device != "cpu"
    model, _, encoder = (preset.gpu_model if gpu else preset.model).partition(":")
    if not given & {"model", "encoder"}:
        chosen.choose("model", model, f"what {name} takes on {'a GPU' if gpu else 'a CPU'}")
        chosen.choose("encoder", encoder, "goes with it")
    chosen.choose("size", *_side(preset, facts, name, config.input.multiple))
    if config.net.objects:
        chosen.choose("rule", "pad", "photos at their own scale: borders are two of their pixels wide")
    chosen.choose_pace(name, preset.pace, facts.photos, facts.memory_bytes, trials)
    if facts.classes > 2 and facts.rarest_share < RARE:
        chosen.choose("class_weights", "log", f"the rarest class has {facts.rarest_share:.2%} of the pixels")
    if preset.tta_flip:
        chosen.choose("tta_flip", True, f"{name}: photo and mirror image, for twice the time at use")
    return chosen.config, tuple(chosen.choices)


def _side(preset: Preset, facts: DataFacts, name: str, multiple: int) -> tuple[int, str]:
    most = preset.side_px if facts.device == "cpu" else preset.gpu_side_px
    side = max(multiple, min(most, facts.side_px) // multiple * multiple)
    median = f"the median photo has the pixels of a square of {facts.side_px}"
    return side, f"{median}; {name} goes up to {most} on {facts.device}"


def make_batch(config: TrainConfig, batch_size: int, classes: int) -> tuple[Any, Callable[[str], tuple[Any, ...]]]:
    """See ``memory.MakeBatch``."""
    net = build_net(config, Labels(tuple(f"class {k}" for k in range(classes))))
    net.criterion = losses.build("bce+dice" if net.classes == 1 else "ce+dice", classes=net.classes)
    shape = (batch_size, *config.input.build_spec(net.multiple).size_hw)
    return net, lambda device: (Target(torch.randint(0, max(2, net.classes), shape, device=device)),)
