"""Many photos through one model: all written, in bounded memory, bad ones named, Ctrl-C clean."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_onnx import tiny_card, tiny_onnx, write_tiny

from imago.files.inputs import find_images
from imago.files.outputs import PlannedImage, plan_outputs
from imago.files.writing import atomic_write
from imago.inference import batch
from imago.inference.batch import Outcome, run_batch, workers_for
from imago.inference.engines.onnx import OnnxEngine
from imago.inference.prediction import Prediction
from imago.inference.predictor import Predictor


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(OnnxEngine(tiny_onnx(tiny_card()), threads=1))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve photos of 20 x 30 in two folders, the same names in both, each of another red."""
    folder = tmp_path / "photos"
    for index in range(12):
        path = folder / ("a", "b")[index % 2] / f"{index // 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), (index * 20, 0, 0)).save(path)
    return folder


def plan_for(folder: Path, out: Path) -> list[PlannedImage]:
    return plan_outputs(find_images([folder]), out, ["yolo"])


def write_mean(prediction: Prediction, planned: PlannedImage) -> tuple[str, ...]:
    with atomic_write(planned.outputs[0]) as stream:
        stream.write(f"{prediction.alpha.mean():.4f} {prediction.size_hw}".encode())
    return ("found" if prediction.alpha.max() > 0.5 else "nothing found",)


