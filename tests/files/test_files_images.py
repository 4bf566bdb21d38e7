"""Every format, mode and way up comes out as upright 8-bit RGB; everything else as one line with the file's name."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from imago.core.errors import ImageError
from imago.files.images import image_size, read_image

RANDOM = np.random.default_rng(0)
SMOOTH = np.clip(np.add.outer(np.arange(30) * 3, np.arange(50) * 2)[:, :, None] + np.array([0, 40, 80]), 0, 255)
SMOOTH = SMOOTH.astype(np.uint8)  # (30, 50, 3): survives lossy formats


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("kind", "options", "off"),
    [
        ("JPEG", {"quality": 95}, 4),
        ("JPEG", {"quality": 95, "progressive": True}, 4),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("BMP", {}, 0),
        ("PPM", {}, 0),
        ("AVIF", {"quality": 95}, 6),
        ("JPEG2000", {}, 0),
    ],
)
def test_formats(kind: str, options: dict, off: int) -> None:
    data = encoded(Image.fromarray(SMOOTH), kind, **options)
    photo = read_image(data)
    assert photo.pixels.dtype == np.uint8
    assert np.abs(photo.pixels.astype(int) - SMOOTH).max() <= off
    assert photo.pixels.flags.c_contiguous
    assert photo.opacity is None
    assert photo.notes == ()
    assert image_size(data) == (30, 50)
    assert read_image(data, channels=1).pixels.shape == (30, 50, 1)
    with pytest.raises(ImageError, match=r"^x\.jpg: .*(cut off|damaged)"):
        read_image(data[: len(data) * 2 // 3], name="x.jpg")


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGBA", "1", "CMYK", "RGBX", "I;16", "I", "F", "LAB"])
def test_modes(mode: str) -> None:
    gray = Image.fromarray(SMOOTH).convert("L")
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.buildTransform(*profiles, "RGB", "LAB").apply(Image.fromarray(SMOOTH))
        assert image is not None
    elif mode == "I;16":
        image = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(np.asarray(gray).astype(np.float32) / 255)
    elif mode == "I":
        image = Image.fromarray(np.asarray(gray).astype(np.int32) * 257)
    else:
        image = Image.fromarray(SMOOTH).convert(mode)
    # Grey is compared with grey, colour with colour; dithered and palette modes lose detail, not the mean.
    wanted = np.asarray(gray.convert("RGB") if mode in ("L", "LA", "I", "I;16", "F", "1") else Image.fromarray(SMOOTH))
    for photo in (read_image(encoded(image, "TIFF")), read_image(image)):
        assert photo.pixels.shape == (30, 50, 3)
        assert abs(photo.pixels.mean() - wanted.mean()) < 4
        if mode not in ("P", "1"):
            assert np.abs(photo.pixels.astype(int) - wanted).max() <= (8 if mode == "LAB" else 1)


def test_sixteen_bits() -> None:
    deep = np.array([[0, 2048, 4095]], np.uint16)
    photo = read_image(encoded(Image.fromarray(deep), "PNG"))
    assert photo.pixels[0, :, 0].tolist() == [0, 128, 255]
    assert "4095" in photo.notes[0]
    photo = read_image(encoded(Image.fromarray(deep * 16), "PNG"))
    assert photo.pixels[0, :, 0].tolist() == [0, 128, 255]
    assert photo.notes == ()
    photo = read_image(encoded(Image.fromarray(np.array([[-5.0, 0.0, 5.0]], np.float32)), "TIFF"))
    assert photo.pixels[0, :, 0].tolist() == [0, 128, 255]
    assert "-5" in photo.notes[0]


def test_transparency_lies_over_white_and_is_kept() -> None:
    image = np.zeros((1, 3, 4), np.uint8)
    image[0, :, 3] = (0, 51, 255)
    photo = read_image(encoded(Image.fromarray(image), "PNG"))
    assert photo.pixels[0, :, 0].tolist() == [255, 204, 0]
    assert photo.opacity is not None
    assert photo.opacity[0].tolist() == [0, 51, 255]
    assert read_image(encoded(Image.fromarray(image), "PNG"), channels=4).pixels.tolist() == image.tolist()
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    photo = read_image(encoded(palette, "PNG", transparency=0))
    assert photo.pixels[0].tolist() == [[255, 255, 255], [40, 50, 60]]
    assert photo.opacity is not None
    assert photo.opacity[0].tolist() == [0, 255]


UPRIGHT = np.zeros((4, 8, 3), np.uint8)
UPRIGHT[:2, :4] = (250, 0, 0)  # upper left, so that all eight ways differ
UPRIGHT[:2, 4:] = (0, 250, 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("way", range(1, 9))
def test_orientation(kind: str, way: int) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions that EXIF's values ask to be undone
    stored = Image.fromarray(np.kron(UPRIGHT, np.ones((16, 16, 1), np.uint8)))
    if way > 1:
        stored = stored.transpose(Image.Transpose(undo[way]))
    exif = Image.Exif()
    exif[0x0112] = way
    options = {"quality": 95} if kind != "TIFF" else {}
    data = encoded(stored, kind, exif=exif.tobytes() if kind != "TIFF" else exif, **options)
    photo = read_image(data)
    assert photo.size_hw == image_size(data) == (64, 128)
    assert np.abs(photo.pixels[8::16, 8::16].astype(int) - UPRIGHT).max() < 12


def test_profiles() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert read_image(encoded(Image.fromarray(SMOOTH), "JPEG", icc_profile=profile)).icc == profile
    assert read_image(encoded(Image.fromarray(SMOOTH[:, :, 0]), "PNG", icc_profile=b"x" * 16 + b"GRAY")).icc is None


def test_first_frame_is_noted() -> None:
    frames = [Image.fromarray(SMOOTH), Image.fromarray(255 - SMOOTH)]
    for kind in ("GIF", "WEBP", "TIFF"):
        photo = read_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert "first" in photo.notes[0]
        assert np.abs(photo.pixels.astype(int) - SMOOTH).mean() < 12


JPEG = encoded(Image.fromarray(SMOOTH), "JPEG")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"hello, world", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),  # would start Ghostscript
        (JPEG[:5], "damaged or cut off"),
        (JPEG[:-2], "no end marker"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "damaged or cut off"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 40, "pillow-heif"),
        (
            struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54, 0, 0, 54, 40, 0, 5, 1, 24, 0, 0, 0, 0, 0, 0),
            "no pixels|damaged",
        ),
    ],
)
def test_refused(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=words) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_an_end_marker_in_the_thumbnail_does_not_count() -> None:
    thumbnail = b"\xff\xd8" + b"\1" * 20 + b"\xff\xd9"
    block = b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail
    whole = JPEG[:2] + block + JPEG[2:]
    assert read_image(whole).size_hw == (30, 50)
    with pytest.raises(ImageError, match="cut off"):
        read_image(whole[:-20])


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(str(tmp_path))


def test_limit_is_ours_and_pillows_stays() -> None:
    before = Image.MAX_IMAGE_PIXELS
    header = bytearray(encoded(Image.new("1", (9, 9)), "PNG"))
    header[16:24] = struct.pack(">II", 20000, 12000)  # 240 megapixels: Pillow would refuse the header alone
    header[29:33] = struct.pack(">I", zlib.crc32(header[12:29]))
    wide = bytes(header)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_size(wide) == (12000, 20000)
        with pytest.raises(ImageError, match=r"240 megapixels, above the limit of 100; .*--max-megapixels"):
            read_image(wide, max_pixels=100_000_000, name="w.png")
    assert before == Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match="megapixels"):
        read_image(np.zeros((20, 20, 3), np.uint8), max_pixels=399)
    read_image(np.zeros((20, 20, 3), np.uint8), max_pixels=400)


@pytest.mark.parametrize(
    ("array", "first"),
    [
        (np.full((2, 3), 7, np.uint8), [7, 7, 7]),
        (np.full((2, 3, 1), 7, np.uint8), [7, 7, 7]),
        (np.full((2, 3), True), [255, 255, 255]),
        (np.full((2, 3, 3), 32768, np.uint16), [128, 128, 128]),
        (np.full((2, 3, 3), 0.5), [128, 128, 128]),
        (np.full((2, 3, 4), [0, 0, 0, 51], np.uint8), [204, 204, 204]),
    ],
)
def test_arrays(array: np.ndarray, first: list[int]) -> None:
    assert read_image(array).pixels[0, 0].tolist() == first


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(5, np.uint8), "expected an array"),
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.zeros((5, 5, 7), np.uint8), "has 7"),
        (np.full((5, 5, 3), 1.5), "0..1"),
        (np.full((5, 5, 3), np.nan), "NaN"),
        (np.zeros((5, 5, 3), np.int64), "int64"),
    ],
)
def test_refused_arrays(array: np.ndarray, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        read_image(array)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"]), st.data())
def test_damaged_files_are_read_or_refused_but_never_crash(kind: str, data: st.DataObject) -> None:
    content = bytearray(encoded(Image.fromarray(SMOOTH), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        photo = read_image(bytes(content), max_pixels=1_000_000)
    except ImageError:
        return
    assert photo.pixels.dtype == np.uint8


def test_streams_and_names(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    with path.open("rb") as stream:
        photo = read_image(stream)
    assert photo.name == str(path)
    assert read_image(io.BytesIO(JPEG), name="pipe").name == "pipe"
    assert np.array_equal(read_image(path).pixels, photo.pixels)
