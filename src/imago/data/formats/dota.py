"""DOTA (Xia et al. 2018, arXiv:1711.10398): ``labelTxt/NAME.txt``, photos in ``images/``.

A line an object: x and y of four corners, the class, and 1 for what is difficult, which is a crowd region here: neither
an object nor background. Turned boxes are outlines of four corners. Lines ``imagesource:`` and ``gsd:`` are passed
over.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imago.data.formats.drawn import WRONG, Drawn, Page, build_dataset, describe
from imago.data.formats.find_files import walk
from imago.data.formats.format import Format, Found, ReadOptions, Truth
from imago.data.formats.shapes import polygon
from imago.files.text import read_text

FOLDER = "labeltxt"
HEADS = ("imagesource:", "gsd:")


def recognize(root: Path) -> tuple[Truth, ...]:
    return ("objects",) if next(_files(root), None) else ()


def _files(root: Path) -> Iterator[Path]:
    for folder, names in walk(root, 3):
        if folder != root and folder.name.lower().startswith(FOLDER):
            yield from (folder / name for name in names if name.endswith(".txt"))


def read_objects(root: Path, options: ReadOptions) -> Found:
    """The data set without what is damaged, and the faults, a line each."""
    faults: list[str] = []
    pages = []
    for path in _files(root):
        try:
            lines = read_text(path).splitlines()
        except (OSError, UnicodeDecodeError):
            faults.append(f"{path}: cannot be read as text in UTF-8")
            continue
        objects = []
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0].startswith(HEADS):
                continue
            try:
                if len(words) < 9:
                    raise ValueError("expected x and y of four corners and a class")
                outline = polygon([float(word) for word in words[:8]])
                objects.append(Drawn(words[8], (outline,), f"line {number}", crowd=words[9:] == ["1"]))
            except WRONG as error:
                faults.append(f"{path}: line {number}: {describe(error)}")
        place = path.parent.parent / "images"
        pages.append(Page(path.stem, place / path.name, tuple(objects)))
    return build_dataset(root, pages, options, faults)


FORMAT = Format(
    name="DOTA's",
    layout="DOTA's images/ and labelTxt/",
    recognize=recognize,
    read_objects=read_objects,
    cannot_hold="holes, outlines of more than four corners",
)
