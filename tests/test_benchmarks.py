"""The benchmarks say what they do; their clock measures the command, not its starter; the table of quality.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_onnx import tiny_card, tiny_onnx, write_tiny

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text("utf-8"))


@pytest.fixture
def whole_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return pytest.importorskip("whole_process")


def test_there_are_benchmarks() -> None:
    assert {"start.py", "cutout.py", "folder.py", "quality.py"} <= set(SCRIPTS)


@pytest.mark.parametrize("script", [name for name in SCRIPTS if name != "launcher.py"])  # which takes no options
def test_answers_help(script: str) -> None:
    done = subprocess.run([sys.executable, BENCHMARKS / script, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="whole processes are measured on Linux and macOS")
def test_peak_memory_is_the_commands_own(whole_process) -> None:
    held = bytearray(150_000_000)  # in this process, and touched
    small = whole_process.measure(whole_process.Command([sys.executable, "-c", "pass"]))
    large = whole_process.measure(whole_process.Command([sys.executable, "-c", "bytearray(100_000_000)"]))
    assert small.peak_mb < 60
    assert 90 < large.peak_mb - small.peak_mb < 115
    assert len(held) == 150_000_000


@pytest.mark.skipif(sys.platform == "win32", reason="whole processes are measured on Linux and macOS")
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('out of paint')", "out of paint"),
        ("pass", "wrote no"),  # exit code 0, as some tools answer whatever went wrong
        ("open(OUT, 'wb')", "wrote no"),  # an empty file is no result
    ],
)
def test_a_failed_command_is_no_measurement(whole_process, tmp_path: Path, code: str, message: str) -> None:
    out = tmp_path / "out.png"
    out.write_bytes(b"of the run before")
    command = whole_process.Command([sys.executable, "-c", code.replace("OUT", repr(str(out)))], fresh=[out])
    with pytest.raises(whole_process.CommandFailed, match=message):
        whole_process.measure(command)


def test_medians_and_the_largest_peak(whole_process) -> None:
    runs = [
        whole_process.Spent(1.0, 2.0, 30.0),
        whole_process.Spent(9.0, 1.0, 10.0),
        whole_process.Spent(2.0, 9.0, 20.0),
    ]
    assert whole_process.median(runs) == whole_process.Spent(2.0, 2.0, 30.0)


def test_commands_take_turns(whole_process, tmp_path: Path) -> None:
    log = tmp_path / "turns"
    commands = {
        name: whole_process.Command(["sh", "-c", f"printf {name} >> {log}"], rounds=rounds, warmups=warmups)
        for name, rounds, warmups in (("a", None, None), ("b", 1, 0))
    }
    whole_process.alternate(commands, rounds=2, warmups=1)
    assert log.read_text() == "aaba"  # a's warm-up, then a b, then a alone


@pytest.fixture
def quality(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return pytest.importorskip("quality")


def red_scenes(folder: Path, count: int = 4) -> Path:
    """Photos whose red disc is the subject, all of them for validation: what a tiny model finds exactly."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    names = [f"photo{index}" for index in range(count)]
    for index, name in enumerate(names):
        mask = np.zeros((24, 32), np.uint8)
        mask[4 : 14 + index, 6:20] = 255
        Image.fromarray(np.stack([mask, np.zeros_like(mask), mask // 4], axis=2)).save(
            folder / "images" / f"{name}.png"
        )
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    (folder / "train.txt").write_text(f"{names[0]}\n")
    (folder / "val.txt").write_text("\n".join(names[1:]) + "\n")
    return folder


def run_quality(quality, monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> None:
    said = ["quality.py", "--data", str(folder), "--only", "subject", "--origins", "cats", *words]
    monkeypatch.setattr(sys, "argv", said)
    quality.main()


def test_quality_stands_beside_a_peer(quality, monkeypatch, tmp_path: Path, capsys) -> None:
    red_scenes(tmp_path / "cats")
    right = write_tiny(tmp_path / "right.onnx")
    blind = tmp_path / "blind.onnx"
    blind.write_bytes(tiny_onnx(tiny_card(), factor=0.0))
    run_quality(quality, monkeypatch, tmp_path, "--subject", str(right), "--peer", str(blind))
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith("| cats"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:5] == ["cats", "3", "1.0000 [1.0000, 1.0000]", "0.8", "yes"]
    assert cells[-3:] == ["0.0000 [0.0000, 0.0000]", "0.0000", "**+1.0000 [+1.0000, +1.0000]**"]
    assert "worst origin cats: 1.0000" in out


def test_quality_without_a_peer_says_how_to_get_it(quality, monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setenv("IMAGO_HOME", str(tmp_path / "home"))
    red_scenes(tmp_path / "cats")
    run_quality(quality, monkeypatch, tmp_path, "--subject", str(write_tiny(tmp_path / "right.onnx")))
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line.startswith("no peer")]
    assert "imago models download u2netp" in line
    assert "--peer u2netp.onnx" in line
    assert "peer" not in captured.out


def test_quality_takes_the_downloaded_peer(quality, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMAGO_HOME", str(tmp_path))
    assert quality.find_peer(None) is None
    write_tiny(tmp_path / "models" / "u2netp.onnx")
    assert quality.find_peer(None) == "u2netp"
    assert quality.find_peer("other.onnx") == "other.onnx"


def test_a_peer_that_is_not_there_is_one_line(quality, monkeypatch, tmp_path: Path) -> None:
    red_scenes(tmp_path / "cats")
    right = write_tiny(tmp_path / "right.onnx")
    with pytest.raises(SystemExit, match=r"gone\.onnx: there is no such model file$"):
        run_quality(quality, monkeypatch, tmp_path, "--subject", str(right), "--peer", str(tmp_path / "gone.onnx"))


def test_the_summary_names_the_worst(quality) -> None:
    ours, theirs = {"a": 0.9, "b": 0.5, "c": 0.7}, {"a": 0.8, "b": 0.4, "c": 0.8}
    alone, beside = quality.summary(ours, {}), quality.summary(ours, theirs)
    assert alone == "mean over 3 origins 0.7000, worst origin b: 0.5000"
    assert beside.startswith(alone)
    assert "peer: mean 0.6667; subject is ahead on 2 of 3, farthest behind on c: -0.1000" in beside
    assert "ahead on 1 of 1, least on a: +0.1000" in quality.summary({"a": 0.9}, {"a": 0.8})


@pytest.mark.data
def test_every_origin_opens(quality, data_root: Path) -> None:
    present = [origin for origin in quality.ORIGINS if (data_root / origin.folder).is_dir()]
    assert present
    for origin in present:
        dataset = quality.open_origin(data_root, origin)
        assert len(dataset.labels) == 2
        sample = dataset.split("all" if origin.licenses else "val")[0]
        assert set(np.unique(sample.label_map())) <= {0, 1, 255}
