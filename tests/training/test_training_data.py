"""What a run learns from: folders and their faults, which picture comes when, frames."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_tiny_dataset
from PIL import Image
from tiny_run import BINARY, silent, tiny

from imago.core.errors import DataError
from imago.core.labels import Labels
from imago.data.augment.settings import Augmentation
from imago.data.open_dataset import open_dataset
from imago.training.config import DataSource
from imago.training.dataset import BatchSampler, PhotoCache, ProcessInfo, Source, choose_frames, measure_class_shares
from imago.training.sources import open_sources
from imago.training.tasks.semantic import LabelMapDataset, class_weights
from imago.training.train import build


def test_faults_of_all_folders_at_once(tmp_path: Path) -> None:
    one, two = (write_tiny_dataset(tmp_path / name, count=4, size_hw=(16, 16)) for name in ("one", "two"))
    (one / "masks" / "scene00.png").unlink()
    Image.fromarray(np.full((16, 16), 9, np.uint8)).save(two / "masks" / "scene01.png")
    config = tiny(tmp_path / "run", data=(DataSource("one"), DataSource("two"), DataSource("three")))
    with pytest.raises(DataError, match="3 faults in the data; nothing was trained") as caught:
        build(config, tmp_path, False, silent)
    for words in ("no mask masks/scene00.png", "scene01.png: holds the values 9", "three: there is no such folder"):
        assert sum(words in fault for fault in caught.value.faults) == 1
    assert not (tmp_path / "run" / "config.json").exists()


def test_folders_must_agree_on_their_classes(root: Path, tmp_path: Path) -> None:
    data = (DataSource("tiny", group=BINARY), DataSource("tiny", group="background=background; thing=rest"))
    with pytest.raises(DataError, match=r"2 classes \(background, thing\) but tiny has 2 \(background, subject\)"):
        open_sources(tiny(tmp_path, data=data), root)
    twice = (DataSource("tiny", group=BINARY), DataSource("tiny", group=BINARY))
    assert list(open_sources(tiny(tmp_path, data=twice), root).val) == ["tiny", "tiny (2)"]
    with pytest.raises(DataError, match="no validation photos"):
        open_sources(tiny(tmp_path, data=(DataSource("tiny", group=BINARY, validate=False),)), root)


def test_photos_kept_for_validation_by_name(root: Path, tmp_path: Path) -> None:
    """In place of the folder's own split, in which scene06 and scene07 are kept."""
    entry = DataSource("tiny", group=BINARY, val=("scene02", "scene07"))
    data = open_sources(tiny(tmp_path, data=(entry,)), root)
    assert [sample.name for sample in data.val["tiny"]] == ["scene02", "scene07"]
    assert [sample.name for sample in data.train[0].samples] == [f"scene0{n}" for n in (0, 1, 3, 4, 5, 6)]
    assert data.notes == ("tiny: 2 photos kept for validation by name, 6 to train on",)
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    images = [{"id": number, "file_name": f"{number}.png", "height": 4, "width": 4} for number in (1, 2)]
    outline = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 4]], "bbox": [0, 0, 4, 4]}
    content = {"images": images, "annotations": [outline], "categories": [{"id": 1, "name": "cup"}]}
    (tmp_path / "coco" / "annotations" / "instances_train.json").write_text(json.dumps(content))
    for number in (1, 2):
        Image.new("RGB", (4, 4)).save(tmp_path / "coco" / f"{number}.png")
    kept = open_dataset(tmp_path / "coco", val=("1",))  # of COCO's photos too
    assert {split: [sample.name for sample in found] for split, found in kept.splits.items()} == {
        "train": ["2"], "val": ["1"],
    }  # fmt: skip
    with pytest.raises(DataError) as caught:
        open_sources(tiny(tmp_path, data=(replace(entry, val=("scene02", "scene99")),)), root)
    assert caught.value.faults == (f"{root}/tiny: val names 'scene99', of which there is no photo",)


def sources(root: Path, weights: tuple[float, ...] = (1.0,)) -> list[Source]:
    data = tuple(DataSource("tiny", group=BINARY, weight=weight) for weight in weights)
    return list(open_sources(tiny(root, data=data), root).train)


