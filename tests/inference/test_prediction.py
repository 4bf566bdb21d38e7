"""The one result: checks itself, makes parts lazily, draws, measures and saves."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imago.core.errors import ImagoError
from imago.core.instances import CroppedMask, Instances, masks_to_boxes
from imago.core.labels import Labels, binary_labels
from imago.files.images import Photo
from imago.inference.cutout.alpha import AlphaMap, ArrayAlpha
from imago.inference.prediction import Prediction

NAMES = Labels(("background", "hair", "skin"))
PIXELS = np.full((40, 60, 3), (40, 90, 160), np.uint8)
PIXELS[8:32, 12:48] = (200, 60, 30)  # the subject, where LOW has it
PIXELS += np.random.default_rng(0).integers(0, 16, PIXELS.shape, np.uint8)
PHOTO = Photo(PIXELS, name="some/fox.jpg", notes=("first frame",))
LOW = np.zeros((10, 15), np.float32)
LOW[2:8, 3:12] = 1


def binary() -> Prediction:
    return Prediction(PHOTO, binary_labels(), alpha_map=AlphaMap(LOW, PIXELS))


def semantic(names: Labels = NAMES) -> Prediction:
    label_map = np.zeros((40, 60), np.uint8)
    label_map[10:20, 10:20] = 1
    label_map[20:30] = 2
    label_map[0, 0] = 255
    return Prediction(PHOTO, names, label_map=label_map)


def test_binary() -> None:
    found = binary()
    assert found.size_hw == (40, 60)
    assert found.alpha.shape == (40, 60)
    assert found.alpha.dtype == np.float32
    assert np.array_equal(found.label_map, found.alpha >= 0.5)
    assert found.label_map[20, 30] == 1
    assert found.notes == ("first frame",)
    assert found.scores is None
    assert np.shares_memory(found.image, PIXELS)
    assert repr(found) == "Prediction('some/fox.jpg', 40 x 60, labels: background, subject)"
    with pytest.raises(AttributeError, match="does not change"):
        found.labels = NAMES


def test_areas() -> None:
    areas = semantic().areas()
    assert areas["hair"] == {"pixels": 100, "fraction": 100 / 2400}
    assert areas["skin"] == {"pixels": 600, "fraction": 0.25}
    assert areas["background"]["pixels"] == 1699  # the ignored pixel belongs to no class


def test_semantic_models_cut_out_what_is_not_background() -> None:
    found = semantic()
    assert np.asarray(found.cutout())[25, 30, 3] == 255
    assert np.asarray(found.cutout())[5, 5, 3] == 0
    scores = np.stack([1 - LOW, LOW * 0.25, LOW * 0.75])
    by_scores = Prediction(PHOTO, NAMES, label_map=found.label_map, low_scores=scores)
    assert by_scores.alpha[20, 30] > 0.5 > by_scores.alpha[2, 2]
    with pytest.raises(ImagoError, match="no class 'background'"):
        semantic(Labels(("sky", "road", "tree"))).cutout()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, "needs an alpha_map, a label_map, instances or panoptic"),
        ({"label_map": np.zeros((4, 4), np.uint8)}, r"\(40, 60\)"),
        ({"label_map": np.zeros((40, 60), np.int64)}, "int64"),
        ({"label_map": np.full((40, 60), 3, np.uint8)}, "holds 3, but there are 3 labels"),
        ({"alpha_map": ArrayAlpha(np.zeros((4, 4), np.float32))}, "one size"),
        ({"alpha_map": ArrayAlpha(np.zeros((40, 60), np.float32))}, "two labels; got 3"),
        ({"label_map": np.zeros((40, 60), np.uint8), "low_scores": np.zeros((2, 5, 5))}, r"\(2, 5, 5\)"),
    ],
)
def test_checks_itself(parts: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Prediction(PHOTO, NAMES, **parts)


def test_pictures() -> None:
    found = binary()
    assert found.cutout().mode == "RGBA"
    assert found.cutout(background="#00ff00").mode == "RGB"
    assert found.cutout(crop=True).size < (60, 40)
    assert found.cutout(matting=True).size == (60, 40)
    assert found.overlay(legend=False).size == (60, 40)
    assert found.overlay().mode == "RGB"


def test_save(tmp_path: Path) -> None:
    found = semantic()
    what = ("cutout", "mask", "overlay", "json")
    paths = found.save(tmp_path / "out", what)
    assert [path.name for path in paths] == ["fox.cutout.png", "fox.mask.png", "fox.overlay.jpg", "fox.json"]
    assert np.array_equal(np.asarray(Image.open(paths[0])), np.asarray(found.cutout()))
    with Image.open(paths[1]) as mask:
        assert mask.mode == "P"
        assert np.array_equal(np.asarray(mask), found.label_map)
        assert tuple(mask.getpalette()[3:6]) == NAMES.colors[1]  # type: ignore[index]
    assert Image.open(paths[2]).size == found.overlay().size
    values = json.loads(paths[3].read_text("utf-8"))
    assert values["areas"] == found.areas()
    assert values["size_hw"] == [40, 60]
    assert values["notes"] == ["first frame"]
    with pytest.raises(ImagoError, match=r"fox\.mask\.png: is there already"):
        found.save(tmp_path / "out", ("json", "mask")[1:])
    found.save(tmp_path / "out", what, overwrite=True)


def test_save_writes_nothing_where_one_is_there(tmp_path: Path) -> None:
    (tmp_path / "fox.mask.png").write_bytes(b"mine")
    with pytest.raises(ImagoError, match="is there already"):
        binary().save(tmp_path, ("cutout", "mask"))
    assert [path.name for path in tmp_path.iterdir()] == ["fox.mask.png"]


@pytest.mark.parametrize(
    ("where", "what", "words"),
    [
        ("x.png", ("cutout", "mask"), "cannot hold 2 outputs"),
        ("x.jpg", ("cutout",), r"\bx\.jpg: a JPEG has no transparency"),
        ("x.jpg", ("mask",), r"x\.jpg: mask is written as \.png or \.tif"),
        ("", ("cutouts",), "cannot save 'cutouts'; choose from cutout, mask, overlay, json"),
    ],
)
def test_save_refuses(tmp_path: Path, where: str, what: tuple[str, ...], words: str) -> None:
    with pytest.raises(ImagoError, match=words):
        binary().save(tmp_path / where, what)


def test_one_file(tmp_path: Path) -> None:
    assert binary().save(tmp_path / "deep" / "x.png") == [tmp_path / "deep" / "x.png"]
    assert Image.open(tmp_path / "deep" / "x.png").mode == "RGBA"


def test_notes_and_profile_travel() -> None:
    photo = Photo(PIXELS, icc=b"profile" * 20)
    nothing = Prediction(photo, binary_labels(), alpha_map=AlphaMap(np.zeros((5, 5), np.float32), PIXELS))
    stream = io.BytesIO()
    assert nothing.write_cutout(stream, crop=True) == ("nothing was found; the cut-out is empty, and not cropped",)
    assert Image.open(io.BytesIO(stream.getvalue())).info["icc_profile"] == photo.icc
    assert nothing.cutout().info["icc_profile"] == photo.icc


def test_gray_photos() -> None:
    gray = PIXELS[:, :, :1].copy()
    found = Prediction(Photo(gray), binary_labels(), alpha_map=AlphaMap(LOW, gray))
    assert found.cutout().mode == "RGBA"
    assert found.overlay().mode == "RGB"


# --- single objects ---------------------------------------------------------------------------------------------------


def two_objects() -> Prediction:
    """A red square of 10 x 10 (class 1) and a green one of 6 x 6 (class 2, surer) that overlap by 2 x 2."""
    pixels = np.full((40, 50, 3), 30, np.uint8)
    pixels[5:15, 5:15] = (200, 0, 0)
    pixels[13:19, 13:19] = (0, 200, 0)
    masks = [CroppedMask.from_mask(np.ones((10, 10), bool), 5, 5), CroppedMask.from_mask(np.ones((6, 6), bool), 13, 13)]
    objects = Instances.make((40, 50), masks_to_boxes(masks), [1, 2], [0.6, 0.9], masks)
    return Prediction(Photo(pixels, name="two.png"), Labels(("background", "red", "green")), instances=objects)


def test_objects_as_a_label_map() -> None:
    found = two_objects().label_map
    assert found.dtype == np.uint8
    assert [(found == value).sum() for value in (1, 2)] == [96, 36]  # the surer one is above


def test_each_object_by_itself() -> None:
    cut = list(two_objects().instance_cutouts())
    assert [name for name, _ in cut] == ["red", "green"]
    image = np.asarray(cut[0][1])
    assert image.shape[2] == 4
    assert 10 <= image.shape[0] <= 16
    middle = image[image.shape[0] // 2, image.shape[1] // 2]
    assert middle.tolist() == [200, 0, 0, 255]


def test_objects_as_json() -> None:
    objects = two_objects().to_json()["objects"]
    assert objects[1] == {"class": "green", "score": 0.9, "box_xyxy": [13.0, 13.0, 19.0, 19.0], "area": 36.0}


def test_objects_of_another_image() -> None:
    objects = two_objects().instances
    assert objects is not None
    photo = Photo(np.zeros((40, 51, 3), np.uint8), name="x.png")
    with pytest.raises(ValueError, match=r"the photo is \(40, 51\), the objects are of an image of \(40, 50\)"):
        Prediction(photo, Labels(("background", "red", "green")), instances=objects)
    with pytest.raises(ValueError, match="classes of objects lie from 1 to 1"):
        Prediction(two_objects().photo, Labels(("background", "red")), instances=objects)


def test_no_single_objects() -> None:
    plain = Prediction(two_objects().photo, Labels(("a", "b")), label_map=np.zeros((40, 50), np.uint8))
    with pytest.raises(ImagoError, match=r"two\.png: the model finds no single objects"):
        next(plain.instance_cutouts())
