"""Which rules a preset goes by: those for label maps or those for objects, as the data and the named net are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from imago.core.errors import DataError, ImageError
from imago.data.anchors import measure_box_sizes
from imago.data.open_dataset import OpenOptions, find_truths, survey_dataset
from imago.models.catalog import task_of
from imago.training.config import TrainConfig
from imago.training.device import choose_device
from imago.training.presets.choices import format_choices, to_json
from imago.training.presets.detection import choose_detection, measure_detection_data, pick_surveyed
from imago.training.presets.memory import free_memory
from imago.training.presets.semantic import choose, measure_data
from imago.training.sources import open_detection_sources, open_sources


def resolve_preset(
    config: TrainConfig, root: Path, given: set[str], say: Callable[[str], None]
) -> tuple[TrainConfig, str]:
    """What the preset makes of ``config``, and the text of preset.json. Raises DataError, ImagoError."""
    device = choose_device(config.device)
    memory = free_memory(device)
    if task_of(config.model) == "detection" or (not names_a_net(config, given) and has_only_objects(config, root)):
        data = open_detection_sources(config, root)
        samples = [sample for source in data.train for sample in source.samples]
        masks = all(dataset.has_masks for dataset in data.datasets)
        looked_at = pick_surveyed(samples)
        facts = measure_detection_data(looked_at, len(samples), len(data.labels), masks, device, memory)
        config, choices = choose_detection(config.preset, facts, config, given, partial(measure_box_sizes, looked_at))
        text = to_json(config.preset, facts, choices)
    else:
        maps = open_sources(config, root)
        photos = [sample for source in maps.train for sample in source.samples]
        seen = measure_data(photos, len(maps.labels), device, memory)
        config, choices = choose(config.preset, seen, config, given)
        text = to_json(config.preset, seen, choices)
    say("\n".join([f"preset {config.preset}:", *format_choices(choices)]))
    return config, text


def names_a_net(config: TrainConfig, given: set[str]) -> bool:
    """Whether the user has said what kind of net he wants."""
    return bool(given & {"model", "encoder"}) or config.objects


def has_only_objects(config: TrainConfig, root: Path) -> bool:
    """Whether every folder can be read as objects, and none as photos with label maps."""
    for entry in config.data:
        if entry.group or entry.val or entry.empty or entry.min_area:  # only label maps have them
            return False
        folder = root / entry.path
        try:
            if "label maps" in find_truths(folder):
                maps, _ = survey_dataset(folder, OpenOptions(channels=config.channels))
                if maps.split("all"):
                    return False
        except (DataError, ImageError):  # none that can be read: what they are is told when opened
            pass
        try:
            survey_dataset(folder, OpenOptions("detection", channels=config.channels, licenses=entry.licenses))
        except (DataError, ImageError):
            return False
    return bool(config.data)
