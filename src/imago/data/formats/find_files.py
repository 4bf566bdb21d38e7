"""Where the files of a data set lie, when no rule says so: annotation files by what stands in them, photos by the name
that an annotation file calls them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from imago.core.text import plural, unescape
from imago.files.clutter import is_clutter
from imago.files.images import SUFFIXES
from imago.files.text import decode_text

DEPTH = 6  # folders below the root in which annotation files are looked for
LOOKED_AT = 32  # files of one folder whose beginning is read: where there are many, they are alike
_ENDS = 65_536  # bytes at each end of a file that tell what it is

Words = tuple[tuple[str, ...], ...]  # regular expressions: of one line all must be found

# What stands in a file of each kind. The first kind that fits counts.
_JSON_KINDS: dict[str, Words] = {
    "Labelbox": ((r'"data_row"\s*:', r'"projects"\s*:'),),
    "Segments.ai": ((r'"labelsets"\s*:', r'"samples"\s*:'), (r'"segmentation_bitmap"\s*:',)),
    "VIA": (
        (r'"_via_img_metadata"\s*:',), (r'"shape_attributes"\s*:',), (r'"file_attributes"\s*:', r'"regions"\s*:'),
        (r'"vid_list"\s*:', r'"project"\s*:'),
    ),
    "GeoJSON": ((r'"type"\s*:\s*"Feature(Collection)?"', r'"geometry"\s*:'), (r'"type"\s*:\s*"FeatureCollection"',)),
    "labelme": ((r'"shapes"\s*:\s*\[', r'"image(Path|Data|Height)"\s*:'),),
    "Label Studio": (
        (r"^\s*\[", r'"(annotations|completions|predictions)"\s*:', r'"result"\s*:'),
        (r"^\s*\[", r'"original_width"\s*:'),
        (r"^\s*\[", r'"(annotation_id|annotator|lead_time)"\s*:', r'"(image|img|data)"\s*:'),
    ),
    "Datumaro": ((r'"items"\s*:\s*\[', r'"categories"\s*:\s*\{'),),
    "SA-1B": ((r'"image"\s*:\s*\{', r'"annotations"\s*:\s*\[', r'"(stability_score|predicted_iou|crop_box)"\s*:'),),
    "COCO panoptic": ((r'"segments_info"\s*:\s*\[',),),
    "Supervisely": ((r'"classes"\s*:\s*\[', r'"(projectType|title)"\s*:'),),
    "COCO": (
        (r'"images"\s*:\s*\[', r'"annotations"\s*:\s*\['), (r'"images"\s*:\s*\[', r'"categories"\s*:\s*\['),
        (r'"annotations"\s*:\s*\[', r'"categories"\s*:\s*\['),
        (r'"images"\s*:\s*\[', r'"file_name"\s*:'), (r'"annotations"\s*:\s*\[', r'"image_id"\s*:'),
    ),
}  # fmt: skip
_XML_KINDS: dict[str, Words] = {
    "CVAT": ((r"<annotations>", r"<(image|version|meta)\b"),),
    "VOC": ((r"<annotation\b", r"<bndbox>"),),
    "LabelMe XML": ((r"<annotation\b", r"<(imagesize|polygon|segm|sourceAnnotation)\b"),),
}
_KINDS: dict[str, dict[str, Words]] = {
    ".json": _JSON_KINDS, ".ndjson": _JSON_KINDS, ".xml": _XML_KINDS,
    ".geojson": {"GeoJSON": ((),)}, ".csv": {"VIA": ((r"region_shape_attributes",),)},
}  # fmt: skip
_UPLOAD = re.compile(r"[0-9a-f]{6,8}[-_]")  # what Label Studio puts before the name of an uploaded photo


def kind_of_file(path: Path) -> str:
    """Which program's annotations a .json, .ndjson, .xml or .csv holds, told by its two ends; "" for none known."""
    kinds = _KINDS.get(path.suffix.lower())
    if not kinds:
        return ""
    try:
        with path.open("rb") as stream:
            ends = stream.read(_ENDS)
            stream.seek(max(len(ends), path.stat().st_size - _ENDS))
            text = decode_text(ends, "replace") + stream.read().decode("utf-8", "replace")
    except OSError:
        return ""

    def fits(words: Iterable[str]) -> bool:
        return all(re.search(word, text) for word in words)

    return next((kind for kind, lines in kinds.items() if any(map(fits, lines))), "")