def test_pictures_do_not_depend_on_how_they_are_shared_out(root: Path) -> None:
    """Two processes see, step by step, what one with the double batch sees; a resumed epoch goes on where it was."""
    given = sources(root, (3.0, 1.0))
    whole = list(BatchSampler(given, [(32, 32), (16, 48)], 4, 24, seed=5))
    halves = [list(BatchSampler(given, [(32, 32), (16, 48)], 2, 24, 5, ProcessInfo(rank, 2))) for rank in (0, 1)]
    assert whole == [a + b for a, b in zip(*halves, strict=True)]
    resumed = BatchSampler(given, [(32, 32), (16, 48)], 4, 24, seed=5)
    resumed.start = 4
    assert list(resumed) == whole[4:]
    assert len(resumed) == 2
    assert all(len({key.frame_hw for key in batch}) == 1 for batch in whole)
    resumed.start, resumed.epoch = 0, 1
    assert list(resumed) != whole


def test_folders_are_drawn_by_weight_and_photos_in_rounds(root: Path) -> None:
    keys = [key for batch in BatchSampler(sources(root, (3.0, 1.0)), [(16, 16)], 4, 1200, 0) for key in batch]
    share = np.mean([key.source == 0 for key in keys])
    assert 0.7 < share < 0.8
    first = [key.sample for key in keys if key.source == 0]
    assert all(set(first[i : i + 6]) == set(range(6)) for i in range(0, 600, 6))


def test_pictures_can_be_sent_to_other_processes(root: Path, tmp_path: Path) -> None:
    """macOS and Windows start workers anew: they get the list of photos, not the gigabytes, and make the same ones."""
    given = sources(root)
    pictures = LabelMapDataset(PhotoCache(given, 1.0), tiny(tmp_path).input.build_spec(16))
    assert len(pictures.cache.images) == 6
    packed = pickle.dumps(pictures)
    assert len(packed) < 20_000
    key = next(iter(BatchSampler(given, [(32, 32)], 1, 0, 0)))[0]
    assert all(torch.equal(a, b) for a, b in zip(pictures[key], pickle.loads(packed)[key], strict=True))


def test_a_small_cache_gives_the_same_photos(root: Path) -> None:
    given = sources(root)
    whole, none = PhotoCache(given, 1.0), PhotoCache(given, 0.0)
    assert not none.images
    for index in range(6):
        assert all(np.array_equal(a, b) for a, b in zip(whole.get(0, index), none.get(0, index), strict=True))


def test_class_shares(root: Path) -> None:
    samples = list(sources(root)[0].samples)
    share = np.mean([sample.label_map() == 1 for sample in samples])
    shares, frequencies = measure_class_shares(samples, 3)
    assert frequencies == pytest.approx([1 - share, share, 0])
    assert shares == pytest.approx([1 - share, share, 0])
    weights = class_weights("log", samples, Labels(("a", "b", "c")))
    assert weights == pytest.approx([1 / math.log(2.02 - share), 1 / math.log(1.02 + share), 0])
    assert class_weights("median", samples, Labels(("a", "b", "c")))[2] == 0


@pytest.mark.parametrize(
    ("changes", "frames"),
    [
        ({"size": 64}, [(64, 64), (80, 48), (48, 80)]),
        ({"size": 64, "shapes": False}, [(64, 64)]),
        ({"size": 60, "rule": "resize"}, [(60, 60)]),
        ({"size": 64, "rule": "letterbox"}, [(64, 64)]),
    ],
)
def test_frames(tmp_path: Path, changes: dict[str, Any], frames: list[tuple[int, int]]) -> None:
    config = tiny(tmp_path, **changes)
    assert sorted(choose_frames(config.input.build_spec(16), config.input.shapes)) == sorted(frames)


def test_a_folder_that_does_not_lend(root: Path, tmp_path: Path) -> None:
    """Backgrounds and second subjects come from folders that lend; where none does, none are put in."""
    borrows = Augmentation(background=1.0, copy_paste=1.0)
    lending, keeping = (replace(sources(root)[0], augment=borrows, lend=lend) for lend in (True, False))
    spec = tiny(tmp_path).input.build_spec(16)
    both = LabelMapDataset(PhotoCache([keeping, lending], 1.0), spec)
    asked: list[int] = []
    get = both.cache.get
    both.cache.get = lambda source, index: (asked.append(source), get(source, index))[1]  # type: ignore[method-assign]
    keys = [key for batch in BatchSampler([keeping, lending], [(32, 32)], 1, 40, 0) for key in batch]
    for key in keys:
        both[key]
    assert asked.count(1) == 3 * len(keys) + sum(key.source for key in keys)
    alone = LabelMapDataset(PhotoCache([keeping], 1.0), spec)
    assert sources(root)[0].lend
    assert alone.lenders == []
    alone[keys[0]._replace(source=0)]


