"""Which rules a preset goes by: those for label maps or those for objects, as the data and the named net are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from imago.core.errors import DataError, ImageError
from imago.data.anchors import sizes_in
from imago.data.dataset import survey
from imago.data.open_things import survey_things
from imago.models.things import THING_BUILDERS
from imago.training.choices import stored, told
from imago.training.config import TrainConfig
from imago.training.device import choose_device
from imago.training.memory import free_memory
from imago.training.preset import choose, fingerprint
from imago.training.preset_things import choose_things, surveyed, thing_facts
from imago.training.sources import open_sources, open_thing_sources


def settled(config: TrainConfig, root: Path, given: set[str], say: Callable[[str], None]) -> tuple[TrainConfig, str]:
    """What the preset makes of ``config``, and the text of preset.json. Raises DataError, ImagoError."""
    device = choose_device(config.device)
    memory = free_memory(device)
    if config.model in THING_BUILDERS or (not names_a_net(config, given) and objects_alone(config, root)):
        data = open_thing_sources(config, root)
        samples = [sample for source in data.train for sample in source.samples]
        masks = all(dataset.has_masks for dataset in data.datasets)
        looked_at = surveyed(samples)
        facts = thing_facts(looked_at, len(samples), len(data.labels), masks, device, memory)
        config, choices = choose_things(config.preset, facts, config, given, partial(sizes_in, looked_at))
        text = stored(config.preset, facts, choices)
    else:
        maps = open_sources(config, root)
        photos = [sample for source in maps.train for sample in source.samples]
        seen = fingerprint(photos, len(maps.labels), device, memory)
        config, choices = choose(config.preset, seen, config, given)
        text = stored(config.preset, seen, choices)
    say("\n".join([f"preset {config.preset}:", *told(choices)]))
    return config, text


def names_a_net(config: TrainConfig, given: set[str]) -> bool:
    """Whether the user has said what kind of net he wants."""
    return bool(given & {"model", "encoder"}) or config.objects


def objects_alone(config: TrainConfig, root: Path) -> bool:
    """Whether every folder can be read as objects, and none as photos with label maps."""
    for entry in config.data:
        if entry.group or entry.val or entry.empty:  # only label maps have them
            return False
        try:
            maps, _ = survey(root / entry.path, channels=config.channels)
            if maps.split("all"):
                return False
        except (DataError, ImageError):  # no label maps, or none that can be read: what they are is told when opened
            pass
        try:
            survey_things(root / entry.path, config.channels, entry.licences)
        except (DataError, ImageError):
            return False
    return bool(config.data)
