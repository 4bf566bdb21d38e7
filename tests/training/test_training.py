"""The training room: a killed run comes to the same weights, to the last bit; budgets, early stop, files."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_tiny_dataset
from killed_run import assert_same_weights, fitted, killed, weights
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_run import BINARY, silent, tiny

from imago.cli.train import read_run
from imago.core.errors import ImagoError
from imago.core.labels import IGNORE
from imago.models import checkpoint
from imago.training import loop
from imago.training.config import DataSource
from imago.training.interrupt import Stopped
from imago.training.loop import fit, is_better, select_score
from imago.training.sources import open_sources
from imago.training.state import Progress
from imago.training.tasks.base import Validation
from imago.training.train import build, describe_splits, train

# kill -9


# Savings: 1, 2, 3 after the steps of the first epoch (the third before its validation), 4 after its end, 5 to 8.


@pytest.mark.parametrize(
    ("deaths", "moment", "changes"),
    [
        (1, "before", {}),  # there is no state yet
        (1, "while", {}),
        (2, "after", {}),  # mid-epoch
        (3, "after", {"optimizer": "sgd", "ema": 0.0}),  # all steps done, not yet validated
        (4, "before", {"optimizer": "adam"}),  # validated, checkpoints written, state still before
        (4, "while", {"start_size": 16}),
        (4, "after", {"optimizer": "sgd", "momentum": 0.0}),  # between two epochs
        (6, "while", {}),
        (1, "after", {"grad_accum_steps": 2}),  # the first saving is after step 2: between, there are gradients
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
    changes = {"epochs": 9, "patience": 2, "lr": 1e-12, "ema": 0.0, "optimizer": "sgd", "weight_decay": 0.0}
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
    look = loop.validate
    monkeypatch.setattr(
        loop,
        "validate",
        lambda run, folders, i: (seen.append(sum(map(len, folders.values()))), look(run, folders, i))[1],
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


def test_a_run_that_was_begun_before_settings_had_a_version(root: Path, tmp_path: Path) -> None:
    """Its resume.safetensors and config.json are in the words of then."""
    fitted(tiny(tmp_path / "whole"), root)
    killed(tiny(tmp_path / "old"), root, 2)
    state = tmp_path / "old" / "resume.safetensors"
    with safe_open(state, framework="pt") as stored:
        tensors, notes = {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata()  # noqa: SIM118
    save_file({name.replace("optimizer.", "optimiser.", 1): value for name, value in tensors.items()}, state, notes)
    settings = tmp_path / "old" / "config.json"
    old = {"version": "", "batch_size": "batch", "optimizer": "optimiser", "weights": "init", "license": "licence"}
    values = {old.get(name, name): value for name, value in json.loads(settings.read_text()).items()}
    values.pop("")
    settings.write_text(json.dumps(values))
    config, _ = read_run(tmp_path / "old")
    fitted(config, root, resume=True)
    assert_same_weights(tmp_path / "whole", tmp_path / "old")


def test_a_damaged_state_is_said(root: Path, tmp_path: Path) -> None:
    config = tiny(tmp_path / "run", epochs=1)
    fitted(config, root)
    (tmp_path / "run" / "resume.safetensors").write_bytes(b"short")
    with pytest.raises(ImagoError, match=r"resume.safetensors: the run cannot be resumed"):
        build(config, root, True, silent)


def test_a_loss_that_is_no_number(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ImagoError, match=r"became (nan|inf) at step \d+; lower --lr \(now 1e\+30\)"):
        fitted(tiny(tmp_path / "run", optimizer="sgd", lr=1e30, warmup=0.0, grad_clip=0.0, epochs=3), root)


def test_what_a_run_writes(root: Path, tmp_path: Path) -> None:
    """One whole training, with its end (the export apart); a second visit makes the end anew and trains nothing."""
    config = tiny(tmp_path / "run", tensorboard=True, name="thing", license="CC0-1.0")
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
    assert (card.name, card.license, card.task, card.labels.names) == (
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
    config = tiny(tmp_path / "second", weights=str(tmp_path / "first" / "best.safetensors"), data=(DataSource("tiny"),))
    run = build(config, root, False, said.append)
    start = next(text for text in said if text.startswith("started from"))
    assert start.endswith("tensors matched by name; 2 in head start fresh")
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


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_workers_leave_signals_to_the_main_process() -> None:
    """A terminal and a cluster send them to all processes of a run; a worker that dies of one takes the run with it."""
    code = "import os, signal; from imago.training.train import quiet_worker; quiet_worker(0); "
    code += "[os.kill(os.getpid(), number) for number in (signal.SIGINT, signal.SIGTERM)]; print('goes on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "goes on\n"), done.stderr


@pytest.mark.parametrize(
    ("by_folder", "select", "score"),
    [
        ({"a": 0.9, "b": 0.5}, "mean", 0.7),
        ({"a": 0.9, "b": 0.5}, "worst", 0.5),
        ({"a": 0.9, "b": math.nan}, "worst", 0.9),  # a folder without objects has no score
        ({"a": math.nan}, "worst", 0.0),
    ],
)
def test_the_best_epoch_is_chosen_by_the_mean_or_the_worst_folder(by_folder, select, score):
    seen = Validation(float(np.mean(list(by_folder.values()))), by_folder)
    assert select_score(seen, select) == pytest.approx(score)


@pytest.mark.parametrize(
    ("best", "best_loss", "score", "loss", "better"),
    [
        (-1.0, None, 0.0, 0.7, True),  # the first
        (0.5, 0.3, 0.6, 0.9, True),
        (0.5, 0.3, 0.4, 0.1, False),
        (0.0, 0.7, 0.0, 0.6, True),  # nothing found yet, but the loss falls
        (0.0, 0.7, 0.0, 0.7, False),
        (0.0, 0.7, 0.0, math.nan, False),
        (0.5, None, 0.5, None, False),  # nets that find objects have no loss of validation
    ],
)
def test_among_equal_scores_the_lower_loss_is_better(
    best: float, best_loss: float | None, score: float, loss: float | None, better: bool
) -> None:
    assert is_better(score, loss, Progress(best=best, best_loss=best_loss)) == better


def test_a_folder_that_is_used_twice_keeps_both_splits(root: Path) -> None:
    config = tiny(root / "unused")
    entry = config.data[0]
    data = open_sources(replace(config, data=(entry, replace(entry, weight=2.0))), root)
    described = describe_splits(data)
    assert list(described) == [str(root / "tiny"), f"{root / 'tiny'} (2)"]
    assert described[str(root / "tiny")] == described[f"{root / 'tiny'} (2)"]
