"""EXIF blocks are edited where they lie: upright, without preview, with the right size; damage is no crash."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imago.files.images import read_image
from imago.files.metadata import upright_exif

PREVIEW = b"\xff\xd8" + b"preview of what was cut away" * 9 + b"\xff\xd9"


def block(order: str, behind: bytes = b"") -> bytes:
    """Orientation 6 and a size in the Exif directory, a preview in the second directory, ``behind`` after it."""

    def directory(entries: list[tuple[int, int, int]], following: int) -> bytes:
        packed = b""
        for tag, kind, value in entries:
            number = struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
            packed += struct.pack(order + "HHI", tag, kind, 1) + number
        return struct.pack(order + "H", len(entries)) + packed + struct.pack(order + "I", following)

    first_at, exif_at, second_at, preview_at = 8, 8 + 30, 8 + 60, 8 + 90
    first = directory([(0x0112, 3, 6), (0x8769, 4, exif_at)], second_at)
    exif = directory([(0xA002, 4, 4000), (0xA003, 3, 3000)], 0)
    second = directory([(0x0201, 4, preview_at), (0x0202, 4, len(PREVIEW))], 0)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", first_at)
    return start + first + exif + second + PREVIEW + behind


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("behind", [b"", b"a maker's note"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_a_block_is_made_upright(order: str, behind: bytes, prefix: bytes) -> None:
    made = upright_exif(prefix + block(order, behind), (70, 50))
    found = Image.Exif()
    found.load(b"Exif\0\0" + made)
    assert found[0x0112] == 1
    assert dict(found.get_ifd(0x8769)) == {0xA002: 50, 0xA003: 70}
    assert b"preview" not in made
    assert made.endswith(behind)
    assert not found.get_ifd(1)  # Pillow's number for the second directory
    assert upright_exif(made, (70, 50)) == made


@settings(max_examples=200, deadline=None)
@given(st.sampled_from("<>"), st.data())
def test_damaged_blocks_are_refused_and_never_crash(order: str, data: st.DataObject) -> None:
    content = bytearray(block(order))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, 97))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    try:
        made = upright_exif(bytes(content), (9, 9))
    except ValueError:
        made = None
    stream = io.BytesIO()
    if content:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(stream, "PNG", exif=bytes(content))
        photo = read_image(stream.getvalue())  # the pixels are read all the same, and what was dropped is said
        assert (photo.exif is None) == (made is None)
        assert (made is None) == any("EXIF block is damaged" in note for note in photo.notes)


def test_no_resolution_is_made_up() -> None:
    """Pillow says 72 dots per inch of a JPEG with EXIF that says nothing of it."""
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(stream, "JPEG", exif=exif)
    photo = read_image(stream.getvalue())
    assert photo.exif is not None
    assert photo.dpi is None
