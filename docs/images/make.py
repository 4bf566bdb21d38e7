"""Makes first.jpg, the picture of the README: a photo, two cut-outs of it, its garments. Run from the repository."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import imago

ROOT = Path(__file__).resolve().parents[2]
HEIGHT = 480


def main(photo: Path) -> None:
    subject, clothes = imago.load("subject"), imago.load("clothes")
    result = subject(photo)
    tiles = [
        Image.open(photo).convert("RGB"),
        on_squares(result.cutout(crop=True)),
        result.cutout(background="#f2c14e", crop=True),
        clothes(photo).overlay(),
    ]
    tiles = [
        tile.resize((round(tile.width * HEIGHT / tile.height), HEIGHT), Image.Resampling.LANCZOS) for tile in tiles
    ]
    sheet = Image.new("RGB", (sum(tile.width for tile in tiles) + 8 * (len(tiles) - 1), HEIGHT), "white")
    left = 0
    for tile in tiles:
        sheet.paste(tile, (left, 0))
        left += tile.width + 8
    sheet.save(ROOT / "docs" / "images" / "first.jpg", quality=88)


def on_squares(cutout: Image.Image, side_px: int = 16) -> Image.Image:
    """Transparency as grey squares."""
    y, x = np.mgrid[: cutout.height, : cutout.width] // side_px
    squares = np.where((x + y) % 2, 205, 255).astype(np.uint8)
    board = Image.fromarray(squares).convert("RGBA")
    return Image.alpha_composite(board, cutout.convert("RGBA")).convert("RGB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "samples" / "street-1.jpg")
