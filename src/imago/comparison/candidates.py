"""Who takes part: architectures that are to be trained, and models that are there already."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imago.core.errors import ImagoError, ModelError
from imago.models import BUILDERS
from imago.models.detection.builders import DETECTION_BUILDERS
from imago.models.find import find_model
from imago.training.net_options import list_net_options


@dataclass(frozen=True)
class Candidate:
    """One model of a comparison: ``architecture`` (and ``encoder``) to be trained, or the ``file`` of a ready one."""

    name: str
    architecture: str = ""
    encoder: str = ""
    file: Path | None = None


def parse_candidates(models: Sequence[str]) -> tuple[Candidate, ...]:
    """``["fcn8s,pspnet:resnet50", "runs/a", "b.onnx", "subject"]`` -> candidates.

    A name of ``imago.models.BUILDERS`` or ``DETECTION_BUILDERS``, with or without ``:ENCODER``, is trained; a run's folder
    stands for the model in it; everything else is a model file or a name that ``imago.load`` takes. Raises ImagoError.
    """
    texts = [text.strip() for part in models for text in part.split(",") if text.strip()]
    if not texts:
        raise ImagoError("nothing to compare: name architectures, run folders or model files with --models a,b,c")
    found = [_candidate(text) for text in texts]
    names = [candidate.name for candidate in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ImagoError(f"these stand twice in --models: {', '.join(twice)}; give each once")
    return tuple(found)


def _candidate(text: str) -> Candidate:
    architecture, colon, encoder = text.partition(":")
    if architecture in BUILDERS or architecture in DETECTION_BUILDERS:
        if colon and "encoder" not in list_net_options(architecture):
            raise ImagoError(f"{text}: {architecture} has no encoder to choose; write {architecture}")
        return Candidate(re.sub(r"[^\w.-]+", "-", text), architecture, encoder)
    path = Path(text)
    if path.is_dir():
        for inside in ("model.onnx", "best.safetensors"):
            if (path / inside).is_file():
                return Candidate(path.resolve().name, file=path / inside)
        raise ImagoError(f"{text}: a folder without model.onnx or best.safetensors; is the training done?")
    try:
        file = find_model(text)
    except ModelError as error:
        raise ImagoError(f"{error}. To train: {', '.join([*BUILDERS, *DETECTION_BUILDERS])}") from error
    return Candidate(path.stem if path.suffix else text, file=file)
