"""Presets: what follows from the data and the machine, what the user keeps, and that it is written down."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_run import tiny

from imago.core.errors import ImagoError
from imago.data.open_dataset import open_dataset
from imago.training.config import TrainConfig
from imago.training.presets import memory
from imago.training.presets.choices import read_choices, to_json
from imago.training.presets.memory import Trial, free_memory, largest_batch, try_batches
from imago.training.presets.semantic import PRESETS, DataFacts, choose, make_batch, measure_data
from imago.training.train import train

MB, GB = 1_000_000, 1_000_000_000
VINEYARD = DataFacts(200, 900, 4, 0.01, "cpu", 8 * GB)


def line(config: TrainConfig) -> tuple[Trial, ...]:
    """100 MB a photo, 500 MB besides."""
    return Trial(2, 700 * MB, 0.4), Trial(6, 1100 * MB, 1.0)


@pytest.mark.parametrize(
    ("name", "changes", "given", "expected"),
    [
        # 200 photos: 60,000 pictures are 300 rounds; the rare class asks for weights.
        ("balanced", {}, set(), {"model": "unet", "encoder": "resnet34_slim", "size": 288, "batch_size": 16,
                                 "grad_accum_steps": 1, "epochs": 300, "lr": 1e-3, "class_weights": "log",
                                 "tta_flip": False}),
        ("fast", {}, set(), {"encoder": "resnet18_half", "size": 192, "epochs": 75, "validate_every": 1}),
        ("accurate", {}, set(), {"encoder": "resnet34", "size": 416, "epochs": 750, "tta_flip": True}),
        # The user's own stays.
        ("balanced", {"model": "enet", "lr": 0.5, "minutes": 3.0}, {"model", "lr", "minutes"},
         {"model": "enet", "encoder": "", "lr": 0.5, "minutes": 3.0, "epochs": 0}),
        ("balanced", {"batch_size": 3}, {"batch_size"}, {"batch_size": 3, "grad_accum_steps": 1, "lr": 4.3e-4}),
        ("balanced", {"optimizer": "sgd"}, {"optimizer"}, {"lr": 0.01}),
        ("balanced", {"weights": "x.safetensors"}, {"weights"}, {"lr": 3e-4}),
    ],
)  # fmt: skip
def test_what_is_chosen(name: str, changes: dict[str, Any], given: set[str], expected: dict[str, Any]) -> None:
    config, choices = choose(name, VINEYARD, TrainConfig.of(**changes), given, line)
    assert {field: config.flat()[field] for field in expected} == expected
    assert all(choice.why for choice in choices)
    assert not {choice.setting for choice in choices} & given


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (DataFacts(200, 130, 2, 0.2, "cpu", 8 * GB), {"size": 128, "class_weights": "none"}),  # no photo is enlarged
        (DataFacts(200, 900, 2, 0.001, "cpu", 8 * GB), {"class_weights": "none"}),  # two classes: Dice sees to it
        (DataFacts(100_000, 900, 4, 0.1, "cpu", 8 * GB), {"epochs": 20}),
        (DataFacts(3, 900, 4, 0.1, "cpu", 8 * GB), {"epochs": 400}),
        (DataFacts(200, 2000, 4, 0.1, "cuda", 80 * GB), {"size": 512, "encoder": "resnet34"}),
        (DataFacts(200, 900, 4, 0.1, "cpu", 2 * GB), {"batch_size": 8, "grad_accum_steps": 2, "lr": 1e-3}),
    ],
)
def test_it_follows_from_the_data(facts: DataFacts, expected: dict[str, Any]) -> None:
    config, _ = choose("balanced", facts, TrainConfig(), set(), line)
    assert {field: config.flat()[field] for field in expected} == expected


@pytest.mark.parametrize(
    ("free", "batch"),
    [(8 * GB, 16), (2.7 * GB, 16), (2.5 * GB, 8), (1.65 * GB, 8), (1.1 * GB, 2), (0.9 * GB, 2)],
)
def test_the_largest_batch_that_fits(free: float, batch: int) -> None:
    """500 + 100 a photo, in four fifths of what is free: 16 need 2.63 GB, 8 need 1.63, 4 need 1.13, 2 need 0.88."""
    assert largest_batch(line(TrainConfig()), int(free), 16)[0] == batch


def test_no_room_at_all() -> None:
    with pytest.raises(ImagoError, match=r"2 photos takes 0\.7 GB and 0\.8 GB are free; choose a smaller --size"):
        largest_batch(line(TrainConfig()), int(0.8 * GB), 16)


@pytest.mark.slow
def test_steps_are_measured() -> None:
    small, large = try_batches(
        TrainConfig.of(model="unet", option=("width=8",), size=64, precision="32"),
        partial(make_batch, classes=3),
        "cpu",
    )
    assert (small.batch_size, large.batch_size) == memory.TRIED
    assert 50 * MB < small.bytes <= large.bytes < 4 * GB
    assert 0 < small.seconds < 60


@pytest.mark.slow  # the process of its own imports torch
def test_a_net_that_cannot_be_built_is_told_in_words() -> None:
    with pytest.raises(ImagoError, match="encoder 'nonsense' is not to be had"):
        try_batches(TrainConfig.of(model="unet:nonsense"), partial(make_batch, classes=3), "cpu")


def test_free_memory_is_the_cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "most").write_text("300000000\n")
    (tmp_path / "now").write_text("100000000\n")
    assert free_memory("cpu") > 300 * MB
    monkeypatch.setattr(memory, "CGROUPS", ((tmp_path, "most", "now"),))
    assert free_memory("cpu") == 200 * MB
    (tmp_path / "most").write_text("max\n")
    assert free_memory("cpu") > 300 * MB


def test_the_fingerprint(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for index, side in enumerate((20, 40, 40)):
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(tmp_path / "images" / f"{index}.png")
        mask = np.zeros((side, side), np.uint8)
        mask[0, :4] = 1
        Image.fromarray(mask).save(tmp_path / "masks" / f"{index}.png")
    samples = open_dataset(tmp_path).split("all")
    facts = measure_data(samples, 2, "cpu", 5 * GB)
    assert facts == DataFacts(3, 40, 2, pytest.approx(12 / 3600), "cpu", 5 * GB)


def test_presets_grow() -> None:
    fast, balanced, accurate = PRESETS.values()
    for name in ("side_px", "gpu_side_px"):
        assert getattr(fast, name) < getattr(balanced, name) < getattr(accurate, name)
    for name in ("pictures", "epochs"):
        assert getattr(fast.pace, name) < getattr(balanced.pace, name) < getattr(accurate.pace, name)


@pytest.mark.slow
def test_a_run_with_a_preset_keeps_its_reasons(root: Path, tmp_path: Path) -> None:
    """What the user gave stays; the rest is chosen, said, stored, and shown in the report."""
    said: list[str] = []
    config = tiny(tmp_path / "run", preset="fast", epochs=1)
    given = {"data", "out", "model", "option", "multiple", "epochs", "workers", "precision", "device", "export"}
    folder = train(config, root, say=said.append, given=given)
    kept = json.loads((folder / "preset.json").read_text("utf-8"))
    chosen = {choice["setting"] for choice in kept["choices"]}
    assert {"size", "batch_size", "lr"} <= chosen
    assert not chosen & given
    used = json.loads((folder / "config.json").read_text("utf-8"))
    assert all(used[choice["setting"]] == choice["value"] for choice in kept["choices"])
    assert any(text.startswith("preset fast:") and "measured:" in text for text in said)
    assert "photos a move" in (folder / "report.html").read_text("utf-8")
    (folder / "preset.json").write_text("{")
    with pytest.raises(ImagoError, match=r"preset\.json: damaged"):
        read_choices(folder)


def test_what_is_stored() -> None:
    _, choices = choose("fast", VINEYARD, TrainConfig(), set(), line)
    table = json.loads(to_json("fast", VINEYARD, choices))
    assert table["preset"] == "fast"
    assert table["data"]["photos"] == 200
    assert table["choices"][2] == {"setting": "size", "value": 192, "why": choices[2].why}
