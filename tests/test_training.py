"""The training room: a killed run comes to the same weights, to the last bit; budgets, early stop, faults in words."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import pickle
import signal
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_tiny_dataset
from PIL import Image
from safetensors.torch import load_file

from imago.core.errors import DataError, ImagoError
from imago.core.labels import IGNORE
from imago.data.augment import Augmentation
from imago.models import checkpoint
from imago.training import loop
from imago.training.config import DataSource, TrainConfig, read_recipe
from imago.training.device import choose_device, choose_precision, worker_count
from imago.training.interrupt import Stopped
from imago.training.loop import fit
from imago.training.optim import MovingAverage, build_optimiser, rate_factor
from imago.training.pictures import BatchPlan, PhotoCache, Pictures, Source, class_frequencies, frames_of
from imago.training.run import Clock, Progress, Run
from imago.training.sources import open_sources
from imago.training.state import load_state, save_state
from imago.training.train import build, train


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data set "tiny": 8 images of 32 x 40, 6 of them to train on."""
    folder = tmp_path_factory.mktemp("data")
    write_tiny_dataset(folder / "tiny", count=8, size_hw=(32, 40))
    return folder


BINARY = "background=background; subject=rest"


def tiny(out: Path, **changes: Any) -> TrainConfig:
    """Three steps an epoch, two epochs, a net of 4 channels."""
    values: dict[str, Any] = {
        "data": (DataSource("tiny", group=BINARY),), "out": str(out), "model": "unet", "option": ("width=4",),
        "size": 32, "multiple": 16, "epochs": 2, "batch": 2, "workers": 0, "precision": "32", "device": "cpu",
        "save_minutes": 0.0, "export": False, "lr": 0.01,
    }  # fmt: skip
    return TrainConfig(**{**values, **changes})


def silent(text: str) -> None:
    pass


