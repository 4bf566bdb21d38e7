"""Makes the pictures of the documents from free photos, with the models that are installed.

    python docs/images/make.py

first.jpg (the README's): a person, an animal and an object, each with two cut-outs. samples.jpg (the card of
``subject``): photos that scikit-image's wheel carries under a free licence, whole and in parts, each beside its
cut-out; nothing is chosen by how well it went. It needs scikit-image, and is left as it is without.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

import imago

FOLDER = Path(__file__).resolve().parent
SAMPLES = FOLDER.parents[1] / "samples"
COLOUR = "#f2c14e"
FIRST = ("astronaut.jpg", "chelsea.jpg", "coffee.jpg")
FIRST_HEIGHT = 220
GAP = 8
CELL = 148  # side of a panel of samples.jpg, and the pairs in a row
PAIRS = 5
# File of skimage/data, and the part that is looked at (left, top, right, bottom; None: all of it). Its functions
# (skimage.data.astronaut and so on) state each licence: public domain, CC0, or no known copyright restrictions.
# The last are photos without a subject, where nothing is the right answer.
PHOTOS: tuple[tuple[str, tuple[int, int, int, int] | None], ...] = (
    ("astronaut.png", None),
    ("astronaut.png", (90, 0, 350, 260)),  # portrait
    ("astronaut.png", (270, 330, 512, 512)),  # helmet
    ("astronaut.png", (350, 0, 512, 300)),  # model of a rocket
    ("camera.png", None),
    ("camera.png", (0, 30, 420, 512)),
    ("camera.png", (130, 40, 370, 280)),
    ("chelsea.png", None),
    ("chelsea.png", (110, 0, 451, 300)),
    ("coffee.png", None),
    ("coffee.png", (170, 5, 480, 365)),  # the cup
    ("rocket.jpg", None),
    ("rocket.jpg", (240, 60, 400, 427)),
    ("coins.png", None),
    ("coins.png", (292, 0, 384, 80)),  # one coin
    ("clock_motion.png", None),
    ("cell.png", None),
    ("retina.jpg", None),
    ("grass.png", None),
    ("hubble_deep_field.jpg", None),
)


def main() -> None:
    subject = imago.load("subject")
    first(subject).save(FOLDER / "first.jpg", quality=88)
    photos = installed_photos()
    if photos is None:
        print("samples.jpg is left as it is: scikit-image is not installed; pip install scikit-image", file=sys.stderr)
        return
    samples(subject, photos).save(FOLDER / "samples.jpg", quality=82)


def installed_photos() -> Path | None:
    try:
        import skimage
    except ModuleNotFoundError:
        return None
    return Path(skimage.__file__).parent / "data"


def first(subject: imago.Predictor) -> Image.Image:
    """Three columns: photo, cut-out on transparency, on a colour."""
    columns = []
    for name in FIRST:
        result = subject(SAMPLES / name)
        looks = Image.open(SAMPLES / name).convert("RGB"), result.cutout(), result.cutout(background=COLOUR)
        columns.append([on_squares(ImageOps.contain(look, (4 * FIRST_HEIGHT, FIRST_HEIGHT))) for look in looks])
    width = sum(column[0].width + GAP for column in columns) - GAP
    sheet = Image.new("RGB", (width, 3 * (FIRST_HEIGHT + GAP) - GAP), "white")
    left = 0
    for column in columns:
        for row, tile in enumerate(column):
            sheet.paste(tile, (left, row * (FIRST_HEIGHT + GAP)))
        left += column[0].width + GAP
    return sheet


def samples(subject: imago.Predictor, photos: Path) -> Image.Image:
    """Rows of pairs: photo and cut-out on transparency."""
    rows = -(-len(PHOTOS) // PAIRS)
    pitch = 2 * CELL + 3 * GAP
    sheet = Image.new("RGB", (PAIRS * pitch - 2 * GAP, rows * (CELL + GAP) - GAP), "white")
    for index, (name, part) in enumerate(PHOTOS):
        photo = Image.open(photos / name).convert("RGB").crop(part)
        left, top = index % PAIRS * pitch, index // PAIRS * (CELL + GAP)
        for place, look in enumerate((photo, subject(np.asarray(photo)).cutout())):
            tile = on_squares(ImageOps.contain(look, (CELL, CELL)))
            middle = (CELL - tile.width) // 2, (CELL - tile.height) // 2
            sheet.paste(tile, (left + place * (CELL + GAP // 2) + middle[0], top + middle[1]))
    return sheet


def on_squares(picture: Image.Image, side_px: int = 10) -> Image.Image:
    """RGB; transparency as grey squares. After resizing, so that the squares are equal everywhere."""
    y, x = np.mgrid[: picture.height, : picture.width] // side_px
    squares = np.where((x + y) % 2, 205, 255).astype(np.uint8)
    board = Image.fromarray(squares).convert("RGBA")
    return Image.alpha_composite(board, picture.convert("RGBA")).convert("RGB")


if __name__ == "__main__":
    main()
