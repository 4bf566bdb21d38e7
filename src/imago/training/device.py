"""The device and its arithmetic: what is fast there, chosen once, in words."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from imago.core.errors import ImagoError
from imago.training.settings import RuntimeSettings

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def choose_device(asked: str) -> str:
    if asked == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if asked == "cuda" and not torch.cuda.is_available():
        raise ImagoError("device cuda was asked for, but torch sees no CUDA device; use --device auto or cpu")
    if asked == "mps" and not torch.backends.mps.is_available():
        raise ImagoError("device mps was asked for, but torch sees none; use --device auto or cpu")
    if asked not in ("cpu", "cuda", "mps"):
        raise ImagoError(f"device {asked!r} is not known; choose auto, cpu, cuda or mps")
    return asked


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 itself. Without that, autocast to it is slower than float32."""
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and any(f in flags.read_text("utf-8") for f in ("avx512_bf16", "amx_bf16", " bf16"))


def choose_precision(asked: str, device: str) -> str:
    """A key of ``PRECISIONS``."""
    if asked != "auto":
        if asked == "16" and device == "cpu":
            raise ImagoError("precision 16 needs a GPU; on the CPU use bf16, 32 or auto")
        return asked
    if device == "cuda":
        # Older devices only act as if: that is slower than float32.
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "16"
    return "bf16" if device == "cpu" and cpu_has_bf16() else "32"


def build_fabric(settings: RuntimeSettings) -> Fabric:
    """Fabric over all processes that torchrun started, or over the devices asked for. Raises ImagoError."""
    device = choose_device(settings.device)
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "0"))  # set by torchrun
    nodes = int(os.environ.get("WORLD_SIZE", "1")) // local if local else settings.nodes
    devices: int | str = settings.devices or local or (1 if device == "cpu" else "auto")
    several = nodes > 1 or (isinstance(devices, int) and devices > 1) or (devices == "auto" and visible(device) > 1)
    # The run's own line says the precision; Fabric's would stand on standard error, as if something were amiss.
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)
    return Fabric(
        accelerator=device,
        devices=devices,
        num_nodes=nodes,
        precision=PRECISIONS[choose_precision(settings.precision, device)],  # type: ignore[arg-type]
        # While the first process checks the data or validates, the others wait, however long that takes.
        strategy=DDPStrategy(timeout=timedelta(days=7)) if several else "auto",
    )


def visible(device: str) -> int:
    return torch.cuda.device_count() if device == "cuda" else 1


def worker_count(settings: RuntimeSettings) -> int:
    """Processes that prepare pictures, for each process that trains: one core is left to that."""
    if settings.workers >= 0:
        return settings.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1))