def fitted(config: TrainConfig, root: Path, resume: bool = False) -> Run:
    run = build(config, root, resume, silent)
    if not run.progress.done:
        fit(run)
    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All that a run leaves behind: averaged weights of the best and the last epoch, net, average, optimiser."""
    found = {}
    for file in ("best.safetensors", "last.safetensors", "resume.safetensors"):
        found |= {f"{file}/{name}": value for name, value in load_file(folder / file).items()}
    return found


def assert_same_weights(one: Path, other: Path) -> None:
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    different = [name for name in mine if not torch.equal(mine[name], theirs[name])]
    assert not different


# kill -9


def train_and_die(config: TrainConfig, root: Path, deaths: int, moment: str) -> None:
    """Runs in a process of its own, which ends itself with SIGKILL at the ``deaths``-th saving of the state."""
    save, replace_file, count = loop.save_resume, os.replace, 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def dying(run: Run, clock: Clock) -> None:
        nonlocal count
        count += 1
        if count == deaths:
            if moment == "before":
                die()
            if moment == "while":
                os.replace = lambda *names: die()  # type: ignore[assignment]
        save(run, clock)
        os.replace = replace_file
        if count == deaths:
            die()

    loop.save_resume = dying
    fitted(config, root, resume=(Path(config.out) / "config.json").is_file())


def killed(config: TrainConfig, root: Path, deaths: int, moment: str = "after") -> None:
    process = multiprocessing.get_context("fork").Process(target=train_and_die, args=(config, root, deaths, moment))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


# Savings: 1, 2, 3 after the steps of the first epoch (the third before its validation), 4 after its end, 5 to 8.
@pytest.mark.parametrize(
    ("deaths", "moment", "changes"),
    [
        (1, "before", {}),  # there is no state yet
        (1, "while", {}),
        (2, "after", {}),  # mid-epoch
        (3, "after", {"optimiser": "sgd", "ema": 0.0}),  # all steps done, not yet validated
        (4, "before", {"optimiser": "adam"}),  # validated, checkpoints written, state still before
        (4, "while", {"start_size": 16}),
        (4, "after", {"optimiser": "sgd", "momentum": 0.0}),  # between two epochs
        (6, "while", {}),
        (1, "after", {"accumulate": 2}),  # the first saving is after step 2: between, there are gradients
        (8, "before", {"data": (DataSource("tiny"),), "loss": "ce+lovasz", "class_weights": "median"}),
    ],
)
def test_a_killed_run_comes_to_the_same_weights(
    root: Path, tmp_path: Path, deaths: int, moment: str, changes: dict[str, Any]
) -> None:
    fitted(tiny(tmp_path / "whole", **changes), root)
    killed(tiny(tmp_path / "killed", **changes), root, deaths, moment)
    run = fitted(tiny(tmp_path / "killed", **changes), root, resume=True)
    assert run.progress.done
    assert run.progress.step == 6
    assert_same_weights(tmp_path / "whole", tmp_path / "killed")
    assert not list((tmp_path / "killed").glob("*.part"))
    rows = [list(csv.DictReader((tmp_path / name / "metrics.csv").open())) for name in ("whole", "killed")]
    for row in (*rows[0], *rows[1]):
        del row["seconds"]
    assert rows[0] == rows[1]


def test_a_run_killed_again_and_again(root: Path, tmp_path: Path) -> None:
    fitted(tiny(tmp_path / "whole"), root)
    for _ in range(4):  # two savings further each time, the second of them lost
        killed(tiny(tmp_path / "killed"), root, 2, "before")
    fitted(tiny(tmp_path / "killed"), root, resume=True)
    assert_same_weights(tmp_path / "whole", tmp_path / "killed")


def test_early_stop_holds_over_a_kill(root: Path, tmp_path: Path) -> None:
    """lr of nearly 0: the first score stays the best, so epoch 3 is the last of 9; the resumed run stops there too."""
    changes = {"epochs": 9, "patience": 2, "lr": 1e-12, "ema": 0.0, "optimiser": "sgd", "weight_decay": 0.0}
    whole = fitted(tiny(tmp_path / "whole", **changes), root)
    assert whole.progress.epoch - whole.progress.best_epoch == 2
    assert whole.progress.epoch < 9
    last = whole.progress.epoch * 4  # savings: four an epoch
    killed(tiny(tmp_path / "killed", **changes), root, last, "after")
    run = fitted(tiny(tmp_path / "killed", **changes), root, resume=True)
    assert run.progress.epoch == whole.progress.epoch
    assert_same_weights(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
def test_workers_change_nothing(root: Path, tmp_path: Path) -> None:
    fitted(tiny(tmp_path / "none"), root)
    killed(tiny(tmp_path / "one", workers=1), root, 2)
    fitted(tiny(tmp_path / "one", workers=1), root, resume=True)
    assert_same_weights(tmp_path / "none", tmp_path / "one")


def test_ctrl_c_saves_and_says_how_to_go_on(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"save_minutes": 60.0}
    fitted(tiny(tmp_path / "whole", **changes), root)
    run = build(tiny(tmp_path / "stopped", **changes), root, False, silent)
    step = run.display.step
    monkeypatch.setattr(
        run.display, "step", lambda p, *rest: (step(p, *rest), p.step == 2 and os.kill(os.getpid(), signal.SIGINT))
    )
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped):
        fit(run)
    assert signal.getsignal(signal.SIGINT) is before
    assert issubclass(Stopped, KeyboardInterrupt)  # the command line ends with 130
    text = capfd.readouterr().err
    assert "stopped after step 2; go on with: imago train --resume --out" in text
    fitted(tiny(tmp_path / "stopped", **changes), root, resume=True)
    assert_same_weights(tmp_path / "whole", tmp_path / "stopped")


def test_ctrl_c_while_validating(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"save_minutes": 60.0}
    fitted(tiny(tmp_path / "whole", **changes), root)
    run = build(tiny(tmp_path / "stopped", **changes), root, False, silent)

    def count(what: str, done: int, total: int) -> None:
        if run.progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(run.display, "count", count)
    with pytest.raises(Stopped):
        fit(run)
    fitted(tiny(tmp_path / "stopped", **changes), root, resume=True)
    assert_same_weights(tmp_path / "whole", tmp_path / "stopped")


# Budgets and ends


def test_minutes_as_budget(root: Path, tmp_path: Path) -> None:
    """At least one step is taken and validated, however little time there is."""
    run = fitted(tiny(tmp_path / "run", minutes=1e-6, epochs=100), root)
    assert (run.progress.step, run.progress.epoch, run.progress.done) == (1, 1, True)
    assert (tmp_path / "run" / "best.safetensors").is_file()


def test_the_last_epoch_is_always_validated(root: Path, tmp_path: Path) -> None:
    run = fitted(tiny(tmp_path / "run", epochs=3, validate_every=2, patience=1), root)
    assert [("score" in row) for row in run.progress.history] == [False, True, True]


def test_the_score_is_always_of_the_same_photos(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    look = loop.look
    monkeypatch.setattr(
        loop, "look", lambda run, folders, i: (seen.append(sum(map(len, folders.values()))), look(run, folders, i))[1]
    )
    fitted(tiny(tmp_path / "run", validate_photos=1), root)
    assert seen == [2, 1, 1]  # before the first epoch two batches, whatever the setting


def test_a_run_is_not_written_over(root: Path, tmp_path: Path) -> None:
    config = tiny(tmp_path / "run", epochs=1)
    with pytest.raises(ImagoError, match=r"no run to resume \(no config.json\)"):
        build(config, root, True, silent)
    fitted(config, root)
    with pytest.raises(ImagoError, match="holds a run already; go on with --resume"):
        build(config, root, False, silent)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ImagoError, match="is a file"):
        build(tiny(tmp_path / "file"), root, False, silent)


def test_a_damaged_state_is_said(root: Path, tmp_path: Path) -> None:
    config = tiny(tmp_path / "run", epochs=1)
    fitted(config, root)
    (tmp_path / "run" / "resume.safetensors").write_bytes(b"short")
    with pytest.raises(ImagoError, match=r"resume.safetensors: the run cannot be resumed"):
        build(config, root, True, silent)


def test_a_loss_that_is_no_number(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ImagoError, match=r"became (nan|inf) at step \d+; lower --lr \(now 1e\+30\)"):
        fitted(tiny(tmp_path / "run", optimiser="sgd", lr=1e30, warmup=0.0, clip=0.0, epochs=3), root)


def test_what_a_run_writes(root: Path, tmp_path: Path) -> None:
    """One whole training, with its end (the export apart); a second visit makes the end anew and trains nothing."""
    config = tiny(tmp_path / "run", tensorboard=True, name="thing", licence="CC0-1.0")
    said: list[str] = []
    train(config, root, say=said.append)
    run = tmp_path / "run"
    assert {path.name for path in run.iterdir()} == {
        "config.json", "splits.json", "metrics.csv", "best.safetensors", "last.safetensors", "resume.safetensors",
        "scores.json", "report.html", "tensorboard",
    }  # fmt: skip
    assert list((run / "tensorboard").iterdir())
    splits = json.loads((run / "splits.json").read_text())
    assert [len(v) for v in splits[str(root / "tiny")].values()] == [6, 2]
    assert json.loads((run / "config.json").read_text())["root"] == str(root.resolve())
    net, card = checkpoint.load(run / "best.safetensors")
    assert (card.name, card.licence, card.task, card.labels.names) == (
        "thing", "CC0-1.0", "binary", ("background", "subject")
    )  # fmt: skip
    assert 0 <= card.scores["tiny/iou_image_mean"] <= 1
    assert isinstance(net, torch.nn.Module)
    trained = weights(run)
    (run / "report.html").unlink()
    train(config, root, resume=True, say=said.append)
    assert (run / "report.html").is_file()
    assert all(torch.equal(value, trained[name]) for name, value in weights(run).items())
    assert "already trained" in said


def test_one_validation_photo_and_ignored_ones(tmp_path: Path) -> None:
    """The end of a run holds where a photo is ignored as a whole, and where there is only that one to validate on."""
    folder = write_tiny_dataset(tmp_path / "tiny", count=4, size_hw=(32, 40))
    Image.fromarray(np.full((32, 40), IGNORE, np.uint8)).save(folder / "masks" / "scene03.png")
    for group in (BINARY, ""):
        config = tiny(tmp_path / f"run{len(group)}", epochs=1, data=(DataSource("tiny", group=group),))
        train(config, tmp_path, say=silent)
        assert (Path(config.out) / "report.html").is_file()


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("32", torch.float32)])
def test_a_step_uses_the_arithmetic_asked_for(root: Path, tmp_path: Path, precision: Any, dtype: torch.dtype) -> None:
    run = build(tiny(tmp_path / "run", precision=precision), root, False, silent)
    seen: list[torch.dtype] = []
    run.net.head.register_forward_hook(lambda module, images, output: seen.append(output.dtype))  # type: ignore[union-attr, operator]
    loop.take_step(run, next(iter(run.loader)), 0.5)
    assert seen == [dtype]


def test_a_run_starts_from_another_models_weights(root: Path, tmp_path: Path) -> None:
    fitted(tiny(tmp_path / "first", epochs=1), root)
    said: list[str] = []
    config = tiny(tmp_path / "second", init=str(tmp_path / "first" / "best.safetensors"), data=(DataSource("tiny"),))
    run = build(config, root, False, said.append)
    start = next(text for text in said if text.startswith("started from"))
    assert "fresh: head" in start or "fresh: " in start
    theirs = load_file(tmp_path / "first" / "best.safetensors")
    same = [name for name, value in run.net.state_dict().items() if torch.equal(value, theirs[name])]
    assert len(same) >= len(theirs) - 4  # all but the head


def test_side_outputs_learn_too(root: Path, tmp_path: Path) -> None:
    config = tiny(
        tmp_path / "run", model="u2netp", option=("width=8",), size=64, multiple=32, epochs=1, epoch_photos=4,
        precision="bf16",
    )  # fmt: skip
    run = fitted(config, root)
    assert run.progress.step == 2
    assert all(torch.isfinite(value).all() for value in load_file(tmp_path / "run" / "last.safetensors").values())


# Data


def test_faults_of_all_folders_at_once(tmp_path: Path) -> None:
    one, two = (write_tiny_dataset(tmp_path / name, count=4, size_hw=(16, 16)) for name in ("one", "two"))
    (one / "masks" / "scene00.png").unlink()
    Image.fromarray(np.full((16, 16), 9, np.uint8)).save(two / "masks" / "scene01.png")
    config = tiny(tmp_path / "run", data=(DataSource("one"), DataSource("two"), DataSource("three")))
    with pytest.raises(DataError, match="3 faults in the data; nothing was trained") as caught:
        build(config, tmp_path, False, silent)
    for words in ("no mask masks/scene00.png", "scene01.png: holds the values 9", "three: no such folder"):
        assert sum(words in fault for fault in caught.value.faults) == 1
    assert not (tmp_path / "run" / "config.json").exists()


def test_folders_must_agree_on_their_classes(root: Path, tmp_path: Path) -> None:
    data = (DataSource("tiny", group=BINARY), DataSource("tiny", group="background=background; thing=rest"))
    with pytest.raises(DataError, match=r"2 classes \(background, thing\) but tiny has 2 \(background, subject\)"):
        open_sources(tiny(tmp_path, data=data), root)
    twice = (DataSource("tiny", group=BINARY), DataSource("tiny", group=BINARY))
    assert list(open_sources(tiny(tmp_path, data=twice), root).val) == ["tiny", "tiny (2)"]
    with pytest.raises(DataError, match="no validation photos"):
        open_sources(tiny(tmp_path, data=(DataSource("tiny", group=BINARY, validate=False),)), root)


def sources(root: Path, weights: tuple[float, ...] = (1.0,)) -> list[Source]:
    data = tuple(DataSource("tiny", group=BINARY, weight=weight) for weight in weights)
    return list(open_sources(tiny(root, data=data), root).train)


def test_pictures_do_not_depend_on_how_they_are_shared_out(root: Path) -> None:
    """Two processes see, step by step, what one with the double batch sees; a resumed epoch goes on where it was."""
    given = sources(root, (3.0, 1.0))
    whole = list(BatchPlan(given, [(32, 32), (16, 48)], 4, 24, seed=5))
    halves = [list(BatchPlan(given, [(32, 32), (16, 48)], 2, 24, 5, rank, 2)) for rank in (0, 1)]
    assert whole == [a + b for a, b in zip(*halves, strict=True)]
    resumed = BatchPlan(given, [(32, 32), (16, 48)], 4, 24, seed=5)
    resumed.start = 4
    assert list(resumed) == whole[4:]
    assert len(resumed) == 2
    assert all(len({key.frame_hw for key in batch}) == 1 for batch in whole)
    resumed.start, resumed.epoch = 0, 1
    assert list(resumed) != whole


def test_folders_are_drawn_by_weight_and_photos_in_rounds(root: Path) -> None:
    keys = [key for batch in BatchPlan(sources(root, (3.0, 1.0)), [(16, 16)], 4, 1200, 0) for key in batch]
    share = np.mean([key.source == 0 for key in keys])
    assert 0.7 < share < 0.8
    first = [key.sample for key in keys if key.source == 0]
    assert all(set(first[i : i + 6]) == set(range(6)) for i in range(0, 600, 6))


def test_pictures_can_be_sent_to_other_processes(root: Path, tmp_path: Path) -> None:
    """macOS and Windows start workers anew: they get the list of photos, not the gigabytes, and make the same ones."""
    given = sources(root)
    pictures = Pictures(PhotoCache(given, 1.0), tiny(tmp_path).input_spec(16))
    assert len(pictures.cache.images) == 6
    packed = pickle.dumps(pictures)
    assert len(packed) < 20_000
    key = next(iter(BatchPlan(given, [(32, 32)], 1, 0, 0)))[0]
    assert all(torch.equal(a, b) for a, b in zip(pictures[key], pickle.loads(packed)[key], strict=True))


def test_a_small_cache_gives_the_same_photos(root: Path) -> None:
    given = sources(root)
    whole, none = PhotoCache(given, 1.0), PhotoCache(given, 0.0)
    assert not none.images
    for index in range(6):
        assert all(np.array_equal(a, b) for a, b in zip(whole.get(0, index), none.get(0, index), strict=True))


def test_class_frequencies(root: Path) -> None:
    samples = list(sources(root)[0].samples)
    share = np.mean([sample.label() == 1 for sample in samples])
    assert class_frequencies(samples, 3) == pytest.approx([1 - share, share, 0])


@pytest.mark.parametrize(
    ("changes", "frames"),
    [
        ({"size": 64}, [(64, 64), (80, 48), (48, 80)]),
        ({"size": 64, "shapes": False}, [(64, 64)]),
        ({"size": 60, "rule": "squash"}, [(60, 60)]),
        ({"size": 64, "rule": "letterbox"}, [(64, 64)]),
    ],
)
def test_frames(tmp_path: Path, changes: dict[str, Any], frames: list[tuple[int, int]]) -> None:
    config = tiny(tmp_path, **changes)
    assert sorted(frames_of(config.input_spec(16), config.shapes)) == sorted(frames)


# Settings


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": 0}, "batch must be 1 or more; got 0"),
        ({"minutes": -1.0}, "minutes must not be negative"),
        ({"seed": -1}, "seed must not be negative"),
        ({"start_size": 99}, r"start_size lies from 16 to size \(32\)"),
        ({"start_size": 16, "rule": "squash"}, "does not go with rule squash"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"ema": 1.0}, "ema and warmup"),
        ({"momentum": 1.5}, "momentum lies from 0 up to 1"),
        ({"encoder": "resnet18", "model": "u2net"}, "--encoder goes with --model unet"),
    ],
)
def test_impossible_settings(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tiny(tmp_path, **changes)


def test_settings_survive_the_file(tmp_path: Path) -> None:
    config = tiny(
        tmp_path, augment=Augmentation(flip=0.1), data=(DataSource("a", licences=(1, 2), augment={"blur": 0.5}),)
    )
    assert TrainConfig.from_values(json.loads(config.to_json()), "x") == config
    assert all(field.metadata.get("help") for field in fields(TrainConfig) if field.metadata.get("cli", True))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sizes = 3", "unknown settings sizes; known are"),
        ("[augment]\nblurr = 1", "blurr"),
        ('[[data]]\npath = "x"\naugment = { flip = 7 }', "flip lies from 0 to 1; got 7"),
        ('[[data]]\npath = "x"\nweight = 0', "weight must be above 0"),
        ("size =", "not a TOML file"),
    ],
)
def test_faulty_recipes(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(DataError, match=words):
        read_recipe(tmp_path / "r.toml")


def test_recipes_of_this_repository_can_be_read() -> None:
    for path in (Path(__file__).parents[1] / "recipes").glob("*.toml"):
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
    assert rate_factor(progress, tiny(tmp_path, schedule=schedule, warmup=0.1)) == pytest.approx(factor)


def test_no_decay_on_biases_and_norms(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    groups = build_optimiser(net, tiny(tmp_path, weight_decay=0.1)).param_groups
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
def test_the_state_of_the_optimiser_comes_back(tmp_path: Path, name: Any) -> None:
    def made() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(3)
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).to(
            memory_format=torch.channels_last
        )
        return net, build_optimiser(net, tiny(tmp_path, optimiser=name))

    def step(net: torch.nn.Module, optimiser: torch.optim.Optimizer) -> None:
        net(torch.ones(2, 3, 8, 8)).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()

    net, optimiser = made()
    for _ in range(3):
        step(net, optimiser)
    save_state(tmp_path / "s.safetensors", net, optimiser, None, {"step": 3})
    other, its = made()
    assert load_state(tmp_path / "s.safetensors", other, its, None) == {"step": 3}
    for both in ((net, optimiser), (other, its)):
        step(*both)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))
    for mine, theirs in zip(optimiser.state_dict()["state"].values(), its.state_dict()["state"].values(), strict=True):
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
    assert worker_count(tiny(tmp_path, workers=5)) == 5
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS and Windows
    assert 1 <= worker_count(tiny(tmp_path, workers=-1)) <= 8


def test_progress_is_plain_json() -> None:
    progress = Progress(epoch=2, history=[{"epoch": 1, "score": 0.5}])
    assert Progress(**json.loads(json.dumps(vars(progress)))) == progress
