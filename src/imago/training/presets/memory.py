"""How much memory a step takes: measured with a few steps in a process of its own, on the device that will train."""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imago.core.errors import ImagoError
from imago.training.config import TrainConfig

MOST_SHARE = 0.8  # of the free memory; photos, workers and the moving average need the rest
CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),  # version 1
)
TRIED = (2, 6)  # photos in the steps that are measured
PROPOSALS = 2000  # of a photo, for nets that judge such


@dataclass(frozen=True)
class Trial:
    """One kind of step."""

    batch_size: int
    bytes: int  # the most that was held, net and optimiser included
    seconds: float  # a step


def free_memory(device: str) -> int:
    """Bytes that a training may take on ``device``: of this process's cgroup where it is limited."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") if hasattr(os, "sysconf") else 8_000_000_000
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text("utf-8").splitlines())
        available = int(lines["MemAvailable"].split()[0]) * 1024  # what the disk's cache would give back counts too
    for folder, limit, used in CGROUPS:
        if (folder / limit).is_file() and (folder / used).is_file():
            most, now = ((folder / name).read_text("utf-8").strip() for name in (limit, used))
            if most.isdigit():  # or "max"
                available = min(available, int(most) - int(now))
    return max(0, available)


def largest_batch(trials: tuple[Trial, ...], memory_bytes: int, wanted: int) -> tuple[int, str]:
    """The largest power of two up to ``wanted`` whose step fits, and how that was found.

    Memory grows with the batch along a line through the two trials. Raises ImagoError if two photos do not fit.
    """
    small, large = trials
    slope = max(0.0, (large.bytes - small.bytes) / (large.batch_size - small.batch_size))
    base = small.bytes - slope * small.batch_size
    room = memory_bytes * MOST_SHARE
    batch = wanted
    while batch > 2 and base + slope * batch > room:
        batch //= 2
    if base + slope * batch > room:
        raise ImagoError(
            f"a step with {batch} photos takes {(base + slope * batch) / 1e9:.1f} GB and {memory_bytes / 1e9:.1f} GB "
            "are free; choose a smaller --size or another --model"
        )
    seconds = small.seconds + (large.seconds - small.seconds) * (batch - small.batch_size) / (
        large.batch_size - small.batch_size
    )
    return batch, (
        f"measured: {slope / 1e6:.0f} MB a photo and {base / 1e6:.0f} MB besides, {memory_bytes / 1e9:.1f} GB free; "
        f"{max(seconds, small.seconds):.2f} s a step"
    )


def try_batches(config: TrainConfig, classes: int, device: str, objects: int = 0) -> tuple[Trial, ...]:
    """Runs steps of ``TRIED`` photos, in a process of its own that leaves nothing behind; with a net that finds objects
    each photo has ``objects`` of them. Raises ImagoError."""
    context = multiprocessing.get_context("spawn")
    answers, answer = context.Pipe(duplex=False)
    settings = (config.to_json(), classes, device, objects)
    process = context.Process(target=_measure, args=(*settings, answer), daemon=True)
    process.start()
    process.join()
    if process.exitcode != 0 or not answers.poll():
        raise ImagoError(
            f"even a step with {TRIED[0]} photos of {config.size} pixels does not run with {config.model} here "
            f"(the process ended with {process.exitcode}); choose a smaller --size or another --model"
        )
    found = answers.recv()
    if isinstance(found, str):
        raise ImagoError(found)
    return tuple(Trial(*values) for values in found)


def _measure(settings: str, classes: int, device: str, objects: int, answer: Any) -> None:
    """In the process of its own."""
    import json

    try:
        config = TrainConfig.from_values(json.loads(settings), "the settings")
        answer.send([(batch, *_step_cost(config, classes, device, batch, objects)) for batch in TRIED])
    except ImagoError as error:
        answer.send(str(error))


def _step_cost(config: TrainConfig, classes: int, device: str, batch_size: int, objects: int) -> tuple[int, float]:
    import torch

    from imago.models.memory_format import channels_last_is_faster
    from imago.training.device import PRECISIONS, choose_precision
    from imago.training.optim import build_optimizer

    config = replace(config, pretrained=False)
    net, target = (
        _make_detection_batch(config, classes, batch_size, objects)
        if objects
        else _make_semantic_batch(config, classes, batch_size)
    )
    frame = config.input_spec(net.multiple).size_hw
    net, images = net.to(device).train(), torch.rand(batch_size, config.channels, *frame, device=device)
    if channels_last_is_faster(device):
        net, images = net.to(memory_format=torch.channels_last), images.contiguous(memory_format=torch.channels_last)
    optimizer = build_optimizer(net, config)
    precision = PRECISIONS[choose_precision(config.precision, device)]
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    start = time.monotonic()
    for _ in range(2):  # the second has the optimiser's own memory too
        start = time.monotonic()
        with torch.autocast(device, dtype, enabled=dtype is not None):
            loss = sum(net.loss(images, *target(device)).values(), torch.zeros((), device=device))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if device == "cuda":
        torch.cuda.synchronize()
        return int(torch.cuda.max_memory_allocated()), time.monotonic() - start
    return peak_bytes(), time.monotonic() - start


def _make_semantic_batch(
    config: TrainConfig, classes: int, batch_size: int
) -> tuple[Any, Callable[[str], tuple[Any, ...]]]:
    """A net that labels pixels, and what makes its target, on a device: what its loss is given beside the images."""
    import torch

    from imago import losses
    from imago.core.labels import Labels
    from imago.models.base import Target
    from imago.training.tasks.semantic import build_net

    net = build_net(config, Labels(tuple(f"class {k}" for k in range(classes))))
    net.criterion = losses.build("bce+dice" if net.classes == 1 else "ce+dice", classes=net.classes)
    shape = (batch_size, *config.input_spec(net.multiple).size_hw)
    return net, lambda device: (Target(torch.randint(0, max(2, net.classes), shape, device=device)),)


def _make_detection_batch(
    config: TrainConfig, classes: int, batch_size: int, objects: int
) -> tuple[Any, Callable[[str], tuple[Any, ...]]]:
    """The same for one that finds objects: squares of an eighth of the frame, anywhere in it, and proposals there."""
    import torch

    from imago.models.catalog import build
    from imago.models.detection.base import DetectionModel, DetectionTarget
    from imago.training.detection_dataset import move_target

    net = build(config.model, classes=classes, in_channels=config.channels, **config.net_options())
    assert isinstance(net, DetectionModel)
    height, width = config.input_spec(net.multiple).size_hw
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

    def given(device: str) -> tuple[Any, ...]:
        targets = [move_target(target, device)] * batch_size
        return (targets,) if proposals is None else (targets, [proposals.to(device)] * batch_size)

    return net, given


def peak_bytes() -> int:
    """The most memory that this process has held."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
