"""What is odd about the data is said before a training, not found after it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import write_tiny_dataset
from tiny_run import tiny

from imago.core.instances import Instances
from imago.core.labels import IGNORE, Labels
from imago.data.augment.settings import Augmentation
from imago.training.config import DataSource
from imago.training.dataset import Source
from imago.training.doubts import find_doubts, shown_as_instances, shown_in_label_map
from imago.training.sources import RunData
from imago.training.train import build

LABELS = Labels(("background", "cat", "dog"))


@dataclass(frozen=True)
class Drawn:
    """A sample that shows these classes, as pixels and as objects."""

    image_path: Path
    classes: tuple[int, ...]

    def label_map(self) -> np.ndarray:
        return np.array([[IGNORE, 0, *self.classes]], np.uint8)

    def instances(self) -> Instances:
        boxes = np.tile(np.array([[0, 0, 2, 2]], np.float32), (len(self.classes), 1))
        return Instances.make((8, 8), boxes, np.array(self.classes, np.int64))


def data_of(train: list[tuple[int, ...]], val: list[tuple[int, ...]], shared: int = 0) -> RunData[Drawn]:  # type: ignore[type-var]
    learnt = tuple(Drawn(Path(f"train{i}.png"), classes) for i, classes in enumerate(train))
    judged = tuple(Drawn(Path(f"{'train' if i < shared else 'val'}{i}.png"), classes) for i, classes in enumerate(val))
    return RunData(LABELS, (Source(learnt, 1.0, Augmentation(), True),), {"one": judged}, (), ())


@pytest.mark.parametrize(
    ("train", "val", "shared", "doubts"),
    [
        ([(1, 2)], [(1,), (2,)], 0, []),
        ([(1,), (1, 2)], [(1,)], 0, ["class 'dog': no validation photo shows it; no score"]),
        (
            [(1,), (1,)],
            [(1, 2)],
            0,
            ["class 'dog': no training photo shows it (photos for validation that do: 1); it cannot"],
        ),
        ([(1,)], [(1,)], 0, ["class 'dog': no training photo shows it; it cannot be learnt"]),
        ([(), ()], [(1, 2)], 0, ["nothing is annotated that could be learnt: "]),
        ([(1, 2)], [(1, 2)], 1, ["validation photos that are trained on as well: 1 of 1; "]),
    ],
)
def test_doubts(train: list[tuple[int, ...]], val: list[tuple[int, ...]], shared: int, doubts: list[str]) -> None:
    data = data_of(train, val, shared)
    for found in (find_doubts(data, shown_in_label_map), find_doubts(data, shown_as_instances, first=1)):
        assert len(found) == len(doubts)
        assert all(line.startswith(start) for line, start in zip(found, doubts, strict=True)), found
        assert all("\n" not in line for line in found)


def test_they_are_said_before_the_training(tmp_path: Path) -> None:
    folder = write_tiny_dataset(tmp_path / "tiny", count=1, size_hw=(32, 40))
    for listed in folder.glob("*.txt"):
        if listed.name != "classes.txt":
            listed.unlink()
    said: list[str] = []
    run = build(tiny(tmp_path / "run", data=(DataSource("tiny"),)), tmp_path, False, said.append)
    assert any("validation photos that are trained on as well: 1 of 1" in line for line in said)
    assert set(run.data.notes) <= set(said)  # and in the report
