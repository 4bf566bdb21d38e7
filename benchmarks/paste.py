"""Masks of many objects on a large photo: the time to bring them to its pixels, and the memory that they take.

    python benchmarks/paste.py --objects 1000 --megapixels 12

Each row is a process of its own, and its memory what its peak lies above that of a process which holds the photo (and
has imported as much). "used" is what commands do with the masks besides: areas, a map of classes, COCO's run lengths,
the numbered PNG. The peer is torchvision's ``paste_masks_in_image``, which makes every mask as large as the photo, on
fewer objects; needs the train extra. Boxes are log-uniform between ``--sides``, all over the photo.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from report import machine, say, table, verdict
from whole_process import Command, measure

TIME_S, MEMORY_MB = 1.0, 300.0  # limits, at 1,000 objects on 12 megapixels
ASPECT = 4 / 3
MASK = 28  # cells a side, as Mask R-CNN gives them
CLASSES = 80
PHOTO, MASKS, BOXES, SECONDS = "photo.npy", "masks.npy", "boxes.npy", "seconds.json"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of pasted masks, as markdown.")
    parser.add_argument("--objects", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--megapixels", type=float, default=12.0, help="of the photo, 4:3 (default 12)")
    parser.add_argument(
        "--sides", type=float, nargs=2, default=(20, 600), help="least and largest side of a box, pixels"
    )
    parser.add_argument("--peer", type=int, default=56, help="objects for torchvision; 0 leaves it out (default 56)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)  # this process is a row
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # with what it reads and writes
    options = parser.parse_args()
    if options.step:
        (options.folder / SECONDS).write_text(json.dumps(STEPS[options.step](options.folder)))
        return
    print(machine(), end="\n\n")
    with tempfile.TemporaryDirectory() as folder:
        print(report(options, Path(folder)))


def report(options: argparse.Namespace, folder: Path) -> str:
    height, width = size_of(options.megapixels)
    np.save(folder / PHOTO, np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    spent = {}
    for count, steps in ((options.objects, ("photo", "paste", "use")), (options.peer, ("torch", "peer"))):
        if count:
            write_finds(folder, count, (height, width), options.sides)
            spent |= {step: measured(folder, step, options.rounds) for step in steps}
    rows = [["what", "objects", "s", "processor s", "MB above the photo", "limit", "reached"]]
    for step, name in (("paste", "pasted and kept"), ("use", "pasted and used")):
        seconds, busy, peak = spent[step]
        more = peak - spent["photo"][2]
        limit, reached = "", ""
        if step == "paste":
            limit, reached = f"{TIME_S:g} s, {MEMORY_MB:g} MB", verdict(seconds <= TIME_S, more <= MEMORY_MB)
        rows.append([name, f"{options.objects:,}", f"{seconds:.2f}", f"{busy:.2f}", f"{more:.0f}", limit, reached])
    if options.peer:
        seconds, busy, peak = spent["peer"]
        more = peak - spent["torch"][2]
        name = "torchvision paste_masks_in_image"
        rows.append([name, f"{options.peer:,}", f"{seconds:.2f}", f"{busy:.2f}", f"{more:.0f}", "", ""])
    whole = height * width * options.objects / 1e6
    rows.append(
        [
            "masks of the photo's size, a byte a pixel (computed)",
            f"{options.objects:,}",
            "",
            "",
            f"{whole:,.0f}",
            "",
            "",
        ]
    )
    return table(rows)


def measured(folder: Path, step: str, rounds: int) -> tuple[float, float, float]:
    """Median seconds, median processor seconds, largest peak in MB."""
    command = Command([sys.executable, __file__, "--step", step, "--folder", folder], fresh=[folder / SECONDS])
    runs = []
    for turn in range(rounds):
        peak = measure(command).peak_mb
        runs.append((*json.loads((folder / SECONDS).read_text()), peak))
        say(f"{step} {turn + 1}/{rounds}: {runs[-1][0]:.2f} s, peak {peak:.0f} MB")
    seconds, busy, peaks = zip(*runs, strict=True)
    return statistics.median(seconds), statistics.median(busy), max(peaks)


def size_of(megapixels: float) -> tuple[int, int]:
    height = round((megapixels * 1e6 / ASPECT) ** 0.5)
    return height, round(height * ASPECT)


def write_finds(folder: Path, count: int, size_hw: tuple[int, int], sides: tuple[float, float]) -> None:
    """float32 (K, 28, 28) masks of uneven discs, and float32 (K, 4) boxes. In files, for making them would take memory
    of the processes that are measured."""
    random = np.random.default_rng(1)
    side = np.exp(random.uniform(*np.log(sides), (count, 2)))
    corner = random.uniform(0, 1, (count, 2)) * (np.array(size_hw[::-1]) - side)
    y, x = np.mgrid[:MASK, :MASK] - (MASK - 1) / 2
    discs = 1.2 - np.hypot(y, x)[None] / (MASK / 2) + random.normal(0, 0.1, (count, MASK, MASK))
    np.save(folder / MASKS, discs.clip(0, 1).astype(np.float32))
    np.save(folder / BOXES, np.concatenate([corner, corner + side], axis=1).astype(np.float32))


def read(folder: Path) -> list[np.ndarray]:
    return [np.load(folder / name) for name in (PHOTO, MASKS, BOXES)]


def photo_alone(folder: Path) -> tuple[float, float]:

    assert read(folder)
    return 0.0, 0.0


def pasted(folder: Path, use: bool = False) -> tuple[float, float]:
    from imago.core.instances import Instances
    from imago.inference.instances.paste_masks import paste
    from imago.inference.instances.postprocess import to_class_map

    photo, masks, boxes = read(folder)
    start, start_cpu = time.perf_counter(), time.process_time()
    cropped = [paste(mask, box, photo.shape[:2]) for mask, box in zip(masks, boxes, strict=True)]
    classes, scores = np.arange(len(boxes)) % CLASSES + 1, np.linspace(1, 0.5, len(boxes))
    instances = Instances.make(photo.shape[:2], boxes, classes, scores, cropped)
    if use:
        for mask in cropped:
            mask.to_rle(instances.size_hw)
        print(instances.areas.sum(), to_class_map(instances, CLASSES + 1).max(), instances.to_label_image().max())
    return time.perf_counter() - start, time.process_time() - start_cpu


def used(folder: Path) -> tuple[float, float]:
    return pasted(folder, use=True)


def torch_alone(folder: Path) -> tuple[float, float]:
    from torchvision.models.detection.roi_heads import paste_masks_in_image  # noqa: F401

    assert read(folder)
    return 0.0, 0.0


def by_torchvision(folder: Path) -> tuple[float, float]:
    import torch
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    photo, *finds = read(folder)
    masks, boxes = map(torch.from_numpy, finds)
    start, start_cpu = time.perf_counter(), time.process_time()
    whole = paste_masks_in_image(masks[:, None], boxes, photo.shape[:2]) >= 0.5  # (K, 1, H, W)
    assert len(whole) == len(boxes)
    return time.perf_counter() - start, time.process_time() - start_cpu


STEPS = {"photo": photo_alone, "paste": pasted, "use": used, "torch": torch_alone, "peer": by_torchvision}

if __name__ == "__main__":
    main()
