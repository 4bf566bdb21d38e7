"""What one training consists of: its objects, where it stands, and its clock."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from imago.core.input_spec import InputSpec
from imago.core.model_card import ModelCard
from imago.training.config import TrainConfig
from imago.training.dataset import EpochSampler
from imago.training.optim import MovingAverage
from imago.training.progress import Display
from imago.training.sources import RunData

if TYPE_CHECKING:
    from imago.training.tasks.base import Net, Task

STATE = "resume.safetensors"
LAST = "last.safetensors"


@dataclass
class Progress:
    """Where a run stands. Saved with the state, as JSON."""

    epoch: int = 0  # epochs done
    step_in_epoch: int = 0
    step: int = 0  # steps done in all
    seconds: float = 0.0  # time spent, over all sittings
    best: float = -1.0
    best_loss: float | None = None  # of the validation with the best score, where it is worked out
    best_epoch: int = 0
    side_px: int = 0  # of the frames of the epoch under way
    loss_sum: float = 0.0  # of the epoch under way
    lr: float = 0.0  # of the last step
    history: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False


@dataclass
class Run:
    """All objects of one training."""

    task: Task
    config: TrainConfig
    folder: Path
    fabric: Fabric
    data: RunData[Any]
    net: Net
    module: nn.Module  # the net as Fabric wraps it
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None
    sampler: EpochSampler
    loader: DataLoader[Any]
    card: ModelCard
    progress: Progress
    display: Display
    aspects: tuple[float, ...]  # of the training photos, width by height

    @property
    def spec(self) -> InputSpec:
        return self.card.input

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
        self.start = time.monotonic() - run.progress.seconds
        self.seconds = run.progress.seconds
        self.saved = time.monotonic()  # when the state was last written

    def tick(self) -> None:
        seconds = time.monotonic() - self.start
        if self.run.config.minutes and self.run.fabric.world_size > 1:
            seconds = self.run.fabric.broadcast(seconds)
        self.seconds = self.run.progress.seconds = seconds

    @property
    def over(self) -> bool:
        """Whether the budget in minutes is spent."""
        return bool(self.run.config.minutes) and self.seconds >= self.run.config.minutes * 60

    @property
    def share(self) -> float:
        """How much of the budget is spent, 0..1: of the minutes where they are given, else of the steps."""
        config = self.run.config
        done = self.run.progress.step / (config.most_epochs * self.run.sampler.steps)
        return min(1.0, max(done, self.seconds / (config.minutes * 60)) if config.minutes else done)

    def save_is_due(self) -> bool:
        return time.monotonic() - self.saved >= self.run.config.save_minutes * 60
