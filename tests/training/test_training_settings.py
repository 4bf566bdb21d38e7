"""Settings, recipes, the course of the learning rate, optimiser and averages, devices."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_run import tiny

from imago.cli.train import read_run
from imago.core.errors import DataError, ImagoError
from imago.core.settings import iter_settings
from imago.data.augment.settings import Augmentation
from imago.training.config import DataSource, TrainConfig, read_recipe
from imago.training.device import choose_device, choose_precision, worker_count
from imago.training.optim import MovingAverage, build_optimizer, rate_factor
from imago.training.settings import RuntimeSettings
from imago.training.state import Progress, load_state, save_state


@pytest.mark.parametrize(
    ("given", "most"),
    [
        ({}, 50),
        ({"epochs": 7}, 7),
        ({"minutes": 10.0}, sys.maxsize),  # a small net on few photos has 50 rounds in a minute
        ({"minutes": 10.0, "epochs": 7}, 7),
    ],
)
def test_what_ends_a_training(given: dict[str, Any], most: int) -> None:
    assert TrainConfig.of(**given).optimization.most_epochs == most


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": -1}, "epochs must not be negative; got -1"),
        ({"batch_size": 0}, "batch_size must be 1 or more; got 0"),
        ({"minutes": -1.0}, "minutes must not be negative"),
        ({"seed": -1}, "seed must not be negative"),
        ({"start_size": 99}, r"start_size lies from 16 to size \(32\)"),
        ({"start_size": 16, "rule": "resize"}, "does not go with rule resize"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"ema": 1.0}, "ema and warmup"),
        ({"momentum": 1.5}, "momentum lies from 0 up to 1"),
        ({"encoder": "resnet18", "model": "u2net"}, "model 'u2net' has no encoder to choose"),
    ],
)
def test_impossible_settings(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tiny(tmp_path, **changes)


# Recipes and config.json hold whatever was typed.
junk = st.sampled_from(
    [None, True, 0, 1, -1, 2.5, 1e400, float("nan"), "", "x", "1", [], [0], ["x"], [{}], {}, {"a": 1}, [[1, 2]]]
) | st.integers() | st.floats() | st.text(max_size=3)  # fmt: skip
FLAT = sorted(own.name for own, _ in iter_settings(TrainConfig))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FLAT), junk)
def test_no_recipe_gets_past_the_message(name: str, value: Any) -> None:
    usual = json.loads(TrainConfig().to_json())
    try:
        config = TrainConfig.from_values({**usual, name: value}, "r.toml")
    except DataError as error:
        assert str(error).startswith("r.toml: ")  # noqa: PT017  it may be raised
        return
    assert type(config.flat()[name]) is type(TrainConfig().flat()[name])
    assert TrainConfig.from_values(json.loads(config.to_json()), "again") == config


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([f.name for f in fields(DataSource)] + [f.name for f in fields(Augmentation)]), junk)
def test_no_source_gets_past_the_message(name: str, value: Any) -> None:
    mine = {f.name for f in fields(DataSource)}
    entry = {"path": "a", **({name: value} if name in mine else {"augment": {name: value}})}
    try:
        config = TrainConfig.from_values({"data": [entry]}, "r.toml")
    except DataError as error:
        assert str(error).startswith("r.toml: ")  # noqa: PT017  it may be raised
        return
    assert TrainConfig.from_values(json.loads(config.to_json()), "again") == config


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": "big"}, 'size must be a whole number; got "big"'),
        ({"size": 320.5}, "size must be a whole number; got 320.5"),
        ({"export": 1}, "export must be true or false; got 1"),
        ({"tta_scales": "1"}, "tta_scales must be a list of numbers"),
        ({"lr": float("nan")}, "lr must be a number; got NaN"),
        ({"data": ["x"]}, r"data\[0\] must be a table"),
        ({"data": [{"pth": "x"}]}, r"unknown settings data\[0\]\.pth; known are .*path"),
        ({"data": [{"path": "x", "augment": {"blur": "much"}}]}, r"data\[0\]\.augment\.blur must be a number"),
        ({"augment": {"blurr": 1}}, r"unknown settings augment\.blurr"),
        ({"sise": 1}, "unknown settings sise; known are augment"),
    ],
)
def test_recipes_say_which_setting_is_wrong(values: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=f"r.toml: {words}"):
        TrainConfig.from_values(values, "r.toml")


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "1", "null", "{}", '{"root": 1}', '{"root": "/", "version": "2"}', '{"root": "/", "option": [1]}',
     '{"root": "/", "data": {"a": 1}}', '{"root": "/", "data": ["x"]}', '{"root": "/", "augment": "x"}',
     '{"root": "/", "data": [{"path": "a", "augment": 3}]}', "[" * 50_000, "\ud800"],
)  # fmt: skip
def test_damaged_runs_are_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ImagoError, match=r"config\.json: "):
        read_run(tmp_path)


def test_a_run_that_notepad_saved_again(tmp_path: Path) -> None:
    stored = {**json.loads(tiny(tmp_path).to_json()), "root": "/", "version": 2}
    (tmp_path / "config.json").write_text(json.dumps(stored), "utf-16")
    assert read_run(tmp_path) == (tiny(tmp_path), Path("/"))


def test_settings_survive_the_file(tmp_path: Path) -> None:
    config = tiny(
        tmp_path, augment=Augmentation(flip=0.1), data=(DataSource("a", licenses=(1, 2), augment={"blur": 0.5}),)
    )
    assert TrainConfig.from_values(json.loads(config.to_json()), "x") == config
    assert all(field.metadata.get("help") for field, _ in iter_settings(TrainConfig) if field.metadata.get("cli", True))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sizes = 3", "unknown settings sizes; known are"),
        ("[augment]\nblurr = 1", "blurr"),
        ('[[data]]\npath = "x"\naugment = { flip = 7 }', "flip lies from 0 to 1; got 7"),
        ('[[data]]\npath = "x"\nweight = 0', "weight must be above 0"),
        ('[[data]]\npath = "x"\nval = ["a", "b", "a"]', "x: val names a photo twice; got a, b, a"),
        (
            '[[data]]\npath = "x"\nregions = "all"',
            r"data\[0\]\.regions must be one of '', 'whole'",
        ),
        ('[[data]]\npath = "x"\nregions = "parts"', "x: regions reads label maps by their group"),
        ("size =", "not a TOML file"),
    ],
)
def test_faulty_recipes(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(DataError, match=words):
        read_recipe(tmp_path / "r.toml")


def test_recipes_of_this_repository_can_be_read() -> None:
    for path in (Path(__file__).parents[2] / "recipes").glob("*.toml"):
        assert read_recipe(path).data


def test_a_grouping_lies_beside_its_recipe(tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text("[groups]\na = ['x']\nb = ['rest']\n")
    (tmp_path / "r.toml").write_text('[[data]]\npath = "x"\ngroup = "g.toml"')
    assert read_recipe(tmp_path / "r.toml").data[0].group == str(tmp_path / "g.toml")


@pytest.mark.parametrize(
    ("schedule", "progress", "factor"),
    [
        ("cosine", 0.05, 0.5), ("cosine", 0.1, 1.0), ("cosine", 0.55, 0.505), ("cosine", 1.0, 0.01),
        ("poly", 0.55, 0.5**0.9), ("poly", 1.0, 1e-3), ("constant", 0.9, 1.0), ("constant", 7.0, 1.0),
    ],
)  # fmt: skip
def test_course_of_the_learning_rate(tmp_path: Path, schedule: Any, progress: float, factor: float) -> None:
    assert rate_factor(progress, tiny(tmp_path, schedule=schedule, warmup=0.1).optimization) == pytest.approx(factor)


def test_no_decay_on_biases_and_norms(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    groups = build_optimizer(net, tiny(tmp_path, weight_decay=0.1).optimization).param_groups
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(1, 0.1), (3, 0.0)]


def test_moving_average_by_hand() -> None:
    net = torch.nn.Linear(1, 1, bias=False)
    average = MovingAverage(net, 0.5)
    start = net.weight.item()
    net.weight.data.fill_(2.0)
    average.update(net, 0)  # decay (1 + 0) / (10 + 0)
    assert average.values["weight"].item() == pytest.approx(0.1 * start + 0.9 * 2)
    average.update(net, 1000)
    assert average.values["weight"].item() == pytest.approx(0.5 * (0.1 * start + 0.9 * 2) + 0.5 * 2)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_the_state_of_the_optimizer_comes_back(tmp_path: Path, name: Any) -> None:
    def made() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(3)
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).to(
            memory_format=torch.channels_last
        )
        return net, build_optimizer(net, tiny(tmp_path, optimizer=name).optimization)

    def step(net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        net(torch.ones(2, 3, 8, 8)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    net, optimizer = made()
    for _ in range(3):
        step(net, optimizer)
    save_state(tmp_path / "s.safetensors", net, optimizer, None, {"step": 3})
    other, its = made()
    assert load_state(tmp_path / "s.safetensors", other, its, None) == {"step": 3}
    for both in ((net, optimizer), (other, its)):
        step(*both)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))
    for mine, theirs in zip(optimizer.state_dict()["state"].values(), its.state_dict()["state"].values(), strict=True):
        for key, value in mine.items():
            assert torch.equal(value, theirs[key])
            assert value.stride() == theirs[key].stride()


def test_devices_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_precision("32", "cpu") == "32"
    with pytest.raises(ImagoError, match="precision 16 needs a GPU"):
        choose_precision("16", "cpu")
    with pytest.raises(ImagoError, match="device 'tpu' is not known"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ImagoError, match="torch sees no CUDA device"):
            choose_device("cuda")
    assert worker_count(RuntimeSettings(workers=5)) == 5
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS and Windows
    assert 1 <= worker_count(RuntimeSettings(workers=-1)) <= 8


def test_progress_is_plain_json() -> None:
    progress = Progress(epoch=2, history=[{"epoch": 1, "score": 0.5}])
    assert Progress(**json.loads(json.dumps(vars(progress)))) == progress
