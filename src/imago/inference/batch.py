"""Many photos through one model: reading, running and writing overlap, memory is bounded, one bad file stops nothing.

Every worker thread makes the whole trip with one photo: read, run, write. All of that is C code that releases Python's
lock, and ``Engine.run`` may be called from several threads at once, so one net with one thread inside and a worker a
core keeps all cores busy without any waiting for each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from imago.core.errors import ImagoError, fault_line, is_out_of_memory
from imago.core.text import one_line
from imago.files.images import Damaged, image_size
from imago.files.inputs import InputImage
from imago.files.outputs import PlannedImage
from imago.inference.prediction import Prediction
from imago.inference.predictor import Asked
from imago.inference.threads import allowed_cores

# Photos that are in work at once may have this many megapixels in all; a larger one is worked on alone. A photo takes
# up to about 10 bytes a pixel while it is cut out, so this is half a gigabyte.
MEGAPIXELS_IN_WORK = 50.0

Write = Callable[[Prediction, PlannedImage], tuple[str, ...]]  # answers further notes


@dataclass(frozen=True)
class Outcome:
    """What became of one photo."""

    planned: PlannedImage
    notes: tuple[str, ...] = ()  # "the first frame is used" and the like
    failure: str = ""  # one line with the file's name, empty if all is written
    unforeseen: Exception | None = None  # what raised it, where that is a fault of Imago and not of the photo


@dataclass(frozen=True)
class Report:
    """What became of all of them."""

    done: int
    failed: tuple[tuple[Path, str], ...]  # file and the line that says why, in the order of the plan


def workers_for(count: int) -> int:
    """Worker threads for ``count`` photos. With more than one, the net should have one thread inside."""
    return max(1, min(allowed_cores(), count))


def run_batch(
    predictor: Asked,
    plan: Sequence[PlannedImage],
    write: Write,
    *,
    threads: int | None = None,
    damaged: Damaged | None = None,
    strip_metadata: bool = False,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> Report:
    """Read, run and ``write`` every photo of ``plan``. ``threads``: worker threads, ``workers_for(len(plan))`` if None.
    ``damaged``: as for ``read_image``; ``strip_metadata`` leaves EXIF and resolution out of what is written.

    ``write`` is called in the worker threads and must write by ``atomic_write``. ``on_outcome`` is called in the
    caller's thread, as the photos get ready. Whatever a photo raises is its own failure; SystemExit and Ctrl-C let the
    files that are being written become whole, then go on upwards.
    """
    stop = threading.Event()

    def trip(planned: PlannedImage) -> Outcome | None:
        return _trip(predictor, planned, write, stop, damaged=damaged, strip_metadata=strip_metadata)

    waiting = list(reversed(plan))
    running: dict[Future[Outcome | None], float] = {}
    outcomes: dict[int, Outcome] = {}
    count = threads or workers_for(len(plan))
    pool = ThreadPoolExecutor(count, thread_name_prefix="imago")
    try:
        while waiting or running:
            while waiting and len(running) < count:
                megapixels = _megapixels(waiting[-1].image)
                if running and sum(running.values()) + megapixels > MEGAPIXELS_IN_WORK:
                    break
                running[pool.submit(trip, waiting.pop())] = megapixels
            ready, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ready:
                del running[future]
                outcome = future.result()
                if outcome is not None:
                    outcomes[id(outcome.planned)] = outcome
                    on_outcome(outcome)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    ordered = [outcomes[id(planned)] for planned in plan]
    failed = tuple((outcome.planned.image.path, outcome.failure) for outcome in ordered if outcome.failure)
    return Report(len(ordered) - len(failed), failed)


def _megapixels(image: InputImage) -> float:
    if image.piped:  # what is read of a pipe is gone
        return 0.0
    try:
        height, width = image_size(image.path)
    except Exception:  # the worker reads the header too, and says what is wrong with it
        return 0.0
    return height * width / 1e6


def _trip(
    predictor: Asked,
    planned: PlannedImage,
    write: Write,
    stop: threading.Event,
    *,
    damaged: Damaged | None,
    strip_metadata: bool,
) -> Outcome | None:
    """One photo all the way; None if it was stopped before anything was written."""
    path = planned.image.path
    notes: tuple[str, ...] = ()
    try:
        photo = predictor.read(path, damaged=damaged, page=planned.image.page)
        if strip_metadata:
            photo = replace(photo, exif=None, dpi=None)
        notes = photo.notes
        if stop.is_set():
            return None
        prediction = predictor.predict(photo)
        del photo
        if stop.is_set():
            return None
        return Outcome(planned, notes + write(prediction, planned))
    except Exception as error:  # whatever it is, the other photos have nothing to do with it
        foreseen = isinstance(error, (ImagoError, OSError)) or is_out_of_memory(error)
        line = one_line(fault_line(error, planned.image.label))  # the name may hold a line end
        return Outcome(planned, notes, line, None if foreseen else error)
