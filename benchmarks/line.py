"""R-CNN to Mask R-CNN and YOLO v1 to v3 on one small set under one budget: what each step bought. Resumable.

    IMAGO_DATA=/path/to/data python benchmarks/line.py --minutes 8 --out runs/line

20 photos of coco128 with few and large objects are learnt by heart, from scratch and without augmentation, by
``imago train`` as a user calls it, and the answers are scored on these same photos: proof that targets, loss and
decoding agree, and a fair race, but no word on photos that were not learnt. Seconds an image are those of the exported
file on this CPU, from the decoded photo to boxes in its pixels, proposals included. Killed, it goes on with the same
command.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from material import data_root
from report import machine, say, table

import imago
from imago.data.open_dataset import open_dataset

PHOTOS, KEPT = 20, 2  # to learn from; to validate on, as imago train wants
LEAST_SHARE, MOST_OBJECTS = 0.01, 8  # of the photo, of each object; in a photo


class Net(NamedTuple):
    """A net in a form that two cores can train."""

    name: str
    year: int
    model: str
    options: tuple[str, ...]
    size: int


HEADS = ("width=64", "fc_width=256", "batch_size_per_image=64", "proposals=300")
NETS = (
    Net("R-CNN", 2014, "rcnn:resnet18_half", ("crop=96",), 0),
    Net("Fast R-CNN", 2015, "fastrcnn:resnet18_half", ("fc_width=256",), 256),
    Net("Faster R-CNN", 2015, "fasterrcnn:resnet18_half", HEADS, 256),
    Net("Mask R-CNN", 2017, "maskrcnn:resnet18_half", (*HEADS, "mask_widths=[64,64,64,64]"), 256),
    Net("YOLO v1, fast form, a quarter of its width", 2016, "yolov1_fast", ("width=4", "size=256"), 256),
    Net("YOLO v2, a quarter of its width", 2017, "yolov2", ("width=8",), 256),
    Net("YOLO v3, a quarter of its width", 2018, "yolov3", ("width=8",), 256),
)
LEARNING = (
    "--lr", "1e-3", "--ema", "0.99", "--validate-every", "1000", "--seed", "1", "--flip", "0",
    "--color", "0",
)  # fmt: skip
WINDOWS = (
    "--batch-size",
    "4",
    "--zoom-min",
    "1",
    "--zoom-max",
    "1",
    "--focus",
    "0",
    "--rotate-deg",
    "0",
)  # but of crops


def main() -> None:
    parser = argparse.ArgumentParser(description="The line of the nets that find objects, as markdown.")
    parser.add_argument("--data", type=Path, default=data_root(), help="folder that holds coco128/")
    parser.add_argument("--out", type=Path, default=Path("runs/line"))
    parser.add_argument("--minutes", type=float, default=8, help="for each net (default 8)")
    parser.add_argument(
        "--nets", default="", help="only those whose model begins with one of these, with commas between"
    )
    options = parser.parse_args()
    print(machine(), end="\n\n", flush=True)
    data = options.out / "photos"
    if not data.is_dir():
        write_photos(options.data / "coco128", data)
    chosen = tuple(options.nets.split(",")) if options.nets else ("",)
    rows = [
        ["net", "year", "minutes", "pictures seen", "parameters", "AP50 boxes", "AP boxes", "AP masks", "s an image"]
    ]
    for net in NETS:
        if net.model.startswith(chosen):
            rows.append(row(net, options, data))
            say(table(rows))
    print(table(rows))


def write_photos(coco: Path, out: Path) -> None:
    """The first photos that fit, in COCO's layout."""
    content = json.loads((coco / "annotations" / "instances_train2017.json").read_text("utf-8"))
    objects: dict[int, list[dict[str, Any]]] = {}
    for entry in content["annotations"]:
        objects.setdefault(entry["image_id"], []).append(entry)
    fitting = [
        photo
        for photo in sorted(content["images"], key=lambda photo: photo["file_name"])
        if fits(objects.get(photo["id"], []), photo["width"] * photo["height"])
    ]
    beside = out.with_name(out.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    for split, photos in (("train", fitting[:PHOTOS]), ("val", fitting[PHOTOS : PHOTOS + KEPT])):
        folder = beside / f"{split}2017"
        folder.mkdir(parents=True)
        for photo in photos:
            shutil.copy(coco / "train2017" / photo["file_name"], folder)
        (beside / "annotations").mkdir(exist_ok=True)
        found = [entry for photo in photos for entry in objects[photo["id"]]]
        some = {**content, "images": photos, "annotations": found}
        (beside / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(some), "utf-8")
    beside.rename(out)


def fits(objects: list[dict[str, Any]], pixels: int) -> bool:
    large = all(entry["bbox"][2] * entry["bbox"][3] >= LEAST_SHARE * pixels for entry in objects)
    return large and 1 <= len(objects) <= MOST_OBJECTS and not any(entry["iscrowd"] for entry in objects)


def row(net: Net, options: argparse.Namespace, data: Path) -> list[str]:
    folder = options.out / net.model.replace(":", "-")
    model = folder / "model.onnx"
    if not model.is_file():
        train(net, folder, data, options.minutes)
    scores = folder / "learnt.json"
    if not scores.is_file():
        call("evaluate", str(model), str(data), "--split", "train", "--json", str(scores))
    summary = json.loads(scores.read_text("utf-8"))["summary"]
    last = history(folder)[-1]
    return [
        net.name,
        str(net.year),
        f"{float(last['seconds']) / 60:.1f}",
        f"{int(float(last['step'])) * (4 if net.size else 128):,}" + ("" if net.size else " crops"),
        f"{weights(folder) / 1e6:.1f} M",
        *(f"{summary[name]['mean']:.3f}" if name in summary else "" for name in ("box_ap50", "box_ap", "mask_ap")),
        f"{seconds_an_image(model, data):.3f}",
    ]


def train(net: Net, folder: Path, data: Path, minutes: float) -> None:
    if (folder / "config.json").is_file():
        call("train", "--resume", "--out", str(folder))
        return
    options = [word for option in net.options for word in ("--option", option)]
    windows = ["--size", str(net.size), *WINDOWS] if net.size else []
    rule = ["--rule", "resize", "--multiple", "64"] if net.model.startswith("yolov1") else []
    call(
        "train", str(data), "--model", net.model, *options, *windows, *rule, "--minutes", f"{minutes:g}",
        "--out", str(folder), *LEARNING,
    )  # fmt: skip


def call(*arguments: str) -> None:
    say("imago " + " ".join(arguments))
    code = subprocess.run([sys.executable, "-m", "imago", *arguments], stdout=sys.stderr).returncode
    if code:
        raise SystemExit(code)


def history(folder: Path) -> list[dict[str, str]]:
    import csv

    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def weights(folder: Path) -> int:
    from safetensors import safe_open

    with safe_open(folder / "best.safetensors", "np") as stored:
        return sum(int(np.prod(stored.get_slice(name).get_shape())) for name in stored.keys())  # noqa: SIM118


def seconds_an_image(model: Path, data: Path) -> float:
    """The median over the photos, after one that does not count."""
    predictor = imago.load(model)
    images = [sample.image() for sample in open_dataset(data, "detection").split("train")]
    predictor.objects(images[0])
    times = []
    for image in images:
        start = time.perf_counter()
        predictor.objects(image)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


if __name__ == "__main__":
    main()
