"""Which files will be written for the photos: decided, and all that is in the way said, before anything runs."""

from __future__ import annotations

import contextlib
import os
import secrets
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imago.core.errors import ImagoError
from imago.core.text import plural
from imago.files.inputs import OUTPUT_SUFFIXES, InputImage
from imago.files.paths import names_file
from imago.files.png import read_png_text

SameName = Literal["suffix", "skip"]
_PICTURES = (".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff")
# What a file may be called that is named itself; exact values go into formats that keep them.
ENDINGS = {
    "cutout": _PICTURES,
    "overlay": _PICTURES,
    "mask": (".png", ".tif", ".tiff"),
    "objects": (".png", ".tif", ".tiff"),
    "alpha": (".png", ".tif", ".tiff"),
    "panoptic": (".png", ".tif", ".tiff"),
    "json": (".json",),
    "yolo": (".txt",),
    "geotiff": (".tif", ".tiff"),
    "geojson": (".geojson", ".json"),
    "gpkg": (".gpkg",),
}
OBJECT_KEYWORD = "imago"  # of the text in the PNG of an object, which says of which photo it is
_LISTED = 10  # faults that are shown; of 10,000 nobody reads the rest


@dataclass(frozen=True)
class PlannedImage:
    """One photo and the files to write for it, one a kind, in the order of the kinds."""

    image: InputImage
    outputs: tuple[Path, ...]


