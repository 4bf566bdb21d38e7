"""Which photos are meant, and where their outputs go, is decided before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from imago.core.errors import ImageError, ImagoError
from imago.files import outputs
from imago.files.inputs import InputImage, find_images
from imago.files.outputs import plan_outputs


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
    beside = plan_outputs(images, None, ("cutout", "json"), overwrite=True)
    assert beside[1].outputs == (folder / "b.cutout.png", folder / "b.json")
    assert beside[3].outputs[0] == folder / "sub" / "deep" / "d.cutout.png"
    out = folder / "out"
    assert plan_outputs(images, out, ("cutout",))[3].outputs == (out / "sub" / "deep" / "d.cutout.png",)


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (("a/x.jpg", "a/x.png"), ("a/x", "a/x.png")),
        (("a/IMG_1.HEIC", "a/IMG_1.JPG"), ("a/IMG_1", "a/IMG_1.JPG")),
        (("a/x.jpg", "b/x.jpg"), ("a/x", "b/x")),
        (("a/x.jpg", "a/x.png", "a/x.webp"), ("a/x", "a/x.png", "a/x.webp")),
        (("a/x.png.jpg", "a/x.jpg", "a/x.tif"), ("a/x.png", "a/x", "a/x.tif")),
        (("a/x.jpg", "a/x.png", "a/x.png.jpg"), ("a/x", "a/x.png", "a/x.png.jpg")),  # the third gives way in its turn
    ],
)
def test_photos_of_one_stem(tmp_path: Path, names: tuple[str, ...], stems: tuple[str, ...]) -> None:
    images = [InputImage(tmp_path / name, Path(name)) for name in names]
    for out in (None, tmp_path / "out"):
        plan = plan_outputs(images, out, ("cutout",))
        made = [planned.outputs[0].relative_to(out or tmp_path).as_posix() for planned in plan]
        assert made == [f"{stem}.cutout.png" for stem in stems]
        said: list[str] = []
        plan = plan_outputs(images, out, ("cutout",), same_name="skip", say=said.append)
        kept = [planned.outputs[0] for planned in plan]
        assert len(set(kept)) == len(kept) == len(names) - len(said)


@pytest.mark.parametrize(
    "names", [("x.jpg", "X.jpg"), ("stra\u00dfe.jpg", "strasse.png"), ("\u00e9.jpg", "e\u0301.png")]
)
@pytest.mark.parametrize("holds_both", [True, False])
def test_names_that_some_file_systems_take_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str], holds_both: bool
) -> None:
    images = [InputImage(tmp_path / name, Path(name)) for name in names]
    if not holds_both:  # a file system that takes them for one finds a probe under the other name as well
        monkeypatch.setattr(outputs.os.path, "lexists", lambda path: Path(path).parent == tmp_path)
    plan = [planned.outputs[0].name for planned in plan_outputs(images, None, ("cutout",), overwrite=True)]
    second = Path(names[1]).stem if holds_both else names[1]
    assert plan == [f"{Path(names[0]).stem}.cutout.png", f"{second}.cutout.png"]
    assert list(tmp_path.iterdir()) == []  # nothing of the probe is left


def test_two_that_have_one_name_in_all(tmp_path: Path) -> None:
    images = [InputImage(tmp_path / place / "x.jpg", Path("x.jpg")) for place in "ab"]
    with pytest.raises(ImagoError, match=r"x\.cutout\.png: would be written for .*a/x\.jpg and for .*b/x\.jpg"):
        plan_outputs(images, tmp_path / "out", ("cutout",), overwrite=True)


def test_of_many_faults_some_are_shown(tmp_path: Path) -> None:
    images = [InputImage(tmp_path / f"{index}.jpg", Path(f"{index}.jpg")) for index in range(40)]
    for index in range(40):
        (tmp_path / f"{index}.cutout.png").write_bytes(b"")
    with pytest.raises(ImagoError, match="40 outputs are in the way") as caught:
        plan_outputs(images, None, ("cutout",))
    assert len(str(caught.value).splitlines()) == 12
    said: list[str] = []
    assert plan_outputs(images[:1], None, ("cutout", "json"), skip_existing=True) != []
    (tmp_path / "39.cutout.png").unlink()
    left = plan_outputs(images, None, ("cutout",), skip_existing=True, say=said.append)
    assert [planned.image for planned in left] == images[39:]
    assert said == ["39 of 40 photos are written already and are skipped"]


def test_two_folders_into_one(tmp_path: Path) -> None:
    images = [InputImage(tmp_path / place / "x.jpg", Path("x.jpg")) for place in ("a", "b")]
    with pytest.raises(ImagoError, match="and for"):
        plan_outputs(images, tmp_path / "out", ("cutout",))
    assert len(plan_outputs(images, None, ("cutout",))) == 2


def test_all_that_is_there_is_named(folder: Path) -> None:
    images = find_images([folder])
    with pytest.raises(ImagoError) as caught:
        plan_outputs(images, None, ("cutout", "overlay"))
    assert "a.cutout.png: is there already (--overwrite" in str(caught.value)
    assert "b.overlay.jpg: is there already" in str(caught.value)
    assert "2 outputs" in str(caught.value)
    assert len(plan_outputs(images, None, ("cutout", "overlay"), overwrite=True)) == 4


def test_an_input_is_never_written_over(tmp_path: Path) -> None:
    images = [InputImage(tmp_path / name, Path(name)) for name in ("x.jpg", "x.cutout.png")]
    with pytest.raises(ImagoError, match=r"x\.cutout\.png: is an input itself"):
        plan_outputs(images, None, ("cutout",), overwrite=True)
