"""Which photos are meant, and where their outputs go, is decided before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from imago.core.errors import ImageError, ImagoError
from imago.files.inputs import InputImage, find_images, plan_outputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = (
        "b.jpg a.PNG notes.txt sub/c.webp sub/deep/d.tif .hidden.jpg .git/e.jpg a.cutout.png A.Mask.png b.overlay.jpg"
    )
    for name in names.split():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    return tmp_path


def relatives(images: list[InputImage]) -> list[str]:
    return [image.relative.as_posix() for image in images]


def test_folders_are_walked(folder: Path) -> None:
    assert relatives(find_images([folder])) == ["a.PNG", "b.jpg", "sub/c.webp", "sub/deep/d.tif"]
    assert relatives(find_images([folder], recursive=False)) == ["a.PNG", "b.jpg"]
    assert all(image.path == folder / image.relative for image in find_images([folder]))


def test_files_are_taken_as_named(folder: Path) -> None:
    named = [folder / "notes.txt", folder / "a.cutout.png", folder / ".hidden.jpg"]
    assert relatives(find_images(named)) == ["notes.txt", "a.cutout.png", ".hidden.jpg"]
    twice = find_images([folder / "b.jpg", folder, folder / "sub" / ".." / "b.jpg"])
    assert relatives(twice) == ["b.jpg", "a.PNG", "sub/c.webp", "sub/deep/d.tif"]


def test_links_that_lead_back(folder: Path) -> None:
    (folder / "sub" / "back").symlink_to(folder)
    assert relatives(find_images([folder])) == ["a.PNG", "b.jpg", "sub/c.webp", "sub/deep/d.tif"]


def test_nothing_there(folder: Path) -> None:
    with pytest.raises(ImageError, match=r"nowhere\.jpg: there is no such file"):
        find_images([folder / "nowhere.jpg"])
    with pytest.raises(ImageError, match="empty: no images"):
        find_images([folder / "b.jpg", folder / "empty"])


def test_outputs_beside_and_elsewhere(folder: Path) -> None:
    images = find_images([folder])
    beside = plan_outputs(images, None, (".cutout.png", ".json"), overwrite=True)
    assert beside[1].outputs == (folder / "b.cutout.png", folder / "b.json")
    assert beside[3].outputs[0] == folder / "sub" / "deep" / "d.cutout.png"
    out = folder / "out"
    assert plan_outputs(images, out, (".cutout.png",))[3].outputs == (out / "sub" / "deep" / "d.cutout.png",)


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("a/x.jpg", "a/x.png"), 1),
        (("a/x.jpg", "a/X.jpg"), 1),
        (("a/x.jpg", "b/x.jpg"), 0),
        (("a/\u00e9.jpg", "a/e\u0301.png"), 1),  # one letter, written in two ways
        (("a/x.jpg", "a/x.png", "a/y.jpg", "a/y.bmp"), 2),
    ],
)
def test_two_that_would_write_one(tmp_path: Path, names: tuple[str, ...], pairs: int) -> None:
    images = [InputImage(tmp_path / name, Path(name)) for name in names]
    for out in (None, tmp_path / "out"):
        if not pairs:
            assert len(plan_outputs(images, out, (".cutout.png",))) == len(images)
            continue
        with pytest.raises(ImagoError, match=r"would be written for .* and for ") as caught:
            plan_outputs(images, out, (".cutout.png",), overwrite=True)
        assert str(caught.value).count("would be written") == pairs
        assert all(str(image.path) in str(caught.value) for image in images)


def test_two_folders_into_one(tmp_path: Path) -> None:
    images = [InputImage(tmp_path / place / "x.jpg", Path("x.jpg")) for place in ("a", "b")]
    with pytest.raises(ImagoError, match="and for"):
        plan_outputs(images, tmp_path / "out", (".cutout.png",))
    assert len(plan_outputs(images, None, (".cutout.png",))) == 2


def test_all_that_is_there_is_named(folder: Path) -> None:
    images = find_images([folder])
    with pytest.raises(ImagoError) as caught:
        plan_outputs(images, None, (".cutout.png", ".overlay.jpg"))
    assert "a.cutout.png: is there already (--overwrite" in str(caught.value)
    assert "b.overlay.jpg: is there already" in str(caught.value)
    assert "2 outputs" in str(caught.value)
    assert len(plan_outputs(images, None, (".cutout.png", ".overlay.jpg"), overwrite=True)) == 4


def test_an_input_is_never_written_over(tmp_path: Path) -> None:
    images = [InputImage(tmp_path / name, Path(name)) for name in ("x.jpg", "x.cutout.png")]
    with pytest.raises(ImagoError, match=r"x\.cutout\.png: is an input itself"):
        plan_outputs(images, None, (".cutout.png",), overwrite=True)
