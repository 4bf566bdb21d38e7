"""Model files: the card inside ``.safetensors`` and ``.onnx``. Nothing here can run code from a file."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any, BinaryIO

from imago.core.errors import ModelError
from imago.core.model_card import METADATA_KEY, ModelCard
from imago.core.plain_values import parse_json
from imago.files.text import read_text


def read_safetensors_header(path: Path) -> dict[str, dict[str, Any]]:
    """The JSON header of a ``.safetensors`` file: tensor names to dtype, shape and offsets, and ``__metadata__``."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
        if not 0 < length <= size - 8:
            raise ModelError(f"{path}: not a whole .safetensors file ({size} bytes); copy or export it again")
        try:
            header = parse_json(stream.read(length).decode())
            if not isinstance(header, dict) or not all(isinstance(entry, dict) for entry in header.values()):
                raise ValueError("expected a table of tensors")
            return header
        except ValueError as error:
            raise ModelError(f"{path}: its header is damaged ({error}); copy or export it again") from error


def read_safetensors_card(path: Path) -> ModelCard:
    """The card of a checkpoint that Imago wrote. Raises ModelError where there is none."""
    text = read_safetensors_header(path).get("__metadata__", {}).get(METADATA_KEY)
    if not isinstance(text, str):
        raise ModelError(
            f"{path}: holds weights but no Imago model card, so its architecture and classes are not known. "
            "Load it into a net with imago.models.build(...) and save that."
        )
    return ModelCard.from_json(text, str(path))


def find_safetensors_card(path: Path) -> ModelCard | None:
    """The card of a checkpoint; None where the file holds weights alone, or is missing."""
    if not path.is_file() or METADATA_KEY not in read_safetensors_header(path).get("__metadata__", {}):
        return None
    return read_safetensors_card(path)


_METADATA_FIELD = 14  # of ModelProto in onnx.proto: metadata_props, pairs of key (field 1) and value (field 2)
_GRAPH_FIELD = 7
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf


def read_onnx_metadata(source: Path | bytes, name: str = "") -> dict[str, str]:
    """The metadata of an ONNX file, without its weights: the fields of the outermost message are walked, the graph
    is stepped over. Takes under a millisecond for a file of any size, and no ONNX package.

    Raises ModelError where the file is cut short or no ONNX model. ``name`` is for messages about ``bytes``.
    """
    name = name or (str(source) if isinstance(source, Path) else "model")
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        metadata: dict[str, str] = {}
        has_graph = False
        while stream.tell() < size:
            field, wire = divmod(_varint(stream, name), 8)
            if wire == _BYTES:
                length = _varint(stream, name)
                if stream.tell() + length > size:
                    raise ModelError(f"{name}: not a whole ONNX model ({size} bytes); copy or download it again")
                if field == _METADATA_FIELD:
                    key, value = _pair(stream.read(length), name)
                    metadata[key] = value
                else:
                    stream.seek(length, io.SEEK_CUR)
                has_graph = has_graph or field == _GRAPH_FIELD
            elif wire == _VARINT:
                _varint(stream, name)
            elif wire in (_FIXED64, _FIXED32):
                stream.seek(8 if wire == _FIXED64 else 4, io.SEEK_CUR)
            else:
                raise ModelError(f"{name}: not an ONNX model ({size} bytes); give an .onnx file")
    if not has_graph:
        raise ModelError(f"{name}: not an ONNX model ({size} bytes, no network inside); give an .onnx file")
    return metadata


def _varint(stream: BinaryIO, name: str) -> int:
    value = shift = 0
    while True:
        byte = stream.read(1)
        if not byte or shift > 63:
            raise ModelError(f"{name}: not a whole ONNX model; copy or download it again")
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
        shift += 7


def _pair(message: bytes, name: str) -> tuple[str, str]:
    texts = {1: "", 2: ""}
    stream = io.BytesIO(message)
    while stream.tell() < len(message):
        field, wire = divmod(_varint(stream, name), 8)
        if wire != _BYTES:
            raise ModelError(f"{name}: its metadata is damaged; copy or export it again")
        texts[field] = stream.read(_varint(stream, name)).decode("utf-8", "replace")
    return texts[1], texts[2]


def sidecar(path: Path) -> Path:
    """Where the card of a ONNX file from elsewhere may lie: ``net.onnx`` -> ``net.onnx.json``."""
    return path.with_name(path.name + ".json")


def read_onnx_card(source: Path | bytes, name: str = "") -> ModelCard | None:
    """The card inside an ONNX file, else the one in its sidecar, else None (a file from elsewhere).

    Raises ModelError where the file or the card is damaged.
    """
    text = read_onnx_metadata(source, name).get(METADATA_KEY)
    if text is not None:
        return ModelCard.from_json(text, name or (str(source) if isinstance(source, Path) else "model"))
    if isinstance(source, Path) and sidecar(source).is_file():
        try:
            text = read_text(sidecar(source))
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{sidecar(source)}: the model card cannot be read as text ({error})") from error
        return ModelCard.from_json(text, str(sidecar(source)))
    return None
