"""``imago train`` as a user meets it: one whole run, kill -9, torchrun, and what it says when something is amiss."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import write_tiny_dataset
from safetensors.torch import load_file

from imago.cli.main import run
from imago.files.model_file import read_onnx_card

SETTINGS = [
    "--model", "unet", "--option", "width=4", "--size", "32", "--multiple", "16", "--batch-size", "2", "--workers", "0",
    "--precision", "32", "--device", "cpu", "--epochs", "2", "--save-minutes", "0",
]  # fmt: skip
GROUP = "background=background; subject=rest"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tiny_dataset(tmp_path / "tiny", count=8, size_hw=(32, 40))


def arguments(data: Path, out: Path, *more: str) -> list[str]:
    return ["train", str(data), "--out", str(out), *SETTINGS, *more]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def imago(*words: str) -> list[str]:
    return [str(Path(sys.executable).with_name("imago")), *words]


def assert_same_weights(one: Path, other: Path) -> None:
    for file in ("best.safetensors", "last.safetensors", "resume.safetensors"):
        mine, theirs = load_file(one / file), load_file(other / file)
        assert mine.keys() == theirs.keys()
        assert not [name for name in mine if not torch.equal(mine[name], theirs[name])], file


def test_several_folders_one_command(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_tiny_dataset(tmp_path / "other", count=4, size_hw=(24, 24))
    words = ["train", str(data), str(other), "--group", GROUP, "--out", str(tmp_path / "run"), *SETTINGS]
    assert run([*words, "--no-export", "--epochs", "1", "--flip", "0", "--rotate-deg", "3"]) == 0
    out, err = capsys.readouterr()
    assert "9 photos to train on, 3 for validation" in out
    assert "epoch 1" in err
    assert "report.html" in out
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (stored["augment"]["flip"], stored["augment"]["rotate_deg"]) == (0.0, 3.0)
    assert [entry["group"] for entry in stored["data"]] == [GROUP, GROUP]
    assert run([*words]) == 1
    assert "holds a run already; go on with --resume" in capsys.readouterr().err
    assert run(["train", "--resume", "--out", str(tmp_path / "run")]) == 0
    assert "already trained" in capsys.readouterr().out


def test_a_recipe_and_what_is_said_over_it(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        'model = "unet"\noption = ["width=4"]\nsize = 32\nmultiple = 16\nepochs = 9\nbatch_size = 2\nworkers = 0\n'
        f"export = false\n[augment]\nflip = 0.25\n[[data]]\npath = 'tiny'\ngroup = '{GROUP}'\nweight = 0.5\n"
        "augment = { blur = 1.0 }\n"
    )
    words = ["train", "--recipe", str(recipe), "--root", str(data.parent), "--out", str(tmp_path / "run")]
    assert run([*words, "--epochs", "1", "--noise", "0"]) == 0
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (stored["epochs"], stored["size"]) == (1, 32)
    assert (stored["augment"]["flip"], stored["augment"]["noise"]) == (0.25, 0.0)
    assert stored["data"][0]["weight"] == 0.5
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["train"], 2, "name a folder of data"),
        (["train", "nowhere"], 1, "nowhere: there is no such folder of data"),
        (["train", "x", "--batch-size", "0"], 2, "batch_size must be 1 or more; got 0"),
        (["train", "x", "--zoom-min", "3"], 2, "zoom_min <= zoom_max"),
        (["train", "x", "--resume"], 2, "--resume goes on with the run's own settings"),
        (["train", "--resume", "--batch-size", "3"], 2, "--resume goes on with the run's own settings"),
        (["train", "--resume", "--out", "none"], 1, "none: there is no run to resume"),
        (["train", "--group", "a=b"], 2, "--group goes with DATA"),
        (["train", "--recipe", "none.toml"], 1, "none.toml: the recipe cannot be read"),
        (["train", "x", "--device", "tpu"], 1, "device 'tpu' is not known"),
    ],
)
def test_what_it_says_when_misused(
    words: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(words) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "damaged"), ("[]", "damaged"), ("5", "damaged"),
        ('{"root": "x", "augment": null}', "augment must be a table of settings; got null"),
        ('{"root": "x", "data": 5}', "data must be a list of tables; got 5"),
    ],
)  # fmt: skip
def test_a_damaged_settings_file(text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(text)
    assert run(["train", "--resume", "--out", str(tmp_path)]) == 1
    assert f"config.json: {said}" in capsys.readouterr().err


def test_faults_are_listed_below_each_other(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "masks" / "scene00.png").unlink()
    (data / "images" / "scene01.jpg").write_bytes(b"")
    assert run(arguments(data, tmp_path / "run")) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-3].endswith("3 faults in the data; nothing was trained") or "faults in the data" in "\n".join(lines)
    assert any("no mask masks/scene00.png" in line for line in lines)
    assert any("scene01.jpg" in line for line in lines)


def test_without_torch_it_says_what_to_install(data: Path, tmp_path: Path) -> None:
    """A base install has no torch: importing it fails, as here."""
    program = (
        "import sys\n"
        "class Wall:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'lightning_fabric', 'safetensors'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Wall())\n"
        "from imago.cli.main import run\n"
        f"sys.exit(run({arguments(data, tmp_path / 'run')!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment())
    assert done.returncode == 1
    assert 'pip install "imago-seg[train]"' in done.stderr
    assert "Traceback" not in done.stderr


def wait_for(path: Path, process: subprocess.Popen[bytes], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, "the training ended before it was killed"
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_kill_9_and_resume(data: Path, tmp_path: Path, workers: str) -> None:
    """The real command, killed from outside in the midst of an epoch, against one that was left alone."""
    more = ["--workers", workers, "--no-export", "--epochs", "3"]
    assert subprocess.run(imago(*arguments(data, tmp_path / "whole", *more)), env=environment()).returncode == 0
    command = imago(*arguments(data, tmp_path / "killed", *more))
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True)
    wait_for(tmp_path / "killed" / "resume.safetensors", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "report.html").exists()
    again = subprocess.run(imago("train", "--resume", "--out", str(tmp_path / "killed")), env=environment())
    assert again.returncode == 0
    assert_same_weights(tmp_path / "whole", tmp_path / "killed")
    assert (tmp_path / "killed" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c(data: Path, tmp_path: Path, number: int) -> None:
    out = tmp_path / "run"
    command = imago(*arguments(data, out, "--epochs", "500", "--workers", "1", "--no-export", "--save-minutes", "60"))
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, start_new_session=True)
    wait_for(out / "metrics.csv", process)
    os.killpg(process.pid, number)  # as a terminal or a cluster does: to the workers too
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"go on with: imago train --resume --out {out}" in err.decode()
    assert "Traceback" not in err.decode()
    assert (out / "resume.safetensors").exists()


@pytest.mark.slow
def test_two_processes_under_torchrun(data: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "--no-python",
        *imago(*arguments(data, tmp_path / "run", "--no-export", "--batch-size", "1", "--minutes", "30")),
    ]  # fmt: skip
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 1 ") == 1  # one speaks for both
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [row["step"] for row in rows] == ["3", "6"]
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
def test_a_whole_run_ends_with_a_model(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert run(arguments(data, out, "--group", GROUP, "--license", "CC0-1.0", "--name", "thing")) == 0
    capsys.readouterr()
    card = read_onnx_card(out / "model.onnx")
    assert card is not None
    assert (card.name, card.license, card.labels.names) == ("thing", "CC0-1.0", ("background", "subject"))
    assert "tiny/iou_image_mean" in card.scores
