"""Settings in groups: flat names, and which task each applies to."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_origin, get_type_hints

import click
import pytest
from click.testing import CliRunner

from imago.cli.options import add_options, build_settings
from imago.core.detection_options import DetectionOptions
from imago.core.proposal_options import ProposalOptions
from imago.core.separation import Separation
from imago.core.settings import GROUP, TASKS, describe_scope, find_inapplicable, iter_settings, setting
from imago.core.tta import TTA
from imago.data.augment.settings import Augmentation
from imago.inference.crf import DenseCRF
from imago.training.config import TrainConfig
from imago.training.settings import (
    EvaluationSettings,
    ExportSettings,
    InputSettings,
    NetSettings,
    OptimizationSettings,
    RuntimeSettings,
)


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


SETTINGS: tuple[type, ...] = (
    NetSettings, InputSettings, OptimizationSettings, RuntimeSettings, EvaluationSettings, ExportSettings, Augmentation,
    DetectionOptions, TTA, Separation, DenseCRF, ProposalOptions,
)  # fmt: skip
WRONG: dict[type, tuple[object, ...]] = {
    float: (math.nan, math.inf, -math.inf, "1", True, None),
    int: (1.5, math.nan, "1", True, None),
    bool: (1, "yes", None),
    str: (1, None),
}
VALUES = [
    (settings, own.name, value)
    for settings in SETTINGS
    for own in fields(settings)
    for value in WRONG.get(get_type_hints(settings)[own.name], ())
]
ONE_OF = [
    (settings, own.name)
    for settings in SETTINGS
    for own in fields(settings)
    if get_origin(get_type_hints(settings)[own.name]) is Literal
]


@pytest.mark.parametrize(("settings", "name", "value"), VALUES)
def test_numbers_that_are_none(settings: type, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        settings(**{name: value})


@pytest.mark.parametrize(("settings", "name"), ONE_OF)
def test_words_that_there_are_not(settings: type, name: str) -> None:
    with pytest.raises(ValueError, match=f'{name} must be one of .*; got "Abacus"'):
        settings(**{name: "Abacus"})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scales": (1.0, math.nan)}, r"scales\[1\] must be a number; got NaN"),
        ({"scales": "1,2"}, "scales must be a list of numbers; got"),
        ({"flip": "no"}, "flip must be true or false; got"),
    ],
)
def test_lists_and_what_may_be_none(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TTA(**values)
    assert TTA(scales=[0.5, 1]).scales == (0.5, 1)  # type: ignore[arg-type]
    assert TTA(flip=None).flip is None


NEEDS = [(own, owner) for settings in (TrainConfig, Augmentation) for own, owner in iter_settings(settings)
         if "needs" in own.metadata]  # fmt: skip


@pytest.mark.parametrize(("own", "owner"), NEEDS, ids=lambda value: getattr(value, "name", ""))
def test_what_a_setting_needs_is_a_property_of_its_own(own: Any, owner: type) -> None:
    assert len(NEEDS) > 5
    assert not isinstance(getattr(owner(), own.metadata["needs"][0]), str)
