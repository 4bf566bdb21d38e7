"""The models that come with the package: ``weights/NAME.onnx`` beside this file."""

from __future__ import annotations

from pathlib import Path

DEFAULT_MODEL = "subject"  # what the commands use where none is named
WEIGHTS = Path(__file__).parent / "weights"


def shipped_models() -> dict[str, Path]:
    """Name to file, in the order of the names."""
    return {path.stem: path for path in sorted(WEIGHTS.glob("*.onnx"))}
