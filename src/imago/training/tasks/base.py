"""What differs between trainings: nets that label pixels (semantic.py) and nets that find objects (detection.py).

The loop knows neither: it asks the run's ``Kind`` for losses and for scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor
from torch.utils.data import Dataset

from imago.core.model_card import ModelCard
from imago.export.export import BEST
from imago.models.catalog import Net, task_of
from imago.training.config import TrainConfig
from imago.training.dataset import EpochSampler, ProcessInfo
from imago.training.sources import RunData

if TYPE_CHECKING:
    from imago.training.run import Run

OnCount = Callable[[int, int], None]  # told how many are done, of how many
OnStage = Callable[[str, int, int], None]  # told of what as well


@dataclass(frozen=True)
class Validation:
    """One look at the validation photos."""

    score: float  # 0..1, mean over folders; what the best epoch is chosen by
    by_folder: dict[str, float]
    loss: float | None = None  # mean over photos, where it is worked out


@dataclass(frozen=True)
class FinishedRun:
    """A run whose training is over, as its end is given it."""

    config: TrainConfig
    folder: Path
    data: RunData[Any]
    history: Sequence[Mapping[str, Any]]  # rows of metrics.csv
    say: Callable[[str], None]

    @property
    def best(self) -> Path:
        """The checkpoint with the best weights."""
        return self.folder / BEST


class Task(Protocol):
    """One kind of training. None of them holds a state: what a run knows is in its ``Run``."""

    def refuse(self, config: TrainConfig) -> None:
        """Raises ImagoError for settings that do not apply to this kind, rather than pass over them."""
        ...

    def open_data(self, config: TrainConfig, root: Path, checking: OnCount | None = None) -> RunData[Any]:
        """The data; with ``checking`` every pixel and object of it is looked at. Raises DataError with all faults."""
        ...

    def build_net(self, config: TrainConfig, data: RunData[Any]) -> Net:
        """A net with fresh weights that can be asked for its loss."""
        ...

    def build_card(self, config: TrainConfig, net: Any, data: RunData[Any], folder: Path, root: Path) -> ModelCard: ...

    def prepare(
        self,
        config: TrainConfig,
        card: ModelCard,
        data: RunData[Any],
        folder: Path,
        process: ProcessInfo,
        shown: OnStage,
    ) -> None:
        """What is found once, before the training, and kept on disk; several processes each do their ``share``."""
        ...

    def build_sampler(
        self, config: TrainConfig, card: ModelCard, data: RunData[Any], aspects: Sequence[float], process: ProcessInfo
    ) -> EpochSampler:
        """What comes when. ``aspects``: of the training photos, width by height."""
        ...

    def build_dataset(
        self, config: TrainConfig, card: ModelCard, data: RunData[Any], folder: Path, cache_gb: float
    ) -> Dataset[Any]:
        """What the plan's keys stand for: one training picture each, with its truth. ``cache_gb``: memory for decoded
        photos."""
        ...

    def collate(self, pictures: Sequence[Any]) -> Any:
        """Pictures become the batch that ``loss`` takes."""
        ...

    def loss(self, run: Run, batch: Any) -> Mapping[str, Tensor]:
        """Named terms, to be added up."""
        ...

    def validate(self, run: Run, folders: Mapping[str, Sequence[Any]], shown: OnCount) -> Validation:
        """Scores the weights that the net has now on validation photos."""
        ...

    def finish(self, finished: FinishedRun) -> None:
        """The end of a run: scores.json, report.html, model.onnx."""
        ...


def choose_task(config: TrainConfig) -> Task:
    """The kind that ``config.model`` belongs to."""
    if config.model == "rcnn":  # the one net that is trained in stages
        from imago.training.tasks.rcnn import RcnnTask

        return RcnnTask()
    if task_of(config.model) == "detection":
        from imago.training.tasks.detection import DetectionTask

        return DetectionTask()
    from imago.training.tasks.semantic import SemanticTask

    return SemanticTask()
