"""What one training consists of: its objects, and its clock."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from imago.core.model_card import ModelCard
from imago.training.config import TrainConfig
from imago.training.dataset import EpochSampler
from imago.training.optim import MovingAverage
from imago.training.progress import Display
from imago.training.sources import RunData
from imago.training.state import Progress
from imago.training.tasks.base import Net, Task

STATE = "resume.safetensors"
LAST = "last.safetensors"


@dataclass
class Run:
    """All objects of one training."""

    task: Task
    fabric: Fabric
    module: nn.Module  # the task's net as Fabric wraps it
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None
    sampler: EpochSampler
    progress: Progress
    display: Display
    aspects: tuple[float, ...]  # of the training photos, width by height
    loader: DataLoader[Any] = field(init=False)  # made last: its workers are forked with all that is there

    @property
    def config(self) -> TrainConfig:
        return self.task.config

    @property
    def folder(self) -> Path:
        return self.task.folder

    @property
    def data(self) -> RunData[Any]:
        return self.task.data

    @property
    def net(self) -> Net:
        return self.task.net

    @property
    def card(self) -> ModelCard:
        return self.task.card

    @property
    def autocast(self) -> torch.dtype | None:
        """What the arithmetic is rounded to; None is float32."""
        dtypes = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
        return dtypes.get(str(self.fabric.strategy.precision.precision))


class Clock:
    """Seconds spent on the run, over all its sittings. They move at ``tick`` only, and are the first process's where
    there are several: all must agree on the learning rate and on when the time is up."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.minutes = run.config.optimization.minutes
        self.start = time.monotonic() - run.progress.seconds
        self.seconds = run.progress.seconds
        self.saved = time.monotonic()  # when the state was last written

    def tick(self) -> None:
        seconds = time.monotonic() - self.start
        if self.minutes and self.run.fabric.world_size > 1:
            seconds = self.run.fabric.broadcast(seconds)
        self.seconds = self.run.progress.seconds = seconds

    @property
    def over(self) -> bool:
        """Whether the budget in minutes is spent."""
        return bool(self.minutes) and self.seconds >= self.minutes * 60

    @property
    def share(self) -> float:
        """How much of the budget is spent, 0..1: of the minutes where they are given, else of the steps."""
        most = self.run.config.optimization.most_epochs * self.run.sampler.steps
        done = self.run.progress.step / most
        return min(1.0, max(done, self.seconds / (self.minutes * 60)) if self.minutes else done)

    def save_is_due(self) -> bool:
        return time.monotonic() - self.saved >= self.run.config.runtime.save_minutes * 60
