"""Text and JSON that users wrote, in the encodings that their programs write."""

from __future__ import annotations

from pathlib import Path

import pytest

from imago.core.errors import DataError
from imago.files.text import read_json, read_text, read_toml

TEXT = "name = 'Gefäß 鳥'\nother = 2\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_encoding_with_a_mark(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(TEXT.replace("\n", end).encode(encoding))
    assert read_text(path) == TEXT
    assert read_toml(path, "recipe") == {"name": "Gefäß 鳥", "other": 2}


@pytest.mark.parametrize("mark", ["utf-16-be", "utf-32-be"])
def test_the_other_byte_order(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes('\ufeff{"a": 1}'.encode(mark))
    assert read_json(path) == {"a": 1}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xfeabc", "not a TOML file .*utf-16-le"),
        (b"a = '\xe9'", "not a TOML file .*utf-8"),
        (b"a = [" * 5000, "not a TOML file"),
        (b"a =", "not a TOML file"),
    ],
)
def test_what_is_no_text(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"a\.toml: {words}"):
        read_toml(path, "recipe")


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the recipe cannot be read"):
        read_toml(tmp_path, "recipe")
