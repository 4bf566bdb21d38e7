"""What is laid behind a photo is brought into the photo's colour profile; profiles, EXIF and resolution travel on."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from profiles import gray_profile, p3_profile

from imago.core.labels import Labels, binary_labels
from imago.files.images import Photo, read_image
from imago.inference.cutout.alpha import ArrayAlpha
from imago.inference.cutout.compose import compose
from imago.inference.prediction import Prediction

P3 = p3_profile()
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
COLOR = (200, 60, 30)


def as_srgb(pixels: np.ndarray, icc: bytes | None) -> np.ndarray:
    """What a viewer that knows colours shows."""
    if icc is None:
        return pixels
    image = ImageCms.profileToProfile(
        Image.fromarray(pixels), ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )  # fmt: skip
    return np.asarray(image)


def half(icc: bytes | None) -> Prediction:
    """Left half subject, right half background."""
    alpha = np.zeros((40, 60), np.uint8)
    alpha[:, :30] = 255
    photo = Photo(np.full((40, 60, 3), 90, np.uint8), icc=icc)
    return Prediction(photo, binary_labels(), alpha_map=ArrayAlpha(alpha))


@pytest.mark.parametrize("photo_icc", [None, SRGB, P3])
@pytest.mark.parametrize("behind", ["color", "color with alpha", "image", "image in sRGB", "image in P3"])
def test_what_lies_behind_looks_as_it_did(tmp_path: Path, photo_icc: bytes | None, behind: str) -> None:
    background: str | Path = "#{:02x}{:02x}{:02x}".format(*COLOR) + ("80" if "alpha" in behind else "")
    expected = np.array(COLOR)
    if "image" in behind:
        icc = {"image": None, "image in sRGB": SRGB, "image in P3": P3}[behind]
        background = tmp_path / "sky.png"
        flat = np.full((8, 8, 3), COLOR, np.uint8)
        Image.fromarray(flat).save(background, icc_profile=icc)
        expected = as_srgb(flat, icc)[0, 0]
    shown = half(photo_icc).cutout(background)
    seen = as_srgb(np.asarray(shown)[:, :, :3].copy(), shown.info.get("icc_profile"))
    assert np.abs(seen[20, 55].astype(int) - expected).max() <= 3
    assert shown.info.get("icc_profile") == photo_icc
    if photo_icc == P3 and behind == "color":
        assert np.abs(np.asarray(shown)[20, 55].astype(int) - COLOR).max() > 10  # P3's numbers are others


def test_white_stays_white_and_black_black() -> None:
    for name, value in (("white", 255), ("black", 0)):
        assert (np.asarray(half(P3).cutout(name))[20, 55] == value).all()


def test_a_color_that_lets_something_through() -> None:
    made = np.asarray(half(None).cutout("#c83c1e80"))
    assert made[20, 5].tolist() == [90, 90, 90, 255]
    assert made[20, 55].tolist() == [*COLOR, 128]


def test_a_broken_profile_is_noted() -> None:
    broken = P3[:140] + b"\xff" * 60
    made = compose(Photo(np.zeros((9, 9, 3), np.uint8), icc=broken), ArrayAlpha(np.full((9, 9), 255, np.uint8)), "red")
    assert "profile cannot be used" in made.notes[0]


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_greys_are_read_by_their_profile(gamma: float, mode: str, kind: str) -> None:
    if kind == "JPEG" and mode != "L":
        pytest.skip("JPEGs hold plain grey alone")
    gray = np.arange(0, 256, 5, dtype=np.uint8)[None].repeat(16, axis=0)
    image = Image.fromarray(gray.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(gray).convert(mode)
    stream = io.BytesIO()
    image.save(stream, kind, icc_profile=gray_profile(gamma), **({"quality": 100} if kind == "JPEG" else {}))
    light = (gray[0] / 255) ** gamma
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    for channels in (1, 3):
        photo = read_image(stream.getvalue(), channels=channels)
        assert np.abs(photo.pixels[8, :, 0] - expected).max() < (4 if kind == "JPEG" else 2)
        assert photo.icc is None
        assert photo.notes == ()


@pytest.mark.parametrize("what", ["cutout", "overlay", "mask", "alpha"])
@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".webp"])
def test_metadata_travels_on(tmp_path: Path, what: str, ending: str) -> None:
    if (what in ("mask", "alpha") and ending in (".jpg", ".webp")) or (what, ending) == ("cutout", ".jpg"):
        pytest.skip("these are not written so")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    exif.get_ifd(0x8769)[0x9003] = "2026:01:02 03:04:05"
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(path, exif=exif, dpi=(300, 150), icc_profile=P3)
    photo = read_image(path)
    label_map = np.zeros(photo.size_hw, np.uint8)
    label_map[5:9] = 1
    made = Prediction(photo, Labels(("background", "thing")), label_map=label_map)
    (target,) = made.save(tmp_path / f"out{ending}", (what,))
    with Image.open(target) as image:
        found = image.getexif()
        assert found[0x010F] == "Maker"
        assert found.get(0x0112, 1) == 1
        assert found.get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"
        if ending != ".webp":  # has no place for it
            assert np.allclose(image.info["dpi"], (150, 300), atol=0.05)
        assert image.info.get("icc_profile") == (P3 if what in ("cutout", "overlay") else None)
        assert what == "overlay" or image.width == 40
