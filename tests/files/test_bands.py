"""Images of any number of bands, 8 and 16 bit and float, come out as they are stored."""

from __future__ import annotations

import io
import itertools
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiffs import write_tiff

from imago.core.bands import check_shown, to_rgb
from imago.core.errors import ImageError
from imago.files.images import image_size, read_image, read_values
from imago.files.tiff import read_tiff
from imago.files.values import scale_to_bytes

HW = (33, 45)


def make(bands: int, dtype: str) -> np.ndarray:
    """Values that differ in every band, over most of the type's range."""
    rng = np.random.default_rng(bands)
    smooth = np.add.outer(np.arange(HW[0]) * 2.0, np.arange(HW[1]))[:, :, None] / 120
    values = np.clip(smooth + 0.1 * rng.random((*HW, bands)) + np.linspace(0, 0.1, bands), 0, 1)
    kind = np.dtype(dtype)
    return values.astype(kind) if kind.kind == "f" else (values * np.iinfo(kind).max).astype(kind)


def stored(data: bytes, channels: int) -> np.ndarray:
    return read_tiff(io.BytesIO(data), "x.tif", channels, lambda size: None).values


@pytest.mark.parametrize("compression", ["", "lzw", "deflate", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_layouts_and_packings(compression: str, dtype: str) -> None:
    values = make(5, dtype)
    predictors = (1, 3 if dtype == "float32" else 2) if compression in ("lzw", "deflate", "zstd") else (1,)
    layouts = ({}, {"tile": 16}, {"planar": True}, {"planar": True, "tile": 16})
    for (number, layout), predictor in itertools.product(enumerate(layouts), predictors):
        data = write_tiff(values, compression=compression, predictor=predictor, order="<>"[number % 2], **layout)
        assert np.array_equal(stored(data, 5), values), (layout, predictor)


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 6, 32])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_model_of_as_many_channels_gets_every_band(bands: int, dtype: str) -> None:
    """Whatever the bands are said to be: none becomes constant, none is blended into white."""
    values = make(bands, dtype)
    top = 255 if dtype == "uint8" else 1.0 if dtype == "float32" else 65535
    for photometric, extra in itertools.product((1, 2) if bands >= 3 else (1,), (0, 2, None)):
        data = write_tiff(values, photometric=photometric, extra=extra)
        photo = read_image(data, channels=bands, name="x.tif")
        assert photo.pixels.shape == (*HW, bands)
        assert photo.opacity is None
        assert np.abs(photo.pixels / 255 - values / top).max() <= 0.5 / 255 + 1e-6, (photometric, extra)
        assert image_size(data) == HW


