"""The rules of ``--preset`` for nets that find objects. See semantic.py: what the user sets himself stays as he set it.

What the nets see of an object decides more than what they see of the photo: the frame follows from how large the
objects are, and so do the anchors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from imago.core.errors import DataError
from imago.core.input_spec import InputSpec
from imago.core.text import plural
from imago.data.anchors import find_anchors, measure_box_sizes
from imago.data.dataset import Sample
from imago.files.images import image_size
from imago.models.catalog import build, options_of
from imago.models.detection.base import DetectionTarget
from imago.training.config import TrainConfig
from imago.training.presets.choices import Choice, Pace, PresetChoices
from imago.training.presets.memory import Trial, try_batches
from imago.training.sources import RunData
from imago.training.tasks.instances import move_target

PROPOSALS = 2000  # of a photo, for nets that judge such
SURVEYED = 500  # photos whose objects are looked at: COCO's outlines take a millisecond each


@dataclass(frozen=True)
class DetectionPreset:
    """What a preset aims at. Nets are named with their encoder, where the user names none."""

    masks: str
    boxes: str
    gpu_masks: str
    gpu_boxes: str
    side_px: int  # at most
    gpu_side_px: int
    pace: Pace


RATES = (20, 1.4e-3, 4e-4, 5e-3)  # looks, and learning rates for a batch of 16: 1e-3 for the 8 that are aimed at
DETECTION_PRESETS: dict[str, DetectionPreset] = {
    "fast": DetectionPreset(
        "maskrcnn:resnet18_half", "yolov3_tiny", "maskrcnn:resnet34_slim", "fasterrcnn:resnet34_slim", 256, 416,
        pace=Pace(8, 6_000, (10, 300), *RATES),
    ),
    "balanced": DetectionPreset(
        "maskrcnn:resnet18_half", "fasterrcnn:resnet18_half", "maskrcnn:resnet34", "fasterrcnn:resnet34", 352, 640,
        pace=Pace(8, 24_000, (20, 600), *RATES),
    ),
    "accurate": DetectionPreset(
        "maskrcnn:resnet34_slim", "fasterrcnn:resnet34_slim", "maskrcnn:resnet50", "fasterrcnn:resnet50", 512, 832,
        pace=Pace(8, 60_000, (40, 1200), *RATES),
    ),
}  # fmt: skip
# Heads for CPUs, of the nets that a preset chooses: the published ones are made for 80 classes and a GPU.
NARROW: dict[str, Any] = {
    "width": 64, "fc_width": 256, "proposals": 300, "batch_size_per_image": 128, "mask_widths": [64, 64, 64, 64]
}  # fmt: skip
WANTED_PX = 24  # that a small object should measure in the frame; below half of it details are gone
ENLARGED = 2.0  # photos at most
USUAL_MOST = 100  # objects that a net finds in a photo where nothing else is said
SMALL = 0.25  # share of the objects that are smaller than "a small one"
LEAST_ANCHOR_PX = 4.0  # the finest map has a cell every 4 pixels
LEAST_SQUARE_PX = 256  # of YOLO v1: 4 x 4 cells


@dataclass(frozen=True)
class DetectionFacts:
    """What the rules ask of the data and of the machine."""

    photos: int
    side_px: int  # square root of the median photo's pixels
    classes: int  # with the background
    masks: bool
    most_objects: int  # in one photo
    small_px: float  # side of an object that a quarter are smaller than, if its photo had the median's pixels
    device: str  # "cpu", "cuda" or "mps"
    memory_bytes: int  # free for the training


def pick_surveyed(samples: Sequence[Sample]) -> list[Sample]:
    """Those that are looked at, from all over the data."""
    places = np.unique(np.linspace(0, len(samples) - 1, SURVEYED).astype(int))
    return [samples[index] for index in places]


def measure_detection_data(
    samples: Sequence[Sample], photos: int, classes: int, masks: bool, device: str, memory_bytes: int
) -> DetectionFacts:
    """``samples``: those ``surveyed``, of as many ``photos``. Raises DataError where they show no object."""
    areas = np.array([math.prod(image_size(sample.image_path)) for sample in samples], float)
    counts, sides = [], [np.zeros(0)]
    for sample, area in zip(samples, areas, strict=True):
        instances = sample.instances()
        boxes = (instances if instances.crowd is None else instances[~instances.crowd]).boxes.astype(float)
        counts.append(len(boxes))
        sides.append(np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * np.median(areas) / area))
    every = np.concatenate(sides)
    if not every.size:
        raise DataError(f"none of the {len(samples)} training photos that were looked at has an object")
    return DetectionFacts(
        photos=photos,
        side_px=round(math.sqrt(np.median(areas))),
        classes=classes,
        masks=masks,
        most_objects=max(counts),
        small_px=round(float(np.quantile(every, SMALL)), 1),
        device=device,
        memory_bytes=memory_bytes,
    )


def apply_rules(
    config: TrainConfig, data: RunData[Sample], given: set[str], device: str, memory_bytes: int
) -> tuple[TrainConfig, DetectionFacts, tuple[Choice, ...]]:
    """What the preset of ``config`` makes of it on ``data``, what it asked of the data, and its choices."""
    samples = [sample for source in data.train for sample in source.samples]
    seen, masks = pick_surveyed(samples), all(dataset.has_masks for dataset in data.datasets)
    facts = measure_detection_data(
        seen, len(samples), len(data.labels), masks, device=device, memory_bytes=memory_bytes
    )
    sizes = partial(measure_box_sizes, seen)
    config, choices = choose_detection(config.preset, facts, config, given, sizes)
    return config, facts, choices


def choose_detection(
    name: str,
    facts: DetectionFacts,
    config: TrainConfig,
    given: set[str],
    sizes: Callable[[InputSpec], np.ndarray],
    trials: Callable[[TrainConfig], tuple[Trial, ...]] | None = None,
) -> tuple[TrainConfig, tuple[Choice, ...]]:
    """As ``preset.choose``. ``sizes``: widths and heights (K, 2) of the boxes in the frames of an InputSpec
    (``data.anchors.measure_box_sizes``)."""
    preset = DETECTION_PRESETS[name]
    make = partial(make_detection_batch, classes=facts.classes, objects=facts.most_objects)
    trials = trials or (lambda now: try_batches(now, make, facts.device))
    chosen = PresetChoices(config, given)
    named = bool(given & {"model", "encoder"})
    if not named:
        _net(chosen, preset, facts, name)
    options = options_of(chosen.config.net.model)
    if facts.most_objects > USUAL_MOST:
        most = math.ceil(1.5 * facts.most_objects / 100) * 100
        chosen.choose_option("detections_per_img", most, f"a photo has up to {facts.most_objects} objects")
        if "proposals" in options:
            chosen.choose_option("proposals", 3 * most, "some for each of so many objects")
    if not named and facts.device == "cpu" and chosen.config.net.encoder:
        for option in [option for option in NARROW if option in options]:
            chosen.choose_option(option, NARROW[option], "narrow enough for a CPU")
    if "size" in options:  # its connected layers know one size
        side = max(LEAST_SQUARE_PX, _side(preset, facts) // 64 * 64)
        chosen.choose("size", side, f"{chosen.config.net.model} answers for cells of 64 pixels")
        chosen.choose("rule", "resize", "the net takes one size alone")
        chosen.choose_option("size", chosen.config.input.size, "as --size")
    else:
        _frame(chosen, preset, facts, name)
    if {"anchors", "sizes"} & set(options):
        _anchors(chosen, facts, sizes, "anchors" if "anchors" in options else "sizes")
    chosen.choose_pace(name, preset.pace, facts.photos, facts.memory_bytes, trials)
    return chosen.config, tuple(chosen.choices)


def _net(chosen: PresetChoices, preset: DetectionPreset, facts: DetectionFacts, name: str) -> None:
    cpu = facts.device == "cpu"
    masks, boxes = (preset.masks, preset.boxes) if cpu else (preset.gpu_masks, preset.gpu_boxes)
    model, _, encoder = (masks if facts.masks else boxes).partition(":")
    what = "masks" if facts.masks else "boxes"
    chosen.choose(
        "model", model, f"the data has objects with {what}: what {name} takes on {'a CPU' if cpu else 'a GPU'}"
    )
    if encoder:
        chosen.choose("encoder", encoder, "goes with it")


def _side(preset: DetectionPreset, facts: DetectionFacts) -> int:
    """In which a small object is as large as wanted, between half and all of what the preset allows."""
    most = preset.side_px if facts.device == "cpu" else preset.gpu_side_px
    wanted = facts.side_px * min(ENLARGED, WANTED_PX / facts.small_px)
    return round(min(most, max(most / 2, wanted)))


def _frame(chosen: PresetChoices, preset: DetectionPreset, facts: DetectionFacts, name: str) -> None:
    multiple, photo = chosen.config.input.multiple, f"a photo of {facts.side_px} x {facts.side_px}"
    most = preset.side_px if facts.device == "cpu" else preset.gpu_side_px
    limit = f"{name} goes up to {most} on {facts.device}"
    side = max(multiple, round(_side(preset, facts) / multiple) * multiple)
    seen = facts.small_px * side / facts.side_px
    small = f"a quarter of the objects are smaller than {facts.small_px:g} px in {photo}"
    if seen < WANTED_PX / 2 and side < facts.side_px and "size" not in chosen.given:
        chosen.choose(
            "rule", "pad", f"{small}: shrunk to {side} they would be {seen:.0f} px, so photos keep their scale"
        )
    if chosen.config.input.rule == "pad":
        side = max(multiple, min(most, facts.side_px) // multiple * multiple)
        chosen.choose("size", side, f"windows of the photos at their own scale; {limit}")
    else:
        chosen.choose("size", side, f"{small}; about {WANTED_PX} px are wanted, {limit}")


def _anchors(
    chosen: PresetChoices, facts: DetectionFacts, sizes: Callable[[InputSpec], np.ndarray], option: str
) -> None:
    """YOLO's from the boxes themselves; those of proposals where the usual ones are too large for the objects."""
    config = chosen.config.with_(pretrained=False)
    net: Any = build(config.net.model, classes=facts.classes, in_channels=config.input.channels, **config.net.options())
    boxes = sizes(config.input.build_spec(net.multiple))
    if option == "anchors":
        anchors, iou = find_anchors(boxes, len(net.anchors))
        pairs = [[round(side, 1) for side in pair] for pair in anchors.tolist()]
        chosen.choose_option(
            option, pairs, f"k-means over {plural(len(boxes), 'box')} in its frame, mean IoU {iou:.2f}"
        )
        return
    usual = sorted({size for level in net.rpn.sizes for size in level})
    small = float(np.quantile(np.sqrt(boxes.prod(axis=1)), SMALL))
    halvings = -math.floor(math.log2(small / usual[0]) + 0.25)  # until the smallest anchor is no larger than they are
    if halvings > 0:
        own = [max(LEAST_ANCHOR_PX, size / 2**halvings) for size in usual]
        why = f"a quarter of the objects are below {small:.0f} px in its frame; the usual anchors begin at {usual[0]:g}"
        chosen.choose_option(option, own, why)


