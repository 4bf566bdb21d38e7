"""The device and its arithmetic: what is fast there, chosen once, in words."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from lightning_fabric import Fabric

from imago.core.errors import ImagoError
from imago.training.config import TrainConfig

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
        return "bf16" if torch.cuda.is_bf16_supported() else "16"
    return "bf16" if device == "cpu" and cpu_has_bf16() else "32"


def channels_last_is_faster(device: str) -> bool:
    """On CPUs (measured: a third faster in bfloat16) and on CUDA's tensor cores; not on mps."""
    return device in ("cpu", "cuda")


def build_fabric(config: TrainConfig, device: str, precision: str) -> Fabric:
    """Fabric over all processes that torchrun started, or over the devices asked for."""
    devices: int | str = config.devices or ("auto" if device != "cpu" else int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return Fabric(
        accelerator=device, devices=devices, num_nodes=config.nodes, precision=PRECISIONS[precision]  # type: ignore[arg-type]
    )
