"""The tasks by their names."""

from __future__ import annotations

from imago.training.config import TrainConfig
from imago.training.tasks.base import Task
from imago.training.tasks.detection import DetectionTask
from imago.training.tasks.rcnn import RcnnTask
from imago.training.tasks.semantic import SemanticTask
from imago.training.tasks.separation import SeparationTask

TASKS: dict[str, type[Task]] = {
    "semantic": SemanticTask,
    "separation": SeparationTask,
    "detection": DetectionTask,
    "rcnn": RcnnTask,
}


def choose_task(config: TrainConfig) -> type[Task]:
    """The task that ``config`` asks for."""
    return TASKS[config.net.task]
