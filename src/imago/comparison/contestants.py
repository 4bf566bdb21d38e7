"""Who takes part: architectures that are to be trained, and models that are there already."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imago.core.errors import ImagoError, ModelError
from imago.models import BUILDERS
from imago.models.find import find_model
from imago.models.things import THING_BUILDERS
from imago.training.config import known_options


@dataclass(frozen=True)
class Contestant:
    """One model of a comparison: ``architecture`` (and ``encoder``) to be trained, or the ``file`` of a ready one."""

    name: str
    architecture: str = ""
    encoder: str = ""
    file: Path | None = None


def parse_contestants(models: Sequence[str]) -> tuple[Contestant, ...]:
    """``["fcn8s,pspnet:resnet50", "runs/a", "b.onnx", "subject"]`` -> contestants.

    A name of ``imago.models.BUILDERS`` or ``THING_BUILDERS``, with or without ``:ENCODER``, is trained; a run's folder
    stands for the model in it; everything else is a model file or a name that ``imago.load`` takes. Raises ImagoError.
    """
    texts = [text.strip() for part in models for text in part.split(",") if text.strip()]
    if not texts:
        raise ImagoError("nothing to compare: name architectures, run folders or model files with --models a,b,c")
    found = [_contestant(text) for text in texts]
    names = [contestant.name for contestant in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ImagoError(f"these stand twice in --models: {', '.join(twice)}; give each once")
    return tuple(found)


def _contestant(text: str) -> Contestant:
    architecture, colon, encoder = text.partition(":")
    if architecture in BUILDERS or architecture in THING_BUILDERS:
        if colon and "encoder" not in known_options(architecture):
            raise ImagoError(f"{text}: {architecture} has no encoder to choose; write {architecture}")
        return Contestant(re.sub(r"[^\w.-]+", "-", text), architecture, encoder)
    path = Path(text)
    if path.is_dir():
        for inside in ("model.onnx", "best.safetensors"):
            if (path / inside).is_file():
                return Contestant(path.resolve().name, file=path / inside)
        raise ImagoError(f"{text}: a folder without model.onnx or best.safetensors; is the training done?")
    try:
        file = find_model(text)
    except ModelError as error:
        raise ImagoError(f"{error}. To train: {', '.join([*BUILDERS, *THING_BUILDERS])}") from error
    return Contestant(path.stem if path.suffix else text, file=file)
