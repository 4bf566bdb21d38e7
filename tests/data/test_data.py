"""Data folders: masks of every kind, classes and splits found or read, groups, and all faults told at once."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_COLORS, TINY_NAMES, draw_scene, write_tiny_dataset
from PIL import Image

from imago.core.errors import DataError, ImageError
from imago.core.labels import IGNORE
from imago.core.rle import unpack_rle
from imago.data.check import check_samples, unseen_fault
from imago.data.dataset import Dataset
from imago.data.formats.coco_entries import draw_outline
from imago.data.grouping import parse_grouping
from imago.data.mask_pixels import UNKNOWN, read_mask
from imago.data.open_dataset import OpenOptions, open_dataset, survey_dataset
from imago.data.splits import is_validation, split_names

LABEL = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


def write_pair(root: Path, name: str, label: np.ndarray | Image.Image, size_hw: tuple[int, int] | None = None) -> None:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    mask = label if isinstance(label, Image.Image) else Image.fromarray(label)
    mask.save(root / "masks" / f"{name}.png")
    height, width = size_hw or (mask.height, mask.width)
    Image.new("RGB", (width, height), (90, 120, 60)).save(root / "images" / f"{name}.jpg")


def palette_image(label: np.ndarray) -> Image.Image:
    image = Image.fromarray(label)
    image.putpalette([value for color in TINY_COLORS for value in color])
    return image


def in_colors(label: np.ndarray) -> Image.Image:
    return Image.fromarray(np.array(TINY_COLORS, np.uint8)[label])


CODES = {color: value for value, color in enumerate(TINY_COLORS)}


@pytest.mark.parametrize(
    ("image", "codes"),
    [
        (Image.fromarray(LABEL), None),  # grey
        (palette_image(LABEL), None),  # palette
        (Image.fromarray(LABEL.astype(np.uint16)), None),  # 16 bit
        (Image.fromarray(np.repeat(LABEL[:, :, None], 3, axis=2)), None),  # grey stored as RGB
        (in_colors(LABEL), CODES),  # colour codes
        (in_colors(LABEL).convert("RGBA"), CODES),
        (in_colors(LABEL).quantize(8), CODES),  # colour codes that a program stored as palette, in its own order
        (palette_image(LABEL), {(1, 2, 3): 0, (4, 5, 6): 1}),  # a palette whose colours are no codes: as stored
        (Image.fromarray(LABEL), CODES),
    ],
)
def test_masks_of_every_kind(tmp_path: Path, image: Image.Image, codes: dict | None) -> None:
    image.save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png", codes), LABEL)


def test_a_bilevel_mask(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").tolist() == [[0, 1]]


def test_masks_that_cannot_be_read(tmp_path: Path) -> None:
    in_colors(LABEL).save(tmp_path / "rgb.png")
    with pytest.raises(ImageError, match=r"rgb.png: mask is RGB but no colour codes are known"):
        read_mask(tmp_path / "rgb.png")
    colors = dict(list(CODES.items())[:2])
    assert (read_mask(tmp_path / "rgb.png", colors) == UNKNOWN).sum() == 2
    Image.fromarray(np.full((2, 2), 300, np.uint16)).save(tmp_path / "wide.png")
    with pytest.raises(ImageError, match="mask values go up to 300"):
        read_mask(tmp_path / "wide.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ImageError, match=r"text.png: mask cannot be read"):
        read_mask(tmp_path / "text.png")
    with pytest.raises(ImageError, match="mask is missing"):
        read_mask(tmp_path / "none.png")


def test_the_folder_layout(tiny_dataset: Path) -> None:
    dataset = open_dataset(tiny_dataset)
    assert dataset.labels.names == TINY_NAMES
    assert dataset.labels.colors == TINY_COLORS  # from the palette
    assert {name: len(samples) for name, samples in dataset.splits.items()} == {"train": 9, "val": 3}
    assert len(dataset.split("all")) == 12
    assert dataset.notes == ()
    sample = dataset.split("val")[0]
    image, label = draw_scene(9)
    assert np.array_equal(sample.label_map(), label)
    assert np.abs(sample.image().astype(int) - image).mean() < 6
    with pytest.raises(DataError, match="no split 'test'; it has train, val"):
        dataset.split("test")
    assert check_samples(dataset.split("all"), dataset.labels).faults == ()


@pytest.mark.parametrize(
    ("masks", "names", "expected"),
    [
        ([[[0, 255]], [[255, 0]]], ("background", "foreground"), [[0, 1]]),
        ([[[0, 1]], [[5, 255]]], ("class 0", "class 1", "class 5"), [[0, 1]]),
        ([[[3, 7]], [[7, 3]]], ("class 3", "class 7"), [[0, 1]]),
    ],
)
def test_classes_found_by_looking(tmp_path: Path, masks: list, names: tuple[str, ...], expected: list) -> None:
    for index, values in enumerate(masks):
        write_pair(tmp_path, f"p{index}", np.array(values, np.uint8))
    dataset = open_dataset(tmp_path)
    assert dataset.labels.names == names
    assert any("no classes.txt" in note for note in dataset.notes)
    first = next(sample for sample in dataset.split("all") if sample.name == "p0")
    assert first.label_map().tolist() == expected


def test_colors_found_by_looking(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", in_colors(np.zeros((4, 4), np.uint8)))  # black alone does not look like colour codes
    write_pair(tmp_path, "b", in_colors(np.tile(LABEL, (2, 1))))
    dataset = open_dataset(tmp_path)
    assert dataset.labels.names == ("#000000", "#3c6ee6", "#dc3c3c")
    assert dataset.labels.colors == ((0, 0, 0), (60, 110, 230), (220, 60, 60))
    samples = {sample.name: sample.label_map() for sample in dataset.split("all")}
    assert (samples["a"] == 0).all()
    assert samples["b"][0].tolist() == [0, 2, 1]


def test_color_codes_in_classes_txt(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", in_colors(LABEL))
    write_pair(tmp_path, "b", in_colors(LABEL))
    lines = [f"{name} thing {r} {g} {b}" for name, (r, g, b) in zip("xyz", TINY_COLORS, strict=True)]
    (tmp_path / "classes.txt").write_text("\n".join(lines))
    dataset = open_dataset(tmp_path)
    assert dataset.labels.names == ("x thing", "y thing", "z thing")
    assert np.array_equal(dataset.split("all")[0].label_map(), LABEL)
    write_pair(tmp_path, "b", Image.new("RGB", (3, 2), (1, 2, 3)))
    (fault,) = check_samples(dataset.split("all"), dataset.labels).faults
    assert fault.endswith("b.png: holds colours that are no class: 1 2 3")


def test_black_and_white_with_two_names(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", np.array([[0, 255]], np.uint8))
    (tmp_path / "classes.txt").write_text("floor\ncat\n")
    assert open_dataset(tmp_path).split("all")[0].label_map().tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one\n", "2 to 254 classes; got 1"),
        ("a\nb\na\n", "stand twice: a"),
        ("a 0 0 0\nb 0 0 0\n", "two classes have the same colour"),
        ("\n".join(f"c{i}" for i in range(300)), "got 300"),
    ],
)
def test_faulty_class_lists(tiny_dataset: Path, text: str, words: str) -> None:
    (tiny_dataset / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        open_dataset(tiny_dataset)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])  # of Notepad; of ``>`` in PowerShell
def test_lists_as_windows_writes_them(tiny_dataset: Path, encoding: str) -> None:
    names = [path.stem for path in sorted((tiny_dataset / "images").iterdir())]
    (tiny_dataset / "classes.txt").write_text("\r\n".join(TINY_NAMES), encoding)
    (tiny_dataset / "train.txt").write_text("\r\n".join(names[1:]), encoding)
    (tiny_dataset / "val.txt").write_text(names[0], encoding)
    dataset = open_dataset(tiny_dataset)
    assert dataset.labels.names == tuple(TINY_NAMES)
    assert [sample.name for sample in dataset.splits["val"]] == names[:1]


def test_soft_masks_are_no_classes(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", np.arange(256, dtype=np.uint8).reshape(16, 16))
    with pytest.raises(DataError, match=r"masks with 256 values \(are they soft"):
        open_dataset(tmp_path)


# Splits


def test_a_split_is_made_by_the_hash_of_the_name() -> None:
    names = [f"photo{i}" for i in range(1000)]
    train, val = split_names(names)
    assert 60 < len(val) < 140
    assert not set(train) & set(val)
    assert set(val) == {name for name in names if is_validation(name)}
    assert set(split_names(names[:500])[1]) <= set(val)  # more photos move none from one side to the other


@pytest.mark.parametrize("count", [1, 2, 3])
def test_tiny_folders_have_both_splits(count: int) -> None:
    train, val = split_names([f"p{i}" for i in range(count)])
    assert train
    assert val
    assert count == 1 or not set(train) & set(val)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"train.txt": "scene00\nscene99\n", "val.txt": "scene01"}, ["'scene99', of which there is no photo"]),
        ({"train.txt": "scene00.jpg\n", "val.txt": "scene01"}, ["'scene00.jpg'", "without their suffix"]),
        ({"train.txt": "scene00\n", "val.txt": "scene00"}, ["'scene00' stands in train.txt too"]),
        ({"train.txt": "scene00\nscene00", "val.txt": "scene01"}, ["'scene00' stands in train.txt too"]),
        ({"train.txt": "\n", "val.txt": "scene01"}, ["train.txt: names no photo"]),
    ],
)
def test_faulty_split_files(tiny_dataset: Path, files: dict[str, str], words: list[str]) -> None:
    for name, text in files.items():
        (tiny_dataset / name).write_text(text)
    with pytest.raises(DataError) as caught:
        open_dataset(tiny_dataset)
    assert all(any(word in fault for fault in caught.value.faults) for word in words)


def test_splits_without_val_and_photos_in_none(tiny_dataset: Path) -> None:
    (tiny_dataset / "val.txt").unlink()
    dataset = open_dataset(tiny_dataset)
    assert len(dataset.split("all")) == 9
    assert dataset.split("val")
    assert any("no val.txt" in note for note in dataset.notes)
    assert any("3 photos stand in no split file" in note for note in dataset.notes)


def test_sub_folders_are_part_of_the_name(tmp_path: Path) -> None:
    for name in ("x/1", "y/1"):
        (tmp_path / "images" / name[0]).mkdir(parents=True)
        (tmp_path / "masks" / name[0]).mkdir(parents=True)
        write_pair(tmp_path, name, np.array([[0, 255]], np.uint8))
    assert {sample.name for sample in open_dataset(tmp_path).split("all")} == {"x/1", "y/1"}


# The check


def spoil(root: Path) -> Dataset:
    """One fault of each kind; returns what can be opened."""
    (root / "masks" / "scene00.png").unlink()  # no pair
    (root / "images" / "scene01.jpg").unlink()
    Image.fromarray(np.zeros((10, 20), np.uint8)).save(root / "masks" / "scene02.png")  # another size
    Image.fromarray(np.full((48, 64), 7, np.uint8)).save(root / "masks" / "scene03.png")  # no such class
    data = (root / "images" / "scene04.jpg").read_bytes()
    (root / "images" / "scene04.jpg").write_bytes(data[: len(data) // 2])  # cut short
    (root / "masks" / "scene05.png").write_bytes(b"")  # empty
    (root / "classes.txt").write_text("\n".join([*TINY_NAMES, "cat"]))  # a class that nothing has
    Image.new("RGB", (64, 48)).save(root / "images" / "scene06.png")  # two photos of one name
    return survey_dataset(root, OpenOptions())[0]


FAULTS = (
    "scene00.jpg: no mask masks/scene00.png",
    "scene01.png: no photo images/scene01.*",
    "scene02.png: mask is 10 x 20 but scene02.jpg is 48 x 64 (height x width)",
    "scene03.png: holds the values 7; known are 0 to 3, and 255 to ignore",
    "scene04.jpg",
    "scene05.png: mask cannot be read",
    "no pixel of any readable mask belongs to: cat",
    "same name as scene06",
)


def test_every_fault_is_told_at_once(tiny_dataset: Path) -> None:
    dataset = spoil(tiny_dataset)
    checked = check_samples(dataset.split("all"), dataset.labels)
    told = [*survey_dataset(tiny_dataset, OpenOptions())[1], *checked.faults, unseen_fault(checked.unseen, True)]
    for fault in FAULTS:
        assert sum(fault in line for line in told) == 1, fault
    assert len(told) == len(FAULTS)
    with pytest.raises(DataError, match="3 faults in the data set"):
        open_dataset(tiny_dataset)


def test_progress_of_the_check(tiny_dataset: Path) -> None:
    dataset = open_dataset(tiny_dataset)
    told: list[tuple[int, int]] = []
    check_samples(dataset.split("all"), dataset.labels, lambda done, total: told.append((done, total)))
    assert told == [(i, 12) for i in range(1, 13)]


def test_unknown_values_are_found_under_a_grouping(tiny_dataset: Path) -> None:
    Image.fromarray(np.full((48, 64), 9, np.uint8)).save(tiny_dataset / "masks" / "scene03.png")
    dataset = open_dataset(tiny_dataset, grouping=parse_grouping("background=background; thing=rest"))
    (fault,) = check_samples(dataset.split("all"), dataset.labels).faults
    assert "scene03.png: holds the values 9; known are 0 to 2" in fault


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda root: None, "there is no such folder of data"),
        (lambda root: root.mkdir(), "expected a folder of photos"),
        (lambda root: [(root / f).mkdir(parents=True) for f in ("images", "masks")], "holds no photos"),
    ],
)
def test_what_is_no_data_set(tmp_path: Path, prepare, words: str) -> None:
    prepare(tmp_path / "data")
    with pytest.raises(DataError, match=words):
        open_dataset(tmp_path / "data")


# Groups


@pytest.mark.parametrize("by_file", [False, True])
def test_groups(tiny_dataset: Path, tmp_path: Path, by_file: bool) -> None:
    text = "background=background; thing=box; ignore=disc"
    if by_file:
        text = str(tmp_path / "groups.toml")
        Path(text).write_text('[groups]\nbackground = ["background"]\nthing = ["box"]\nignore = ["disc"]\n')
    plain, grouped = open_dataset(tiny_dataset), open_dataset(tiny_dataset, grouping=parse_grouping(text))
    assert grouped.labels.names == ("background", "thing")
    for before, after in zip(plain.split("all"), grouped.split("all"), strict=True):
        expected = np.array([0, IGNORE, 1], np.uint8)[before.label_map()]
        assert np.array_equal(after.label_map(), expected)


def test_what_is_named_wins_over_the_rest(tiny_dataset: Path) -> None:
    dataset = open_dataset(tiny_dataset, grouping=parse_grouping("thing=rest; background=background"))
    label = dataset.split("train")[0].label_map()
    assert np.array_equal(label == 1, draw_scene(0)[1] > 0)
    assert dataset.labels.names == ("background", "thing")  # of two the background comes first


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("background", "has no '='"),
        ("a=background", "two or more groups"),
        ("a=box; b=box", "stand in two groups: box"),
        ("a=box; b=cow", "classes that the data does not have: cow"),
        ("none.toml", "cannot be read"),
    ],
)
def test_faulty_groups(tiny_dataset: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        open_dataset(tiny_dataset, grouping=parse_grouping(text))


def test_a_faulty_grouping_file(tmp_path: Path) -> None:
    for text, words in (("[groups", "not a TOML file"), ("x = 1", r"expected a table \[groups\]")):
        (tmp_path / "g.toml").write_text(text)
        with pytest.raises(DataError, match=words):
            parse_grouping(str(tmp_path / "g.toml"))


# COCO


def write_coco(root: Path) -> Path:
    """Four photos: a large cup under two licences, nothing, a small cup alone."""
    square = [10, 10, 30, 10, 30, 30, 10, 30]
    small = [0, 0, 3, 0, 3, 3, 0, 3]
    photos = [((4), [square]), ((1), [square]), ((4), []), ((4), [small])]
    return write_coco_photos(root, [(license, [(1, 0, polygon) for polygon in found]) for license, found in photos])


def write_coco_photos(root: Path, photos: list[tuple[int, list[tuple[int, int, list[int]]]]]) -> Path:
    """``photos``: licence and objects (category, crowd, polygon) of photos of 40 x 40."""
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    images: list[dict] = []
    annotations: list[dict] = []
    for index, (license, objects) in enumerate(photos):
        Image.new("RGB", (40, 40)).save(root / "images" / f"{index}.jpg")
        images.append({"id": index, "file_name": f"{index}.jpg", "height": 40, "width": 40, "license": license})
        for category, crowd, polygon in objects:
            xs, ys = polygon[::2], polygon[1::2]
            area = (max(xs) - min(xs)) * (max(ys) - min(ys))
            box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": index, "category_id": category, "iscrowd": crowd,
                    "segmentation": [polygon], "area": area, "bbox": box,
                }
            )  # fmt: skip
    categories = [{"id": 1, "name": "cup"}, {"id": 5, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return root


SUBJECT = parse_grouping("background=background; subject=rest")


def test_coco_objects_are_the_subject_where_asked(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "coco")
    dataset = open_dataset(root, grouping=SUBJECT, min_area=0.03)
    assert dataset.labels.names == ("background", "subject")
    samples = {sample.name: sample for sample in dataset.split("all")}
    assert set(samples) == {"0", "1", "2"}  # "3" has only a small cup
    assert dataset.notes[-1] == "objects below 3.0% of the photo are ignored; 1 photo has no other, left out"
    label = samples["0"].label_map()
    assert label[10:30, 10:30].all()
    assert int(label.sum()) == 400
    assert not samples["2"].label_map().any()
    licensed = open_dataset(root, licenses=(4,), grouping=SUBJECT, min_area=0.03)
    assert {sample.name for sample in licensed.split("all")} == {"0", "2"}
    with pytest.raises(DataError, match=r"classes that the data does not have: x\. It has: background, cup, dog"):
        open_dataset(root, grouping=parse_grouping("a=x; b=rest"))


def test_cocos_classes_are_kept(tmp_path: Path) -> None:
    """Painted large first; nobody asked for subjects, so nothing is too small."""
    cup, dog = [0, 0, 20, 0, 20, 20, 0, 20], [10, 10, 16, 10, 16, 16, 10, 16]
    crowd, below = [30, 0, 40, 0, 40, 10, 30, 10], [32, 0, 36, 0, 36, 4, 32, 4]
    root = write_coco_photos(tmp_path, [(1, [(5, 0, dog), (1, 0, cup), (5, 0, below), (1, 1, crowd)])])
    dataset = open_dataset(root)
    assert dataset.labels.names == ("background", "cup", "dog")
    assert any("where two overlap the smaller is on top, crowd regions are ignored" in note for note in dataset.notes)
    label = dataset.split("train")[0].label_map()
    assert np.unique(label[10:16, 10:16]).tolist() == [2]
    assert int((label == 1).sum()) == 400 - 36
    assert int((label == IGNORE).sum()) == 100  # with the dog in it: the crowd is larger
    assert len(dataset.split("train")[0].instances()) == 4  # the objects are there as well
    larger = open_dataset(root, min_area=0.05).split("train")[0].label_map()
    assert np.unique(larger).tolist() == [0, 1, IGNORE]  # the small dog lies in the cup, and belongs to it now
    assert int((larger == 1).sum()) == 400


def subjects_as_before(objects: list[tuple[int, int, list[int]]], large: float = 0.03) -> np.ndarray:
    """The rule of the recipes' first models: in order of size, the large last."""
    label = np.zeros((40, 40), np.uint8)

    def area(one: tuple[int, int, list[int]]) -> int:
        xs, ys = one[2][::2], one[2][1::2]
        return (max(xs) - min(xs)) * (max(ys) - min(ys))

    for one in sorted(objects, key=area):
        mask = draw_outline([one[2]], (40, 40)).to_full((40, 40))
        label[mask] = 1 if not one[1] and mask.sum() >= large * 1600 else IGNORE
    return label