def plan_outputs(
    inputs: Sequence[InputImage],
    out: Path | None,
    kinds: Sequence[str],
    overwrite: bool = False,
    *,
    same_name: SameName = "suffix",
    skip_existing: bool = False,
    opaque: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> list[PlannedImage]:
    """The outputs of every input: the file ``out``, the folder ``out`` with the sub-folders kept, or beside the photo
    where ``out`` is None. ``paths.names_file`` says which. ``kinds``: keys of ``OUTPUT_SUFFIXES``.
    ``opaque``: as for ``check_ending``.

    Of two photos that would write one file (IMG_1.HEIC and IMG_1.JPG) the second writes under its whole name
    (``IMG_1.JPG.cutout.png``), or with ``same_name="skip"`` is left out, which is said. ``skip_existing`` leaves out
    photos for which everything is there. Raises one ImagoError with a line for every output that two inputs would
    still write, that is itself an input, or, unless ``overwrite`` or ``skip_existing``, that is there already.
    """
    if out is not None and names_file(out):
        plan = [_plan_file(inputs, Path(out), kinds, opaque)]
        faults: list[str] = []
    else:
        plan, faults = _plan_folder(inputs, out, [OUTPUT_SUFFIXES[kind] for kind in kinds], same_name, say)
    read = {_key(image.path): image.path for image in inputs}
    for output in (output for planned in plan for output in planned.outputs):
        source = read.get(_key(output))
        if source is not None and not _holds_both(source, output):
            faults.append(f"{output}: is an input itself")
        elif not (overwrite or skip_existing) and os.path.lexists(output):
            faults.append(f"{output}: is there already (--overwrite replaces it, --skip-existing leaves it)")
    if len(faults) == 1:
        raise ImagoError(faults[0])
    if faults:
        more = [f"... and {len(faults) - _LISTED} more"] if len(faults) > _LISTED else []
        lines = "\n  ".join(faults[:_LISTED] + more)
        raise ImagoError(f"nothing was run, for {plural(len(faults), 'output', 'are')} in the way:\n  {lines}")
    if not (skip_existing and kinds):
        return plan
    return skip_written(plan, lambda planned: all(map(os.path.lexists, planned.outputs)), say)


def skip_written(
    plan: list[PlannedImage], is_written: Callable[[PlannedImage], bool], say: Callable[[str], None]
) -> list[PlannedImage]:
    """Those of ``plan`` that are still to be written; how many are left out is said in one line."""
    left = [planned for planned in plan if not is_written(planned)]
    if len(left) < len(plan):
        say(f"{len(plan) - len(left)} of {len(plan)} photos are written already and are skipped")
    return left


def check_replaceable(path: Path) -> None:
    """Raises ImagoError where ``path`` holds an object of another photo, whatever ``--overwrite`` says: that was
    meant for the earlier cut-out of this one."""
    if read_png_text(path, OBJECT_KEYWORD):
        raise ImagoError(f"{path}: holds an object of another photo (--instances wrote it); move it away")


def check_ending(out: Path, kind: str, opaque: bool = False) -> None:
    """Raises ImagoError where a file that is named ``out`` cannot hold ``kind``; ``opaque``: of a cut-out, whether it
    is laid on a background."""
    if out.suffix.lower() not in ENDINGS[kind]:
        raise ImagoError(f"{out}: {kind} is written as {' or '.join(ENDINGS[kind])}; name the file so, or a folder")
    if kind == "cutout" and not opaque and out.suffix.lower() in (".jpg", ".jpeg"):
        raise no_transparency(str(out))


def no_transparency(name: str) -> ImagoError:
    """The error where a cut-out without a background is wanted as a JPEG."""
    return ImagoError(
        f"{name}: a JPEG has no transparency; lay the cut-out on a background (--background white), or name a .png, "
        ".webp or .tif"
    )


def too_many(out: Path, kinds: Sequence[str]) -> ImagoError:
    """The error where one file is named for several ``kinds`` of output, or for none."""
    named = f" ({', '.join(kinds)})" if kinds else ""
    return ImagoError(f"{out}: one file cannot hold {plural(len(kinds), 'output')}{named}; name a folder")


def _plan_file(inputs: Sequence[InputImage], out: Path, kinds: Sequence[str], opaque: bool) -> PlannedImage:
    if len(inputs) != 1:
        raise ImagoError(f"{out}: is one file, and there are {plural(len(inputs), 'photo')}; name a folder")
    if len(kinds) != 1:
        raise too_many(out, kinds)
    check_ending(out, kinds[0], opaque)
    return PlannedImage(inputs[0], (out,))


def _plan_folder(
    inputs: Sequence[InputImage],
    out: Path | None,
    suffixes: Sequence[str],
    same_name: SameName,
    say: Callable[[str], None],
) -> tuple[list[PlannedImage], list[str]]:
    plan: list[PlannedImage] = []
    faults: list[str] = []
    writers: dict[str, list[tuple[Path, InputImage]]] = {}

    def taken(outputs: Sequence[Path]) -> tuple[Path, InputImage] | None:
        """The first of ``outputs`` that is another photo's, and that photo."""
        for output in outputs:
            for other, photo in writers.get(_key(output), ()):
                if not _holds_both(other, output):
                    return output, photo
        return None

    for image in inputs:
        if image.piped and out is None and suffixes:
            raise ImagoError(f"{image.path}: has no folder to write to; name a file or a folder with -o")
        folder = image.path.parent if out is None else Path(out) / image.relative.parent
        outputs = tuple(folder / (image.stem + image.suffix + suffix) for suffix in suffixes)
        clash = taken(outputs)
        if clash and same_name == "skip":
            say(f"{image.label}: is left out, since {clash[0]} is written for {clash[1].label} (--same-name skip)")
            continue
        if clash and clash[1].relative.name != image.relative.name:  # equal names: the whole one tells nothing more
            outputs = tuple(folder / (image.relative.name + image.suffix + suffix) for suffix in suffixes)
            clash = taken(outputs)
        if clash:
            faults.append(
                f"{clash[0]}: would be written for {clash[1].path} and for {image.path}; "
                f"write them to two folders, or give --same-name skip"
            )
            continue
        plan.append(PlannedImage(image, outputs))
        for output in outputs:
            writers.setdefault(_key(output), []).append((output, image))
    return plan, faults


def _key(path: Path) -> str:
    """Equal for all paths that some file system takes for one."""
    return unicodedata.normalize("NFC", os.path.abspath(path)).casefold()


def _holds_both(one: Path, other: Path) -> bool:
    """Whether two paths of one ``_key`` are two files here. Asks the file system itself: which letters it takes for
    the same differs from one to the next."""
    first, second = Path(os.path.abspath(one)), Path(os.path.abspath(other))
    at = next((at for at, names in enumerate(zip(first.parts, second.parts, strict=True)) if len(set(names)) > 1), None)
    if at is None:
        return False
    folder = Path(*first.parts[:at])
    while not folder.is_dir():
        folder = folder.parent
    mark = f".{secrets.token_hex(4)}."
    probe = folder / (mark + first.parts[at])
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL))
    except OSError:  # nothing can be written there: the run will say so
        return False
    try:
        return not os.path.lexists(folder / (mark + second.parts[at]))
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
