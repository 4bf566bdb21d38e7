"""The classes of a folder of masks: from ``classes.txt``, or found by looking into the masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imago.core.errors import DataError, ImageError
from imago.core.labels import IGNORE, Color, Labels
from imago.data.mask_pixels import UNKNOWN, Codes, colors_in, is_colored, palette_in, read_mask
from imago.files.text import read_text

BLACK_AND_WHITE = {0, 255}


@dataclass(frozen=True)
class Classes:
    """What the pixels of the masks mean."""

    labels: Labels
    table: tuple[int, ...]  # 256 entries, value in the file -> class, IGNORE or UNKNOWN
    codes: Codes | None = None  # for masks of RGB colour codes: colour -> value
    note: str = ""  # what was found by looking


def find_classes(root: Path, masks: Sequence[Path]) -> Classes:
    """Raises DataError where the list is faulty or no classes can be made out. Unreadable masks are passed over:
    the check of the data names them, with all the other faults."""
    path = root / "classes.txt"
    return _read_listed(path, masks) if path.is_file() else _find(root, masks)


def _read_listed(path: Path, masks: Sequence[Path]) -> Classes:
    try:
        lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file in UTF-8; write one class a line") from error
    parts = [line.split() for line in lines]
    if lines and all(len(p) >= 4 and all(v.isdigit() and int(v) < 256 for v in p[-3:]) for p in parts):
        colors = tuple((int(p[-3]), int(p[-2]), int(p[-1])) for p in parts)
        codes = {color: value for value, color in enumerate(colors)}
        if len(codes) < len(colors):
            raise DataError(f"{path}: two classes have the same colour; give each its own")
        return Classes(_build_labels(path, [" ".join(p[:-3]) for p in parts], colors), _identity(len(lines)), codes)
    palette = palette_in(masks[0], len(lines)) if masks else ()
    labels = _build_labels(path, lines, palette if len(set(palette)) == len(lines) else ())
    if len(lines) == 2:
        # Twenty masks tell whether two classes are drawn as black and white; a stray value in one is told by the check.
        values = _values_in(masks[:20])
        if 255 in values and 1 not in values:
            return Classes(labels, _black_and_white())
    return Classes(labels, _identity(len(lines)))


def _build_labels(source: Path, names: Sequence[str], colors: Sequence[Color] = ()) -> Labels:
    if not 2 <= len(names) <= UNKNOWN:
        raise DataError(f"{source}: a model tells apart 2 to {UNKNOWN} classes; got {len(names)}")
    try:
        return Labels(tuple(names), tuple(colors))
    except ValueError as error:
        raise DataError(f"{source}: {error}") from error


def _identity(count: int) -> tuple[int, ...]:
    return tuple(value if value < count or value == IGNORE else UNKNOWN for value in range(256))


def _black_and_white() -> tuple[int, ...]:
    return tuple({0: 0, 255: 1}.get(value, UNKNOWN) for value in range(256))


def _find(root: Path, masks: Sequence[Path]) -> Classes:
    colors = _colors_in(masks)
    if is_colored(colors):
        if len(colors) > UNKNOWN:
            raise DataError(
                f"{root}: RGB masks with {len(colors)} colours (are they JPEGs, or smoothed?); "
                "list the classes in classes.txt, one a line: name R G B"
            )
        ordered = sorted(colors)
        labels = _build_labels(root / "masks", [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in ordered], ordered)
        codes = {color: value for value, color in enumerate(ordered)}
        note = f"no classes.txt: {len(ordered)} colours found in the masks"
        return Classes(labels, _identity(len(ordered)), codes, note)
    values = _values_in(masks)
    if values <= BLACK_AND_WHITE:
        note = "no classes.txt: masks of 0 and 255, two classes"
        return Classes(Labels(("background", "foreground")), _black_and_white(), note=note)
    kept = sorted(values - {IGNORE})
    if len(kept) > UNKNOWN:
        raise DataError(
            f"{root}: masks with {len(values)} values (are they soft, or JPEGs?); list the classes in classes.txt"
        )
    new = {value: index for index, value in enumerate(kept)} | {IGNORE: IGNORE}
    table = tuple(new.get(value, UNKNOWN) for value in range(256))
    shown = ", ".join(map(str, kept[:20])) + (" ..." if len(kept) > 20 else "")
    note = f"no classes.txt: {len(kept)} values found in the masks: {shown}"
    return Classes(_build_labels(root / "masks", [f"class {value}" for value in kept]), table, note=note)


def _colors_in(masks: Iterable[Path]) -> set[Color]:
    """Of all RGB masks; empty where there are none."""
    colors: set[Color] = set()
    for mask in masks:
        try:
            colors |= colors_in(mask) or set()
        except ImageError:
            continue  # told by the check
    return colors


def _values_in(masks: Iterable[Path]) -> set[int]:
    values: set[int] = set()
    for mask in masks:
        try:
            values |= {int(v) for v in np.nonzero(np.bincount(read_mask(mask).ravel(), minlength=256))[0]}
        except ImageError:
            continue  # told by the check
    return values
