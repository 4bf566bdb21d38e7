"""The files that name the classes of masks: ``classes.txt``, and those that other tools write.

classes.txt, codes.txt    a name a line, for the values 0, 1, 2 ...; ``name R G B`` for masks of RGB colour codes
_classes.csv              Roboflow: ``Pixel Value, Class``; also in train/ and the like
class_dict.csv            ``name,r,g,b``
labelmap.txt              CVAT: ``name:r,g,b:parts:actions``
dataset.json              nnU-Net: ``"labels": {"background": 0, ...}``, with ``ignore`` for what counts for nothing
objectInfo150.txt         ADE20K's scene parsing: number and names, from 1; 0 counts for nothing
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imago.core.errors import DataError
from imago.core.labels import IGNORE, Color
from imago.files.clutter import iter_folders
from imago.files.text import read_json, read_text


@dataclass(frozen=True)
class ClassList:
    """Names of classes, and which values or colours of masks they are."""

    path: Path
    names: tuple[str, ...]
    colors: tuple[Color, ...] = ()  # of masks of RGB colour codes
    values: tuple[int, ...] = ()  # of the names; empty: 0, 1, 2 ...
    ignored: int | None = IGNORE

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError(f"{self.path}: names no class")
        if len(set(self.colors)) < len(self.colors):
            raise DataError(f"{self.path}: two classes have the same colour; give each its own")
        if len(set(self.values)) < len(self.values):
            raise DataError(f"{self.path}: two classes have the same value; give each its own")
        if not all(0 <= value <= IGNORE for value in self.values):
            raise DataError(f"{self.path}: a class has the value {max(self.values)}; values go from 0 to {IGNORE}")


def find_class_list(root: Path) -> ClassList | None:
    """The first that is there. Raises DataError for one that is faulty."""
    for name, read in _READERS.items():
        folders = [root, *(iter_folders(root) if name == "_classes.csv" else ())]
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is None:
            continue
        try:
            found = read(path)
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not a text file in UTF-8; write one class a line") from error
        except (OSError, ValueError, KeyError, TypeError, RecursionError, csv.Error) as error:
            raise DataError(f"{path}: cannot be read as a list of classes ({error!r})") from error
        if found is not None:
            return found
    return None


def _read_lines(path: Path) -> ClassList:
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    parts = [line.split() for line in lines]
    if not lines or not all(len(p) >= 4 and _are_bytes(p[-3:]) for p in parts):
        return ClassList(path, tuple(lines))
    return ClassList(path, tuple(" ".join(p[:-3]) for p in parts), tuple(_to_color(p[-3:]) for p in parts))


def _are_bytes(words: Sequence[str]) -> bool:
    return len(words) == 3 and all(word.strip().isdecimal() and int(word) < 256 for word in words)


def _to_color(words: Sequence[str]) -> Color:
    red, green, blue = map(int, words)
    return red, green, blue


def _read_rows(path: Path) -> list[list[str]]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(read_text(path).splitlines())]
    return [row for row in rows if any(row)][1:]  # without the head


def _read_roboflow(path: Path) -> ClassList | None:
    rows = _read_rows(path)
    if not all(len(row) == 2 and row[0].isdecimal() for row in rows):
        return None  # Roboflow's list of classes of whole photos has the same name
    rows.sort(key=lambda row: int(row[0]))
    return ClassList(path, tuple(row[1] for row in rows), values=tuple(int(row[0]) for row in rows))


def _read_class_dict(path: Path) -> ClassList:
    rows = _read_rows(path)
    wrong = next((row for row in rows if len(row) < 4 or not _are_bytes(row[1:4])), None)
    if wrong is not None:
        raise DataError(f"{path}: expected name,r,g,b in each line; got {','.join(wrong)!r}")
    return ClassList(path, tuple(row[0] for row in rows), tuple(_to_color(row[1:4]) for row in rows))


def read_label_map(path: Path) -> ClassList:
    """CVAT's ``labelmap.txt``."""
    names: list[str] = []
    colors: list[Color] = []
    for number, line in enumerate(read_text(path, "replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        words = rest.split(":")[0].split(",")
        if not name or not _are_bytes(words):
            raise DataError(f"{path}, line {number}: expected name:red,green,blue; got {line.strip()!r}")
        names.append(name)
        colors.append(_to_color(words))
    return ClassList(path, tuple(names), tuple(colors))


def _read_nnunet(path: Path) -> ClassList | None:
    content = read_json(path)
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, dict):
        return None
    if any(isinstance(value, list) for value in labels.values()):
        raise DataError(f"{path}: classes of several values (nnU-Net's regions) are not read; give each value a class")
    found: dict[int, str] = {}
    for key, value in labels.items():  # version 1 has them the other way round
        number, name = (int(key), str(value)) if str(key).isdecimal() else (int(value), str(key))
        found[number] = name
    ignored = next((number for number, name in found.items() if name == "ignore"), IGNORE)
    order = sorted(number for number in found if found[number] != "ignore")
    return ClassList(path, tuple(found[n] for n in order), values=tuple(order), ignored=ignored)


def _read_ade(path: Path) -> ClassList:
    rows = [line.split("\t") for line in read_text(path).splitlines() if line.strip()][1:]
    names = [row[-1].split(",")[0].strip() for row in rows]
    values = [int(row[0]) for row in rows]
    twice = {name for name in names if names.count(name) > 1}  # "bar" and "screen" stand twice
    shown = tuple(f"{name} {value}" if name in twice else name for name, value in zip(names, values, strict=True))
    return ClassList(path, shown, values=tuple(values), ignored=0)


_READERS: dict[str, Callable[[Path], ClassList | None]] = {
    "classes.txt": _read_lines,
    "codes.txt": _read_lines,
    "_classes.csv": _read_roboflow,
    "class_dict.csv": _read_class_dict,
    "labelmap.txt": read_label_map,
    "dataset.json": _read_nnunet,
    "objectInfo150.txt": _read_ade,
}