def iter_annotations(root: Path, kind: str, suffixes: Iterable[str] = (".json",)) -> Iterator[Path]:
    """The files of ``kind`` in ``root`` and its folders, sorted, the upper ones first. Of a folder with many files
    only some are looked at: where those are of the kind, all are given."""
    suffixes = tuple(suffixes)
    for folder, names in walk(root, DEPTH):
        candidates = [folder / name for name in names if name.lower().endswith(suffixes)]
        found = [path for path in candidates[:LOOKED_AT] if kind_of_file(path) == kind]
        yield from found
        if found and len(candidates) > LOOKED_AT:
            yield from candidates[LOOKED_AT:]


def walk(root: Path, depth: int = 100) -> Iterator[tuple[Path, list[str]]]:
    """Each folder and its files' names, sorted, without clutter. Raises nothing for folders that cannot be read."""
    for folder, folders, names in os.walk(root):
        level = len(Path(folder).relative_to(root).parts)
        folders[:] = sorted(name for name in folders if not is_clutter(name)) if level < depth else []
        yield Path(folder), sorted(name for name in names if not is_clutter(name))


def describe_files(root: Path) -> str:
    """What lies in a folder, counted: "12 labelme files, 3 other .json, 15 photos"."""
    counts: Counter[str] = Counter()
    photos = 0
    for folder, names in walk(root):
        looked = 0
        for name in names:
            suffix = Path(name).suffix.lower()
            if suffix in SUFFIXES:
                photos += 1
            elif suffix in _KINDS:
                looked += 1
                kind = kind_of_file(folder / name) if looked <= LOOKED_AT else ""
                counts[f"{kind} file" if kind else f"{suffix} file"] += 1
            elif suffix in (".txt", ".yaml", ".yml", ".npy", ".mat"):
                counts[f"{suffix} file"] += 1
    found = [plural(count, what) for what, count in counts.most_common()]
    return ", ".join([*found, plural(photos, "photo")])


class PhotoFinder:
    """Finds photos below ``root`` by what an annotation file calls them: a name, a path of another machine, an
    address. The folder is listed once, when a name is not found where it says."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        """File name in lower case -> photos."""
        found: dict[str, list[Path]] = {}
        for folder, names in walk(self.root):
            for name in names:
                if Path(name).suffix.lower() in SUFFIXES:
                    found.setdefault(name.lower(), []).append(folder / name)
        return found

    @property
    def photos(self) -> list[Path]:
        """All photos, sorted."""
        return sorted(path for paths in self._by_name.values() for path in paths)

    def find(self, name: str, near: Path | None = None, folders: Iterable[Path] = ()) -> Path | None:
        """The photo, or None. ``near``: the folder of the annotation file; ``folders`` are looked in first. Of several
        photos of one name the one whose path ends like ``name``, else the one nearest to the annotation file."""
        for form in dict.fromkeys((name, unescape(name), name.replace("\\", "/"))):
            for folder in (*folders, *((near,) if near else ()), self.root, self.root / "images"):
                if (path := _existing(folder, form)) is not None:
                    return path
        parts = _path_parts(name)
        if not parts:
            return None
        if (path := _existing(self.root, "/".join(parts))) is not None:
            return path
        found = self._by_name.get(parts[-1].lower()) or self._by_name.get(unescape(parts[-1]).lower())
        if not found and (prefix := _UPLOAD.match(parts[-1])):
            found = self._by_name.get(parts[-1][prefix.end() :].lower())
        if not found and Path(parts[-1]).suffix.lower() not in SUFFIXES:
            found = [path for path in self.photos if path.stem == parts[-1]]  # a name without its suffix
        if not found:
            return None

        def rank(path: Path) -> tuple[int, int, str]:
            alike = 0
            for mine, theirs in zip(reversed(path.parts), reversed(parts), strict=False):
                if mine != theirs:
                    break
                alike += 1
            beside = int(near is not None and path.is_relative_to(near))
            return -alike, -beside, str(path)

        return min(found, key=rank)


def _path_parts(name: str) -> list[str]:
    """The parts of a path or address, without what stands before the path and after it."""
    if "://" in name or name.startswith("/data/"):
        parts = urlsplit(name)
        # /data/local-files/?d=folder/a.jpg: Label Studio's own storage
        name = unquote(parts.query[2:] if parts.query.startswith("d=") else parts.path)
    return [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")]


def _existing(folder: Path, name: str) -> Path | None:
    try:
        path = folder / name
        return Path(os.path.normpath(path)) if name and path.is_file() else None
    except (OSError, ValueError):  # no name that a file can have
        return None
