"""Every format that is written: what it holds comes back, what it does not is counted, and written again it is the
same to the byte."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imago.core.errors import DataError, ImagoError
from imago.core.instances import CroppedMask, Instances, masks_to_boxes
from imago.core.labels import Labels
from imago.data.dataset import Dataset, Sample
from imago.data.formats.catalog import FORMATS
from imago.data.open_dataset import OpenOptions, open_dataset, survey_dataset
from imago.data.write_dataset import Written, write_dataset

LABELS = Labels(("background", "cat", "dog's"))
SIZE_HW = (13, 17)
OF_OBJECTS = sorted(name for name, one in FORMATS.items() if one.writer and one.writer.truth == "objects")
ONE_CLASS = {"label_images", "mask_files"}
BOXES = [name for name in OF_OBJECTS if not FORMATS[name].writer.needs_masks]  # type: ignore[union-attr]
FLAT = {"voc", "label_images"}  # an object a pixel
NO_CROWDS = {"yolo", *ONE_CLASS}


def photo(path: Path, size_hw: tuple[int, int] = SIZE_HW) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*size_hw, 3), np.uint8)).save(path)
    return path


def build(folder: Path, photos: dict[str, list[Instances]], labels: Labels = LABELS) -> Dataset:
    splits = {
        split: tuple(
            Sample(f"{split}{n}", photo(folder / f"{split}{n}.png", one.size_hw), read_instances=lambda one=one: one)
            for n, one in enumerate(found)
        )
        for split, found in photos.items()
    }
    masks = all(one.cropped is not None for found in photos.values() for one in found)
    return Dataset(folder, labels, splits, has_masks=masks)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def with_masks(masks: list[np.ndarray], classes: list[int], crowd: list[bool] | None = None) -> Instances:
    cropped = [CroppedMask.from_mask(mask) for mask in masks]
    return Instances.make(SIZE_HW, masks_to_boxes(cropped), classes, None, cropped, crowd)


def values(count: int) -> st.SearchStrategy[np.ndarray]:
    """uint8 of SIZE_HW, 0 to ``count`` - 1 anyhow. (Bytes are drawn in a tenth of the time of arrays.)"""
    area = SIZE_HW[0] * SIZE_HW[1]
    drawn = st.binary(min_size=area, max_size=area)
    return drawn.map(lambda found: (np.frombuffer(found, np.uint8) % count).reshape(SIZE_HW))


@st.composite
def objects(draw: st.DrawFn, apart: bool = False) -> Instances:
    """Up to three objects with any masks, holes and parts; ``apart``: no pixel belongs to two."""
    count = draw(st.integers(0, 3))
    classes = draw(st.lists(st.integers(1, 2), min_size=count, max_size=count))
    if not apart:
        return with_masks([draw(values(2).filter(np.any)) > 0 for _ in range(count)], classes)
    numbers = draw(values(count + 1))
    masks = [numbers == number + 1 for number in range(count)]
    kept = [index for index, mask in enumerate(masks) if mask.any()]
    return with_masks([masks[index] for index in kept], [classes[index] for index in kept])


def pixels(instances: Instances, classless: bool) -> list[tuple[int, tuple[int, ...], bytes]]:
    """Class, place and pixels of every object, in an order of its own."""
    assert instances.cropped is not None
    return sorted(
        (0 if classless else int(value), mask.box, mask.bits)
        for value, mask in zip(instances.classes, instances.cropped, strict=True)
    )


def reopen(folder: Path, masks: bool | None = None) -> Dataset:
    return open_dataset(folder, "detection", masks=masks)


@pytest.mark.parametrize("name", OF_OBJECTS)
@settings(deadline=None, max_examples=8)
@given(data=st.data())
def test_masks_come_back_and_are_written_the_same_again(name: str, data: st.DataObject) -> None:
    found = [data.draw(objects(apart=name in FLAT)) for _ in range(3)]
    found[0] = with_masks([np.ones((3, 3), bool)], [1])  # a folder without any object is no data set of masks
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        dataset = build(root / "in", {"train": found[:2], "val": found[2:]})
        written = write_dataset(dataset, FORMATS[name], root / "out")
        assert not written.faults
        back = reopen(root / "out")
        assert {split: len(samples) for split, samples in back.splits.items()} == {"train": 2, "val": 1}
        for one, sample in zip(found, back.split("all"), strict=True):
            assert pixels(sample.instances(), name in ONE_CLASS) == pixels(one, name in ONE_CLASS)
        again = write_dataset(back, FORMATS[name], root / "again")
        assert not again.faults
        assert tree(root / "again") == tree(root / "out")
    if written.losses.outlined:
        assert written.losses.iou_least >= 0.999


@settings(deadline=None, max_examples=8)
@given(data=st.data())
def test_label_maps_come_back_and_are_written_the_same_again(data: st.DataObject) -> None:
    labels = Labels(("sky", "tree", "road"))
    maps = [np.array([0, 1, 2, 255], np.uint8)[data.draw(values(4))] for _ in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        samples = [
            Sample(f"p{n}", photo(root / "in" / f"p{n}.png"), read_label_map=lambda one=one: one)
            for n, one in enumerate(maps)
        ]
        dataset = Dataset(root / "in", labels, {"train": tuple(samples[:2]), "test": tuple(samples[2:])})
        write_dataset(dataset, FORMATS["label_maps"], root / "out")
        back = open_dataset(root / "out")
        assert back.labels.names == labels.names
        assert [sample.name for sample in back.split("test")] == ["test/p2"]
        whole = {sample.name.rpartition("/")[2]: sample for sample in back.split("all")}
        for n, one in enumerate(maps):
            np.testing.assert_array_equal(whole[f"p{n}"].label_map(), one)
        write_dataset(back, FORMATS["label_maps"], root / "again")
        assert {k: v for k, v in tree(root / "again").items() if "val" not in k} == {
            k: v for k, v in tree(root / "out").items() if k in tree(root / "again")
        }


@pytest.mark.parametrize("name", BOXES)
def test_boxes_come_back(name: str, tmp_path: Path) -> None:
    boxes = Instances.make(SIZE_HW, [[2, 3, 9, 11], [0, 0, 17, 13]], [2, 1])
    dataset = build(tmp_path / "in", {"train": [boxes], "val": [Instances.make(SIZE_HW)]})
    written = write_dataset(dataset, FORMATS[name], tmp_path / "out")
    assert (written.photos, written.objects) == ({"train": 1, "val": 1}, 2)
    found = reopen(tmp_path / "out").split("train")[0].instances()
    np.testing.assert_allclose(found.boxes, boxes.boxes, atol=1e-4)
    assert found.classes.tolist() == [2, 1]
    assert not written.losses.lines()


@pytest.mark.parametrize("name", sorted(ONE_CLASS))
def test_boxes_alone_are_refused_where_masks_are_needed(name: str, tmp_path: Path) -> None:
    dataset = build(tmp_path / "in", {"train": [Instances.make(SIZE_HW, [[2, 3, 9, 11]], [2])]})
    with pytest.raises(DataError, match="boxes alone"):
        write_dataset(dataset, FORMATS[name], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def ring() -> np.ndarray:
    mask = np.zeros(SIZE_HW, bool)
    mask[2:9, 2:9] = True
    mask[4:6, 4:6] = False
    return mask


def half(rows: slice) -> np.ndarray:
    mask = np.zeros(SIZE_HW, bool)
    mask[rows] = True
    return mask


# What is written, and what each format says that it lost. Formats that are not named lost nothing.
HELD: dict[str, tuple[Callable[[], Instances], dict[str, dict[str, int]]]] = {
    "a hole": (lambda: with_masks([ring()], [1]), {"yolo": {"joined": 1}, "via": {"joined": 1}}),
    "two parts": (lambda: with_masks([half(slice(0, 2)) | half(slice(5, 7))], [1]), {"yolo": {"joined": 1}}),
    "a crowd": (
        lambda: with_masks([ring(), half(slice(10, 13))], [1, 1], [False, True]),
        {"yolo": {"crowds": 1, "joined": 1}, "via": {"joined": 1}, "label_images": {"crowds": 1},
         "mask_files": {"crowds": 1},
         "label_maps": {"painted crowds": 1}},
    ),
    "two overlap": (
        lambda: with_masks([half(slice(0, 5)), half(slice(3, 6))], [1, 1]),
        {"voc": {"overlaps": 34}, "label_images": {"overlaps": 34}, "label_maps": {"overlaps": 34, "merged": 1}},
    ),
    "one hides another": (
        lambda: with_masks([half(slice(0, 5)), half(slice(0, 5))], [1, 1]),
        {"voc": {"overlaps": 85, "hidden": 1}, "label_images": {"overlaps": 85, "hidden": 1},
         "label_maps": {"overlaps": 85, "merged": 1}},
    ),
    "no pixel": (
        lambda: with_masks([half(slice(0, 5)), np.zeros(SIZE_HW, bool)], [1, 1]),
        {name: {"empty": 1} for name in (*OF_OBJECTS, "label_maps")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(name for name, one in FORMATS.items() if one.writer))
@pytest.mark.parametrize("case", HELD)
def test_losses_are_counted(name: str, case: str, tmp_path: Path) -> None:
    make, expected = HELD[case]
    labels = Labels(("background", "object"))
    dataset = build(tmp_path / "in", {"train": [make()], "val": [with_masks([ring()], [1])]}, labels)
    if FORMATS[name].writer.truth == "label maps":  # type: ignore[union-attr]
        from imago.data.convert import paint_dataset

        dataset = paint_dataset(dataset)
    written = write_dataset(dataset, FORMATS[name], tmp_path / "out")
    val = write_dataset(build(tmp_path / "val", {"train": [with_masks([ring()], [1])]}, labels), FORMATS[name],
                        tmp_path / "alone") if name in OF_OBJECTS else Written({})  # fmt: skip
    assert dict(written.losses.counts - val.losses.counts) == expected.get(name, {}), written.losses.lines()


@pytest.mark.parametrize("name", sorted(name for name, one in FORMATS.items() if one.writer))
def test_one_name_in_two_splits(name: str, tmp_path: Path) -> None:
    """train/a and val/a are two photos; where a format has one folder for both, one of them gets another name."""
    labels, one = Labels(("background", "object")), with_masks([ring()], [1])
    label_map = ring().astype(np.uint8)
    samples = {
        split: (
            Sample(f"{split}/a", photo(tmp_path / "in" / split / "a.png"), read_instances=lambda: one,
                   read_label_map=lambda: label_map),
        )
        for split in ("train", "val")
    }  # fmt: skip
    written = write_dataset(Dataset(tmp_path / "in", labels, samples), FORMATS[name], tmp_path / "out")
    assert written.photos == {"train": 1, "val": 1}
    task = "semantic" if FORMATS[name].writer.truth == "label maps" else "detection"  # type: ignore[union-attr]
    back, faults = survey_dataset(tmp_path / "out", OpenOptions(task))
    assert not faults
    assert {split: len(found) for split, found in back.splits.items()} == {"train": 1, "val": 1}


def test_nothing_is_overwritten_and_nothing_half_is_left(tmp_path: Path) -> None:
    dataset = build(tmp_path / "in", {"train": [with_masks([ring()], [1])]})
    (tmp_path / "out").mkdir()
    write_dataset(dataset, FORMATS["coco"], tmp_path / "out")  # an empty folder may be there
    before = tree(tmp_path / "out")
    with pytest.raises(ImagoError, match="is not empty; nothing is overwritten"):
        write_dataset(dataset, FORMATS["coco"], tmp_path / "out")
    assert tree(tmp_path / "out") == before

    def broken() -> Instances:
        raise OSError("torn")

    bad = Sample("b", photo(tmp_path / "in" / "b.png"), read_instances=broken)
    mixed = Dataset(tmp_path / "in", LABELS, {"train": (*dataset.split("train"), bad)})
    written = write_dataset(mixed, FORMATS["coco"], tmp_path / "mixed")
    assert written.photos == {"train": 1}
    assert len(written.faults) == 1
    assert "b.png: torn" in written.faults[0]
    with pytest.raises(DataError, match="no photo could be written"):
        write_dataset(Dataset(tmp_path, LABELS, {"train": (bad,)}), FORMATS["coco"], tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "mixed", "out"]


def test_photos_are_linked(tmp_path: Path) -> None:
    dataset = build(tmp_path / "in", {"train": [with_masks([ring()], [1])]})
    write_dataset(dataset, FORMATS["yolo"], tmp_path / "out", photos="link")
    target = tmp_path / "out" / "images" / "train" / "train0.png"
    assert target.is_symlink()
    assert target.resolve() == (tmp_path / "in" / "train0.png").resolve()
    assert len(reopen(tmp_path / "out").split("all")) == 2  # one photo stands in both splits
