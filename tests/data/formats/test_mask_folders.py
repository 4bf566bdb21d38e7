"""Folders of photos and masks as people lay them out: each pair is found, and what has no partner is told."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imago.cli.main import run
from imago.core.errors import DataError, ImageError
from imago.core.labels import IGNORE
from imago.core.read_settings import ReadSettings
from imago.data.check import check_samples
from imago.data.formats.catalog import FORMATS
from imago.data.formats.cellpose import read_seg
from imago.data.formats.pairing import match_names
from imago.data.open_dataset import OpenOptions, guess_task, open_dataset, survey_dataset
from imago.files.arrays import read_array, read_mat

LABEL = np.zeros((24, 30), np.uint8)
LABEL[3:12, 4:20], LABEL[14:22, 2:9] = 1, 2


def photo(path: Path, pixels: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((24, 30, 3), 90, np.uint8) if pixels is None else pixels).save(path)


def mask(path: Path, values: np.ndarray = LABEL) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)


# Photo and mask of a name, by layout; the splits that are found, None for those by hash
LAYOUTS = {
    "two folders": ("images/{n}.jpg", "masks/{n}.png", None),
    "other words": ("Images/{n}.JPG", "Ground_Truth/{n}.png", None),
    "capitals differ": ("images/IMG_{n}.jpg", "masks/img_{n}.png", None),
    "mmseg": ("img_dir/{s}/{n}.jpg", "ann_dir/{s}/{n}.png", True),
    "split below": ("images/{s}/{n}.jpg", "masks/{s}/{n}.png", True),
    "split above": ("{s}/images/{n}.jpg", "{s}/masks/{n}.png", True),
    "nnU-Net": ("imagesTr/case_{n}_0000.png", "labelsTr/case_{n}.png", None),
    "twins": ("{s}/{n}.jpg", "{s}_masks/{n}_mask.gif", True),
    "twins of images": ("{s}_images/{n}.png", "{s}_labels/{n}_L.png", True),
    "beside, mask": ("{n}.jpg", "{n}_mask.png", None),
    "beside, seg": ("a/{n}.png", "a/{n}_seg.png", None),
    "beside, label": ("{n}.tif", "{n}_label.tif", None),
    "beside, satellites": ("{n}_sat.jpg", "{n}_mask.png", None),
    "beside, same name": ("{n}.jpg", "{n}.png", None),
    "Roboflow": ("{s}/{n}_jpg.rf.0a1.jpg", "{s}/{n}_jpg.rf.0a1_mask.png", True),
    "photo's suffix kept": ("img/{n}.jpg", "masks_machine/{n}.jpg.png", None),
    "segmentation": ("images/ISIC_{n}.jpg", "masks/ISIC_{n}_segmentation.png", None),
    "words in front": ("images/image{n}.png", "masks/mask{n}.png", None),
    "arrays": ("images/{n}.png", "masks/{n}.npy", None),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_paired(layout: str, tmp_path: Path) -> None:
    of_photo, of_mask, has_splits = LAYOUTS[layout]
    for number, split in enumerate(("train", "train", "val")):
        shifted = np.roll(LABEL, number, axis=1)
        photo(tmp_path / of_photo.format(n=number, s=split), np.full((24, 30, 3), 50 + 60 * number, np.uint8))
        mask(tmp_path / of_mask.format(n=number, s=split), shifted)
    dataset = open_dataset(tmp_path)
    assert dataset.format == FORMATS["label_maps"].name
    assert len(dataset.split("all")) == 3
    for sample in dataset.split("all"):
        number = round((float(sample.image().mean()) - 50) / 60)
        assert np.array_equal(sample.label_map(), np.roll(LABEL, number, axis=1))
    if has_splits:
        assert {split: len(found) for split, found in dataset.splits.items()} == {"train": 2, "val": 1}


def test_what_has_no_partner_and_what_has_two(tmp_path: Path) -> None:
    for name in "abcd":
        photo(tmp_path / f"{name}.jpg")
    for name in ("a_mask", "b_mask", "b_seg"):
        mask(tmp_path / f"{name}.png")
    dataset, faults = survey_dataset(tmp_path, OpenOptions())
    assert [sample.name for sample in dataset.split("all")] == ["a", "a"]
    assert sorted(fault.removeprefix(f"{tmp_path}/") for fault in faults) == [
        "b.jpg: b_mask.png and b_seg.png could both be its mask; take one away",
        "c.jpg: no mask c_mask.png",
        "d.jpg: no mask d_mask.png",
    ]


@settings(max_examples=50, deadline=None)
@given(
    st.sets(st.text("abM_1.- ", min_size=1, max_size=6), max_size=6), st.sets(st.text("abm_1", max_size=8), max_size=6)
)
def test_no_file_is_lost_in_matching(photos: set[str], masks: set[str]) -> None:
    pairs = match_names({n: Path(f"p/{n}.jpg") for n in photos}, {n: Path(f"m/{n}.png") for n in masks})
    assert pairs.photos.keys() == pairs.masks.keys()
    assert len(set(pairs.masks.values())) == len(pairs.masks)
    told = len(pairs.faults)
    assert len(pairs.photos) + len(pairs.lone_photos) + told == len(photos)
    assert len(pairs.masks) + len(pairs.lone_masks) + 2 * told <= len(masks)
    assert all(pairs.masks[name].stem == name for name in photos & masks)


# Lists of classes


LISTS: dict[str, tuple[str, dict[int, str]]] = {
    "classes.txt": ("sky\nroad\ncar\n", {0: "sky", 1: "road", 2: "car"}),
    "codes.txt": ("sky\nroad\ncar\n", {0: "sky", 1: "road", 2: "car"}),
    "train/_classes.csv": ("Pixel Value, Class\n0, void\n2, car\n1, road\n", {0: "void", 1: "road", 2: "car"}),
    "dataset.json": ('{"labels": {"background": 0, "cell": 1, "ignore": 2}}', {0: "background", 1: "cell", 2: ""}),
    "objectInfo150.txt": (
        "Idx\tRatio\tTrain\tVal\tName\n1\t.1\t9\t9\twall\n2\t.1\t9\t9\tbar, pub\n3\t.1\t9\t9\tbar\n",
        {0: "", 1: "wall", 2: "bar 2"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_classes(name: str, tmp_path: Path) -> None:
    text, names = LISTS[name]
    for number in range(2):
        photo(tmp_path / "images" / f"{number}.png")
        mask(tmp_path / "masks" / f"{number}.png")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert guess_task(tmp_path) == "semantic"
    dataset = open_dataset(tmp_path)
    label = dataset.split("all")[0].label_map()
    for value, expected in names.items():
        found = set(label[value == LABEL].tolist())
        assert found == ({dataset.labels.names.index(expected)} if expected else {IGNORE})


def test_colours_of_a_class_dict(tmp_path: Path) -> None:
    colors = np.array(((0, 0, 0), (128, 0, 64), (9, 200, 0)), np.uint8)
    photo(tmp_path / "train" / "0.png")
    mask(tmp_path / "train_labels" / "0_L.png", colors[LABEL])
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nvoid,0,0,0\nTree,128,0,64\nSky,9,200,0\n")
    dataset = open_dataset(tmp_path)
    assert dataset.labels.names == ("void", "Tree", "Sky")
    assert np.array_equal(dataset.split("train")[0].label_map(), LABEL)
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nvoid,0,0,300\n")
    with pytest.raises(DataError, match=r"class_dict.csv: expected name,r,g,b"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("name", ["classes.txt", "codes.txt"])
def test_a_tools_list_may_name_more_than_there_is(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(tmp_path / "images" / "a.png")
    mask(tmp_path / "masks" / "a.png")
    (tmp_path / name).write_text("sky\nroad\ncar\nunicorn\n")
    code = run(["data", "check", str(tmp_path), "--no-sheet"])
    assert code == (1 if name == "classes.txt" else 0)  # the user's own list is to be right
    told = capsys.readouterr()
    assert "no pixel of any mask belongs to: unicorn" in " ".join((told.out + told.err).split())


# Photos on black


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_photos_on_black_are_masks(suffix: str, tmp_path: Path) -> None:
    shown = np.zeros((120, 160), bool)
    shown[20:80, 40:120] = True
    shown[60:74, 50:70] = False
    rng = np.random.default_rng(0)
    for number in range(3):
        coarse = rng.integers(60, 255, (6, 8, 3), dtype=np.uint8)
        pixels = np.asarray(Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC))
        photo(tmp_path / "natural" / f"{number}.jpg", pixels)
        cut = np.where(shown[:, :, None], np.asarray(Image.open(tmp_path / "natural" / f"{number}.jpg")), 0)
        cut[40:42, 60:62] = 0  # a dark grape
        path = tmp_path / "segmented" / f"{number}{suffix}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(cut.astype(np.uint8)).save(path, quality=95)
    dataset = open_dataset(tmp_path)
    assert "photos on black" in dataset.notes[0]
    for sample in dataset.split("all"):
        label = sample.label_map()
        assert ((label == 1) & shown).sum() / ((label == 1) | shown).sum() > 0.95
        assert label[40:42, 60:62].all()
        assert not label[63:71, 53:67].any()
    grouped = open_dataset(tmp_path, reading=ReadSettings(faulty="skip"))
    assert grouped.labels.names == ("background", "foreground")


# Objects


def one_file_an_object(root: Path, pattern: str) -> None:
    for name in ("a", "b"):
        photo(root / "images" / f"{name}.jpg")
        for value in (1, 2):
            mask(root / pattern.format(n=name, v=value), (value == LABEL).astype(np.uint8) * 255)
    photo(root / "images" / "c.jpg")


@pytest.mark.parametrize("pattern", ["masks/{n}/{v}.png", "masks/{n}_{v}.png", "masks/{n}_mask_{v}.png"])
def test_one_file_an_object(pattern: str, tmp_path: Path) -> None:
    one_file_an_object(tmp_path, pattern)
    dataset = open_dataset(tmp_path, "detection")
    assert dataset.format == FORMATS["mask_files"].name
    assert {sample.name: sorted(sample.instances().areas.tolist()) for sample in dataset.split("all")} == {
        "a": [56, 144], "b": [56, 144], "c": [],
    }  # fmt: skip
    for sample in open_dataset(tmp_path).split("all"):
        assert np.array_equal(sample.label_map(), (LABEL > 0) * (sample.name != "c"))


def test_numbered_photos_are_not_taken_for_objects(tmp_path: Path) -> None:
    for number in range(3):
        photo(tmp_path / "images" / f"frame_{number}.jpg")
        mask(tmp_path / "masks" / f"frame_{number}.png")
    assert "objects" not in FORMATS["mask_files"].recognize(tmp_path)
    assert len(open_dataset(tmp_path).split("all")) == 3


def seg_file(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array(content, dtype=object), allow_pickle=True)


class Runs:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        import os

        return os.system, ("touch /tmp/imago_was_run",)


def test_cellpose(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    mask(tmp_path / "a_masks.png", LABEL.astype(np.uint16))
    mask(tmp_path / "a_cp_masks.png", np.ones_like(LABEL))
    photo(tmp_path / "b.png")
    seg_file(tmp_path / "b_seg.npy", {"masks": LABEL.astype(np.uint16), "filename": "b.png", "outlines": None})
    dataset = open_dataset(tmp_path, "detection")
    assert dataset.format == FORMATS["cellpose"].name
    assert [sample.instances().areas.tolist() for sample in dataset.split("all")][:2] == [[144, 56]] * 2
    assert {sample.name for sample in dataset.split("all")} == {"a", "b"}
    assert guess_task(tmp_path) == "detection"


def test_a_seg_file_runs_nothing(tmp_path: Path) -> None:
    seg_file(tmp_path / "a_seg.npy", {"masks": LABEL, "more": Runs()})
    with pytest.raises(ImageError, match="which is no array"):
        read_seg(tmp_path / "a_seg.npy")
    assert not Path("/tmp/imago_was_run").exists()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_damaged_arrays_are_one_line(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("arrays")
    seg_file(folder / "a_seg.npy", {"masks": LABEL})
    mask(folder / "a.npy")
    (folder / "a.mat").write_bytes(MAT)
    read, name = data.draw(st.sampled_from([(read_seg, "a_seg.npy"), (read_array, "a.npy"), (read_array, "a.mat")]))
    content = bytearray((folder / name).read_bytes()[: data.draw(st.integers(0, 2000))])
    for place in data.draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=3)) if content else []:
        content[place] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(bytes(content))
    told = ""
    try:
        assert read(folder / name).ndim >= 2
    except ImageError as error:
        told = str(error)
    assert "\n" not in told


def element(kind: int, content: bytes) -> bytes:
    return np.array([kind, len(content)], "<u4").tobytes() + content + b"\0" * (-len(content) % 8)


def matrix(name: str, array: np.ndarray) -> bytes:
    """A MAT-file of version 5, as its documentation has it."""
    flags = element(6, np.array([6, 0], "<u4").tobytes())
    shape = element(5, np.array(array.shape, "<i4").tobytes())
    values = element(9, array.astype("<f8").tobytes(order="F"))
    return element(14, flags + shape + element(1, name.encode()) + values)


MAT = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + matrix("mask", LABEL) + matrix("other", LABEL.T)


def test_masks_of_matlab(tmp_path: Path) -> None:
    photo(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.mat").write_bytes(MAT)
    assert np.array_equal(open_dataset(tmp_path).split("all")[0].label_map(), LABEL)
    scipy_io = pytest.importorskip("scipy.io")
    for packed in (False, True):
        stream = io.BytesIO()
        scipy_io.savemat(stream, {"S": LABEL, "t": "text", "s": {"a": 1}}, do_compression=packed)
        assert np.array_equal(dict(read_mat(stream.getvalue()))["S"], LABEL)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((4, 4), 0.5), "holds fractions"),
        (np.full((4, 4), -1), "holds numbers from -1"),
        (np.zeros((2, 3, 4), np.int16), "has the shape"),
        (np.array({"a": 1}, dtype=object), "may run code"),
        (np.array(["a"]), "expected the numbers of a mask"),
    ],
)
def test_arrays_that_are_no_masks(array: np.ndarray, words: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ImageError, match=words):
        read_array(tmp_path / "a.npy")


# VOC's cousins

XML = (
    "<annotation><size><width>30</width><height>24</height></size><object><name>cat</name><bndbox><xmin>5</xmin>"
    "<ymin>4</ymin><xmax>20</xmax><ymax>12</ymax></bndbox></object></annotation>"
)


@pytest.mark.parametrize(
    ("of_photo", "of_xml"),
    [
        ("{n}.jpg", "{n}.xml"), ("{s}/{n}.jpg", "{s}/{n}.xml"), ("images/{n}.png", "annotations/{n}.xml"),
        ("images/{n}.png", "labels/{n}.xml"), ("JPEGImages/{n}.jpg", "Annotations/{n}.xml"),
    ],
)  # fmt: skip
def test_xml_files_wherever_they_lie(of_photo: str, of_xml: str, tmp_path: Path) -> None:
    for number, split in enumerate(("train", "valid")):
        photo(tmp_path / of_photo.format(n=number, s=split))
        path = tmp_path / of_xml.format(n=number, s=split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(XML)
    dataset = open_dataset(tmp_path, "detection")
    assert dataset.format == FORMATS["voc"].name
    assert [sample.instances().boxes.tolist() for sample in dataset.split("all")] == [[[4, 3, 20, 12]]] * 2


@pytest.mark.parametrize("folder", ["SegmentationClass", "SegmentationClassNpy"])
def test_labelmes_export_of_arrays(folder: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        photo(tmp_path / "JPEGImages" / f"{name}.jpg")
        mask(tmp_path / folder / f"{name}.npy", LABEL.astype(np.int32))
    (tmp_path / "class_names.txt").write_text("_background_\ncat\ndog\n")
    dataset = open_dataset(tmp_path)
    assert dataset.labels.names == ("background", "cat", "dog")
    assert all(np.array_equal(sample.label_map(), LABEL) for sample in dataset.split("all"))
    assert check_samples(dataset.split("all"), dataset.labels).faults == ()
