"""A folder of photos: `imago cutout FOLDER` beside `rembg p FOLDER` and beside the bare net on prepared arrays.

    python benchmarks/folder.py --rembg /path/to/rembg --photos FOLDER

The whole process counts, start and loading included. The steady rate is that of the photos past the first tenth: from
a second run on that tenth alone, (N - n) / (time of N - time of n). The bare net is `InferenceSession.run` with ONNX
Runtime's default options, its start and loading not included.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
from pathlib import Path

from material import (
    add_tools,
    cutout_words,
    data_root,
    imago_command,
    make_photo,
    model_for,
    rembg_environment,
    rembg_words,
    sample_photo,
)
from report import machine, say, table, verdict
from whole_process import Command, Spent, beside_python, measure, median

REMBG_RATIO, BARE_RATIO = 2.5, 0.9
MEGAPIXELS = 0.7

# Runs in the environment of imago, so with the same ONNX Runtime: the model and the count are its arguments.
BARE = """
import sys, time, numpy
from imago.inference.runtime import import_onnxruntime
onnxruntime = import_onnxruntime()
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
name, count = session.get_inputs()[0].name, int(sys.argv[2])
arrays = numpy.random.default_rng(0).standard_normal((min(count, 16), 1, 3, 320, 320), numpy.float32)
session.run(None, {name: arrays[0]})
session.run(None, {name: arrays[0]})
start = time.perf_counter()
for index in range(count):
    session.run(None, {name: arrays[index % len(arrays)]})
print(count / (time.perf_counter() - start))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Images a second over a folder, beside rembg (2.5 times) and the bare net (0.9)."
    )
    add_tools(parser)
    parser.add_argument("--photos", type=Path, help="a folder of photos, which are brought to 0.7 megapixels")
    parser.add_argument("--count", type=int, default=100, help="photos in the folder (default 100)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each that count (default 3)")
    parser.add_argument("--model", type=Path, help="an .onnx file that takes 320 x 320 (default: random U2-Net-p)")
    options = parser.parse_args()
    if options.count < 2:
        parser.error("--count must be 2 or more")
    print(machine(), end="\n\n")
    with tempfile.TemporaryDirectory() as name:
        run(options, Path(name))


def run(options: argparse.Namespace, folder: Path) -> None:
    samples = find_photos(options.photos)
    model = model_for(options.model, folder, samples[0])
    few = max(1, options.count // 10)
    say(f"making {options.count} photos")
    for index in range(options.count):
        path = make_photo(samples[index % len(samples)], MEGAPIXELS, folder / "all" / f"{index:04}.jpg", seed=index)
        if index < few:
            (folder / "few").mkdir(exist_ok=True)
            (folder / "few" / path.name).hardlink_to(path)

    commands = {"imago": imago_folder(options, model, folder)}
    if options.rembg:
        commands["rembg"] = rembg_folder(options, model, folder)
    for pair in commands.values():
        measure(pair[0])  # warm-up, on the few
    runs: dict[str, tuple[list[Spent], list[Spent]]] = {name: ([], []) for name in commands}
    bare: list[float] = []
    for turn in range(options.rounds):
        for name, (on_few, on_all) in commands.items():
            runs[name][0].append(measure(on_few))
            runs[name][1].append(measure(on_all))
            written = sum(path.is_file() for path in on_all.fresh[0].rglob("*.png"))
            if written != options.count:  # rembg answers 0 whatever went wrong
                raise SystemExit(f"{name} wrote {written} of {options.count} cut-outs; there is nothing to compare")
            say(f"  {name} {turn + 1}/{options.rounds}: {options.count / runs[name][1][-1].wall_s:.2f} images/s")
        bare.append(bare_rate(options, model))
        say(f"  bare net {turn + 1}/{options.rounds}: {bare[-1]:.2f} images/s")

    rates, rows = {}, [["", "images/s", "steady", "processor s a photo", "peak MB"]]
    for name, (small, large) in runs.items():
        brief, whole = median(small), median(large)
        rates[name] = options.count / whole.wall_s
        steady = (options.count - few) / max(whole.wall_s - brief.wall_s, 1e-9)
        rows.append(
            [
                f"{name}, whole process",
                f"{rates[name]:.2f}",
                f"{steady:.2f}",
                f"{whole.cpu_s / options.count:.2f}",
                f"{whole.peak_mb:.0f}",
            ]
        )
    bare_median = statistics.median(bare)
    rows.append(["bare InferenceSession.run", "", f"{bare_median:.2f}", "", ""])
    print(table(rows), end="\n\n")
    ratios = [["imago's rate by that of", "ratio", "at least", "reached"]]
    for name, rate, limit in (("rembg", rates.get("rembg"), REMBG_RATIO), ("the bare net", bare_median, BARE_RATIO)):
        if rate is not None:
            ratio = rates["imago"] / rate
            ratios.append([name, f"{ratio:.2f}", f"{limit}", verdict(ratio >= limit)])
    print(table(ratios))


def find_photos(given: Path | None) -> list[Path]:
    place = given or data_root() / "people" / "images"
    found = sorted(path for path in place.glob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:100]
    if given is not None and not found:
        raise SystemExit(f"{given}: holds no JPEG photos")
    return found or [sample_photo(None)]


def imago_folder(options: argparse.Namespace, model: Path, folder: Path) -> tuple[Command, Command]:
    def on(photos: str) -> Command:
        out = folder / f"imago-{photos}"
        words = cutout_words(options.imago, folder / photos, model, out)
        return Command(words, fresh=[out])

    return on("few"), on("all")


def rembg_folder(options: argparse.Namespace, model: Path, folder: Path) -> tuple[Command, Command]:
    def on(photos: str) -> Command:
        out = folder / f"rembg-{photos}"
        words = [options.rembg, "p", *rembg_words(model), folder / photos, out]
        return Command(words, rembg_environment(model), [out])

    return on("few"), on("all")


def bare_rate(options: argparse.Namespace, model: Path) -> float:
    python = beside_python("python", str(imago_command(options.imago)))
    words = [str(python), "-c", BARE, str(model), str(options.count)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
