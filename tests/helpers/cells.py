"""A data set of drawn cells: bright discs on a dark ground, some of which touch."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def draw_cells(seed: int, size_hw: tuple[int, int] = (64, 80), most: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """uint8 RGB (H, W, 3), and uint8 (H, W): 0, or the number of the cell that is there."""
    random = np.random.default_rng(seed)
    numbers = np.zeros(size_hw, np.uint8)
    for number in range(1, int(random.integers(2, most + 1)) + 1):
        center = int(random.integers(6, size_hw[1] - 6)), int(random.integers(6, size_hw[0] - 6))
        radii = int(random.integers(6, 11)), int(random.integers(6, 11))
        disc = cv2.ellipse(np.zeros(size_hw, np.uint8), center, radii, float(random.uniform(0, 180)), 0, 360, 1, -1)
        if not (disc & (numbers > 0)).any():  # nobody can tell one cell under another
            numbers[disc > 0] = number
    image = 40 + 10 * random.standard_normal((*size_hw, 3))
    image[numbers > 0] += 130
    return image.clip(0, 255).astype(np.uint8), numbers


def write_cells(folder: Path, count: int = 8, size_hw: tuple[int, int] = (64, 80), most: int = 6) -> Path:
    """``images/*.png`` and ``masks/*.png``, in which every value is a cell; a quarter of them to validate on."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    names = [f"cells{index:02d}" for index in range(count)]
    for index, name in enumerate(names):
        image, numbers = draw_cells(index, size_hw, most)
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
        Image.fromarray(numbers).save(folder / "masks" / f"{name}.png")
    kept = count * 3 // 4
    (folder / "train.txt").write_text("\n".join(names[:kept]) + "\n")
    (folder / "val.txt").write_text("\n".join(names[kept:]) + "\n")
    return folder
