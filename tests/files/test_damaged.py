"""Damaged, but readable: used with a note or refused, as asked; libjpeg's own words never reach the standard error."""

from __future__ import annotations

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_scene
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imago.core.errors import ImageError
from imago.files.decoder_warnings import decode_listening
from imago.files.images import read_image

SCENE = draw_scene(0)[0].repeat(3, axis=0).repeat(3, axis=1)


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(SCENE)
    if kind == "CMYK":
        image.convert("CMYK").save(stream, "JPEG", quality=90)
    else:
        image.save(stream, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return stream.getvalue()


WHOLE = encoded("JPEG")


def hole(data: bytes, length: int = 64) -> bytes:
    """Zeros in the middle of the coded picture: restart of the codes, and bytes that are left over."""
    middle = len(data) * 2 // 3
    return data[:middle] + bytes(length) + data[middle + length :]


DAMAGED = {
    "hole": hole(WHOLE),
    "no end marker": WHOLE[:-2],
    "half": WHOLE[: len(WHOLE) // 2],
    "half, with end marker": WHOLE[: len(WHOLE) // 2] + b"\xff\xd9",
    "half of a PNG": encoded("PNG")[: len(encoded("PNG")) // 2],
    "half of a TIFF": encoded("TIFF")[: len(encoded("TIFF")) // 2],
    "half of a CMYK JPEG": encoded("CMYK")[: len(encoded("CMYK")) // 2],
}
MENDED = ("hole", "half, with end marker")


@pytest.mark.parametrize("damaged", [None, "skip", "use"])
@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_noted_or_refused(case: str, damaged: str | None, capfd: pytest.CaptureFixture[str]) -> None:
    if damaged == "use" or (damaged is None and case in MENDED):
        photo = read_image(DAMAGED[case], damaged=damaged, name="x.jpg")  # type: ignore[arg-type]
        assert photo.size_hw == SCENE.shape[:2]
        assert sum("what could be read is used" in note for note in photo.notes) == 1
        assert np.abs(photo.pixels[:16].astype(int) - SCENE[:16]).mean() < (40 if "CMYK" in case else 8)
    else:
        with pytest.raises(ImageError, match=r"^x\.jpg: .*--damaged use"):
            read_image(DAMAGED[case], damaged=damaged, name="x.jpg")  # type: ignore[arg-type]
    assert capfd.readouterr() == ("", "")


def test_a_few_bytes_before_the_end_are_no_damage(capfd: pytest.CaptureFixture[str]) -> None:
    photo = read_image(WHOLE[:-2] + b"abcdefgh" + WHOLE[-2:], damaged="skip")
    assert "extraneous bytes" in photo.notes[0]
    assert np.array_equal(photo.pixels, read_image(WHOLE).pixels)
    assert capfd.readouterr().err == ""


def test_each_thread_hears_of_its_own_file(capfd: pytest.CaptureFixture[str]) -> None:
    files = [(f"{index}.jpg", DAMAGED["hole"] if index % 5 == 0 else WHOLE) for index in range(60)]
    with ThreadPoolExecutor(8) as pool:
        photos = list(pool.map(lambda file: read_image(file[1], name=file[0]), files))
    assert [photo.name for photo in photos if photo.notes] == [f"{index}.jpg" for index in range(0, 60, 5)]
    assert capfd.readouterr().err == ""


def test_what_others_say_meanwhile_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    started, said = threading.Event(), threading.Event()

    def speak() -> None:
        started.wait(10)
        os.write(2, b"another thread\n")
        said.set()

    def decode() -> int:
        started.set()
        said.wait(10)
        os.write(2, b"Corrupt JPEG data: bad Huffman code\n")
        return 7

    other = threading.Thread(target=speak)
    other.start()
    assert decode_listening(decode) == (7, ["Corrupt JPEG data: bad Huffman code"])
    other.join()
    assert capfd.readouterr().err == "another thread\n"
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"


def test_an_error_gives_the_descriptor_back(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        decode_listening(fail)
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_is_forked_meanwhile_has_its_standard_error(tmp_path: Path) -> None:
    real = os.dup(2)
    target = os.open(tmp_path / "said", os.O_RDWR | os.O_CREAT)
    os.dup2(target, 2)
    try:

        def decode() -> None:
            child = os.fork()
            if child == 0:
                os.write(2, b"child\n")
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert (tmp_path / "said").read_bytes() == b"child\n"

        decode_listening(decode)
    finally:
        os.dup2(real, 2)
        os.close(real)
        os.close(target)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "TIFF", "WEBP", "GIF", "CMYK"]), st.data())
def test_use_takes_what_there_is_and_never_crashes(kind: str, data: st.DataObject) -> None:
    whole = encoded(kind)
    content = bytearray(whole[: data.draw(st.integers(len(whole) // 4, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(20, len(content) - 1))] = data.draw(st.integers(0, 255))
    answers, lines = {}, {}
    for damaged in (None, "skip", "use"):
        try:
            answers[damaged] = read_image(bytes(content), damaged=damaged, max_pixels=1_000_000)  # type: ignore[arg-type]
        except ImageError as error:
            lines[damaged] = str(error)
    assert not any("\n" in line for line in lines.values())
    if "skip" in answers:  # each way takes at least what the stricter one takes
        assert None in answers
    if None in answers:
        assert "use" in answers
        assert np.array_equal(answers[None].pixels, answers["use"].pixels)
