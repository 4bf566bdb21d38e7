"""One place says what a path is; readers, planners and ``Prediction.save`` agree with it."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imago.core.errors import ImageError, ImagoError
from imago.core.labels import binary_labels
from imago.files.images import Photo, read_image
from imago.files.inputs import OUTPUT_SUFFIXES, InputImage, find_images, folder_of
from imago.files.outputs import ENDINGS, plan_outputs
from imago.files.paths import has_folder, names_file, path_kind
from imago.inference.cutout.alpha import ArrayAlpha
from imago.inference.prediction import Prediction


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """A file, a folder, a FIFO, a socket, links to each, and one that leads nowhere."""
    (tmp_path / "folder.png").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "file.png")
    os.mkfifo(tmp_path / "fifo.png")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket.png"))
    for name in ("folder", "file", "fifo", "socket", "nowhere"):
        (tmp_path / f"to_{name}.png").symlink_to(tmp_path / f"{name}.png")
    return tmp_path


KINDS = {"folder": "folder", "file": "file", "fifo": "pipe", "socket": "device", "nowhere": "missing"}


@pytest.mark.parametrize("name", KINDS)
def test_kinds(everything: Path, name: str) -> None:
    assert path_kind(everything / f"{name}.png") == path_kind(everything / f"to_{name}.png") == KINDS[name]


def test_a_folder_is_walked_past_pipes_and_sockets(everything: Path) -> None:
    said: list[str] = []
    found = find_images([everything], say=said.append)
    assert [image.path.name for image in found] == ["file.png", "to_file.png", "to_nowhere.png"]
    assert len(said) == 4
    assert all(": is no file" in line for line in said)


def test_a_fifo_that_is_named_is_read_once(everything: Path) -> None:
    data = (everything / "file.png").read_bytes()
    writer = threading.Thread(target=lambda: (everything / "fifo.png").write_bytes(data))
    writer.start()
    assert read_image(everything / "fifo.png").size_hw == (4, 4)
    writer.join()
    (found,) = find_images([everything / "fifo.png"])
    assert found.piped
    with pytest.raises(ImagoError, match=r"fifo\.png: has no folder to write to; name a file or a folder with -o"):
        plan_outputs([found], None, ("cutout",))


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_devices_are_refused(path: str) -> None:
    for refuse in (read_image, lambda path: find_images([path])):
        with pytest.raises(ImageError, match=f"{path}: is a device"):
            refuse(path)
    with pytest.raises(ImagoError, match="is a device, where no file can be put"):
        names_file(path)
    assert not has_folder("/dev/stdin")


def test_patterns_and_nothing(everything: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (everything / "[1].png").write_bytes(b"x")
    for name in ("1.png", "a/b/2.png"):
        (everything / name).parent.mkdir(parents=True, exist_ok=True)
        (everything / name).write_bytes(b"x")
    monkeypatch.chdir(everything)
    assert [image.path.name for image in find_images(["[0-9].png"])] == ["1.png"]
    assert [image.path.name for image in find_images(["[1].png"])] == ["[1].png"]  # there is such a file
    assert [str(image.path) for image in find_images(["a/**/*.png"])] == ["a/b/2.png"]
    with pytest.raises(ImageError, match=r"\*\.gif: no file or folder has such a name"):
        find_images(["*.gif"])
    with pytest.raises(ImageError, match="an empty path"):
        find_images([""])


def test_a_file_for_all_photos_lies_in_a_folder(everything: Path) -> None:
    assert folder_of(str(everything)) == folder_of(str(everything / "file.png")) == everything
    assert folder_of(str(everything / "**" / "x*" / "y.png")) == folder_of(str(everything / "[ab].png")) == everything
    assert folder_of("*.jpg") == Path(".")
    for pipe in (str(everything / "fifo.png"), "/dev/stdin"):
        with pytest.raises(ImageError, match="has no folder to write to; name a folder with -o"):
            folder_of(pipe)


def answer() -> Prediction:
    alpha = np.zeros((8, 9), np.uint8)
    alpha[2:6, 3:6] = 255
    return Prediction(
        Photo(np.zeros((8, 9, 3), np.uint8), name="fox.jpg"), binary_labels(), alpha_map=ArrayAlpha(alpha)
    )


@pytest.mark.parametrize("name", ["results_v1.0", "out", "photos.d", "a.b/c", "out.JPG.d"])
def test_what_has_no_known_ending_is_a_folder(tmp_path: Path, name: str) -> None:
    assert not names_file(tmp_path / name)
    assert answer().save(tmp_path / name) == [tmp_path / name / "fox.cutout.png"]
    image = InputImage(tmp_path / "fox.jpg", Path("fox.jpg"))
    assert plan_outputs([image], tmp_path / name, ("mask",))[0].outputs == (tmp_path / name / "fox.mask.png",)


@pytest.mark.parametrize("what", ["cutout", "overlay", "mask", "alpha", "json"])
@pytest.mark.parametrize("ending", [".png", ".PNG", ".webp", ".jpg", ".jpeg", ".tif", ".tiff", ".json", ".txt"])
def test_an_ending_names_the_format_or_is_refused(tmp_path: Path, what: str, ending: str) -> None:
    """The same in Python and in a plan; nothing is left of what is refused."""
    target = tmp_path / f"x{ending}"
    image = InputImage(tmp_path / "fox.jpg", Path("fox.jpg"))
    clear = what == "cutout" and ending in (".jpg", ".jpeg")
    if clear:
        assert plan_outputs([image], target, (what,), opaque=True)[0].outputs == (target,)
    if clear or ending.lower() not in ENDINGS[what]:
        words = rf"\bx{ending}: a JPEG has no transparency" if clear else f"{what} is written as"
        for refuse in (lambda: answer().save(target, (what,)), lambda: plan_outputs([image], target, (what,))):
            with pytest.raises(ImagoError, match=words):
                refuse()
        assert list(tmp_path.iterdir()) == []
        return
    assert plan_outputs([image], target, (what,))[0].outputs == (target,)
    assert answer().save(target, (what,)) == [target]
    if what == "json":
        return
    with Image.open(target) as made:
        wanted = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
        assert made.format == wanted.get(ending.lower(), ending[1:].upper())
        assert made.mode == {"cutout": "RGBA", "overlay": "RGB", "mask": "P", "alpha": "L"}[what]
        if what in ("mask", "alpha"):
            assert set(np.unique(np.asarray(made))) == ({0, 1} if what == "mask" else {0, 255})


def test_every_kind_has_endings() -> None:
    assert set(ENDINGS) == set(OUTPUT_SUFFIXES)
    assert all(os.path.splitext("x" + suffix)[1] in ENDINGS[kind] for kind, suffix in OUTPUT_SUFFIXES.items())


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_sixteen_bits_of_alpha(tmp_path: Path, ending: str) -> None:
    values = np.linspace(0, 1, 5 * 300, dtype=np.float32).reshape(5, 300)
    made = Prediction(Photo(np.zeros((5, 300, 3), np.uint8)), binary_labels(), alpha_map=ArrayAlpha(values))
    with (tmp_path / f"x{ending}").open("wb") as stream:
        made.write(stream, "alpha", tmp_path / f"x{ending}", bits=16)
    with Image.open(tmp_path / f"x{ending}") as image:
        assert image.mode == "I;16"
        assert np.abs(np.asarray(image) / 65535 - values).max() < 1 / 65535


def test_one_file_is_for_one_photo_and_one_thing(tmp_path: Path) -> None:
    images = [InputImage(tmp_path / name, Path(name)) for name in ("a.jpg", "b.jpg")]
    with pytest.raises(ImagoError, match=r"x\.png: is one file, and there are 2 photos; name a folder"):
        plan_outputs(images, tmp_path / "x.png", ("cutout",))
    with pytest.raises(ImagoError, match=r"cannot hold 2 outputs \(mask, overlay\)"):
        plan_outputs(images[:1], tmp_path / "x.png", ("mask", "overlay"))
    (tmp_path / "x.png").mkdir()  # there is a folder of this name
    assert plan_outputs(images, tmp_path / "x.png", ("cutout",))[0].outputs == (tmp_path / "x.png" / "a.cutout.png",)
