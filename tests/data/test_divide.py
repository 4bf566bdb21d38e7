"""Splits and folds: every class in its share, groups whole, the same by the seed; and photos that show the same."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imago.core.errors import DataError, ImagoError
from imago.core.read_settings import ReadSettings
from imago.data.dataset import Sample
from imago.data.divide import apply_lists, divide, group_samples, read_classes, write_lists
from imago.data.duplicates import find_duplicates
from imago.data.open_dataset import OpenOptions, open_dataset, survey_dataset


def samples(*names: str) -> list[Sample]:
    return [Sample(name, Path(f"{name}.png")) for name in names]


@pytest.mark.parametrize(
    ("names", "pattern", "groups"),
    [
        (["a1", "a2", "b1"], "", [[0], [1], [2]]),
        (["a1", "a2", "b1"], "prefix", [[0, 1], [2]]),
        (["train/clip_0001", "val/clip_0002", "clip2_0001"], "prefix", [[0, 1], [2]]),
        (["7", "8"], "prefix", [[0], [1]]),  # names that are numbers alone share nothing
        (["p1_x", "p2_x", "p1_y"], r"^(p\d)_", [[0, 2], [1]]),
        (["p1_x", "p2_x", "q"], r"_x$", [[0, 1], [2]]),
    ],
)
def test_groups_by_name(names: list[str], pattern: str, groups: list[list[int]]) -> None:
    assert group_samples(samples(*names), pattern, []) == groups


def test_groups_are_joined_by_what_is_alike() -> None:
    assert group_samples(samples("a1", "a2", "b1", "c1"), "prefix", [[1, 3]]) == [[0, 1, 3], [2]]
    with pytest.raises(DataError, match="is no regular expression"):
        group_samples(samples("a"), "(", [])


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), sizes=st.lists(st.integers(1, 6), min_size=6, max_size=30))
def test_parts_are_whole_groups_and_every_photo_is_in_one(seed: int, sizes: list[int]) -> None:
    ends = np.cumsum([0, *sizes])
    groups = [list(range(a, b)) for a, b in pairwise(ends)]
    shown = np.random.default_rng(seed).random((ends[-1], 3)) < 0.3
    parts = divide(groups, shown, {"train": 0.6, "val": 0.2, "test": 0.2}, seed)
    assert sorted(index for found in parts.values() for index in found) == list(range(ends[-1]))
    home = {index: name for name, found in parts.items() for index in found}
    assert all(len({home[index] for index in group}) == 1 for group in groups)
    assert parts == divide(groups, shown, {"train": 0.6, "val": 0.2, "test": 0.2}, seed)


def test_rare_classes_are_in_every_fold() -> None:
    """10 of 500 photos show the rare class: by chance a third of such splits have a fold without it."""
    shown = np.zeros((500, 2), bool)
    shown[:, 0] = True
    shown[::50, 1] = True
    for seed in range(5):
        parts = divide([[n] for n in range(500)], shown, {f"fold{n}": 0.2 for n in range(5)}, seed)
        assert [int(shown[found, 1].sum()) for found in parts.values()] == [2] * 5
        assert [len(found) for found in parts.values()] == [100] * 5


def test_lists_are_used(tiny_dataset: Path, tmp_path: Path) -> None:
    before = open_dataset(tiny_dataset)
    names = [f"images/{sample.image_path.name}" for sample in before.split("all")]
    write_lists(tmp_path / "halves", {"train": names[:6], "val": names[6:10]})
    dataset = open_dataset(tiny_dataset, reading=ReadSettings(split_dir=str(tmp_path / "halves")))
    assert {split: len(found) for split, found in dataset.splits.items()} == {"train": 6, "val": 4}
    assert any("2 photos stand in no list" in note for note in dataset.notes)
    with pytest.raises(ImagoError, match="is not empty"):
        write_lists(tmp_path / "halves", {"train": names})
    write_lists(tmp_path / "folds", {"fold1": names[:4], "fold2": names[4:8], "test": names[8:]})
    second = apply_lists(before, tmp_path / "folds", 2)
    assert {split: len(found) for split, found in second.splits.items()} == {"train": 4, "val": 4, "test": 4}
    assert [sample.image_path.name for sample in second.split("val")] == [Path(name).name for name in names[4:8]]
    write_lists(tmp_path / "others", {"train": ["images/none.png"]})
    for folder, fold, words in (
        ("folds", 3, "there is no fold3; it has fold1, fold2"), ("folds", 0, "say which with --fold 1 to 2"),
        ("halves", 1, "has no folds"), ("none", 0, "no such folder of lists"),
        ("others", 0, "lists of another data set"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=words):
            apply_lists(before, tmp_path / folder, fold)
    both = OpenOptions(val=("x",), reading=ReadSettings(split_dir=str(tmp_path / "halves")))
    with pytest.raises(DataError, match="leave one out"):
        survey_dataset(tiny_dataset, both)


def test_classes_are_read(tiny_dataset: Path) -> None:
    dataset = open_dataset(tiny_dataset)
    every = dataset.split("all")
    shown, faults = read_classes(every, len(dataset.labels))
    assert not faults
    assert shown.tolist() == [[bool((s.label_map() == v).any()) for v in range(len(dataset.labels))] for s in every]


def scene(seed: int) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((320, 240), Image.Resampling.BICUBIC)


def test_copies_are_found_however_they_were_stored(tmp_path: Path) -> None:
    scene(1).save(tmp_path / "a.png")
    scene(1).save(tmp_path / "b.jpg", quality=60)
    scene(1).resize((640, 480)).save(tmp_path / "c.png")
    for seed in range(2, 12):
        scene(seed).save(tmp_path / f"other{seed}.png")
    for name in ("flat1", "flat2"):
        Image.new("RGB", (320, 240), (90, 90, 90)).save(tmp_path / f"{name}.png")
    (tmp_path / "torn.png").write_bytes(b"no photo")
    paths = sorted(tmp_path.iterdir())
    found = find_duplicates(paths)
    assert [[paths[index].name for index in members] for members in found] == [["a.png", "b.jpg", "c.png"]]
