"""Cards in files: whatever stands there, a card or one line with the file's name."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_onnx import tiny_card, tiny_onnx

from imago.core.errors import ModelError
from imago.core.model_card import METADATA_KEY
from imago.files.model_file import find_safetensors_card, read_onnx_card, read_safetensors_card, sidecar


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model from elsewhere, without a card inside."""
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    path.write_bytes(tiny_onnx(None))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_cards_as_a_shell_writes_them(net: Path, encoding: str) -> None:
    sidecar(net).write_text(tiny_card().to_json(), encoding)
    assert read_onnx_card(net) == tiny_card()


def with_header(path: Path, header: bytes) -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"[]", "header is damaged"),
        (b'{"a": 1}', "header is damaged"),
        (b"[" * 50_000, "header is damaged"),
        (b"\xff", "header is damaged"),
        (b'{"__metadata__": {"imago": null}}', "no Imago model card"),
        (b'{"__metadata__": {"imago": "{}"}}', "the model card inside is damaged"),
    ],
)
def test_damaged_headers(tmp_path: Path, header: bytes, words: str) -> None:
    path = with_header(tmp_path / "a.safetensors", header)
    with pytest.raises(ModelError, match=rf"a\.safetensors: .*{words}"):
        read_safetensors_card(path)
    with contextlib.suppress(ModelError):
        find_safetensors_card(path)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.binary(max_size=6), st.integers(0, 8))
def test_no_damage_gets_past_the_message(net: Path, at: int, rubbish: bytes, gone: int) -> None:
    def damaged(data: bytes) -> bytes:
        start = at % len(data)
        return data[:start] + rubbish + data[start + gone :]

    card = tiny_card().to_json()
    sidecar(net).write_bytes(damaged(card.encode()))
    with contextlib.suppress(ModelError):
        read_onnx_card(net)
    header = json.dumps({"__metadata__": {METADATA_KEY: card}}).encode()
    path = with_header(net.with_name("a.safetensors"), damaged(header))
    with contextlib.suppress(ModelError):
        read_safetensors_card(path)
