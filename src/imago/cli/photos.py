"""What the commands for photos share: the plan, the run over all photos, what is said, the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imago.cli.console import DEBUG_HINT, debugging, echo, traceback_text
from imago.cli.progress import Meter
from imago.core.text import one_line

if TYPE_CHECKING:
    from imago.files.inputs import PlannedImage
    from imago.inference.batch import Outcome, Report, Write
    from imago.inference.options import PredictOptions
    from imago.inference.predictor import Predictor

MEGA = 1_000_000
MAX_MEGAPIXELS = 250.0  # as imago.files.images.MAX_PIXELS, which would take NumPy to import


def check_megapixels(limit: float) -> None:
    if not limit > 0:
        raise ValueError(f"--max-megapixels must be above 0; got {limit:g}")


def plan_photos(paths: Sequence[str], out: Path | None, kinds: Sequence[str], overwrite: bool) -> list[PlannedImage]:
    """Photos and outputs; ``kinds`` are keys of ``OUTPUT_SUFFIXES``. Raises what is in the way before anything runs."""
    from imago.files.inputs import OUTPUT_SUFFIXES, find_images, plan_outputs

    photos = find_images([Path(path) for path in paths])
    return plan_outputs(photos, out, [OUTPUT_SUFFIXES[kind] for kind in kinds], overwrite)


def load_predictor(model: str, photos: int, options: PredictOptions) -> Predictor:
    """The model, answering as ``options`` say; for one photo (as many threads as cores are free), or for many (one
    thread a photo)."""
    import cv2

    from imago.inference.batch import workers_for
    from imago.inference.load import load

    if workers_for(photos) == 1:
        return load(model, keep_memory=photos > 1, options=options)
    cv2.setNumThreads(1)  # the photos are spread over the cores, so that their parts need not be
    return load(model, threads=1, options=options)


def say_doubt(predictor: Predictor) -> None:
    """A note where what is asked of overlaps comes too late for this model."""
    from imago.inference.instances.postprocess import explain_doubt

    doubt = explain_doubt(predictor.options.detection, predictor.card)
    if doubt:
        echo(f"note: {doubt}", err=True)


def process(predictor: Predictor, plan: Sequence[PlannedImage], write: Write) -> int:
    """Run ``plan`` and tell: notes and failures as they come, a summary at the end. Returns the exit code."""
    from imago.inference.batch import run_batch

    debug = debugging()
    with Meter(len(plan)) as meter:

        def tell(outcome: Outcome) -> None:
            meter.advance()
            for note in outcome.notes:
                meter.say(one_line(f"{outcome.planned.image.path}: {note}"))
            if outcome.unforeseen is not None and debug:
                meter.say(traceback_text(outcome.unforeseen))
            if outcome.failure:
                hint = DEBUG_HINT if outcome.unforeseen is not None and not debug else ""
                meter.say(f"imago: {outcome.failure}{hint}")

        report = run_batch(predictor, plan, write, on_outcome=tell)
        meter.say(_summarize(report, plan, meter.seconds))
    return 1 if report.failed else 0


def _summarize(report: Report, plan: Sequence[PlannedImage], seconds: float) -> str:
    if len(plan) == 1 and report.done and plan[0].outputs:
        return f"{', '.join(str(path) for path in plan[0].outputs)}: written in {seconds:.1f} s"
    rate = f", {report.done / seconds:.1f} images/s" if report.done > 1 else ""
    failed = f"; {len(report.failed)} failed" if report.failed else ""
    return f"{report.done} of {len(plan)} images done in {seconds:.1f} s{rate}{failed}"
