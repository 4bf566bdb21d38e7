"""What differs between trainings: nets that label pixels (semantic.py) and nets that find objects (things.py).

The loop knows neither: it asks the run's ``Kind`` for losses and for scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor
from torch.utils.data import Dataset

from imago.core.card import ModelCard
from imago.export.run import BEST
from imago.models.base import SegmentationNet
from imago.models.thing_base import ThingNet
from imago.models.things import THING_BUILDERS
from imago.training.config import TrainConfig
from imago.training.pictures import Plan, Share
from imago.training.sources import RunData

if TYPE_CHECKING:
    from imago.training.run import Run

Net = SegmentationNet | ThingNet
Counted = Callable[[int, int], None]  # told how many are done, of how many
Stage = Callable[[str, int, int], None]  # told of what as well


@dataclass(frozen=True)
class Validation:
    """One look at the validation photos."""

    score: float  # 0..1, mean over folders; what the best epoch is chosen by
    by_folder: dict[str, float]
    loss: float | None = None  # mean over photos, where it is worked out


@dataclass(frozen=True)
class Ending:
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


class Kind(Protocol):
    """One kind of training. None of them holds a state: what a run knows is in its ``Run``."""

    def refuse(self, config: TrainConfig) -> None:
        """Raises ImagoError for settings that say nothing to this kind, rather than pass over them."""
        ...

    def open_data(self, config: TrainConfig, root: Path, checking: Counted | None = None) -> RunData[Any]:
        """The data; with ``checking`` every pixel and object of it is looked at. Raises DataError with all faults."""
        ...

    def build_net(self, config: TrainConfig, data: RunData[Any]) -> Net:
        """A net with fresh weights that can be asked for its loss."""
        ...

    def build_card(self, config: TrainConfig, net: Any, data: RunData[Any], folder: Path, root: Path) -> ModelCard: ...

    def prepare(
        self, config: TrainConfig, card: ModelCard, data: RunData[Any], folder: Path, share: Share, shown: Stage
    ) -> None:
        """What is found once, before the training, and kept on disk; several processes each do their ``share``."""
        ...

    def plan(
        self, config: TrainConfig, card: ModelCard, data: RunData[Any], aspects: Sequence[float], share: Share
    ) -> Plan:
        """What comes when. ``aspects``: of the training photos, width by height."""
        ...

    def pictures(
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

    def look(self, run: Run, folders: Mapping[str, Sequence[Any]], shown: Counted) -> Validation:
        """Scores the weights that the net has now on validation photos."""
        ...

    def finish(self, ending: Ending) -> None:
        """The end of a run: scores.json, report.html, model.onnx."""
        ...


def kind_of(config: TrainConfig) -> Kind:
    """The kind that ``config.model`` belongs to."""
    if config.model == "rcnn":  # the one net that is trained in stages
        from imago.training.rcnn import Rcnn

        return Rcnn()
    if config.model in THING_BUILDERS:
        from imago.training.things import Things

        return Things()
    from imago.training.semantic import Semantic

    return Semantic()
