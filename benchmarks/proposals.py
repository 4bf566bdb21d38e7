"""Selective search on the photos of coco128: how many of the true boxes it finds, and the seconds an image.

    IMAGO_DATA=/path/to/data python benchmarks/proposals.py --images 32

A true box is found where a proposal overlaps it by 0.5 or more (IoU); regions of crowds do not count. Small, medium and
large are COCO's: below 32 x 32 pixels, below 96 x 96, and the rest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from material import data_root
from report import machine, say, table, verdict

from imago.core import boxes as boxes_
from imago.data.selective_search import ProposalOptions, propose, recall
from imago.files.images import read_image

GOAL = 0.85  # recall at 2,000 proposals
SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, float("inf"))}


def main() -> None:
    parser = argparse.ArgumentParser(description="Recall and time of selective search on coco128, as markdown.")
    parser.add_argument("--data", type=Path, default=data_root(), help="folder that holds coco128/")
    parser.add_argument("--images", type=int, default=128, help="how many, evenly over the set (default: all)")
    parser.add_argument("--modes", nargs="+", choices=("fast", "quality"), default=["fast", "quality"])
    parser.add_argument("--side", type=int, default=ProposalOptions().side, help="working size, pixels")
    parser.add_argument("--count", type=int, default=ProposalOptions().count, help="most proposals an image")
    parser.add_argument("--smallest", type=int, default=ProposalOptions().smallest, help="least first region, pixels")
    parser.add_argument("--threads", type=int, default=1, help="threads of OpenCV (default 1)")
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    print(machine(), end="\n\n")
    photos = true_boxes(options.data / "coco128")
    chosen = [
        photos[i] for i in np.unique(np.linspace(0, len(photos) - 1, min(options.images, len(photos))).astype(int))
    ]
    print(measure(options, chosen))


def measure(options: argparse.Namespace, photos: list[tuple[Path, np.ndarray]]) -> str:
    settings = replace(ProposalOptions(), side=options.side, count=options.count, smallest=options.smallest)
    truth = [boxes for _, boxes in photos]
    rows = [["mode", "images", "boxes", "recall", "goal", "reached", *SIZES, "proposals", "s an image", "CPU s"]]
    for mode in options.modes:
        found, seconds, busy = [], [], []
        for number, (path, _) in enumerate(photos, 1):
            image = read_image(path).pixels
            start, start_cpu = time.perf_counter(), time.process_time()
            found.append(propose(image, replace(settings, mode=mode)))
            seconds.append(time.perf_counter() - start)
            busy.append(time.process_time() - start_cpu)
            say(f"{mode}: {number} of {len(photos)}, recall so far {recall(truth[:number], found):.3f}")
        whole = recall(truth, found)
        parts = [recall([of_size(boxes, *limits) for boxes in truth], found) for limits in SIZES.values()]
        rows.append(
            [
                mode, str(len(photos)), str(sum(map(len, truth))), f"{whole:.3f}", str(GOAL), verdict(whole >= GOAL),
                *[f"{part:.3f}" for part in parts], f"{statistics.mean(map(len, found)):.0f}",
                f"{statistics.median(seconds):.2f}", f"{statistics.median(busy):.2f}",
            ]
        )  # fmt: skip
    return table(rows)


def of_size(boxes: np.ndarray, least: float, most: float) -> np.ndarray:
    area = boxes_.area(boxes)
    return boxes[(area >= least) & (area < most)]


def true_boxes(root: Path) -> list[tuple[Path, np.ndarray]]:
    """Each photo of the set that has an object, and the boxes of its objects, crowds left out."""
    path = root / "annotations" / "instances_train2017.json"
    if not path.is_file():
        raise SystemExit(f"{path} is missing; set IMAGO_DATA or give --data with the folder that holds coco128/")
    content = json.loads(path.read_text("utf-8"))
    boxes: dict[int, list[list[float]]] = {}
    for instance in content["annotations"]:
        if not instance.get("iscrowd"):
            boxes.setdefault(instance["image_id"], []).append(instance["bbox"])
    return [
        (root / "train2017" / photo["file_name"], boxes_.from_xywh(boxes[photo["id"]]))
        for photo in content["images"]
        if photo["id"] in boxes
    ]


if __name__ == "__main__":
    main()
