"""A panoptic data set that small nets learn in seconds: bright balls on grass, and a sky above."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cells import draw_cells
from PIL import Image

from imago.core.labels import Labels
from imago.core.panoptic import Panoptic, Segment, ids_to_rgb
from imago.data.formats.coco_segments import PhotoSegments, write_coco_panoptic

LABELS = Labels(("background", "ball", "grass", "sky"))


def draw_park(seed: int, size_hw: tuple[int, int] = (64, 80)) -> tuple[np.ndarray, Panoptic]:
    """uint8 RGB (H, W, 3), and its segments: balls are things, a strip at the lower edge is void."""
    image, numbers = draw_cells(seed, size_hw)
    ids = numbers.astype(np.int32)
    rows = np.arange(size_hw[0])[:, None]
    horizon = 20 + seed % 5
    for value, there, color in ((2, rows >= horizon, (0, 60, -20)), (3, rows < horizon, (0, 10, 150))):
        free = there & (numbers == 0)
        image[free] = (image[free].astype(int) + color).clip(0, 255)
        ids[free] = 100 + value
    ids[-2:][numbers[-2:] == 0] = 0
    segments = [Segment(number, 1, True) for number in range(1, int(numbers.max()) + 1)]
    return image, Panoptic.of(ids, [*segments, Segment(102, 2, False), Segment(103, 3, False)])


def write_park(folder: Path, train: int = 8, val: int = 4) -> Path:
    """COCO's layout: ``train/``, ``val/``, ``annotations/``."""
    for split, seeds in (("train", range(train)), ("val", range(train, train + val))):
        pngs = folder / "annotations" / f"panoptic_{split}"
        for place in (folder / split, pngs):
            place.mkdir(parents=True)
        photos = []
        for seed in seeds:
            image, panoptic = draw_park(seed)
            Image.fromarray(image).save(folder / split / f"park{seed:02d}.png")
            Image.fromarray(ids_to_rgb(panoptic.id_map)).save(pngs / f"park{seed:02d}.png")
            photos.append(PhotoSegments(f"park{seed:02d}.png", f"park{seed:02d}.png", panoptic))
        write_coco_panoptic(folder / "annotations" / f"panoptic_{split}.json", photos, LABELS, (1,))
    return folder
