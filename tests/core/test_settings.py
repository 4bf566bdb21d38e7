"""Settings in groups: flat names, and which task each applies to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import click
import pytest
from click.testing import CliRunner

from imago.cli.options import add_options, build_settings
from imago.core.settings import GROUP, TASKS, describe_scope, find_inapplicable, iter_settings, setting
from imago.data.augment.settings import Augmentation
from imago.training.config import TrainConfig


@dataclass(frozen=True)
class Inner:
    size: int = setting(3, "Side.", tasks=("semantic", "separation", "detection"), why="it has one size")
    many: bool = setting(False, "Sides.", tasks=("detection",), why={"semantic": "s", "separation": "p", "rcnn": "r"})

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be 1 or more; got {self.size}")


@dataclass(frozen=True)
class Outer:
    name: str = setting("x", "Name.")
    inner: Inner = field(default_factory=Inner, metadata=GROUP)


def test_groups_are_looked_into() -> None:
    assert [(own.name, owner) for own, owner in iter_settings(Outer)] == [
        ("name", Outer), ("size", Inner), ("many", Inner)
    ]  # fmt: skip
    assert [describe_scope(own) for own, _ in iter_settings(Outer)] == ["", "not rcnn", "only detection"]


@pytest.mark.parametrize(
    ("task", "expected"),
    [("semantic", {"many": "s"}), ("detection", {}), ("rcnn", {"size": "it has one size", "many": "r"})],
)
def test_what_says_nothing_to_a_task(task: str, expected: dict[str, str]) -> None:
    assert find_inapplicable(Outer, task) == expected


def test_options_of_groups_are_flat_and_name_their_tasks() -> None:
    made: list[Outer] = []

    @click.command()
    @add_options(Outer)
    def command(**values: object) -> None:
        made.append(build_settings(Outer, values))

    run = CliRunner().invoke
    assert run(command, ["--size", "7", "--many"]).exit_code == 0
    assert made == [Outer("x", Inner(7, True))]
    text = " ".join(run(command, ["--help"]).output.split())
    assert "Side. [not rcnn] [default: 3]" in text
    assert "Sides. [only detection]" in text
    assert "Name. [default: x]" in text
    wrong = run(command, ["--size", "0"])
    assert wrong.exit_code == 2
    assert "size must be 1 or more; got 0" in wrong.output


def test_a_training_has_every_name_once() -> None:
    """On the command line settings and augmentation stand side by side."""
    names = [own.name for kind in (TrainConfig, Augmentation) for own, _ in iter_settings(kind)]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert list(TrainConfig().flat()) == [own.name for own, _ in iter_settings(TrainConfig)]


def test_every_setting_that_a_task_has_not_says_why() -> None:
    for kind in (TrainConfig, Augmentation):
        for task in TASKS:
            assert all(find_inapplicable(kind, task).values())
        for own, _ in iter_settings(kind):
            assert set(own.metadata.get("tasks", TASKS)) <= set(TASKS)


def test_flat_names_come_and_go() -> None:
    config = TrainConfig.of(size=64, lr=0.5, model="unet:resnet18", augment=Augmentation(flip=0.1))
    assert (config.input.size, config.optimization.lr, config.net.model, config.net.encoder) == (
        64,
        0.5,
        "unet",
        "resnet18",
    )
    assert TrainConfig.of(**config.flat()) == config
    changed = config.with_(epochs=3)
    assert (changed.optimization.epochs, changed.optimization.lr, changed.input) == (3, 0.5, config.input)
    with pytest.raises(TypeError, match="unknown settings input, sizes"):
        config.with_(sizes=3, input=config.input)
    with pytest.raises(ValueError, match="lr must be above 0"):
        config.with_(lr=0.0)
