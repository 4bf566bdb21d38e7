"""Which rules a preset goes by: those of the task that the named net has, or the data where no net is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from imago.core.errors import DataError, ImageError
from imago.data.open_dataset import OpenOptions, find_truths, survey_dataset
from imago.training.config import TrainConfig
from imago.training.device import choose_device
from imago.training.presets import detection, semantic
from imago.training.presets.choices import Choice, format_choices, to_json
from imago.training.presets.memory import free_memory
from imago.training.tasks.catalog import TASKS

RULES: dict[str, Callable[..., tuple[TrainConfig, Any, tuple[Choice, ...]]]] = {
    "semantic": semantic.apply_rules,
    "separation": semantic.apply_rules,
    "detection": detection.apply_rules,
}


def resolve_preset(
    config: TrainConfig, root: Path, given: set[str], say: Callable[[str], None]
) -> tuple[TrainConfig, str]:
    """What the preset makes of ``config``, and the text of preset.json. Raises DataError, ImagoError."""
    name, task = config.preset, config.net.task
    if task == "rcnn" or (not names_a_net(config, given) and has_only_objects(config, root)):
        task = "detection"
    device = choose_device(config.runtime.device)
    memory = free_memory(device)
    data = TASKS[task].open_data(config, root)
    config, facts, choices = RULES[task](config, data, given, device, memory)
    say("\n".join([f"preset {name}:", *format_choices(choices)]))
    return config, to_json(name, facts, choices)


def names_a_net(config: TrainConfig, given: set[str]) -> bool:
    """Whether the user has said what kind of net he wants."""
    return bool(given & {"model", "encoder"}) or config.net.objects


def has_only_objects(config: TrainConfig, root: Path) -> bool:
    """Whether every folder can be read as objects, and none as photos with label maps."""
    for entry in config.data:
        if entry.group or entry.val or entry.empty or entry.min_area:  # only label maps have them
            return False
        folder, reading = root / entry.path, config.reading_of(entry)
        try:
            if "label maps" in find_truths(folder):
                maps, _ = survey_dataset(folder, OpenOptions(channels=config.input.channels, reading=reading))
                if maps.split("all"):
                    return False
        except (DataError, ImageError):  # none that can be read: what they are is told when opened
            pass
        try:
            options = OpenOptions("detection", channels=config.input.channels, licenses=entry.licenses, reading=reading)
            survey_dataset(folder, options)
        except (DataError, ImageError):
            return False
    return bool(config.data)
