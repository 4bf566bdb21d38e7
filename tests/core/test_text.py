"""Names that are no text: escaped so that they can be had back, whoever reads them."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imago.core.text import escape, one_line, plural, printable, to_json, to_utf8, unescape

PARTS = st.sampled_from(
    ["\\", "\\\\", "x", "xE9", "\\xE9", "\udce9", "uD800", "\ud800", "\\uDCE9", "a", "日", "E9", "\n"]
)


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("photo.jpg", "photo.jpg"),
        ("日本 😀.jpg", "日本 😀.jpg"),
        ("a\\b.jpg", "a\\b.jpg"),  # a backslash alone is no escape
        (os.fsdecode(b"caf\xe9.jpg"), "caf\\xE9.jpg"),
        ("caf\\xE9.jpg", "caf\\\\xE9.jpg"),  # these very characters
        ("\\\udce9", "\\\\\\xE9"),  # a backslash, then a byte
        ("\ud800.jpg", "\\uD800.jpg"),  # Windows alone has such names
        ("caf\\xe9 \\x41", "caf\\xe9 \\x41"),  # never written by escape, so not taken for one
    ],
)
def test_names_and_how_they_are_written(name: str, escaped: str) -> None:
    assert escape(name) == escaped
    assert unescape(escaped) == name


@given(st.one_of(st.text(st.characters()), st.lists(PARTS).map("".join), st.binary().map(os.fsdecode)))
def test_every_text_comes_back(text: str) -> None:
    assert unescape(escape(text)) == text
    assert unescape(to_utf8(escape(text)).decode("utf-8")) == text
    read = json.loads(to_json({"names": [text]}).encode("utf-8"))
    assert unescape(read["names"][0]) == text
    assert json.loads(to_json([text], ascii_only=True).encode("ascii")) == [escape(text)]


@given(st.text(st.characters()), st.sampled_from(["utf-8", "cp1252", "ascii", "cp932"]))
def test_every_stream_can_print_it(text: str, encoding: str) -> None:
    shown = printable(text, encoding)
    shown.encode(encoding)
    assert not set(shown) & (set(map(chr, range(32))) - {"\t", "\n"})


def test_a_terminal_is_not_told_what_to_do() -> None:
    assert printable("\x1b[2Jphoto\tof\n\x9b") == "\\x1b[2Jphoto\tof\n\\x9b"
    assert one_line("a\r\nb") == "a\\x0d\\x0ab"


@pytest.mark.parametrize(
    ("number", "noun", "verb", "text"),
    [
        (0, "photo", "", "0 photos"), (1, "photo", "", "1 photo"), (2, "class", "", "2 classes"),
        (1, "class", "have", "1 class has"), (3, "box", "need", "3 boxes need"), (1, "box", "need", "1 box needs"),
        (1, "photo", "are", "1 photo is"), (12_345, "photo", "", "12,345 photos"),
    ],
)  # fmt: skip
def test_plurals(number: int, noun: str, verb: str, text: str) -> None:
    assert plural(number, noun, verb) == text