def test_every_photo_is_written_once(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    seen: list[Outcome] = []
    report = run_batch(predictor, plan_for(photos, tmp_path / "out"), write_mean, threads=3, on_outcome=seen.append)
    assert (report.done, report.failed) == (12, ())
    assert len(seen) == 12
    for path in sorted(photos.rglob("*.png")):
        alone = predictor(path)
        written = (tmp_path / "out" / path.relative_to(photos)).with_suffix(".txt").read_text()
        assert written == f"{alone.alpha.mean():.4f} (20, 30)"


def test_bad_files_are_named_and_the_run_goes_on(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    whole = (photos / "a" / "0.png").read_bytes()
    (photos / "a" / "1.png").write_bytes(b"")
    (photos / "b" / "2.png").write_bytes(whole[: len(whole) // 2])
    (photos / "b" / "3.png").write_text("no photo")
    Image.new("RGB", (200, 200)).save(photos / "a" / "4.png")
    seen: list[Outcome] = []
    plan = plan_for(photos, tmp_path / "out")
    report = run_batch(predictor.with_options(max_pixels=30_000), plan, write_mean, threads=2, on_outcome=seen.append)
    assert report.done == 8
    assert [path.relative_to(photos).as_posix() for path, _ in report.failed] == [
        "a/1.png",
        "a/4.png",
        "b/2.png",
        "b/3.png",
    ]
    for path, line in report.failed:
        assert str(path) in line
        assert "\n" not in line
    assert sorted(outcome.failure for outcome in seen if outcome.failure) == sorted(line for _, line in report.failed)
    assert len(list((tmp_path / "out").rglob("*.txt"))) == 8


def test_notes_come_with_their_photo(predictor: Predictor, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (30, 20), (value, 0, 0)) for value in (0, 200)]
    (tmp_path / "in").mkdir()
    frames[0].save(tmp_path / "in" / "film.gif", save_all=True, append_images=frames[1:])
    seen: list[Outcome] = []
    run_batch(predictor, plan_for(tmp_path / "in", tmp_path / "out"), write_mean, on_outcome=seen.append)
    assert len(seen) == 1
    assert [note.split(": ")[-1] for note in seen[0].notes] == [
        "the first is used (--pages, or page= in Python, says which)",
        "nothing found",
    ]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "not enough memory"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_errors_while_writing_are_the_photo_s(
    predictor: Predictor, photos: Path, tmp_path: Path, error: Exception, line: str
) -> None:
    def write(prediction: Prediction, planned: PlannedImage) -> tuple[str, ...]:
        if planned.image.path.name == "0.png":
            raise error
        return write_mean(prediction, planned)

    report = run_batch(predictor, plan_for(photos, tmp_path / "out"), write)
    assert report.done == 10
    assert [text for _, text in report.failed] == [
        f"{photos / 'a' / '0.png'}: {line}"
        + ("; close other programs or make the photo smaller" if "mem" in line else ""),
        f"{photos / 'b' / '0.png'}: {line}"
        + ("; close other programs or make the photo smaller" if "mem" in line else ""),
    ]


class Odd(Exception):
    """Nobody knows of it."""


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("division\nby zero"),
        UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed"),
        RecursionError(),
        AssertionError(),
        Odd("odd"),
    ],
)
def test_a_bug_is_the_photo_s_and_the_others_go_on(
    predictor: Predictor, photos: Path, tmp_path: Path, error: Exception
) -> None:
    def write(prediction: Prediction, planned: PlannedImage) -> tuple[str, ...]:
        if planned.image.path.name == "0.png":
            raise error
        return write_mean(prediction, planned)

    seen: list[Outcome] = []
    report = run_batch(predictor, plan_for(photos, tmp_path / "out"), write, on_outcome=seen.append)
    assert report.done == 10
    assert [path.name for path, _ in report.failed] == ["0.png", "0.png"]
    for path, line in report.failed:
        assert line.startswith(f"{path}: unforeseen fault: {type(error).__name__} at test_batch.py:")
        assert "\n" not in line
    assert [outcome.unforeseen for outcome in seen if outcome.failure] == [error, error]


def test_a_size_that_cannot_be_told_stops_nothing(
    predictor: Predictor, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> tuple[int, int]:
        raise ZeroDivisionError

    monkeypatch.setattr(batch, "image_size", fail)
    assert run_batch(predictor, plan_for(photos, tmp_path / "out"), write_mean).done == 12


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_who_stops_the_program_stops_it(
    predictor: Predictor, photos: Path, tmp_path: Path, error: BaseException
) -> None:
    def write(prediction: Prediction, planned: PlannedImage) -> tuple[str, ...]:
        raise error

    with pytest.raises(type(error)):
        run_batch(predictor, plan_for(photos, tmp_path / "out"), write)


def test_large_photos_are_not_in_work_together(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MEGAPIXELS_IN_WORK", 0.05)
    (tmp_path / "in").mkdir()
    sizes = [(100, 100), (300, 300), (200, 200), (100, 100), (400, 300), (100, 100)]  # 0.01, 0.09, 0.04, 0.01, ... MP
    for index, size in enumerate(sizes):
        Image.new("RGB", size).save(tmp_path / "in" / f"{index}.png")
    lock, now, most = threading.Lock(), [0.0], [0.0]

    class Watched(Predictor):
        def predict(self, photo):  # type: ignore[no-untyped-def]
            mine = photo.pixels.shape[0] * photo.pixels.shape[1] / 1e6
            with lock:
                now[0] += mine
                most[0] = max(most[0], now[0])
                assert now[0] <= 0.0501 or now[0] == pytest.approx(mine)  # alone, where it is above the limit itself
            time.sleep(0.02)
            try:
                return super().predict(photo)
            finally:
                with lock:
                    now[0] -= mine

    report = run_batch(Watched(predictor.engine), plan_for(tmp_path / "in", tmp_path / "out"), write_mean, threads=4)
    assert report.done == len(sizes)
    assert most[0] == pytest.approx(0.12)


def test_reading_and_running_overlap(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    """Two photos must be in work at the same moment, or the barrier breaks."""
    meeting = threading.Barrier(2)

    def write(prediction: Prediction, planned: PlannedImage) -> tuple[str, ...]:
        meeting.wait(timeout=20)
        return ()

    assert run_batch(predictor, plan_for(photos, tmp_path / "out"), write, threads=2).done == 12


def test_no_more_workers_than_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGO_THREADS", "4")
    assert [workers_for(count) for count in (0, 1, 3, 100)] == [1, 1, 3, 4]


def hear_ctrl_c() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so would all that these tests start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_whole_files_only(tmp_path: Path, number: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (600, 900, 3), np.uint8)
    (tmp_path / "in").mkdir()
    for index in range(60):
        Image.fromarray(noise).save(tmp_path / "in" / f"{index:02d}.bmp")
    model, out = write_tiny(tmp_path / "net.onnx"), tmp_path / "out"
    code = "from imago.cli.main import main; main()"
    command = [sys.executable, "-c", code, "cutout", str(tmp_path / "in"), "--model", str(model), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c)
    while process.poll() is None and len(list(out.glob("*.png"))) < 2:
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert errors.strip().endswith("stopped")
    written = list(out.iterdir())
    assert 2 <= len(written) < 60
    for path in written:
        assert path.name.endswith(".cutout.png")  # no part, hidden or not
        Image.open(path).load()
