"""``imago cutout PATH...``: photos, folders, or ``-`` for a pipe -> ``STEM.cutout.png``."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imago.cli.options import add_options, build_settings, check_needs
from imago.cli.photos import (
    PIPE,
    PhotoSettings,
    check_has_subject,
    load_predictor,
    plan_photos,
    process,
    say_doubt,
)
from imago.cli.pipe import answer_pipe, check_pipe, open_pipe
from imago.core.detection_options import DetectionOptions
from imago.core.errors import ImagoError
from imago.core.settings import FINDS_OBJECTS, GIVES_OUTLINES, setting
from imago.core.text import plural
from imago.files.paths import names_file

if TYPE_CHECKING:
    from imago.files.outputs import PlannedImage
    from imago.files.png import Mode
    from imago.inference.prediction import Prediction
    from imago.inference.predictor import Predictor


@dataclass(frozen=True)
class CutoutSettings(PhotoSettings):
    """What ``imago cutout`` is told."""

    instances: bool = setting(
        False,
        "Every object that the model finds by itself, trimmed: STEM.001-CLASS.cutout.png, the surest first.",
        models=FINDS_OBJECTS,
        why="it finds no single objects",
    )
    crop: bool = setting(False, "Trim to the subject, with a margin.")
    background: str = setting(
        "transparent", "transparent, a colour (white, #rrggbb, #rrggbbaa), blur, or an image file.", metavar="WHAT"
    )
    matting: bool = setting(
        False,
        "Refine hair and other soft edges; takes longer.",
        models=GIVES_OUTLINES,
        why="it finds boxes, no outlines to refine",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if PIPE in self.paths and self.instances:
            raise ValueError("'-' writes one picture; --instances writes one an object, so give it files")
        if self.instances and (self.matting or self.crop):
            raise ValueError("--instances trims every object by itself; leave out --crop and --matting")
        check_pipe(self)
        if self.instances and self.out is not None and names_file(self.out):
            raise ValueError(f"--instances writes a file an object; {self.out} is one file, so name a folder")


@click.command("cutout")
@add_options(CutoutSettings)
@add_options(DetectionOptions)
def cutout_command(**values: Any) -> int:
    """Cut the subject out of each photo and write STEM.cutout.png.

    PATH is a photo, a folder (its sub-folders are kept), or - to read one photo from standard input and write the PNG
    to standard output.
    """
    settings, choice = build_settings(CutoutSettings, values), build_settings(DetectionOptions, values)
    check_needs(settings)
    from imago.inference.cutout.background import check_background

    check_background(settings.background)
    if settings.instances:
        return cut_instances(settings, choice)
    return cut_pipe(settings, choice) if settings.paths == (PIPE,) else cut_files(settings, choice)


def cut_instances(settings: CutoutSettings, choice: DetectionOptions) -> int:
    """Returns the exit code. Of a photo that has objects of an earlier run beside it nothing is written."""
    import numpy as np

    from imago.files.outputs import OBJECT_KEYWORD, skip_written
    from imago.files.pictures import Metadata, write_picture
    from imago.files.writing import atomic_write, exists

    plan = plan_photos(replace(settings, overwrite=True, skip_existing=False), ("cutout",))  # that file is not written
    if settings.skip_existing:
        plan = skip_written(plan, lambda planned: bool(find_objects_of(planned)), settings.say)
    if not plan:
        return 0
    predictor = load_cutter(settings, len(plan), choice)

    def write(prediction: Prediction, planned: PlannedImage) -> tuple[str, ...]:
        whole = planned.outputs[0]
        stem = whole.name.removesuffix(".cutout.png")
        earlier = find_objects_of(planned)
        if earlier and not settings.overwrite:
            raise exists(earlier[0])
        metadata = replace(Metadata.of(prediction.photo), text=((OBJECT_KEYWORD, owner_mark(planned)),))
        found, names = prediction.instances, prediction.labels.names
        assert found is not None
        drawn = [names[int(found.classes[index])] for index in range(len(found)) if found.region(index)[1].any()]
        paths = [
            whole.with_name(f"{stem}.{number:03}-{sanitize_name(name)}.cutout.png")
            for number, name in enumerate(drawn, 1)
        ]
        for path in paths:
            if os.path.lexists(path) and path not in earlier:
                raise ImagoError(f"{path}: is there already and is no object of {planned.image.path}; move it away")
        for path in earlier:
            path.unlink()  # asked for: else objects of two runs would stand side by side
        for path, (_, image) in zip(paths, prediction.instance_cutouts(settings.background), strict=True):
            with atomic_write(path) as stream:
                pixels = np.asarray(image)
                mode: Mode = "RGBA" if pixels.shape[2] == 4 else "RGB"
                write_picture(stream, "PNG", pixels.shape[:2], mode, iter([pixels]), metadata, name=str(path))
        told = f"{plural(len(paths), 'object')}: {paths[0].name}{' ...' if paths[1:] else ''}" if paths else ""
        return (told or "nothing was found",)

    return process(predictor, plan, write, settings, as_planned=False)


def owner_mark(planned: PlannedImage) -> str:
    """What an object's file says of the photo that it is of, without telling its name."""
    name = os.fsencode(planned.image.relative.name + planned.image.suffix)
    return f"object of {hashlib.sha256(name).hexdigest()[:16]}"


