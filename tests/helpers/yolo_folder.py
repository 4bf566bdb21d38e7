"""A small data set in YOLO's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

BOX = "0 0.5 0.5 0.5 0.4\n"  # in 20 x 40 (height x width): 10 6 30 14


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 40, 3), 90, np.uint8)).save(path)


def label(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_yolo(root: Path, text: str = BOX) -> Path:
    for split, names in (("train", "abc"), ("val", "d")):
        for name in names:
            photo(root / "images" / split / f"{name}.jpg")
            label(root / "labels" / split / f"{name}.txt", text)
    (root / "classes.txt").write_text("cat\ndog\n")
    return root
