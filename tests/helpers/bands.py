"""A data set of six bands of 16 bits, whose discs only the fifth band shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tiffs import write_tiff

BANDS = 6
TOP = 3000  # of the values, as satellites have them


def draw_bands(seed: int, size_hw: tuple[int, int] = (48, 64)) -> tuple[np.ndarray, np.ndarray]:
    """uint16 (H, W, 6) and label map uint8 (H, W)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    middle, radius = rng.uniform(14, 34, 2), rng.uniform(8, 13)
    label = ((y - middle[0]) ** 2 + (x - middle[1] - 8) ** 2 < radius**2).astype(np.uint8)
    image = rng.uniform(200, 900, BANDS) + rng.normal(0, 30, (*size_hw, BANDS))
    image[:, :, 4] += label * 1800.0
    return np.clip(image, 0, TOP).astype(np.uint16), label


def write_bands(folder: Path, count: int = 8, dtype: str = "uint16", **how: Any) -> Path:
    """``images/*.tif`` and ``masks/*.png``; three in four to train. ``how``: see ``write_tiff``."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for index in range(count):
        image, label = draw_bands(index)
        values = image.astype(dtype) if dtype != "uint8" else (image // 12).astype(np.uint8)
        (folder / "images" / f"s{index}.tif").write_bytes(write_tiff(values, **how))
        Image.fromarray(label).save(folder / "masks" / f"s{index}.png")
    names = [f"s{index}" for index in range(count)]
    (folder / "classes.txt").write_text("background\ndisc\n")
    (folder / "train.txt").write_text("\n".join(names[: count * 3 // 4]))
    (folder / "val.txt").write_text("\n".join(names[count * 3 // 4 :]))
    return folder
