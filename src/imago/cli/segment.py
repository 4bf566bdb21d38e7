"""``imago segment PATH...``: photos or folders -> label masks, overlays, areas."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from imago.cli.options import build, options_from
from imago.cli.photos import MAX_MEGAPIXELS, MEGA, check_megapixels, load_for, plan_photos, process
from imago.models.shipped import DEFAULT_MODEL

if TYPE_CHECKING:
    from imago.files.inputs import PlannedImage
    from imago.inference.prediction import Prediction

KINDS = ("mask", "overlay", "cutout", "json")
USUAL = ("mask", "overlay")


@dataclass(frozen=True)
class SegmentSettings:
    """What ``imago segment`` is told."""

    paths: tuple[str, ...] = field(metadata={"argument": True, "metavar": "PATH..."})
    model: str = field(default=DEFAULT_MODEL, metadata={"help": "A name (see imago models) or a model file."})
    out: Path | None = field(
        default=None,
        metadata={"short": "-o", "metavar": "DIR", "help": "Folder to write to.  [default: beside each photo]"},
    )
    save: tuple[str, ...] = field(
        default=(),
        metadata={
            "choices": KINDS,
            "commas": True,
            "help": f"What to write.  [default: {','.join(USUAL)}; nothing with --json]",
        },
    )
    json: bool = field(default=False, metadata={"help": "Areas as JSON on standard output, one line a photo."})
    overwrite: bool = field(default=False, metadata={"help": "Replace files that are there already."})
    max_megapixels: float = field(default=MAX_MEGAPIXELS, metadata={"help": "Refuse photos with more than this."})

    def __post_init__(self) -> None:
        check_megapixels(self.max_megapixels)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is written, each once."""
        return tuple(dict.fromkeys(self.save)) or (() if self.json else USUAL)


@click.command("segment")
@options_from(SegmentSettings)
def segment_command(**values: Any) -> int:
    """Label every pixel of each photo: STEM.mask.png (values are classes, with the model's palette), STEM.overlay.jpg
    (with a legend), STEM.json (areas).

    PATH is a photo or a folder (its sub-folders are kept).
    """
    settings = build(SegmentSettings, values)
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

    code = process(load_for(settings.model, len(plan)), plan, write, int(settings.max_megapixels * MEGA))
    for planned in plan:
        if planned.image.path in lines:
            click.echo(lines[planned.image.path])
    return code