def test_subjects_are_those_of_the_first_models(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    photos = []
    for _ in range(30):
        objects = []
        for _ in range(int(random.integers(1, 6))):
            x, y = (int(v) for v in random.integers(0, 34, 2))
            width, height = (int(v) for v in random.integers(2, 25, 2))
            right, bottom = min(40, x + width), min(40, y + height)
            polygon = [x, y, right, y, right, bottom, x, bottom]
            objects.append((int(random.choice([1, 5])), int(random.random() < 0.2), polygon))
        photos.append((1, objects))
    root = write_coco_photos(tmp_path, photos)
    samples = open_dataset(root, grouping=SUBJECT, min_area=0.03).split("all")
    assert 20 < len(samples) <= 30
    for sample in samples:
        assert np.array_equal(sample.label_map(), subjects_as_before(photos[int(sample.name)][1])), sample.name


def test_run_lengths() -> None:
    mask = draw_outline({"size": [2, 3], "counts": [1, 2, 3]}, (2, 3)).to_full((2, 3))
    assert mask.tolist() == [[False, True, False], [True, False, False]]  # column by column
    assert unpack_rle("123") == [1, 2, 3]
    assert unpack_rle("1230") == [1, 2, 3, 2]  # from the fourth on, the difference to the last but one


def test_samples_can_be_sent_to_other_processes(tiny_dataset: Path, tmp_path: Path) -> None:
    """Workers on macOS and Windows are not forked: they get what pickle carries."""
    for dataset in (open_dataset(tiny_dataset), open_dataset(write_coco(tmp_path / "coco"))):
        sample = pickle.loads(pickle.dumps(dataset.split("train")[0]))
        assert np.array_equal(sample.label_map(), dataset.split("train")[0].label_map())


@pytest.mark.data
def test_the_real_folders_are_whole(data_root: Path) -> None:
    scenes = open_dataset(data_root / "scenes")
    assert check_samples(scenes.split("val"), scenes.labels).faults == ()


def test_write_tiny_dataset_is_what_it_says(tmp_path: Path) -> None:
    dataset = open_dataset(write_tiny_dataset(tmp_path / "t", count=4, size_hw=(20, 24)))
    assert dataset.split("train")[0].label_map().shape == (20, 24)
