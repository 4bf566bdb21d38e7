"""Where photos and masks lie: sets as they are downloaded, and folders of other usual names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import write_tiny_dataset
from PIL import Image

from imago.core.errors import DataError
from imago.data.open_dataset import open_dataset


def test_camvids_layout(tmp_path: Path) -> None:
    """Folders for splits, values for classes, 11 for "void"; a fault in each place is told."""
    for split, names in (("train", "ab"), ("val", "c"), ("test", "d")):
        for folder, kind in ((split, "jpg"), (f"{split}annot", "png")):
            (tmp_path / folder).mkdir()
            for name in names:
                pixels = np.full((6, 8), 11 if kind == "png" else 90, np.uint8)
                pixels[:3] = ord(name) - ord("a")
                Image.fromarray(pixels).save(tmp_path / folder / f"{name}.{kind}")
    dataset = open_dataset(tmp_path)
    assert {split: [s.name for s in samples] for split, samples in dataset.splits.items()} == {
        "train": ["a", "b"], "val": ["c"], "test": ["d"],
    }  # fmt: skip
    assert dataset.labels.names[:3] == ("sky", "building", "pole")
    assert len(dataset.labels) == 11
    label = dataset.splits["val"][0].label_map()
    assert set(np.unique(label)) == {2, 255}
    (tmp_path / "valannot" / "c.png").unlink()
    (tmp_path / "trainannot" / "x.png").write_bytes((tmp_path / "testannot" / "d.png").read_bytes())
    (tmp_path / "valannot" / "y.png").write_bytes((tmp_path / "testannot" / "d.png").read_bytes())
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path)
    text = "\n".join(caught.value.faults)
    for words in ("c.jpg: no mask valannot/c.png", "x.png: no photo train/x.*", "y.png: no photo val/y.*"):
        assert words in text


def test_the_pet_sets_layout(tmp_path: Path) -> None:
    """As it is downloaded: trimaps of 1, 2, 3, lists with more columns, a Mac's left-over files."""
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations" / "trimaps").mkdir(parents=True)
    names = [f"Cat_{i}" for i in range(30)]
    for name in names:
        Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / "images" / f"{name}.jpg")
        Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8) % 3 + 1).save(
            tmp_path / "annotations" / "trimaps" / f"{name}.png"
        )
    (tmp_path / "annotations" / "trimaps" / "._Cat_0.png").write_bytes(b"not an image")
    (tmp_path / "annotations" / "list.txt").write_text("#Image CLASS-ID SPECIES BREED ID\n")
    (tmp_path / "annotations" / "trainval.txt").write_text("".join(f"{n} 1 1 1\n" for n in names[:20]))
    (tmp_path / "annotations" / "test.txt").write_text("".join(f"{n} 1 1 1\n" for n in names[20:]))
    dataset = open_dataset(tmp_path)
    assert dataset.labels.names == ("pet", "background", "outline")
    sizes = {split: len(samples) for split, samples in dataset.splits.items()}
    assert sizes["train"] + sizes["val"] == 20
    assert sizes["val"] >= 1
    assert sizes["test"] == 10
    assert np.array_equal(dataset.splits["test"][0].label_map(), np.arange(48).reshape(6, 8) % 3)
    (tmp_path / "annotations" / "test.txt").write_text("Dog_1 1 1 1\n")
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path)
    assert "names 'Dog_1', of which there is no photo" in caught.value.faults[0]


@pytest.mark.parametrize(("images", "masks"), [("image", "label"), ("JPEGImages", "SegmentationClass")])
def test_other_names_of_folders(tmp_path: Path, images: str, masks: str) -> None:
    write_tiny_dataset(tmp_path, count=4, size_hw=(16, 16))
    (tmp_path / "images").rename(tmp_path / images)
    (tmp_path / "masks").rename(tmp_path / masks)
    assert len(open_dataset(tmp_path).split("all")) == 4
