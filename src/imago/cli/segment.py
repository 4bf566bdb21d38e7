"""``imago segment PATH...``: photos or folders -> label masks, overlays, areas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from imago.cli.console import echo_json
from imago.cli.options import add_options, build_settings, check_needs
from imago.cli.photos import (
    PIPE,
    PhotoSettings,
    check_finds_objects,
    check_has_subject,
    load_predictor,
    plan_photos,
    process,
    say_doubt,
)
from imago.core.detection_options import DetectionOptions
from imago.core.errors import ImagoError
from imago.core.settings import LABELS_PIXELS, setting
from imago.core.text import plural
from imago.core.tta import TTA

if TYPE_CHECKING:
    from imago.core.instances import Instances
    from imago.files.outputs import PlannedImage
    from imago.inference.prediction import Prediction
    from imago.inference.predictor import Predictor

FORMATS = ("mask", "overlay", "cutout", "alpha", "json", "objects", "yolo")
SUBJECT_FORMATS = ("cutout", "alpha")
DETECTION_FORMATS = ("objects", "yolo", "coco", "counts")
TABLES = {"coco": "objects.coco.json", "counts": "counts.csv"}  # one file for all photos, in --out
DEFAULT = ("mask", "overlay")


@dataclass(frozen=True)
class SegmentSettings(PhotoSettings):
    """What ``imago segment`` is told."""

    save: tuple[str, ...] = setting(
        (),
        f"What to write.  [default: {','.join(DEFAULT)}; nothing with --json]",
        choices=(*FORMATS, *TABLES),
        commas=True,
    )
    json: bool = setting(False, "Areas as JSON on standard output, one line a photo.")
    crf: bool = setting(
        False,
        "Refine outlines with a dense CRF: some seconds a photo.",
        models=LABELS_PIXELS,
        why="a net that finds objects has no probabilities for a CRF to refine",
    )
    alpha_bits: Literal["8", "16"] = setting(
        "8", "Of --save alpha, the soft mask.", needs=("saves_alpha", "it is for --save alpha")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.skip_existing and (self.json or any(kind in TABLES for kind in self.save)):
            raise ValueError("--skip-existing leaves photos out, which --json, coco and counts would then not hold")
        if PIPE in self.paths:
            raise ValueError("'-' is read by imago cutout alone; give /dev/stdin and -o FILE")

    @property
    def writes_files(self) -> bool:
        return bool(self.formats or self.tables)

    @property
    def writes_pictures(self) -> bool:
        return not set(self.formats) <= {"json", "yolo"}

    @property
    def names_files(self) -> bool:
        return bool(self.formats)

    @property
    def saves_alpha(self) -> bool:
        return "alpha" in self.save

    @property
    def formats(self) -> tuple[str, ...]:
        """What is written for each photo, each once."""
        if not self.save:
            return () if self.json else DEFAULT
        return tuple(kind for kind in dict.fromkeys(self.save) if kind in FORMATS)

    @property
    def tables(self) -> dict[str, Path]:
        """What is written once for all photos, and where."""
        asked = [kind for kind in dict.fromkeys(self.save) if kind in TABLES]
        if not asked:
            return {}
        from imago.files.inputs import folder_of

        folder = self.out or folder_of(self.paths[0])
        return {kind: folder / TABLES[kind] for kind in asked}


@click.command("segment")
@add_options(SegmentSettings)
@add_options(DetectionOptions)
@add_options(TTA)
def segment_command(**values: Any) -> int:
    """Label every pixel of each photo: STEM.mask.png (values are classes, with the model's palette), STEM.overlay.jpg
    (with a legend), STEM.json (areas).

    Models that find single objects write their outlines, names and scores into the overlay; --save objects is a PNG of
    16 bits that numbers them, yolo a text, coco one JSON and counts one CSV for all photos.

    PATH is a photo or a folder (its sub-folders are kept).
    """
    settings, views, choice = (
        build_settings(SegmentSettings, values),
        build_settings(TTA, values),
        build_settings(DetectionOptions, values),
    )
    check_needs(settings)
    from imago.files.outputs import check_replaceable
    from imago.files.paths import names_file
    from imago.files.writing import atomic_write, exists
    from imago.inference.crf import DenseCRF

    if settings.tables and settings.out is not None and names_file(settings.out):
        raise ImagoError(f"{settings.out}: is one file, and {', '.join(settings.tables)} is another; name a folder")
    plan = plan_photos(settings, settings.formats)
    if not plan:
        return 0
    for path in settings.tables.values():
        if path.exists() and not settings.overwrite:
            raise exists(path)
    lines: dict[Path, dict[str, Any]] = {}
    found: dict[Path, Instances] = {}

    def write(prediction: Prediction, planned: PlannedImage) -> tuple[str, ...]:
        for kind, path in zip(settings.formats, planned.outputs, strict=True):
            if settings.skip_existing and path.exists():
                continue
            check_replaceable(path)
            options = {"bits": int(settings.alpha_bits)} if kind == "alpha" else {}
            with atomic_write(path, settings.overwrite) as stream:
                prediction.write(stream, kind, path, **options)
        if settings.json:
            lines[planned.image.path] = prediction.to_json()
        if settings.tables and prediction.instances is not None:
            found[planned.image.path] = prediction.instances
        return ()

    crf = DenseCRF() if settings.crf else None
    predictor = load_predictor(settings, len(plan), TTA, DetectionOptions, tta=views, detection=choice, crf=crf)
    say_doubt(predictor, settings.quiet)
    check_saved(predictor, settings)
    code = process(predictor, plan, write, settings)
    for planned in plan:
        if planned.image.path in lines:
            echo_json(lines[planned.image.path])
    if settings.tables:
        write_tables(settings, [planned for planned in plan if planned.image.path in found], found, predictor)
    return code


def check_saved(predictor: Predictor, settings: SegmentSettings) -> None:
    """Raises ImagoError for what ``--save`` names and the model has not."""
    kinds = (*settings.formats, *settings.tables)
    for named, check in ((SUBJECT_FORMATS, check_has_subject), (DETECTION_FORMATS, check_finds_objects)):
        asked = [kind for kind in kinds if kind in named]
        if asked:
            check(predictor, settings, f"--save {','.join(asked)}")


def write_tables(
    settings: SegmentSettings, plan: Sequence[PlannedImage], found: Mapping[Path, Instances], predictor: Predictor
) -> None:
    """One file each for all photos that could be read, in their order."""
    from imago.data.formats.coco import write_coco
    from imago.data.formats.counts import write_counts
    from imago.data.formats.format import ImageDetections

    photos = [ImageDetections(planned.image.relative.as_posix(), found[planned.image.path]) for planned in plan]
    for kind, path in settings.tables.items():
        if kind == "coco":
            write_coco(path, photos, predictor.card.object_labels, overwrite=settings.overwrite)
        else:
            write_counts(path, photos, predictor.card.object_labels, overwrite=settings.overwrite)
        objects = sum(len(photo.instances) for photo in photos)
        settings.say(f"{path}: {plural(objects, 'object')} in {plural(len(photos), 'photo')}")
