"""What the commands for photos share: the plan, the run over all photos, what is said, the exit code."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from imago.cli.console import DEBUG_HINT, debugging, echo, traceback_text
from imago.cli.options import SHOW_BANDS, find_asked
from imago.cli.progress import Meter
from imago.core.errors import ImagoError
from imago.core.settings import setting
from imago.core.text import one_line, plural
from imago.core.window import parse_window
from imago.models.shipped import DEFAULT_MODEL

if TYPE_CHECKING:
    from imago.files.outputs import PlannedImage
    from imago.inference.batch import Outcome, Report, Write
    from imago.inference.predictor import Asked, Predictor

PIPE = "-"
MEGA = 1_000_000
MAX_MEGAPIXELS = 250.0  # as imago.files.images.MAX_PIXELS, which would take NumPy to import


_FROM_FILES = ("reads_files", "'-' is one photo, from a pipe")
_WRITES = ("writes_files", "no file is written")


def check_megapixels(limit: float) -> None:
    if not 0 < limit < math.inf:
        raise ValueError(f"--max-megapixels must be above 0; got {limit:g}")


def check_pages(pages: str, piped: bool) -> None:
    """Raises ValueError."""
    from imago.core.page_ranges import choose_pages, is_open

    several = is_open(pages) or len(choose_pages(pages, 0)) > 1
    if piped and several:
        raise ValueError("'-' reads one photo; name one page of it with --pages")


@dataclass(frozen=True)
class PhotoSettings:
    """What every command for photos is told."""

    paths: tuple[str, ...] = setting(argument=True, metavar="PATH...")
    model: str = setting(DEFAULT_MODEL, "A name (see imago models) or a model file.")
    out: Path | None = setting(
        None,
        "Folder to write to; of one photo also the file, as x.png.  [default: beside each photo]",
        short="-o",
        metavar="DIR|FILE",
        needs=_WRITES,
    )
    recursive: bool = setting(True, "Look into sub-folders too.", needs=_FROM_FILES)
    overwrite: bool = setting(False, "Replace files that are there already.", needs=_WRITES)
    skip_existing: bool = setting(
        False, "Leave out photos that are written already: a stopped run goes on.", needs=_WRITES
    )
    same_name: Literal["suffix", "skip"] = setting(
        "suffix",
        "Of photos with one stem (IMG_1.HEIC, IMG_1.JPG) the second: suffix writes IMG_1.JPG.cutout.png, skip leaves "
        "it out.",
        needs=("names_files", "it is for photos out of files, with files to write beside or below each other"),
    )
    damaged: Literal["skip", "use"] | None = setting(
        None,
        "Photos with damage: skip them all, or use what can be read.  [default: skip those that are cut off, use those "
        "that the decoder mended, and say so]",
    )
    pages: str = setting(
        "",
        "Of files of several pages, as TIFFs: which, as 1,3-5 or 4- or all; each is an image by itself, as "
        "STEM.page003.cutout.png.  [default: the first]",
        metavar="PAGES",
    )
    window: str = setting(
        "",
        "Of DICOM and NIfTI: centre and width of the values that are told apart, as 40,400, or file for those that "
        "stand in it.  [default: as the model was trained, else all]",
        metavar="CENTER,WIDTH",
    )
    show_bands: tuple[int, ...] = setting(
        (),
        SHOW_BANDS,
        commas=True,
        needs=("writes_pictures", "no picture is written"),
    )
    strip_metadata: bool = setting(
        False,
        "Leave EXIF and resolution out of what is written; colour profiles stay.",
        needs=("writes_pictures", "no picture is written"),
    )
    max_megapixels: float = setting(MAX_MEGAPIXELS, "Refuse photos with more than this.")
    quiet: bool = setting(False, "Say nothing but what failed.", short="-q")

    def __post_init__(self) -> None:
        check_megapixels(self.max_megapixels)
        parse_window(self.window)
        if self.pages:
            check_pages(self.pages, piped=not self.reads_files)
        if self.overwrite and self.skip_existing:
            raise ValueError("--overwrite replaces what is there and --skip-existing leaves it; give one of them")

    @property
    def max_pixels(self) -> int:
        return max(1, int(self.max_megapixels * MEGA))

    @property
    def reads_files(self) -> bool:
        return self.paths != (PIPE,)

    @property
    def writes_files(self) -> bool:
        return self.reads_files or self.out is not None

    @property
    def writes_pictures(self) -> bool:
        return True

    @property
    def names_files(self) -> bool:
        """Whether files are named after photos."""
        return self.reads_files and self.writes_files

    def say(self, line: str) -> None:
        """A line on standard error, unless ``quiet``."""
        if not self.quiet:
            echo(one_line(line), err=True)


def plan_photos(settings: PhotoSettings, kinds: Sequence[str], opaque: bool = False) -> list[PlannedImage]:
    """Photos and outputs; ``kinds`` are keys of ``OUTPUT_SUFFIXES``, ``opaque`` says whether cut-outs have no
    transparent part. Raises what is in the way before anything runs."""
    from imago.files.inputs import find_images
    from imago.files.outputs import plan_outputs
    from imago.files.pages import expand_pages

    return plan_outputs(
        expand_pages(find_images(settings.paths, settings.recursive, settings.say), settings.pages),
        settings.out,
        kinds,
        settings.overwrite,
        same_name=settings.same_name,
        skip_existing=settings.skip_existing,
        opaque=opaque,
        say=settings.say,
    )


def load_for(model: str, photos: int) -> Predictor:
    """A model for one photo (as many threads as cores are free), or for many (one thread a photo)."""
    import cv2

    from imago.inference.batch import workers_for
    from imago.inference.load import load, runs_on_torch
    from imago.models.find import find_model

    how: dict[str, Any] = {}
    if workers_for(photos) > 1:
        cv2.setNumThreads(1)  # the photos are spread over the cores, so that their parts need not be
        how = {"threads": 1}
    elif photos == 1:
        how = {"keep_memory": False}
    return load(model, **({} if runs_on_torch(find_model(model)) else how))


def load_predictor(settings: PhotoSettings, photos: int, *groups: type, **options: Any) -> Predictor:
    """The model, answering as ``settings`` and ``options`` (fields of ``PredictOptions``) say; see ``load_for``. Raises
    ImagoError for options of the command line, fields of ``settings`` and of the dataclasses ``groups``, that say
    nothing to the model."""
    from imago.inference.options import refuse_inapplicable

    predictor = load_for(settings.model, photos)
    types = (type(settings), *groups)
    refuse_inapplicable(predictor.card, settings.model, types, find_asked(*types))
    return predictor.with_options(
        max_pixels=settings.max_pixels, show_bands=settings.show_bands, window=parse_window(settings.window), **options
    )


def check_finds_objects(predictor: Predictor, settings: PhotoSettings, asked: str) -> None:
    """Raises ImagoError where ``asked``, as it stands on the command line, needs objects and the model finds none."""
    if not predictor.finds_objects:
        raise ImagoError(f"model {settings.model!r} finds no single objects, which {asked} asks for; use one that does")


def check_has_subject(predictor: Predictor, settings: PhotoSettings, asked: str) -> None:
    """Raises ImagoError where the model knows no background to cut anything out of."""
    card = predictor.card
    if not card.has_background:
        raise ImagoError(
            f"model {settings.model!r} has no class 'background' (it has {', '.join(card.labels.names)}), so there is "
            f"no subject for {asked}; use another model, or imago segment"
        )
    if card.model_type == "boxes":
        settings.say(f"note: model {settings.model!r} finds boxes, no outlines: its subject is whole boxes")


def say_doubt(predictor: Predictor, quiet: bool = False) -> None:
    """A note where what is asked of overlaps comes too late for this model."""
    from imago.inference.instances.postprocess import explain_doubt

    doubt = explain_doubt(predictor.options.detection, predictor.card)
    if doubt and not quiet:
        echo(f"note: {doubt}", err=True)


def process(
    predictor: Asked,
    plan: Sequence[PlannedImage],
    write: Write,
    settings: PhotoSettings,
    as_planned: bool = True,
    on_done: Callable[[PlannedImage], None] = lambda planned: None,
) -> int:
    """Run ``plan`` and tell: notes and failures as they come, a summary at the end. Returns the exit code.

    ``as_planned``: whether ``write`` writes the files that the plan names. ``on_done`` is called for each photo that is
    written, as they get ready.
    """
    from imago.inference.batch import run_batch

    debug = debugging()
    with Meter(len(plan), shown=not settings.quiet) as meter:

        def tell(outcome: Outcome) -> None:
            meter.advance()
            for note in () if settings.quiet else outcome.notes:
                meter.say(one_line(f"{outcome.planned.image.label}: {note}"))
            if outcome.unforeseen is not None and debug:
                meter.say(traceback_text(outcome.unforeseen))
            if outcome.failure:
                hint = DEBUG_HINT if outcome.unforeseen is not None and not debug else ""
                meter.say(f"imago: {outcome.failure}{hint}")
            else:
                on_done(outcome.planned)

        report = run_batch(
            predictor,
            plan,
            write,
            damaged=settings.damaged,
            strip_metadata=settings.strip_metadata,
            on_outcome=tell,
        )
        if not settings.quiet:
            meter.say(_summarize(report, plan, meter.seconds, as_planned))
    return 1 if report.failed else 0


def _summarize(report: Report, plan: Sequence[PlannedImage], seconds: float, as_planned: bool) -> str:
    if as_planned and len(plan) == 1 and report.done and plan[0].outputs:
        return f"{', '.join(str(path) for path in plan[0].outputs)}: written in {seconds:.1f} s"
    rate = f", {report.done / seconds:.1f} images/s" if report.done > 1 else ""
    failed = f"; {len(report.failed)} failed" if report.failed else ""
    return f"{report.done} of {plural(len(plan), 'image')} done in {seconds:.1f} s{rate}{failed}"
