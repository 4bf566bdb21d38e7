"""``imago cutout PATH...``: photos, folders, or ``-`` for a pipe -> ``STEM.cutout.png``."""

from __future__ import annotations

import io
import re
import sys
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imago.cli.console import echo
from imago.cli.options import add_options, build_settings
from imago.cli.photos import MAX_MEGAPIXELS, MEGA, check_megapixels, load_predictor, plan_photos, process, say_doubt
from imago.core.detection_options import DetectionOptions
from imago.core.settings import setting
from imago.models.shipped import DEFAULT_MODEL

if TYPE_CHECKING:
    from imago.files.inputs import PlannedImage
    from imago.inference.prediction import Prediction

PIPE = "-"


@dataclass(frozen=True)
class CutoutSettings:
    """What ``imago cutout`` is told."""

    paths: tuple[str, ...] = setting(argument=True, metavar="PATH...")
    model: str = setting(DEFAULT_MODEL, "A name (see imago models) or a model file.")
    out: Path | None = setting(None, "Folder to write to.  [default: beside each photo]", short="-o", metavar="DIR")
    instances: bool = setting(
        False, "Every object that the model finds by itself, trimmed: STEM.001-CLASS.cutout.png, the surest first."
    )
    crop: bool = setting(False, "Trim to the subject, with a margin.")
    background: str = setting(
        "transparent", "transparent, a colour as #rrggbb, blur, or an image file.", metavar="WHAT"
    )
    matting: bool = setting(False, "Refine hair and other soft edges; takes longer.")
    overwrite: bool = setting(False, "Replace files that are there already.")
    max_megapixels: float = setting(MAX_MEGAPIXELS, "Refuse photos with more than this.")

    def __post_init__(self) -> None:
        check_megapixels(self.max_megapixels)
        if PIPE in self.paths and self.instances:
            raise ValueError("'-' writes one picture; --instances writes one an object, so give it files")
        if self.instances and (self.matting or self.crop):
            raise ValueError("--instances trims every object by itself; leave out --crop and --matting")
        if PIPE in self.paths and (len(self.paths) > 1 or self.out is not None):
            raise ValueError(
                "'-' reads one photo and writes it to standard output; it goes with no other path or --out"
            )

    @property
    def max_pixels(self) -> int:
        return int(self.max_megapixels * MEGA)


@click.command("cutout")
@add_options(CutoutSettings)
@add_options(DetectionOptions)
def cutout_command(**values: Any) -> int:
    """Cut the subject out of each photo and write STEM.cutout.png.

    PATH is a photo, a folder (its sub-folders are kept), or - to read one photo from standard input and write the PNG
    to standard output.
    """
    settings = build_settings(CutoutSettings, values)
    from imago.inference.cutout.compose import check_background

    check_background(settings.background)
    if settings.instances:
        return cut_instances(settings, build_settings(DetectionOptions, values))
    return cut_pipe(settings) if settings.paths == (PIPE,) else cut_files(settings)


def cut_instances(settings: CutoutSettings, choice: DetectionOptions) -> int:
    """Returns the exit code. Of a photo that has objects of an earlier run beside it nothing is written."""
    from imago.core.errors import ImagoError
    from imago.files.writing import atomic_write, exists
    from imago.inference.options import PredictOptions

    plan = plan_photos(settings.paths, settings.out, ("cutout",), overwrite=True)  # that file itself is not written
    options = PredictOptions(detection=choice, max_pixels=settings.max_pixels)
    predictor = load_predictor(settings.model, len(plan), options)
    if not predictor.finds_objects:
        raise ImagoError(
            f"model {settings.model!r} finds no single objects, which --instances asks for; use one that does"
        )
    say_doubt(predictor)

    def write(prediction: Prediction, planned: PlannedImage) -> tuple[str, ...]:
        whole = planned.outputs[0]
        stem = whole.name.removesuffix(".cutout.png")
        earlier = sorted(whole.parent.glob(f"{escape(stem)}.[0-9][0-9][0-9]-*.cutout.png"))
        if earlier and not settings.overwrite:
            raise exists(earlier[0])
        for path in earlier:
            path.unlink()  # asked for: else objects of two runs would stand side by side
        count = 0
        for count, (name, image) in enumerate(prediction.instance_cutouts(settings.background), 1):
            with atomic_write(whole.with_name(f"{stem}.{count:03}-{sanitize_name(name)}.cutout.png"), True) as stream:
                image.save(stream, "PNG", icc_profile=image.info.get("icc_profile"))
        return () if count else ("nothing was found",)

    return process(predictor, plan, write)


def sanitize_name(name: str) -> str:
    """A class's name in a file's."""
    return re.sub(r"[^\w-]+", "_", name)


def cut_files(settings: CutoutSettings) -> int:
    """Returns the exit code."""
    from imago.files.writing import atomic_write
    from imago.inference.options import PredictOptions

    plan = plan_photos(settings.paths, settings.out, ("cutout",), settings.overwrite)
    threads = 1 if len(plan) > 1 else None  # of one photo the strips are packed on all cores

    def write(prediction: Prediction, planned: PlannedImage) -> tuple[str, ...]:
        with atomic_write(planned.outputs[0], settings.overwrite) as stream:
            return prediction.write_cutout(
                stream, settings.background, settings.crop, settings.matting, threads=threads
            )

    predictor = load_predictor(settings.model, len(plan), PredictOptions(max_pixels=settings.max_pixels))
    return process(predictor, plan, write)


def cut_pipe(settings: CutoutSettings) -> int:
    """Returns the exit code. The PNG is finished before its first byte is written."""
    from imago.files.images import read_image
    from imago.inference.options import PredictOptions

    if sys.stdin.isatty():
        raise click.UsageError("'-' reads the photo from a pipe, as in: imago cutout - < photo.jpg > cutout.png")
    if sys.stdout.isatty():
        raise click.UsageError("'-' writes a PNG to standard output; send it to a file, as in: > cutout.png")
    predictor = load_predictor(settings.model, 1, PredictOptions(max_pixels=settings.max_pixels))
    photo = read_image(
        sys.stdin.buffer.read(),
        channels=predictor.card.input.channels,
        max_pixels=predictor.options.max_pixels,
        name="standard input",
    )
    png = io.BytesIO()
    notes = predictor.predict(photo).write_cutout(png, settings.background, settings.crop, settings.matting)
    for note in photo.notes + notes:
        echo(f"standard input: {note}", err=True)
    sys.stdout.buffer.write(png.getbuffer())
    sys.stdout.buffer.flush()
    return 0