def write_empty_photos(folder: Path, count: int = 3) -> Path:
    """Photos alone, 90 x 70 (height x width), without masks."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.fromarray(np.full((90, 70, 3), 50 + 50 * index, np.uint8)).save(folder / f"hall{index}.png")
    return folder


def test_photos_without_a_subject(root: Path, tmp_path: Path) -> None:
    """A folder of photos alone: background everywhere, the classes of the other folders, all for training."""
    write_empty_photos(root / "hall")
    entries = (DataSource("hall", empty=True), DataSource("tiny", group=BINARY))
    config = tiny(tmp_path, data=entries, augment=Augmentation(background=1.0, copy_paste=0.0))
    for data in (open_sources(config, root), open_sources(config, root, lambda done, of: None)):
        assert data.labels.names == ("background", "subject")
        assert [len(source.samples) for source in data.train] == [3, 6]
        assert list(data.val) == ["tiny"]
        assert data.notes[0] == "hall: 3 photos without a subject"
        assert [source.augment.background for source in data.train] == [0.0, 1.0]
    assert all(not s.label_map().any() and s.label_map().shape == (90, 70) for s in data.train[0].samples)
    pictures = LabelMapDataset(PhotoCache(data.train, 1.0), config.input.build_spec(16))
    assert pictures.lenders == [0, 1]
    for key in [key for batch in BatchSampler(data.train[:1], [(32, 32)], 1, 6, 0) for key in batch]:
        assert not pictures[key][1].any()
    named = open_sources(replace(config, data=(replace(entries[0], val=("hall1",)), entries[1])), root)
    assert [sample.name for sample in named.val["hall"]] == ["hall1"]


def test_empty_pictures_come_from_photos_without_a_subject(root: Path, tmp_path: Path) -> None:
    write_empty_photos(root / "hall")
    data = (DataSource("tiny", group=BINARY, lend=False), DataSource("hall", empty=True))
    config = tiny(tmp_path, data=data, augment=Augmentation(empty=1.0))
    run = open_sources(config, root)
    pictures = LabelMapDataset(PhotoCache(run.train, 1.0), config.input.build_spec(16))
    keys = [key for batch in BatchSampler(run.train, [(64, 64)], 1, 20, 0) for key in batch]
    assert not any(pictures[key][1].any() for key in keys)


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        (({"path": "hall"},), "hall: photos without a subject teach nothing alone"),
        (({"path": "tiny", "group": BINARY}, {"path": "tiny"}), "tiny: has masks in masks/, but empty means photos"),
        (({"path": "tiny", "group": BINARY}, {"path": "bare"}), "bare: holds no photos"),
        (
            ({"path": "tiny", "group": BINARY}, {"path": "none"}),
            "none: there is no such folder of data; expected a folder of photos",
        ),
        (
            ({"path": "tiny", "group": "thing=rest; room=background"}, {"path": "hall"}),
            "hall: photos without a subject are background, but class 0 is 'thing'",
        ),
    ],
)
def test_faults_of_photos_without_a_subject(
    root: Path, tmp_path: Path, entries: tuple[dict[str, Any], ...], fault: str
) -> None:
    write_empty_photos(root / "hall")
    (root / "bare").mkdir(exist_ok=True)
    data = tuple(DataSource(**entry, empty="group" not in entry) for entry in entries)
    with pytest.raises(DataError) as caught:
        open_sources(tiny(tmp_path, data=data), root)
    assert len(caught.value.faults) == 1
    assert fault in caught.value.faults[0]


def test_empty_goes_with_label_maps_alone(root: Path, tmp_path: Path) -> None:
    write_empty_photos(root / "hall")
    data = (DataSource("tiny"), DataSource("hall", empty=True))
    with pytest.raises(DataError) as caught:
        open_sources(tiny(tmp_path, data=data, objects=True), root)
    assert any("hall: empty is for nets that label pixels" in fault for fault in caught.value.faults)
    with pytest.raises(ValueError, match="hall: empty means photos without masks; leave out group and licences"):
        DataSource("hall", empty=True, group=BINARY)
