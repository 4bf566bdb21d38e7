"""``-`` for the photo: it is read from standard input, and one answer goes to standard output or to ``-o FILE``."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imago.cli.console import echo_json
from imago.cli.photos import PIPE, PhotoSettings
from imago.core.text import one_line
from imago.files.paths import names_file

if TYPE_CHECKING:
    from imago.inference.prediction import Prediction
    from imago.inference.predictor import Predictor

NAME = "standard input"
TEXTS = ("json", "yolo")  # what a terminal may be given


def check_pipe(settings: PhotoSettings) -> None:
    """Raises ValueError for what does not go with ``-``."""
    if PIPE in settings.paths and (
        len(settings.paths) > 1 or (settings.out is not None and not names_file(settings.out))
    ):
        raise ValueError(
            "'-' reads one photo and writes it to standard output, or to -o FILE; it goes with no other path and no "
            "folder"
        )


def open_pipe(settings: PhotoSettings, kind: str, opaque: bool = False) -> bool:
    """Whether there is something to do: not where ``--skip-existing`` finds the file. ``kind``: what is written, a key
    of ``OUTPUT_SUFFIXES``, "" for nothing. Raises what is in the way before a model is loaded."""
    from imago.files.outputs import check_ending
    from imago.files.writing import exists

    command = click.get_current_context().info_name
    if sys.stdin.isatty():
        raise click.UsageError(f"'-' reads the photo from a pipe, as in: imago {command} - < photo.jpg > result.png")
    if settings.out is None:
        if kind and kind not in TEXTS and sys.stdout.isatty():
            raise click.UsageError("'-' writes a picture to standard output; send it to a file, as in: > result.png")
        return True
    check_ending(settings.out, kind, opaque)
    if not os.path.lexists(settings.out) or settings.overwrite:
        return True
    if settings.skip_existing:
        settings.say(f"{settings.out}: is written already and is skipped")
        return False
    raise exists(settings.out)


def choose_page(pages: str) -> int:
    """The one page that is named; 0 where none is."""
    from imago.core.page_ranges import choose_pages

    return choose_pages(pages, 0)[0] if pages else 0


def answer_pipe(settings: PhotoSettings, predictor: Predictor, kind: str, *, json: bool = False, **options: Any) -> int:
    """Returns the exit code. What is written is finished before its first byte is; ``options`` as for
    ``Prediction.write``, ``json``: a line of JSON on standard output."""
    photo = predictor.read(
        sys.stdin.buffer.read(), name=NAME, damaged=settings.damaged, page=choose_page(settings.pages)
    )
    if settings.strip_metadata:
        photo = replace(photo, exif=None, dpi=None)
    prediction = predictor.predict(photo)
    notes = photo.notes
    if kind:
        notes += _write(settings, prediction, kind, options)
    for note in notes:
        settings.say(f"{NAME}: {one_line(note)}")
    if json:
        echo_json(prediction.to_json())
    return 0


def _write(settings: PhotoSettings, prediction: Prediction, kind: str, options: dict[str, Any]) -> tuple[str, ...]:
    from imago.files.inputs import OUTPUT_SUFFIXES
    from imago.files.writing import atomic_write

    made = io.BytesIO()
    notes = prediction.write(made, kind, settings.out or Path("standard output" + OUTPUT_SUFFIXES[kind]), **options)
    if settings.out is not None:
        with atomic_write(settings.out, settings.overwrite) as stream:
            stream.write(made.getbuffer())
    else:
        sys.stdout.buffer.write(made.getbuffer())
        sys.stdout.buffer.flush()
    return notes
