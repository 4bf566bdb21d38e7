"""Where the photos, label files and class names of a YOLO data set lie.

Looked for, in this order:

- what ``data.yaml`` names under train, val and test: folders, or text files that list photos;
- ``train.txt`` and ``val.txt`` that list photos, beside ``obj.names`` (darknet);
- ``train/images/`` and ``train/labels/``, ``val/`` the same (Roboflow);
- ``images/`` and ``labels/``, with or without the folders ``train`` and ``val`` in each.

A label file lies where its photo does, the last folder ``images`` read as ``labels``. Names of classes come from
``data.yaml``, ``classes.txt``, ``obj.names`` or the first ``*.names``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imago.core.errors import DataError
from imago.core.text import plural
from imago.data.formats.checks import read_class_list
from imago.data.formats.pairing import index_by_stem
from imago.data.formats.yolo_yaml import Value, read_yolo_yaml
from imago.data.splits import NAMES, Splits, find_splits
from imago.files.clutter import glob_files
from imago.files.images import SUFFIXES
from imago.files.text import read_text

Pairs = dict[str, tuple[Path, Path]]  # name -> photo and label file; that may be missing: a photo without an object


@dataclass(frozen=True)
class YoloLayout:
    """What was found."""

    names: list[str]  # of the classes 0, 1, ...
    pairs: Pairs
    splits: Splits
    faults: tuple[str, ...]


def is_yolo(root: Path) -> bool:
    if _find_yaml(root) is not None or _names_file(root, (".names",)) is not None:
        return True
    folders = (root / "labels", *(root / name / "labels" for name in NAMES))
    return any(next(glob_files(folder, "**/*.txt"), None) is not None for folder in folders if folder.is_dir())


def find_yolo(root: Path) -> YoloLayout:
    """Raises DataError where names or photos are missing altogether."""
    yaml = _find_yaml(root)
    settings = read_yolo_yaml(yaml) if yaml else {}
    names = _read_names(root, yaml, settings)
    faults: list[str] = []
    pairs, splits = _divide(root, yaml, settings, faults)
    return YoloLayout(names, pairs, splits, tuple(faults))


def _find_yaml(root: Path) -> Path | None:
    """``data.yaml``, or the only other one that names classes."""
    found = [root / name for name in ("data.yaml", "data.yml") if (root / name).is_file()]
    others = [path for path in glob_files(root, "*.y*ml") if path.is_file() and "names:" in read_text(path, "replace")]
    if not found and len(others) > 1:
        raise DataError(f"{root}: {', '.join(path.name for path in others)} all name classes; call one data.yaml")
    return next(iter(found or others), None)


def _names_file(root: Path, suffixes: tuple[str, ...] = (".names", ".txt")) -> Path | None:
    usual = [root / name for name in ("classes.txt", "obj.names", "labels/classes.txt") if name.endswith(suffixes)]
    return next((path for path in (*usual, *glob_files(root, "*.names")) if path.is_file()), None)


def _read_names(root: Path, yaml: Path | None, settings: dict[str, Value]) -> list[str]:
    given = settings.get("names")
    if yaml is None or given is None:
        path = _names_file(root)
        if path is None:
            raise DataError(f"{root}: no names of classes; expected data.yaml with names:, classes.txt or obj.names")
        return read_class_list(path)
    if isinstance(given, str):
        raise DataError(f"{yaml}: names: is one word ({given!r}); write a list of classes")
    if isinstance(given, dict):
        if sorted(given) != sorted(str(index) for index in range(len(given))):
            raise DataError(f"{yaml}: names: must number the classes 0 to {len(given) - 1}; got {', '.join(given)}")
        given = [given[str(index)] for index in range(len(given))]
    if not given or ("nc" in settings and settings["nc"] != str(len(given))):
        raise DataError(f"{yaml}: names: lists {plural(len(given), 'class')}, nc: says {settings.get('nc', 'nothing')}")
    return given


def _divide(root: Path, yaml: Path | None, settings: dict[str, Value], faults: list[str]) -> tuple[Pairs, Splits]:
    """Photos with the label files that belong to them, and how they are divided."""
    sources: dict[str, list[Path]] = {}
    notes: list[str] = []
    for split in NAMES:
        given = settings.get(split)
        if yaml is not None and given:
            if places := _find_places(root, yaml, settings, split, (notes, faults)):
                sources[split] = places
        elif yaml is None and (root / f"{split}.txt").is_file() and not (root / "labels").is_dir():
            sources[split] = [root / f"{split}.txt"]
        elif yaml is None and (root / split / "images").is_dir():
            sources[split] = [root / split / "images"]
    if not sources:
        if not (root / "images").is_dir() or not (root / "labels").is_dir():
            raise DataError(f"{root}: expected images/ and labels/, train/images/, or data.yaml with train: and val:")
        pairs = _list_folder(root / "images", faults)
        names = sorted(pairs)
        return pairs, find_splits(root, names)
    pairs, members = {}, {}
    for split, places in sources.items():
        found: Pairs = {}
        for place in places:
            found |= _read_list(place, root, faults) if place.is_file() else _list_folder(place, faults)
        photos = {photo.resolve() for photo, _ in pairs.values()}
        both = [photo for photo, _ in found.values() if photo.resolve() in photos]
        faults += [f"{photo}: stands in {split} and in an earlier split" for photo in both]
        members[split] = tuple(f"{split}/{name}" for name, (photo, _) in sorted(found.items()) if photo not in both)
        pairs |= {f"{split}/{name}": found[name] for name in sorted(found)}
    return pairs, Splits(members, tuple(notes)).with_val_split("no val")


def _find_places(
    root: Path, yaml: Path, settings: dict[str, Value], split: str, said: tuple[list[str], list[str]]
) -> list[Path]:
    """Where the photos of ``split`` lie. What is not there is a fault; of the test split, which many keep back and
    nothing is trained or chosen by, a note. ``said``: notes, and faults."""
    given = settings[split]
    base = yaml.parent / str(settings.get("path", "."))
    base = base if base.is_dir() else yaml.parent  # ``path`` names a place on its author's machine
    found = []
    for word in [given] if isinstance(given, str) else given:
        place = _place(base, root, word)
        if _has_photos(place):
            found.append(place)
        else:
            why = "holds no photos" if place.exists() else "is not there"
            said[split != "test"].append(f"{yaml}: names {word!r} as {split}, but {place} {why}")
    return found


def _place(base: Path, root: Path, word: str) -> Path:
    """Where ``word`` of data.yaml leads. Roboflow writes ``../train/images`` and means ``train/images``."""
    places = (base / word, root / word.removeprefix("../"))
    return next((place for place in places if place.exists()), places[0])


def _has_photos(place: Path) -> bool:
    return place.is_file() or (place.is_dir() and bool(index_by_stem(place, SUFFIXES)[0]))


def _list_folder(folder: Path, faults: list[str]) -> Pairs:
    photos, photo_faults = index_by_stem(folder, SUFFIXES)
    faults += photo_faults
    pairs = {name: (photo, _label_path(photo)) for name, photo in photos.items()}
    labels_folder = _label_path(folder / "x.jpg").parent
    labels, _ = index_by_stem(labels_folder, (".txt",))
    if labels_folder != folder:
        faults += [
            f"{labels[name]}: no photo {folder.name}/{name}.*"
            for name in sorted(labels.keys() - photos.keys())
            if Path(name).name not in ("classes", "train", "val", "test")
        ]
    if not photos:
        raise DataError(f"{folder}: holds no photos")
    return pairs


def _read_list(path: Path, root: Path, faults: list[str]) -> Pairs:
    pairs: Pairs = {}
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{path}: cannot be read as text ({error})")
        return pairs
    for line in lines:
        word = line.strip()
        places = [place for place in (root / word, path.parent / word) if word and place.is_file()]
        if not word:
            continue
        if not places:
            faults.append(f"{path}: names {word}, which is missing")
        elif (name := Path(word).stem) in pairs:
            faults.append(f"{path}: names two photos {name!r}; rename one")
        else:
            pairs[name] = places[0], _label_path(places[0])
    return pairs


def _label_path(photo: Path) -> Path:
    parts = list(photo.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")
