"""``imago segment PATH...``: photos or folders -> label masks, overlays, areas."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from imago.cli.console import echo, echo_json
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
from imago.cli.pipe import answer_pipe, check_pipe, open_pipe
from imago.core.detection_options import DetectionOptions
from imago.core.errors import ImagoError
from imago.core.settings import FINDS_OBJECTS, LABELS_PIXELS, setting
from imago.core.text import one_line, plural
from imago.core.tta import TTA

if TYPE_CHECKING:
    from imago.core.instances import Instances
    from imago.data.formats.joint import JointKind
    from imago.files.outputs import PlannedImage
    from imago.inference.prediction import Prediction
    from imago.inference.predictor import Predictor
    from imago.inference.volumes import VolumeWriter

FORMATS = ("mask", "overlay", "cutout", "alpha", "json", "objects", "yolo", "geotiff", "geojson", "gpkg")
SUBJECT_FORMATS = ("cutout", "alpha")
GEO_FORMATS = ("geotiff", "geojson", "gpkg")
DETECTION_FORMATS = ("objects", "yolo", "coco", "counts")
# One file for all photos, in --out.
TABLES: dict[JointKind, str] = {"coco": "objects.coco.json", "counts": "counts.csv"}
VOLUME = "volume"  # one file for all slices of a volume
DEFAULT = ("mask", "overlay")


@dataclass(frozen=True)
class SegmentSettings(PhotoSettings):
    """What ``imago segment`` is told."""

    save: tuple[str, ...] = setting(
        (),
        f"What to write.  [default: {','.join(DEFAULT)}; nothing with --json]",
        choices=(*FORMATS, *TABLES, VOLUME),
        commas=True,
    )
    append: bool = setting(
        False,
        "Add to the coco and counts files that are there; no photo stands in them twice.",
        models=FINDS_OBJECTS,
        why="it adds objects to tables, and the model finds none",
        needs=("saves_tables", "it adds to the files of --save coco and counts"),
    )
    json: bool = setting(False, "Areas as JSON on standard output, one line a photo, as each is done.")
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
        if self.skip_existing and (self.json or self.saves_tables) and PIPE not in self.paths:
            raise ValueError("--skip-existing leaves photos out, which --json, coco and counts would then not hold")
        if self.saves_volumes and (self.pages or self.skip_existing or PIPE in self.paths):
            raise ValueError(
                "--save volume is of all slices of files; it goes without --pages, --skip-existing and '-'"
            )
        if self.append and self.overwrite:
            raise ValueError("--append adds to what is there and --overwrite replaces it; give one of them")
        check_pipe(self)
        if PIPE in self.paths and (self.saves_tables or len(self.formats) > 1):
            raise ValueError("'-' writes one file of one photo; name one of --save " + ", ".join(FORMATS))

    @property
    def writes_files(self) -> bool:
        return super().writes_files and bool(self.formats or self.saves_tables or self.saves_volumes)

    @property
    def writes_pictures(self) -> bool:
        return not set(self.formats) <= {"json", "yolo", *GEO_FORMATS}

    @property
    def names_files(self) -> bool:
        return super().names_files and bool(self.formats)

    @property
    def saves_tables(self) -> bool:
        return any(kind in TABLES for kind in self.save)

    @property
    def saves_volumes(self) -> bool:
        return VOLUME in self.save

    @property
    def saves_alpha(self) -> bool:
        return "alpha" in self.save

    @property
    def formats(self) -> tuple[str, ...]:
        """What is written for each photo, each once."""
        if not self.save:
            return () if self.json else DEFAULT[:1] if PIPE in self.paths else DEFAULT
        return tuple(kind for kind in dict.fromkeys(self.save) if kind in FORMATS)

    @property
    def tables(self) -> dict[JointKind, Path]:
        """What is written once for all photos, and where."""
        asked = [kind for kind in TABLES if kind in self.save]
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
    16 bits that numbers them, yolo a text, coco one JSON and counts one CSV for all photos. Of georeferenced pictures
    geotiff is the mask with their coordinate system, geojson outlines in longitude and latitude, gpkg in their own.
    Of DICOM and NIfTI every slice is a photo; volume puts the masks together again, as DICOM SEG or as NIfTI.

    PATH is a photo, a folder (its sub-folders are kept), or - to read one photo from standard input and write one file,
    the mask or what --save names, to standard output.
    """
    settings = build_settings(SegmentSettings, values)
    check_needs(settings)
    answers = {"tta": build_settings(TTA, values), "detection": build_settings(DetectionOptions, values)}
    if settings.crf:
        from imago.inference.crf import DenseCRF

        answers["crf"] = DenseCRF()
    return segment_pipe(settings, answers) if settings.paths == (PIPE,) else segment_files(settings, answers)


def segment_pipe(settings: SegmentSettings, answers: Mapping[str, Any]) -> int:
    """Returns the exit code. ``answers``: fields of ``PredictOptions``."""
    kind = next(iter(settings.formats), "")
    if settings.json and kind and settings.out is None:
        raise ImagoError(f"--json and --save {kind} both write to standard output; name a file with -o")
    if not open_pipe(settings, kind):
        return 0
    predictor = open_predictor(settings, 1, answers)
    return answer_pipe(settings, predictor, kind, json=settings.json, **how_to_write(settings, kind))


