"""Which photos are meant: decided before anything runs. ``outputs`` plans what is written for them."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imago.core.errors import ImageError
from imago.core.text import plural
from imago.files.clutter import is_clutter
from imago.files.images import SUFFIXES, page_label
from imago.files.medical_kind import MedicalKind, find_kind, is_medical_name
from imago.files.paths import explain_missing, has_folder, path_kind, web_address

OUTPUT_SUFFIXES = {
    "cutout": ".cutout.png",
    "mask": ".mask.png",
    "overlay": ".overlay.jpg",
    "json": ".json",
    "objects": ".objects.png",
    "yolo": ".txt",
    "alpha": ".alpha.png",
    "geotiff": ".mask.tif",
    "geojson": ".geojson",
    "gpkg": ".gpkg",
    "panoptic": ".panoptic.png",
}
# What the masks of all slices of a volume become.
VOLUME_SUFFIXES: dict[MedicalKind, str] = {"NIfTI": ".mask.nii.gz", "DICOM": ".seg.dcm"}


@dataclass(frozen=True)
class InputImage:
    path: Path
    relative: Path  # below the folder that was named; the bare name of a file that was named itself
    piped: bool = False  # a pipe or the like: can be read once, and has no folder for what is written
    page: int = 0  # of a file of several pages, from 1; 0: the file as it is

    @property
    def label(self) -> str:
        """What it is called in messages and in files."""
        return page_label(str(self.path), self.page)

    @property
    def stem(self) -> str:
        """What its outputs are called after."""
        name = self.relative.name
        if name.lower().endswith(".nii.gz"):
            return name[: -len(".nii.gz")]
        return name if re.fullmatch(r"\.\d+", self.relative.suffix) else self.relative.stem  # 1.2.840.113619.2.5

    @property
    def suffix(self) -> str:
        """What stands behind the stem in the names of its outputs."""
        return f".page{self.page:03}" if self.page else ""


def find_images(
    paths: Sequence[Path | str], recursive: bool = True, say: Callable[[str], None] = lambda line: None
) -> list[InputImage]:
    """Files as they are named, whatever their ending; of folders all images (``SUFFIXES``), sorted, with sub-folders.

    Patterns (``*.jpg``) that no shell has expanded are expanded here. Hidden files and folders and files that Imago
    wrote (``x.cutout.png`` and the like) are not taken from folders, and pipes and devices in them neither, which is
    said. A file that is meant twice comes once. Raises ImageError for a missing path and for a folder without images.
    """
    found: dict[str, InputImage] = {}
    for path in paths:
        for named in _expand(os.fspath(path)):
            for image in _images_at(named, recursive, say):
                found.setdefault(os.path.abspath(image.path), image)
    return list(found.values())


def _expand(text: str) -> list[Path]:
    if not text:
        raise ImageError("an empty path (''): name a photo or a folder; '.' is the current folder")
    if web_address(text):
        raise ImageError(explain_missing(text))
    if os.path.lexists(text) or not glob.has_magic(text):
        return [Path(text)]
    matches = sorted(glob.glob(text, recursive=True))
    if not matches:
        raise ImageError(f"{text}: no file or folder has such a name")
    return [Path(match) for match in matches]


def folder_of(text: str) -> Path:
    """Where a file for all photos of ``text`` lies: the folder that is named, that of the file, or of a pattern the
    part in front of its first wildcard. Raises ImageError for pipes, which have none."""
    path = Path(text)
    if glob.has_magic(text) and not os.path.lexists(text):
        while glob.has_magic(str(path)):
            path = path.parent
        return path
    if not has_folder(path):
        raise ImageError(f"{text}: has no folder to write to; name a folder with -o")
    return path if path_kind(path) == "folder" else path.parent


def _images_at(path: Path, recursive: bool, say: Callable[[str], None]) -> list[InputImage]:
    kind = path_kind(path)
    if kind == "folder":
        inside = sorted(_walk(path, recursive, say), key=lambda image: image.relative.parts)
        if not inside:
            where = "in it or below" if recursive else "in it"
            raise ImageError(f"{path}: no images {where} (looked for {', '.join(sorted(SUFFIXES))})")
        return inside
    if kind == "device":
        raise ImageError(f"{path}: is a device or a terminal, not an image; name a file, or - for a pipe")
    if kind == "missing" and not os.path.lexists(path):
        raise ImageError(explain_missing(path, "file or folder"))
    return [InputImage(path, Path(path.name), piped=not has_folder(path))]


def _is_medical(path: Path) -> bool:
    return is_medical_name(path.name) and path_kind(path) == "file" and find_kind(path) is not None


def _walk(folder: Path, recursive: bool, say: Callable[[str], None]) -> Iterator[InputImage]:
    """The images, in no order; what else there is, is said in one line."""
    others: list[str] = []
    seen = set()  # real places of the folders: links may lead back

    def refuse(error: OSError) -> None:
        raise ImageError(f"{error.filename}: the folder cannot be read ({error.strerror})")

    for place, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not is_clutter(name)] if recursive else []
        for name in files:
            lowered = name.lower()
            if is_clutter(name) or lowered.endswith((*OUTPUT_SUFFIXES.values(), *VOLUME_SUFFIXES.values())):
                continue
            if os.path.splitext(lowered)[1] not in SUFFIXES and not _is_medical(Path(place, name)):
                others.append(name)
            else:
                path = Path(place, name)
                if path_kind(path) not in ("file", "missing"):  # missing: a link that leads nowhere; reading says so
                    say(f"{path}: is no file but a pipe, device or folder; it is left out")
                    continue
                yield InputImage(path, path.relative_to(folder))
    if others:
        named = ", ".join(sorted(others)[:3]) + (" ..." if len(others) > 3 else "")
        say(f"{folder}: {plural(len(others), 'file')} of no image's ending left out ({named})")
