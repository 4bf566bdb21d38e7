"""The benchmarks can be asked what they do, and the clock they share measures the command and not its starter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
