"""``imago segment PATH...``: photos or folders -> label masks, overlays, areas."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from imago.cli.options import build, options_from
from imago.cli.photos import MAX_MEGAPIXELS, MEGA, check_megapixels, load_for, plan_photos, process
from imago.core.setting import setting
from imago.core.views import Views
from imago.models.shipped import DEFAULT_MODEL

if TYPE_CHECKING:
    from imago.files.inputs import PlannedImage
    from imago.inference.prediction import Prediction

KINDS = ("mask", "overlay", "cutout", "json")
USUAL = ("mask", "overlay")


@dataclass(frozen=True)
class SegmentSettings:
    """What ``imago segment`` is told."""

    paths: tuple[str, ...] = setting(argument=True, metavar="PATH...")
    model: str = setting(DEFAULT_MODEL, "A name (see imago models) or a model file.")
    out: Path | None = setting(None, "Folder to write to.  [default: beside each photo]", short="-o", metavar="DIR")
    save: tuple[str, ...] = setting(
        (), f"What to write.  [default: {','.join(USUAL)}; nothing with --json]", choices=KINDS, commas=True
    )
    json: bool = setting(False, "Areas as JSON on standard output, one line a photo.")
    crf: bool = setting(False, "Refine outlines with a dense CRF: some seconds a photo.")
    overwrite: bool = setting(False, "Replace files that are there already.")
    max_megapixels: float = setting(MAX_MEGAPIXELS, "Refuse photos with more than this.")

    def __post_init__(self) -> None:
        check_megapixels(self.max_megapixels)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is written, each once."""
        return tuple(dict.fromkeys(self.save)) or (() if self.json else USUAL)


@click.command("segment")
@options_from(SegmentSettings)
@options_from(Views)
def segment_command(**values: Any) -> int:
    """Label every pixel of each photo: STEM.mask.png (values are classes, with the model's palette), STEM.overlay.jpg
    (with a legend), STEM.json (areas).

    PATH is a photo or a folder (its sub-folders are kept).
    """
    settings, views = build(SegmentSettings, values), build(Views, values)
    from imago.files.writing import atomic_write

    plan = plan_photos(settings.paths, settings.out, settings.kinds, settings.overwrite)
    lines: dict[Path, str] = {}

    def write(prediction: Prediction, planned: PlannedImage) -> tuple[str, ...]:
        writers: dict[str, Callable[[BinaryIO], Any]] = {
            "mask": prediction.write_mask,
            "overlay": prediction.write_overlay,
            "cutout": prediction.write_cutout,
            "json": prediction.write_json,
        }
        for kind, path in zip(settings.kinds, planned.outputs, strict=True):
            with atomic_write(path, settings.overwrite) as stream:
                writers[kind](stream)
        if settings.json:
            lines[planned.image.path] = json.dumps(prediction.to_json(), ensure_ascii=False)
        return ()

    predictor = load_for(settings.model, len(plan))
    predictor.views = views
    if settings.crf:
        from imago.inference.crf import DenseCRF

        predictor.crf = DenseCRF()
    code = process(predictor, plan, write, int(settings.max_megapixels * MEGA))
    for planned in plan:
        if planned.image.path in lines:
            click.echo(lines[planned.image.path])
    return code
