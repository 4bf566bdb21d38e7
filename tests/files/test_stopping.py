"""Ctrl-C and SIGTERM in a process of Imago's own: the first in good order, the second at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_onnx import tiny_card, write_tiny

from imago.models import build, checkpoint

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")
SIGNALS = [signal.SIGINT, signal.SIGTERM]

# A file is half written in a worker thread, and the main thread is where no signal reaches it for long.
STUBBORN = """
import ctypes, sys, threading, time
from pathlib import Path
from imago.files.stopping import watch_signals
from imago.files.writing import atomic_write

watch_signals()
folder = Path(sys.argv[1])

def write():
    with atomic_write(folder / "a.png") as stream:
        stream.write(b"half")
        stream.flush()
        time.sleep(60)

threading.Thread(target=write, daemon=True).start()
while not list(folder.glob(".*.part")):
    time.sleep(0.01)
end = time.monotonic() + 60
said = False
while time.monotonic() < end:
    try:
        if not said:
            said = True
            print("ready", flush=True)
        while True:
            ctypes.CDLL(None).usleep(300_000)  # C code, as a net's run is
    except KeyboardInterrupt:
        print("first", flush=True)
"""


def start(*words: str) -> subprocess.Popen[str]:
    def hear() -> None:  # what a shell starts in the background ignores Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear
    )


@pytest.mark.parametrize(("first", "second"), [SIGNALS, SIGNALS[::-1]])
def test_the_second_ends_at_once(tmp_path: Path, first: int, second: int) -> None:
    process = start("-c", STUBBORN, str(tmp_path))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(first)
    assert process.stdout.readline() == "first\n"
    time.sleep(0.2)
    assert process.poll() is None
    start_s = time.monotonic()
    process.send_signal(second)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - start_s < 5
    assert "stopped at once" in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_two_in_one_moment_are_one(tmp_path: Path) -> None:
    """A terminal tells all of a group, and a launcher its workers once more."""
    process = start("-c", STUBBORN, str(tmp_path))
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "first\n"
    time.sleep(0.3)
    assert process.poll() is None
    process.kill()
    process.communicate()


COMMANDS = {
    "cutout": ["cutout", "in", "--model", "net.onnx", "--out", "out"],
    "segment": ["segment", "in", "--model", "net.onnx", "--out", "out"],
}


@pytest.mark.parametrize(
    ("command", "number", "times"),
    [("cutout", signal.SIGINT, 2), ("segment", signal.SIGINT, 1), ("segment", signal.SIGTERM, 2)],
)
def test_commands_leave_whole_files_alone(tmp_path: Path, command: str, number: int, times: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), np.uint8)
    (tmp_path / "in").mkdir()
    for index in range(40):
        Image.fromarray(noise).save(tmp_path / "in" / f"{index:02d}.bmp")
    write_tiny(tmp_path / "net.onnx")
    code = f"import os; os.chdir({str(tmp_path)!r}); from imago.cli.main import main; main()"
    process = start("-c", code, *COMMANDS[command])
    out = tmp_path / "out"
    while process.poll() is None and len(list(out.glob("*.png"))) < 2:
        time.sleep(0.01)
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.15)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "imago: stopped" in err
    written = list(out.iterdir())
    assert len(written) >= 2
    for path in written:
        assert not path.name.endswith(".part")
        if path.suffix == ".png":
            Image.open(path).load()


# What a command has mapped when it is in the midst of its work (PyTorch itself may abort where its import is torn).
BUSY = {"evaluate": "onnxruntime_pybind11_state", "export": "onnx_cpp2py_export"}
WORDS = {
    "evaluate": ["evaluate", "net.onnx", "data", "--split", "all", "--json", "out.json", "--report", "out.html"],
    "export": ["export", "net.safetensors", "-o", "out.onnx", "--samples", "data/images"],
}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what a process has loaded is read in /proc")
@pytest.mark.parametrize(
    ("command", "number", "times"), [("evaluate", signal.SIGINT, 1), ("evaluate", signal.SIGTERM, 2),
                                     ("export", signal.SIGINT, 1), ("export", signal.SIGTERM, 2)]
)  # fmt: skip
def test_what_is_measured_or_exported_stops_without_a_file(
    tmp_path: Path, command: str, number: int, times: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), np.uint8)
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(40):
            picture = Image.fromarray(noise if name == "images" else noise[:, :, 0] // 128)
            picture.save(tmp_path / "data" / name / f"{index:02d}.bmp")
    if command == "evaluate":
        write_tiny(tmp_path / "net.onnx")
    else:
        card = tiny_card(architecture="u2netp", options={"classes": 1})
        checkpoint.save(build("u2netp", classes=1), card, tmp_path / "net.safetensors")
    before = sorted(path.name for path in tmp_path.iterdir())
    process = start(
        "-c", f"import os; os.chdir({str(tmp_path)!r}); from imago.cli.main import main; main()", *WORDS[command]
    )
    maps = Path(f"/proc/{process.pid}/maps")
    while process.poll() is None and BUSY[command] not in maps.read_text():
        time.sleep(0.05)
    time.sleep(0.3)
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.15)
    _, err = process.communicate(timeout=120)
    # The second may come when all is done and Python itself ends, where a signal does what it does by default.
    assert process.returncode in (130, -number if times == 2 else 130), err
    assert "Traceback" not in err
    assert "imago: stopped" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == before
