"""The classes of a folder of masks: what the user says, what a list says (class_lists.py), or what is
found by looking.

What is found by looking must look like classes (mask_survey.py), over the whole set. In doubt nothing is guessed: the
error shows the histogram and the options that say what is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imago.core.errors import DataError
from imago.core.labels import IGNORE, Color, Labels, find_background
from imago.core.read_settings import ReadSettings
from imago.core.text import plural
from imago.data import mask_survey
from imago.data.class_lists import ClassList, find_class_list
from imago.data.mask_pixels import UNKNOWN, Codes, LabelReader, Levels, palette_in
from imago.data.mask_survey import MaskSurvey

BLACK_AND_WHITE = {0, IGNORE}
USUAL = ReadSettings()


class DoubtfulMasks(DataError):
    """It cannot be told what the values of masks mean. ``are_counted``: they are more than classes have, and are
    numbered without gaps, as objects are."""

    are_counted = False


@dataclass(frozen=True)
class Classes:
    """What the pixels of the masks mean."""

    labels: Labels
    table: tuple[int, ...]  # 256 entries, value in the file -> class, IGNORE or UNKNOWN
    codes: Codes | None = None  # for masks of RGB colour codes: colour -> value
    note: str = ""  # what was found by looking
    levels: Levels | None = None  # what grey values mean, where they are not the table's
    snap: bool = False  # colours that are no code take the nearest one
    load: Callable[[Path], np.ndarray] | None = None  # reads masks that are none of these: uint8 (H, W)

    def reader(self, path: Path) -> LabelReader:
        """What reads one mask of these classes."""
        return LabelReader(path, self.table, self.codes, self.levels, self.snap, self.load)


def find_classes(root: Path, masks: Sequence[Path], reading: ReadSettings = USUAL) -> Classes:
    """Raises DataError where the list is faulty or no classes can be made out, DoubtfulMasks where it is not sure.
    Unreadable masks are passed over: the check of the data names them, with all the other faults."""
    listed = find_class_list(root)
    if reading.mask_threshold or reading.mask_values:
        if listed and listed.colors:
            raise DataError(f"{listed.path}: lists colours, but {reading.of_masks} is of grey values; leave one out")
        return _say_levels(root, listed, reading)
    if listed and listed.colors:
        codes = {color: value for value, color in enumerate(listed.colors)}
        labels = _build_labels(listed.path, listed.names, listed.colors)
        return Classes(labels, _identity(len(labels)), codes, snap=reading.mask_snap)
    found = _name(listed, masks, reading) if listed else _find(root, masks, reading)
    return snap_values(found, reading)


def apply_reading(known: Classes, root: Path, masks: Sequence[Path], reading: ReadSettings) -> Classes:
    """``known``, of a layout that says itself what its masks mean, as the user says."""
    said = bool(reading.mask_threshold or reading.mask_values)
    return find_classes(root, masks, reading) if said else snap_values(known, reading)


def snap_values(found: Classes, reading: ReadSettings) -> Classes:
    """The same; with ``--mask-snap`` values that are no class take the nearest one, with ``--ignore`` another value
    counts for nothing."""
    table = list(found.table)
    if reading.ignored is not None and reading.ignored < len(table) and found.codes is None:
        table = [UNKNOWN if meaning == IGNORE else meaning for meaning in table]
        table[reading.ignored] = IGNORE
    if reading.ignore == "none" and table[IGNORE] == IGNORE:
        table[IGNORE] = UNKNOWN
    if not reading.mask_snap or found.codes is not None:
        return replace(found, table=tuple(table), snap=reading.mask_snap)
    values = [value for value, meaning in enumerate(table) if meaning not in (UNKNOWN, IGNORE)]
    ignored = table.index(IGNORE) if IGNORE in table else None
    levels = Levels.nearest(values, [table[value] for value in values], ignored)
    return replace(found, table=_identity(len(found.labels)), levels=levels)


def _name(listed: ClassList, masks: Sequence[Path], reading: ReadSettings) -> Classes:
    """The values are classes in the order of the list; two classes may be drawn as black and white."""
    path, names = listed.path, listed.names
    if listed.values:
        values = [*listed.values, *([] if listed.ignored is None else [listed.ignored])]
        table = values_to_table(values, [*range(len(names)), IGNORE])
        return Classes(_build_labels(path, names), table, note=f"classes of {path.name}")
    palette = palette_in(masks[0], len(names)) if masks else ()
    colors = palette if len(set(palette)) == len(names) else ()
    black = find_background(names)
    if any(not any(color) and value != black for value, color in enumerate(colors)):
        colors = ()  # black would be seen on no photo
    labels = _build_labels(path, names, colors)
    if len(names) == 2:
        seen = mask_survey.survey_masks(masks)
        if IGNORE in seen.values and not seen.colored and reading.ignored != IGNORE:
            if 1 not in seen.values:
                return Classes(labels, _black_and_white())
            if reading.ignore == "auto" and (why := mask_survey.doubt_ignored(seen)):
                raise _doubt(path.parent, seen, why)
    return Classes(labels, _identity(len(names)))


def values_to_table(values: Sequence[int], classes: Sequence[int]) -> tuple[int, ...]:
    """256 entries: each of ``values`` is the class beside it (the first one counts), all else UNKNOWN."""
    known = dict(zip(reversed(values), reversed(classes[: len(values)]), strict=True))
    return tuple(known.get(value, UNKNOWN) for value in range(256))


def _say_levels(root: Path, listed: ClassList | None, reading: ReadSettings) -> Classes:
    """What ``--mask-threshold`` or ``--mask-values`` says. Raises DataError for a list of another length."""
    if reading.mask_threshold:
        count = 2
        usual: tuple[str, ...] = ("background", "foreground")
        levels = Levels((reading.mask_threshold,), (0, 1), reading.ignored)
        note = f"masks: values from {reading.mask_threshold} on are the second class, all below it the first"
    else:
        values = reading.mask_values
        ignored = IGNORE if reading.ignore == "auto" and IGNORE not in values else reading.ignored
        levels = Levels.nearest(values, range(len(values)), ignored)
        count, usual = len(values), tuple(f"class {value}" for value in values)
        usual = ("background", "foreground") if set(values) == BLACK_AND_WHITE else usual
        note = f"masks: the values {', '.join(map(str, values))} are classes, and others are the nearest of them"
    if listed and len(listed.names) != count:
        raise DataError(
            f"{listed.path}: names {plural(len(listed.names), 'class')}, but {reading.of_masks} says that there "
            f"are {count}"
        )
    names, source = (listed.names, listed.path) if listed else (usual, root)
    return Classes(_build_labels(source, names), _identity(count), note=note, levels=levels)


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


def _find(root: Path, masks: Sequence[Path], reading: ReadSettings) -> Classes:
    seen = mask_survey.survey_masks(masks)
    if seen.colored:
        return _find_colors(root, seen, reading)
    if seen.values.keys() <= BLACK_AND_WHITE and reading.ignored not in seen.values:
        note = "no classes.txt: masks of 0 and 255, two classes"
        return Classes(Labels(("background", "foreground")), _black_and_white(), note=note)
    chosen = _choose(root, seen, reading)
    black_and_white = reading.mask_snap and set(chosen) == BLACK_AND_WHITE
    if reading.ignore == "auto" and not black_and_white and (why := mask_survey.doubt_ignored(seen)):
        raise _doubt(root, seen, why)
    usual = None if reading.ignore == "none" else IGNORE
    ignored = usual if reading.ignored is None else reading.ignored
    ignored = None if black_and_white and reading.ignored is None else ignored
    kept = [value for value in chosen if value != ignored]
    if kept and kept[-1] > IGNORE:
        raise _doubt(root, seen, f"the values go up to {kept[-1]}, and classes have values to 255")
    new = {value: index for index, value in enumerate(kept)} | ({} if ignored is None else {ignored: IGNORE})
    table = tuple(new.get(value, UNKNOWN) for value in range(256))
    shown = ", ".join(map(str, kept[:20])) + (" ..." if len(kept) > 20 else "")
    note = f"no classes.txt: {len(kept)} values found in the masks: {shown}"
    if ignored in seen.values:
        note += f"; {ignored} counts for nothing ({seen.values[ignored].pixels / seen.pixels:.1%} of the pixels)"
    names = [f"class {value}" for value in kept]
    names = ["background", "foreground"] if set(kept) == BLACK_AND_WHITE else names
    labels = _build_labels(root / "masks", names)
    if kept[0] == 0:  # where nobody says a name
        labels = labels.with_background(0)
        note += "; 0 is taken as background (--background-class says another, or none)"
    return Classes(labels, table, note=note)


def _find_colors(root: Path, seen: MaskSurvey, reading: ReadSettings) -> Classes:
    chosen = _choose(root, seen, reading)
    ordered = mask_survey.as_colors(chosen)
    labels = _build_labels(root / "masks", [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in ordered], ordered)
    codes = {color: value for value, color in enumerate(ordered)}
    note = f"no classes.txt: {len(ordered)} colours found in the masks"
    return Classes(labels, _identity(len(ordered)), codes, note, snap=reading.mask_snap)


def _choose(root: Path, seen: MaskSurvey, reading: ReadSettings) -> list[int]:
    """The values, or colours, that are classes, rising. Raises DoubtfulMasks."""
    if reading.mask_snap:
        return mask_survey.classes_among(seen)
    found = sorted(seen.found)
    rims = mask_survey.find_rims(seen)
    what = "colours" if seen.colored else "values"
    if rims:
        named = mask_survey.as_colors(rims) if seen.colored else rims
        shown = ", ".join(map(str, named[:4])) + (" ..." if len(named) > 4 else "")
        raise _doubt(
            root, seen,
            f"of {len(found)} {what} {len(rims)} fill no area ({shown}), as soft rims, a JPEG's and stray pixels do",
        )  # fmt: skip
    if len(found) > UNKNOWN:
        raise _doubt(root, seen, f"masks with {len(found)} {what} (are they soft, or JPEGs?)")
    return found


def _doubt(root: Path, seen: MaskSurvey, why: str) -> DoubtfulMasks:
    """With the histogram, and all ways out."""
    likely = mask_survey.classes_among(seen)
    ways = ["say what is meant (in a recipe: under reading, or at the top):"]
    if not seen.colored:
        if len(likely) == 2 or (len(likely) == 3 and likely[-1] == IGNORE):
            start = likely[1] if len(likely) == 3 else -(-sum(likely) // 2)
            ways.append(f"--mask-threshold {start}: two classes, the foreground from {start} on")
        if len(likely) > 1:
            listed = ",".join(map(str, likely[:20])) + (",..." if len(likely) > 20 else "")
            ways.append(f"--mask-values {listed}: these are the classes, others take the nearest")
        if IGNORE in seen.values:
            ways.append("--ignore 255: it counts for nothing; --ignore none: it is a class")
    ways.append("--mask-snap: what fills no area takes the nearest value or colour that does")
    codes = "name R G B" if seen.colored else "a name for each value from 0 on"
    ways.append(f"or list the classes in {root / 'classes.txt'}, a line each: {codes}")
    told = (*mask_survey.describe_values(seen), *ways)
    doubt = DoubtfulMasks(f"{root}: cannot tell what the masks mean: {why}", told)
    doubt.are_counted = not seen.colored and IGNORE < max(seen.values) < 2 * len(seen.values)
    return doubt
