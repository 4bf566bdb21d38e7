"""``imago panoptic PATH... --things MODEL --stuff MODEL``: photos or folders -> segments of things and stuff."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imago.cli.console import echo_json
from imago.cli.options import add_options, build_settings, check_needs, find_asked
from imago.cli.photos import PIPE, PhotoSettings, load_for, plan_photos, process, say_doubt
from imago.core.detection_options import DetectionOptions
from imago.core.errors import ImagoError
from imago.core.panoptic_options import PanopticOptions
from imago.core.settings import setting
from imago.core.text import plural
from imago.core.tta import TTA
from imago.core.window import parse_window

if TYPE_CHECKING:
    from imago.core.panoptic import Panoptic
    from imago.files.outputs import PlannedImage
    from imago.inference.panoptic import PanopticPredictor
    from imago.inference.prediction import Prediction

FORMATS = ("panoptic", "overlay", "mask", "objects", "json")
DEFAULT = ("panoptic", "overlay")
TABLE = "panoptic.json"  # of the PNGs: which segment is what


@dataclass(frozen=True)
class PanopticSettings(PhotoSettings):
    """What ``imago panoptic`` is told."""

    things: str = setting("", "Model that finds objects with masks: a name (see imago models) or a file.  [required]")
    stuff: str = setting("", "Model that labels pixels: a name or a file.  [required]")
    save: tuple[str, ...] = setting(
        (),
        f"What to write.  [default: {','.join(DEFAULT)}; nothing with --json]",
        choices=FORMATS,
        commas=True,
    )
    json: bool = setting(False, "Segments as JSON on standard output, one line a photo.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.things or not self.stuff:
            raise ValueError("two models are put together: give --things MODEL and --stuff MODEL")
        if self.skip_existing and (self.json or self.writes_table):
            raise ValueError("--skip-existing leaves photos out, which --json and panoptic.json would then not hold")
        if PIPE in self.paths:
            raise ValueError("'-' is read by imago cutout alone; give /dev/stdin and -o FILE")

    @property
    def formats(self) -> tuple[str, ...]:
        """What is written for each photo, each once."""
        if not self.save:
            return () if self.json else DEFAULT
        return tuple(dict.fromkeys(self.save))

    @property
    def writes_files(self) -> bool:
        return bool(self.formats)

    @property
    def writes_pictures(self) -> bool:
        return not set(self.formats) <= {"json"}

    @property
    def names_files(self) -> bool:
        return bool(self.formats)

    @property
    def writes_table(self) -> bool:
        return "panoptic" in self.formats

    @property
    def table(self) -> Path:
        """Where the one JSON of all PNGs is written."""
        from imago.files.inputs import folder_of

        return (self.out or folder_of(self.paths[0])) / TABLE


@click.command("panoptic")
@add_options(PanopticSettings, without=("model",))
@add_options(PanopticOptions)
@add_options(DetectionOptions)
@add_options(TTA)
def panoptic_command(**values: Any) -> int:
    """Part each photo into segments: every object of the --things model by itself, and what is left by the classes of
    the --stuff model.

    Writes STEM.panoptic.png (colours are ids: red + 256 green + 256² blue) and one panoptic.json for all photos, as
    COCO has them, and STEM.overlay.jpg. Classes of the two models are matched by their names: what --things finds is no
    stuff. PATH is a photo or a folder (its sub-folders are kept).
    """
    settings = build_settings(PanopticSettings, values)
    check_needs(settings)
    from imago.files.outputs import check_replaceable
    from imago.files.paths import names_file
    from imago.files.writing import atomic_write, exists

    if settings.writes_table and settings.out is not None and names_file(settings.out):
        raise ImagoError(f"{settings.out}: is one file, and {TABLE} is another; name a folder")
    plan = plan_photos(settings, settings.formats)
    if not plan:
        return 0
    if settings.writes_table and settings.table.exists() and not settings.overwrite:
        raise exists(settings.table)
    lines: dict[PlannedImage, dict[str, Any]] = {}
    found: dict[PlannedImage, Panoptic] = {}

    def write(prediction: Prediction, planned: PlannedImage) -> tuple[str, ...]:
        for kind, path in zip(settings.formats, planned.outputs, strict=True):
            if settings.skip_existing and path.exists():
                continue
            check_replaceable(path)
            with atomic_write(path, settings.overwrite) as stream:
                prediction.write(stream, kind, path)
        if settings.json:
            lines[planned] = prediction.to_json()
        if settings.writes_table and prediction.panoptic is not None:
            found[planned] = prediction.panoptic
        return ()

    pair = load_pair(settings, len(plan), values)
    code = process(pair, plan, write, settings)
    for planned in plan:
        if planned in lines:
            echo_json(lines[planned])
    if settings.writes_table:
        write_table(settings, [planned for planned in plan if planned in found], found, pair)
    return code


def load_pair(settings: PanopticSettings, photos: int, values: Mapping[str, Any]) -> PanopticPredictor:
    """Both models, answering as the command line says. Raises ImagoError for what says nothing to its model."""
    from imago.inference.options import refuse_inapplicable
    from imago.inference.panoptic import PanopticPredictor

    things, stuff = load_for(settings.things, photos), load_for(settings.stuff, photos)
    pair = PanopticPredictor(things, stuff)
    choice, views = build_settings(DetectionOptions, values), build_settings(TTA, values)
    refuse_inapplicable(things.card, settings.things, (DetectionOptions,), find_asked(DetectionOptions))
    refuse_inapplicable(stuff.card, settings.stuff, (TTA,), find_asked(TTA))
    rule = build_settings(PanopticOptions, values)
    own = {name: getattr(rule, name) for name in ("overlap_thresh", "stuff_area_limit", "stuff_classes")}
    pair = pair.with_options(
        detection=choice, tta=views, max_pixels=settings.max_pixels, show_bands=settings.show_bands,
        window=parse_window(settings.window), **own
    )  # fmt: skip
    say_doubt(pair.things, settings.quiet)
    settings.say(f"things: {', '.join(pair.names_of(True))}; stuff: {', '.join(pair.names_of(False))}")
    return pair


def write_table(
    settings: PanopticSettings,
    plan: Sequence[PlannedImage],
    found: Mapping[PlannedImage, Panoptic],
    pair: PanopticPredictor,
) -> None:
    """One JSON for all photos that could be read, in their order. PNGs are named from where it lies."""
    from imago.data.formats.coco_segments import PhotoSegments, write_coco_panoptic

    which, path = settings.formats.index("panoptic"), settings.table
    photos = [
        PhotoSegments(
            planned.image.relative.as_posix(),
            Path(os.path.relpath(planned.outputs[which], path.parent)).as_posix(),
            found[planned],
        )
        for planned in plan
    ]
    write_coco_panoptic(path, photos, pair.card.labels, pair.card.things, overwrite=settings.overwrite)
    segments = sum(len(photo.panoptic.segments) for photo in photos)
    settings.say(f"{path}: {plural(segments, 'segment')} in {plural(len(photos), 'photo')}")
