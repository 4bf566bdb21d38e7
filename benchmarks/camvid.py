"""Every semantic net on CamVid's split of 367 and 101 frames, 11 classes, under one budget: the table, resumable.

    IMAGO_DATA=/path/to/data python benchmarks/camvid.py --minutes 10 --out runs/camvid

First ENet at the full 360 x 480 (``--enet-minutes``; ``--enet-again`` for a second sitting that begins with its
weights), then all nets at about 180 x 240 for ``--minutes`` each, by ``imago train`` and ``imago compare`` as a user
calls them. Killed, it goes on with the same command. With a GPU: ``--full`` trains all nets at 360 x
480. All from scratch, on the 367 training frames; the answers are scored at the frames' own 360 x 480 pixels.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from material import data_root
from report import machine, say, table

NETS = (
    "enet", "lraspp", "unet:resnet34_slim", "segnet_basic", "u2netp", "fcn8s:vgg16_bn", "segnet", "deeplabv1:vgg16_bn",
    "deeplabv2:vgg16_bn", "deeplabv3:resnet50", "deeplabv3plus:resnet50", "pspnet:resnet50", "fcn:resnet50", "unet",
)  # fmt: skip
# Mean IoU on the 233 test frames. With ImageNet weights where "pretrained" stands; sizes differ from paper to paper.
PUBLISHED = {
    "enet": "51.3 (Paszke et al. 2016)",
    "segnet": "60.1 (Badrinarayanan et al. 2017, pretrained), 55.6 (as others measured it)",
    "segnet_basic": "46.4 (as SegNet in Jégou et al. 2017)",
    "fcn8s": "57.0 (Jégou et al. 2017, pretrained)",
    "deeplabv1": "61.6 (LargeFOV, Jégou et al. 2017, pretrained)",
    "pspnet": "69.1 (720 x 960, as others measured it, pretrained)",
}
HALF, FULL = 208, 416  # sides of squares with the pixels of 180 x 240 and 360 x 480
ENET, ENET_AGAIN = "enet-full", "enet-full-again"
SETTINGS = ["--batch-size", "8", "--lr", "2e-3", "--ema", "0.99", "--validate-every", "1000", "--seed", "1"]
AGAIN = ["--batch-size", "4", "--lr", "1e-3", "--ema", "0.995", "--validate-every", "10", "--seed", "2"]
AUGMENT = ["--zoom-min", "0.6", "--rotate-deg", "5", "--focus", "0"]


def main() -> None:
    parser = argparse.ArgumentParser(description="CamVid: every semantic net under one budget, as markdown.")
    parser.add_argument("--data", type=Path, default=data_root(), help="folder that holds camvid/")
    parser.add_argument("--out", type=Path, default=Path("runs/camvid"))
    parser.add_argument("--minutes", type=float, default=10, help="for each net (default 10)")
    parser.add_argument("--enet-minutes", type=float, default=60, help="for ENet at full size; 0 leaves it out")
    parser.add_argument("--enet-again", type=float, default=0, help="minutes of its second sitting; 0: none")
    parser.add_argument("--full", action="store_true", help="all nets at 360 x 480: with a GPU")
    parser.add_argument("--models", default=",".join(NETS), help="architectures, with commas between")
    options = parser.parse_args()
    if options.enet_again and (options.full or not options.enet_minutes):
        parser.error("--enet-again goes on from --enet-minutes; give both, without --full")
    print(machine(), end="\n\n", flush=True)
    models = options.models.split(",")
    if options.enet_minutes and not options.full:
        first = enet_at_full_size(options, ENET, options.enet_minutes, ["--start-size", str(HALF), *SETTINGS])
        models.append(str(first))
        if options.enet_again:
            begun = ["--weights", str(first / "best.safetensors"), "--start-size", "304", *AGAIN]
            models.append(str(enet_at_full_size(options, ENET_AGAIN, options.enet_again, begun)))
    size = FULL if options.full else HALF
    call(
        "compare", str(options.data / "camvid"), "--models", ",".join(models), "--minutes", f"{options.minutes:g}",
        "--size", str(size), "--multiple", "8", "--class-weights", "log",
        "--out", str(options.out / "compare"), *SETTINGS, *AUGMENT,
    )  # fmt: skip
    told = options.out / "compare" / "comparison.json"
    if not told.is_file():
        raise SystemExit(f"{told}: was not written; imago compare has said why")
    found = json.loads(told.read_text("utf-8"))
    print(table(rows(found, options)))
    for line in found["failed"]:
        say(line)


def enet_at_full_size(options: argparse.Namespace, name: str, minutes: float, settings: list[str]) -> Path:
    """The run's folder; done, begun or anew. It starts at a smaller side and grows, so that more frames are seen."""
    folder = options.out / name
    if (folder / "model.onnx").is_file():
        return folder
    if (folder / "config.json").is_file():
        call("train", "--resume", "--out", str(folder))
        return folder
    call(
        "train", str(options.data / "camvid"), "--model", "enet", "--minutes", f"{minutes:g}", "--size", str(FULL),
        "--multiple", "8", "--class-weights", "log", "--out", str(folder), *settings, *AUGMENT,
    )  # fmt: skip
    return folder


def call(*arguments: str) -> None:
    say("imago " + " ".join(arguments))
    # A comparison of which one net failed ends with 1, and still has its table.
    code = subprocess.run([sys.executable, "-m", "imago", *arguments], stdout=sys.stderr).returncode
    if code and arguments[0] != "compare":
        raise SystemExit(code)


def rows(found: dict[str, Any], options: argparse.Namespace) -> list[list[str]]:
    head = ["net", "trained at", "minutes", "frames seen", "parameters", "mean IoU", "pixel accuracy", "ms", "MB"]
    lines = [[*head, "published, test frames"]]
    for entry in found["entries"]:
        summary, cost = entry["evaluation"]["summary"], entry["cost"]
        full = options.full or entry["name"] in (ENET, ENET_AGAIN)
        last = entry["history"][-1] if entry["history"] else {}
        batch = int((AGAIN if entry["name"] == ENET_AGAIN else SETTINGS)[1])
        architecture = entry["name"].split("-")[0]
        lines.append(
            [
                entry["name"],
                "360 x 480" if full else "192 x 240 or so",
                f"{last.get('seconds', 0) / 60:.0f}",
                f"{int(last.get('step', 0)) * batch:,}",
                f"{cost['weights'] / 1e6:.2f} M",
                interval(summary["mean_iou"]),
                interval(summary["pixel_accuracy"]),
                f"{cost['median_ms']:.0f}",
                f"{cost['bytes'] / 1e6:.1f}",
                PUBLISHED.get(architecture, ""),
            ]
        )
    return lines


def interval(score: dict[str, float]) -> str:
    return f"{100 * score['mean']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"


if __name__ == "__main__":
    main()
