"""Which photos are meant, and which files will be written for them: decided before anything runs."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imago.core.errors import ImageError, ImagoError
from imago.files.images import SUFFIXES

OUTPUT_SUFFIXES = {
    "cutout": ".cutout.png",
    "mask": ".mask.png",
    "overlay": ".overlay.jpg",
    "json": ".json",
    "objects": ".objects.png",
    "yolo": ".txt",
}


@dataclass(frozen=True)
class InputImage:
    path: Path
    relative: Path  # below the folder that was named; the bare name of a file that was named itself


@dataclass(frozen=True)
class PlannedImage:
    """One photo and the files to write for it, one a suffix, in the order of the suffixes."""

    image: InputImage
    outputs: tuple[Path, ...]


def find_images(paths: Sequence[Path], recursive: bool = True) -> list[InputImage]:
    """Files as they are named, whatever their ending; of folders all images (``SUFFIXES``), sorted, with sub-folders.

    Hidden files and folders and files that Imago wrote (``x.cutout.png`` and the like) are not taken from folders. A
    file that is meant twice comes once. Raises ImageError for a missing path and for a folder without images.
    """
    found: dict[str, InputImage] = {}
    for path in paths:
        path = Path(path)
        if os.path.isdir(path):
            inside = sorted(_walk(path, recursive), key=lambda image: image.relative.parts)
            if not inside:
                where = "in it or below" if recursive else "in it"
                raise ImageError(f"{path}: no images {where} (looked for {', '.join(sorted(SUFFIXES))})")
        elif os.path.lexists(path):
            inside = [InputImage(path, Path(path.name))]
        else:
            raise ImageError(f"{path}: there is no such file or folder")
        for image in inside:
            found.setdefault(os.path.abspath(image.path), image)
    return list(found.values())


def _walk(folder: Path, recursive: bool) -> Iterator[InputImage]:
    seen = set()  # real places of the folders: links may lead back

    def refuse(error: OSError) -> None:
        raise ImageError(f"{error.filename}: the folder cannot be read ({error.strerror})")

    for place, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")] if recursive else []
        for name in files:
            lowered = name.lower()
            if name.startswith(".") or lowered.endswith(tuple(OUTPUT_SUFFIXES.values())):
                continue
            if os.path.splitext(lowered)[1] in SUFFIXES:
                path = Path(place, name)
                yield InputImage(path, path.relative_to(folder))


def plan_outputs(
    inputs: Sequence[InputImage], out: Path | None, suffixes: Sequence[str], overwrite: bool = False
) -> list[PlannedImage]:
    """The outputs of every input: ``out`` with the sub-folders kept, or beside the photo where ``out`` is None.

    Raises one ImagoError with a line for every output that two inputs would write (names that differ by case only
    count as one, as on macOS and Windows), that is itself an input, or, unless ``overwrite``, that is there already.
    """
    plan = []
    writers: dict[str, list[Path]] = {}
    for image in inputs:
        folder = image.path.parent if out is None else Path(out) / image.relative.parent
        outputs = tuple(folder / (image.relative.stem + suffix) for suffix in suffixes)
        plan.append(PlannedImage(image, outputs))
        for output in outputs:
            writers.setdefault(_key(output), []).append(image.path)
    faults: list[str] = []
    read = {_key(image.path) for image in inputs}
    for planned in plan:
        for output in planned.outputs:
            key = _key(output)
            sources = writers.pop(key, None)  # each output once
            if sources is None:
                continue
            if len(sources) > 1:
                faults.append(f"{output}: would be written for {' and for '.join(map(str, sources))}")
            elif key in read:
                faults.append(f"{output}: is an input itself")
            elif not overwrite and os.path.lexists(output):
                faults.append(f"{output}: is there already (--overwrite replaces it)")
    if len(faults) == 1:
        raise ImagoError(faults[0])
    if faults:
        raise ImagoError(f"nothing was run, for {len(faults)} outputs are in the way:\n  " + "\n  ".join(faults))
    return plan


def _key(path: Path) -> str:
    return unicodedata.normalize("NFC", os.path.abspath(path)).casefold()
