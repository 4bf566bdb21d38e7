"""From a model's name to its file."""

from __future__ import annotations

import os
from pathlib import Path

from imago.core.errors import ModelError
from imago.files.download import models_folder
from imago.files.paths import explain_missing, web_address
from imago.models.published import PUBLISHED
from imago.models.shipped import shipped_models


def models_on_disk() -> dict[str, Path]:
    """Name to file of every ``.onnx`` in the user's cache, downloaded or put there by hand."""
    return {path.stem: path for path in sorted(models_folder().glob("*.onnx")) if path.is_file()}


def find_model(model: str | Path) -> Path:
    """The file behind a name or path. Raises ModelError that says what there is, or how to get it."""
    text = os.fspath(model)
    if web_address(text):
        raise ModelError(explain_missing(text))
    if isinstance(model, Path) or Path(text).suffix.lower() in (".onnx", ".safetensors") or os.sep in text:
        return _model_file(Path(text))
    shipped, on_disk = shipped_models(), models_on_disk()
    if text in shipped:
        return shipped[text]
    if text in on_disk:
        return on_disk[text]
    if text in PUBLISHED:
        entry = PUBLISHED[text]
        needs = ' (once, with PyTorch: pip install "imago-seg[train]")' if entry.converted else ""
        raise ModelError(
            f"model {text!r} is not on this machine ({entry.remote.size / 1e6:.1f} MB); get it with: "
            f"imago models download {text}{needs}"
        )
    names = sorted({*shipped, *on_disk, *PUBLISHED})
    raise ModelError(
        f"there is no model {text!r}; choose from {', '.join(names)}, or give an .onnx or .safetensors file"
    )


def _model_file(path: Path) -> Path:
    if path.is_dir():
        inside = sorted(file.name for pattern in ("*.onnx", "*.safetensors") for file in path.glob(pattern))
        advice = f"name one of the files in it: {', '.join(inside)}" if inside else "and there is no model in it"
        raise ModelError(f"{path}: is a folder, not a model file; {advice}")
    if not path.is_file():
        raise ModelError(explain_missing(path, "model file"))
    if path.suffix.lower() not in (".onnx", ".safetensors"):
        raise ModelError(f"{path}: not a model file that Imago reads; give an .onnx or a .safetensors file")
    return path
