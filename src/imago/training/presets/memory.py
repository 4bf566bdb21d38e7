"""How much memory a step takes: measured with a few steps in a process of its own, on the device that will train."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imago.core.errors import ImagoError
from imago.core.text import plural
from imago.training.config import TrainConfig

MOST_SHARE = 0.8  # of the free memory; photos, workers and the moving average need the rest
CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),  # version 1
)
TRIED = (2, 6)  # photos in the steps that are measured

# A net that is to be tried, and what makes its target on a device: what its loss is given beside so many images. It
# crosses to another process: a function of a module, or a partial of one.
MakeBatch = Callable[[TrainConfig, int], tuple[Any, Callable[[str], tuple[Any, ...]]]]


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
            f"a step with {plural(batch, 'photo')} takes {(base + slope * batch) / 1e9:.1f} GB and "
            f"{memory_bytes / 1e9:.1f} GB are free; choose a smaller --size or another --model"
        )
    seconds = small.seconds + (large.seconds - small.seconds) * (batch - small.batch_size) / (
        large.batch_size - small.batch_size
    )
    return batch, (
        f"measured: {slope / 1e6:.0f} MB a photo and {base / 1e6:.0f} MB besides, {memory_bytes / 1e9:.1f} GB free; "
        f"{max(seconds, small.seconds):.2f} s a step"
    )


def try_batches(config: TrainConfig, make: MakeBatch, device: str) -> tuple[Trial, ...]:
    """Runs steps of ``TRIED`` photos, in a process of its own that leaves nothing behind. Raises ImagoError."""
    context = multiprocessing.get_context("spawn")
    answers, answer = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(config, make, device, answer), daemon=True)
    process.start()
    process.join()
    if process.exitcode != 0 or not answers.poll():
        raise ImagoError(
            f"even a step with {plural(TRIED[0], 'photo')} of {config.input.size} pixels does not run with "
            f"{config.net.model} here (the process ended with {process.exitcode}); choose a smaller --size or "
            "another --model"
        )
    found = answers.recv()
    if isinstance(found, str):
        raise ImagoError(found)
    return tuple(Trial(*values) for values in found)


def _measure(config: TrainConfig, make: MakeBatch, device: str, answer: Any) -> None:
    """In the process of its own."""
    try:
        answer.send([(batch, *_step_cost(config.with_(pretrained=False), make, device, batch)) for batch in TRIED])
    except ImagoError as error:
        answer.send(str(error))


def _step_cost(config: TrainConfig, make: MakeBatch, device: str, batch_size: int) -> tuple[int, float]:
    import torch

    from imago.models.memory_format import channels_last_is_faster
    from imago.training.device import PRECISIONS, choose_precision
    from imago.training.optim import build_optimizer

    net, target = make(config, batch_size)
    frame = config.input.build_spec(net.multiple).size_hw
    net, images = net.to(device).train(), torch.rand(batch_size, config.input.channels, *frame, device=device)
    if channels_last_is_faster(device):
        net, images = net.to(memory_format=torch.channels_last), images.contiguous(memory_format=torch.channels_last)
    optimizer = build_optimizer(net, config.optimization)
    precision = PRECISIONS[choose_precision(config.runtime.precision, device)]
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


def peak_bytes() -> int:
    """The most memory that this process has held."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