def make_detection_batch(
    config: TrainConfig, batch_size: int, classes: int, objects: int
) -> tuple[Any, Callable[[str], tuple[Any, ...]]]:
    """See ``memory.MakeBatch``: squares of an eighth of the frame, anywhere in it, and proposals there."""
    net = build(config.net.model, classes=classes, in_channels=config.input.channels, **config.net.options())
    height, width = config.input.build_spec(net.multiple).size_hw
    side = max(2, min(height, width) // 8)
    corners = torch.rand(objects, 2) * torch.tensor([width - side, height - side])
    masks = None
    if net.has_masks:
        masks = torch.zeros(objects, height, width, dtype=torch.uint8)
        for mask, (x, y) in zip(masks, corners.int().tolist(), strict=True):
            mask[y : y + side, x : x + side] = 1
    boxes = torch.cat([corners, corners + side], dim=1)
    target = DetectionTarget(
        boxes, torch.randint(1, classes, (objects,)), masks, torch.zeros(objects, dtype=torch.bool)
    )
    proposals = boxes.repeat(math.ceil(PROPOSALS / objects), 1)[:PROPOSALS] if net.wants_proposals else None

    def make_target(device: str) -> tuple[Any, ...]:
        targets = [move_target(target, device)] * batch_size
        return (targets,) if proposals is None else (targets, [proposals.to(device)] * batch_size)

    return net, make_target
