"""Model files: the card inside ``.safetensors`` and ``.onnx``. Nothing here can run code from a file."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from imago.core.card import METADATA_KEY, ModelCard
from imago.core.errors import ModelError


def read_safetensors_header(path: Path) -> dict[str, dict]:
    """The JSON header of a ``.safetensors`` file: tensor names to dtype, shape and offsets, and ``__metadata__``."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
        if not 0 < length <= size - 8:
            raise ModelError(f"{path}: not a whole .safetensors file ({size} bytes); copy or export it again")
        try:
            return json.loads(stream.read(length))
        except ValueError as error:
            raise ModelError(f"{path}: its header is damaged; copy or export it again") from error


def read_safetensors_card(path: Path) -> ModelCard:
    """The card of a checkpoint that Imago wrote. Raises ModelError where there is none."""
    text = read_safetensors_header(path).get("__metadata__", {}).get(METADATA_KEY)
    if text is None:
        raise ModelError(
            f"{path}: holds weights but no Imago model card, so its architecture and classes are not known. "
            "Load it into a net with imago.models.build(...) and save that."
        )
    return ModelCard.from_json(text, str(path))
