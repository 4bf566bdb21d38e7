"""Drawn objects for the tests of detectors: coloured squares and discs on noise, and a score of what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from imago.core import boxes as boxes_
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.data.dataset import Sample

LABELS = Labels(("background", "square", "disc"))
COLORS = ((220, 60, 40), (40, 90, 220))  # squares red, discs blue


def draw_instances(seed: int, size_hw: tuple[int, int] = (64, 80)) -> tuple[np.ndarray, Instances]:
    """uint8 RGB (H, W, 3) with a square in one half and a disc in the other, and their boxes."""
    random = np.random.default_rng(seed)
    height, width = size_hw
    image = random.integers(100, 130, (height, width, 3)).astype(np.uint8)
    y, x = np.mgrid[:height, :width]
    boxes = []
    for place, value in enumerate(random.permutation([1, 2])):
        side = int(random.integers(height // 3, height // 2))
        left = int(random.integers(0, width // 2 - side)) + place * (width // 2)
        top = int(random.integers(0, height - side))
        inside = (x >= left) & (x < left + side) & (y >= top) & (y < top + side)
        if value == 2:
            middle = (left + side / 2 - 0.5, top + side / 2 - 0.5)
            inside &= (x - middle[0]) ** 2 + (y - middle[1]) ** 2 <= (side / 2) ** 2
        image[inside] = COLORS[value - 1]
        boxes.append((left, top, left + side, top + side, value))
    return image, Instances.make(size_hw, [box[:4] for box in boxes], [box[4] for box in boxes])


def write_samples(folder: Path, count: int, size_hw: tuple[int, int] = (64, 80)) -> list[Sample]:
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for seed in range(count):
        image, instances = draw_instances(seed, size_hw)
        path = folder / f"drawn{seed}.png"
        Image.fromarray(image).save(path)
        samples.append(Sample(path.stem, path, read_instances=lambda instances=instances: instances))
    return samples


def write_yolo(folder: Path, count: int, names: tuple[str, ...] = LABELS.names[1:], size_hw=(64, 80)) -> Path:
    """A data set of drawn objects in YOLO's layout: every one to train on, the first two to validate on too."""
    for part in ("images", "labels"):
        for split in ("train", "val"):
            (folder / part / split).mkdir(parents=True)
    for seed in range(count):
        image, instances = draw_instances(seed, size_hw)
        centers = boxes_.to_centers(instances.boxes, size_hw)
        lines = [
            f"{int(k) - 1} " + " ".join(f"{v:.6f}" for v in box)
            for k, box in zip(instances.classes, centers, strict=True)
        ]
        for split in ("train", "val")[: 2 if seed < 2 else 1]:
            Image.fromarray(image).save(folder / "images" / split / f"{split}{seed}.png")
            (folder / "labels" / split / f"{split}{seed}.txt").write_text("\n".join(lines) + "\n")
    (folder / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: [{', '.join(names)}]\n")
    return folder


def draw_proposals(instances: Instances, seed: int, near: int = 12, far: int = 24) -> np.ndarray:
    """float32 (K, 4): boxes about the true ones, and boxes anywhere."""
    random = np.random.default_rng(seed)
    height, width = instances.size_hw
    sides = instances.boxes[:, 2:] - instances.boxes[:, :2]
    around = np.repeat(instances.boxes, near, axis=0)
    around += random.normal(0, 0.12, around.shape) * np.tile(np.repeat(sides, near, axis=0), 2)
    corner = random.uniform(0, 0.7, (far, 2)) * (width, height)
    anywhere = np.concatenate([corner, corner + random.uniform(0.1, 0.6, (far, 2)) * (width, height)], axis=1)
    found = boxes_.clip(np.concatenate([around, anywhere]).astype(np.float32), instances.size_hw)
    return found[boxes_.area(found) > 4]


def average_precision(found: Sequence[Instances], truth: Sequence[Instances], iou: float = 0.5) -> float:
    """Mean over the classes of the area under the curve of precision over recall, all images together."""
    scores = []
    for value in np.unique(np.concatenate([one.classes for one in truth])):
        hits: list[tuple[float, bool]] = []
        for mine, true in zip(found, truth, strict=True):
            waiting = list(true.boxes[true.classes == value])
            for index in np.flatnonzero(mine.classes == value):
                overlap = boxes_.iou_matrix(mine.boxes[index : index + 1], boxes_.as_boxes(waiting))[0]
                hit = bool(overlap.size) and float(overlap.max()) >= iou
                if hit:
                    del waiting[int(overlap.argmax())]
                hits.append((float(mine.scores[index]), hit))
        ordered = np.array([hit for _, hit in sorted(hits, key=lambda pair: -pair[0])], float)
        precision = ordered.cumsum() / np.arange(1, len(ordered) + 1)
        scores.append(float((precision * ordered).sum()) / sum(int((one.classes == value).sum()) for one in truth))
    return float(np.mean(scores))