def segment_files(settings: SegmentSettings, answers: Mapping[str, Any]) -> int:
    """Returns the exit code. ``answers``: fields of ``PredictOptions``."""
    from imago.files.outputs import check_replaceable
    from imago.files.paths import names_file
    from imago.files.writing import atomic_write

    if settings.tables and settings.out is not None and names_file(settings.out):
        raise ImagoError(f"{settings.out}: is one file, and {', '.join(settings.tables)} is another; name a folder")
    plan = plan_photos(settings, settings.formats)
    for path in settings.tables.values():
        if os.path.lexists(path) and not (settings.overwrite or settings.append):
            raise ImagoError(
                f"{path}: is there already; --append adds to it, --overwrite replaces it, or choose another folder (-o)"
            )
    volumes = open_volumes(settings, plan)
    predictor = open_predictor(settings, len(plan), answers) if plan else None
    if predictor is not None:
        plan = leave_out_known(settings, plan, predictor)
    if predictor is None or not plan:
        return 0
    lines: dict[int, dict[str, Any]] = {}
    found: dict[int, Instances] = {}

    def write(prediction: Prediction, planned: PlannedImage) -> tuple[str, ...]:
        for kind, path in zip(settings.formats, planned.outputs, strict=True):
            if settings.skip_existing and path.exists():
                continue
            check_replaceable(path)
            with atomic_write(path, settings.overwrite) as stream:
                prediction.write(stream, kind, path, **how_to_write(settings, kind))
        if settings.json:
            lines[id(planned)] = prediction.to_json()
        if settings.tables and prediction.instances is not None:
            found[id(planned)] = prediction.instances
        if volumes is None:
            return ()
        volumes.add(planned.image, prediction.label_map)
        written = volumes.finish(planned.image, prediction.labels, predictor.card.name)
        return () if written is None else (f"{written}: written",)

    def tell(planned: PlannedImage) -> None:
        if settings.json:
            echo_json(lines.pop(id(planned)))

    code = process(predictor, plan, write, settings, on_done=tell)
    for line in volumes.unfinished() if volumes is not None else ():
        echo(f"imago: {one_line(line)}", err=True)
    write_tables(settings, [(planned, found[id(planned)]) for planned in plan if id(planned) in found], predictor)
    return code


def open_volumes(settings: SegmentSettings, plan: Sequence[PlannedImage]) -> VolumeWriter | None:
    """Raises ImagoError for files that are no volumes, and for what is in the way."""
    if not settings.saves_volumes or not plan:
        return None
    from imago.core.extras import require_extra
    from imago.files.paths import names_file
    from imago.inference.volumes import VolumeWriter

    require_extra("medical", "--save volume")
    if settings.out is not None and names_file(settings.out):
        raise ImagoError(f"{settings.out}: is one file, and volumes are others; name a folder")
    return VolumeWriter([planned.image for planned in plan], settings.out, settings.overwrite)


def open_predictor(settings: SegmentSettings, photos: int, answers: Mapping[str, Any]) -> Predictor:
    """The model. Raises ImagoError where it cannot give what is to be saved."""
    predictor = load_predictor(settings, photos, TTA, DetectionOptions, **answers)
    say_doubt(predictor, settings.quiet)
    check_saved(predictor, settings)
    return predictor


def check_saved(predictor: Predictor, settings: SegmentSettings) -> None:
    """Raises ImagoError for what ``--save`` names and the model has not, or is not installed."""
    from imago.core.extras import require_extra

    kinds = (*settings.formats, *settings.tables)
    geo = [kind for kind in kinds if kind in GEO_FORMATS]
    if geo:
        require_extra("geo", f"--save {','.join(geo)}")
    for named, check in ((SUBJECT_FORMATS, check_has_subject), (DETECTION_FORMATS, check_finds_objects)):
        asked = [kind for kind in kinds if kind in named]
        if asked:
            check(predictor, settings, f"--save {','.join(asked)}")


def how_to_write(settings: SegmentSettings, kind: str) -> dict[str, Any]:
    return {"bits": int(settings.alpha_bits)} if kind == "alpha" else {}


def leave_out_known(settings: SegmentSettings, plan: list[PlannedImage], predictor: Predictor) -> list[PlannedImage]:
    """With ``--append``, and nothing else to write: those of ``plan`` that a joint file still lacks. Raises DataError
    for joint files that are none."""
    if not settings.append:
        return plan
    from imago.data.formats.joint import name_photo, read_names

    labels = predictor.card.object_labels
    known = {path: read_names(kind, path, labels) for kind, path in settings.tables.items()}
    if settings.formats or settings.json:
        return plan
    left = [
        planned
        for planned in plan
        if any(name_photo(planned.image.path, path, planned.image.page) not in known[path] for path in known)
    ]
    if len(left) < len(plan):
        files = " and ".join(path.name for path in known)
        settings.say(f"{len(plan) - len(left)} of {len(plan)} photos stand in {files} already and are left out")
    return left


def write_tables(
    settings: SegmentSettings, found: Sequence[tuple[PlannedImage, Instances]], predictor: Predictor
) -> None:
    """One file each for all photos that could be read, in their order."""
    if not settings.tables:
        return
    from imago.data.formats.format import ImageDetections
    from imago.data.formats.joint import name_photo, write_joint

    for kind, path in settings.tables.items():
        photos = [
            ImageDetections(name_photo(planned.image.path, path, planned.image.page), found_in)
            for planned, found_in in found
        ]
        write_joint(
            kind, path, photos, predictor.card.object_labels, overwrite=settings.overwrite, append=settings.append
        )
        objects = sum(len(photo.instances) for photo in photos)
        settings.say(f"{path}: {plural(objects, 'object')} in {plural(len(photos), 'photo')}")
