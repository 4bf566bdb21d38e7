"""Trainings of R-CNN that take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_run import tiny

from imago.training.config import DataSource, TrainConfig
from imago.training.settings import InputSettings, OptimizationSettings

STAGES = (
    "stages.padding=4", "stages.positives=12", "stages.negatives=24", "stages.retrain_after=100", "stages.penalty=10",
    "proposals.side=80",
)  # fmt: skip


def small(out: Path, *option: str, **changes: Any) -> TrainConfig:
    """Eighty steps or so of a narrow VGG-16 on crops of 32 pixels."""
    values: dict[str, Any] = {
        "data": (DataSource("drawn"),), "model": "rcnn", "size": InputSettings.size, "multiple": InputSettings.multiple,
        "batch_size": OptimizationSettings.batch_size, "epochs": 10,
        "option": ("width=8", "fc_width=64", "crop=32", *STAGES, *option),
        "optimizer": "sgd", "lr": 0.02, "grad_clip": 5.0, "weight_decay": 5e-4, "ema": 0.9, "validate_every": 5,
        "save_minutes": 1.0, "name": "small",
    }  # fmt: skip
    return tiny(out, **{**values, **changes})