def find_objects_of(planned: PlannedImage) -> list[Path]:
    """The objects of this photo that an earlier run wrote. By what stands in the files: ``a.001-cat.cutout.png`` is the
    first cat of ``a.jpg``, or all of ``a.001-cat.jpg``."""
    from imago.files.outputs import OBJECT_KEYWORD
    from imago.files.png import read_png_text

    whole = planned.outputs[0]
    stem, mark = whole.name.removesuffix(".cutout.png"), owner_mark(planned)
    alike = sorted(whole.parent.glob(f"{escape(stem)}.[0-9][0-9][0-9]*-*.cutout.png"))
    return [path for path in alike if read_png_text(path, OBJECT_KEYWORD) == mark]


def sanitize_name(name: str) -> str:
    """A class's name in a file's."""
    return re.sub(r"[^\w-]+", "_", name)


def load_cutter(settings: CutoutSettings, photos: int, choice: DetectionOptions) -> Predictor:
    """The model, for so many photos. Raises ImagoError where it has nothing to cut out, or not as it is asked."""
    predictor = load_predictor(settings, photos, DetectionOptions, detection=choice)
    check_has_subject(predictor, settings, "a cut-out")
    say_doubt(predictor, settings.quiet)
    return predictor


def cut_files(settings: CutoutSettings, choice: DetectionOptions) -> int:
    """Returns the exit code."""
    from imago.files.outputs import check_replaceable
    from imago.files.writing import atomic_write
    from imago.inference.cutout.background import is_opaque

    plan = plan_photos(settings, ("cutout",), is_opaque(settings.background))
    if not plan:
        return 0
    threads = 1 if len(plan) > 1 else None  # of one photo the strips are packed on all cores

    def write(prediction: Prediction, planned: PlannedImage) -> tuple[str, ...]:
        check_replaceable(planned.outputs[0])
        with atomic_write(planned.outputs[0], settings.overwrite) as stream:
            return prediction.write(stream, "cutout", planned.outputs[0], **how_to_cut(settings), threads=threads)

    return process(load_cutter(settings, len(plan), choice), plan, write, settings)


def how_to_cut(settings: CutoutSettings) -> dict[str, Any]:
    return {"background": settings.background, "crop": settings.crop, "matting": settings.matting}


def cut_pipe(settings: CutoutSettings, choice: DetectionOptions) -> int:
    """Returns the exit code."""
    from imago.inference.cutout.background import is_opaque

    if not open_pipe(settings, "cutout", is_opaque(settings.background)):
        return 0
    return answer_pipe(settings, load_cutter(settings, 1, choice), "cutout", **how_to_cut(settings))