@pytest.mark.parametrize(
    ("bands", "photometric", "extra", "channels", "wanted"),
    [
        (4, 2, 2, 3, "blended"),  # said to be transparency
        (4, 2, 0, 3, "colors"),  # near infrared
        (4, 2, None, 3, "colors"),
        (6, 2, 0, 3, "colors"),
        (2, 1, 2, 1, "blended"),
        (3, 2, None, 1, "gray"),
        (2, 1, 0, 1, "2 bands; the model takes 1"),
        (6, 1, 0, 3, "6 bands; the model takes 3"),
        (3, 1, 0, 1, "3 bands; the model takes 1"),
        (1, 1, 0, 4, "1 band; the model takes 4"),
        (3, 2, 0, 4, "3 bands; the model takes 4"),
        (4, 2, 2, 6, "4 bands; the model takes 6"),
        (6, 1, 0, 5, "6 bands; the model takes 5"),
        (33, 1, 0, 33, "33 bands; images of 1 to 32"),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_model_of_fewer_channels(
    bands: int, photometric: int, extra: int | None, channels: int, wanted: str, dtype: str
) -> None:
    values = make(bands, dtype)
    data = write_tiff(values, photometric=photometric, extra=extra)
    if wanted not in ("blended", "colors", "gray"):
        with pytest.raises(ImageError, match=rf"^x\.tif: has {wanted}"):
            read_image(data, channels=channels, name="x.tif")
        return
    photo = read_image(data, channels=channels, name="x.tif")
    shares = values / (255 if dtype == "uint8" else 1.0 if dtype == "float32" else 65535)
    colors, last = shares[:, :, :channels], shares[:, :, -1:]
    if wanted == "gray":
        assert np.abs(photo.pixels[:, :, 0] / 255 - shares @ (0.299, 0.587, 0.114)).max() < 0.009
    elif wanted == "blended":
        assert photo.opacity is not None
        assert np.abs(photo.opacity[:, :, None] / 255 - last).max() < 0.003
        assert np.abs(photo.pixels / 255 - (colors * last + 1 - last)).max() < 0.009
    else:
        assert np.abs(photo.pixels / 255 - colors).max() < 0.003
        assert any("left out" in note for note in photo.notes)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_files_of_pillow_have_the_bands_of_their_mode(channels: int, mode: str) -> None:
    values = np.moveaxis(make(len(mode), "uint8"), 2, 0)
    image = Image.merge(mode, [Image.fromarray(band) for band in values])
    stream = io.BytesIO()
    image.save(stream, "PNG")
    if channels in (1, 3) or channels == len(mode):
        photo = read_image(stream.getvalue(), channels=channels)
        assert photo.pixels.shape == (*HW, channels)
        if channels in (2, 4):
            assert np.array_equal(photo.pixels, np.asarray(image))
    elif (mode, channels) != ("LA", 4):  # grey and alpha are RGBA
        with pytest.raises(ImageError, match=f"has {len(mode)} bands?; the model takes {channels}"):
            read_image(stream.getvalue(), channels=channels)


def test_ranges_mean_the_same_in_every_image() -> None:
    """Two scenes, one dark: by the model's ranges a value is one shade, though neither uses the whole range."""
    ranges = ((0, 3000), (100, 1100))
    dark, light = np.full((*HW, 2), 600, np.uint16), np.full((*HW, 2), 600, np.uint16)
    light[0, 0] = 2900
    for values in (dark, light, dark.astype(np.float32), light.astype(np.int16)):
        for source in (write_tiff(values), values):
            photo = read_image(source, channels=2, ranges=ranges)
            assert photo.pixels[5, 5].tolist() == [51, 128]
    gray = io.BytesIO()
    Image.fromarray(light[:, :, 0]).save(gray, "PNG")
    assert read_image(gray.getvalue(), channels=3, ranges=((0, 3000),) * 3).pixels[5, 5].tolist() == [51] * 3


def test_what_is_no_number_is_said() -> None:
    values = make(3, "float32")
    values[0, 0] = (np.nan, np.inf, -np.inf)
    values[1, 0] = -9999
    mark = (42113, 2, 6, b"-9999\0")
    photo = read_image(write_tiff(values, photometric=2, tags=(mark,)))
    assert photo.pixels[0, 0].tolist() == photo.pixels[1, 0].tolist() == [0, 0, 0]
    assert photo.notes == ("6 values are no number (NaN, infinity or the file's mark for no data): taken as 0",)
    assert np.abs(photo.pixels[2:] / 255 - values[2:]).max() < 0.003
    one = io.BytesIO()
    Image.fromarray(values[:, :, 0]).save(one, "TIFF")
    assert "NaN" in read_image(one.getvalue()).notes[0]
    pixels, notes = scale_to_bytes(np.full((2, 2, 1), np.nan))
    assert pixels.max() == 0
    assert "4 values" in notes[0]


def test_floats_beyond_one_are_spread_and_said() -> None:
    photo = read_image(write_tiff(make(3, "float32") * 250, photometric=2))
    assert photo.pixels.max() == 255
    assert "spread" in photo.notes[0]


@pytest.mark.parametrize("channels", [2, 6])
def test_pages_that_are_bands(channels: int) -> None:
    """As tifffile writes arrays: (C, H, W) are pages, (H, W, C) even rows; ImageJ's channels are pages too."""
    tifffile = pytest.importorskip("tifffile")
    values = make(channels, "uint16")
    pages = np.ascontiguousarray(values.transpose(2, 0, 1))
    for array, options in (
        (pages, {"photometric": "minisblack"}),
        (pages, {"imagej": True, "metadata": {"axes": "CYX"}}),
        (pages, {"ome": True, "metadata": {"axes": "CYX"}}),
        (values, {"photometric": "minisblack"}),
    ):
        stream = io.BytesIO()
        tifffile.imwrite(stream, array, **options)
        assert image_size(stream.getvalue()) == HW, options
        photo = read_image(stream.getvalue(), channels=channels)
        assert np.abs(photo.pixels / 255 - values / 65535).max() < 0.003, options


@pytest.mark.parametrize("way", range(1, 9))
def test_upright(way: int) -> None:
    values = make(5, "uint8")
    data = write_tiff(values, tags=((274, 3, 1, bytes((way, 0))),))
    photo = read_image(data, channels=5)
    assert photo.size_hw == image_size(data) == (HW if way < 5 else HW[::-1])
    gray = io.BytesIO()
    Image.fromarray(values[:, :, 0]).save(gray, "TIFF", tiffinfo={274: way})
    assert np.array_equal(photo.pixels[:, :, 0], read_image(gray.getvalue(), channels=1).pixels[:, :, 0])


@pytest.mark.parametrize("compression", ["", "lzw", "deflate"])
def test_damaged_files_are_one_line(compression: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = write_tiff(make(6, "uint16"), compression=compression)
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(data)
        for at in rng.integers(4, len(data), 6):
            broken[at] = rng.integers(256)
        whole = bytes(broken)[: rng.integers(8, len(data))] if rng.random() < 0.5 else bytes(broken)
        for ask in (lambda: read_image(whole, channels=6, name="x.tif"), lambda: image_size(whole)):  # noqa: B023
            with suppress(ImageError):
                ask()
    with pytest.raises(ImageError, match=r"^x\.tif: .*(cut off|damaged)"):
        read_image(data[: len(data) // 2], channels=6, name="x.tif")
    assert capfd.readouterr().err == ""


def test_too_large_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(ImageError, match="above the limit"):
        read_image(write_tiff(make(6, "uint8")), channels=6, max_pixels=1000)


def test_values_as_stored(tmp_path: Path) -> None:
    values = make(6, "int16")
    (tmp_path / "x.tif").write_bytes(write_tiff(values, tags=((42113, 2, 6, b"-9999\0"),)))
    found, mark = read_values(tmp_path / "x.tif", 6)
    assert found.dtype == np.int16
    assert np.array_equal(found, values)
    assert mark == -9999
    Image.fromarray(values[:, :, 0].astype(np.uint16)).save(tmp_path / "y.png")
    found, mark = read_values(tmp_path / "y.png", 1)
    assert found.dtype == np.uint16
    Image.fromarray(make(3, "uint8")).save(tmp_path / "z.jpg")
    assert read_values(tmp_path / "z.jpg", 3)[0].dtype == np.uint8


def test_shown_bands() -> None:
    values = make(6, "uint8")
    assert np.array_equal(to_rgb(values), values[:, :, :3])
    assert np.array_equal(to_rgb(values, (4, 3, 2)), values[:, :, [3, 2, 1]])
    assert np.array_equal(to_rgb(values, (5,)), values[:, :, [4, 4, 4]])
    assert np.array_equal(to_rgb(values[:, :, :2]), values[:, :, [0, 0, 0]])
    check_shown((6, 1, 1), 6)
    for wrong in ((1, 2), (0, 1, 2), (1, 2, 7)):
        with pytest.raises(ValueError, match="from 1 to 6"):
            check_shown(wrong, 6)
