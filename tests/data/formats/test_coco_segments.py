"""COCO's panoptic files: written and read back, in the layouts that there are, and one line for whatever is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image
from segments import THINGS, panoptics, segments

from imago.core.errors import DataError
from imago.core.labels import Labels
from imago.core.panoptic import Panoptic, ids_to_rgb
from imago.data.check import check_samples
from imago.data.formats.coco_segments import PhotoSegments, to_coco_panoptic, write_coco_panoptic
from imago.data.grouping import parse_grouping
from imago.data.open_dataset import OpenOptions, open_dataset, survey_dataset

LABELS = Labels(("background", "cat", "dog", "grass", "sky"))
FOUND = segments([[5, 5, 0, 70_000], [5, 5, 9, 9], [6, 6, 8, 8]], {5: 1, 70_000: 4, 9: 3, 6: 2, 8: 2}, crowd=(8,))
PANOPTIC = OpenOptions("panoptic")


def write_folder(root: Path, json_name: str, photos: str, pngs: str, panoptic: Panoptic = FOUND) -> Path:
    """Photos a and b with the same segments."""
    entries = []
    for name in ("a", "b"):
        for folder, picture in ((photos, np.full((*panoptic.size_hw, 3), 90)), (pngs, ids_to_rgb(panoptic.id_map))):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.astype(np.uint8)).save(root / folder / f"{name}.png")
        beside = f"{pngs}/{name}.png" if json_name == "panoptic.json" else f"{name}.png"
        entries.append(PhotoSegments(f"{name}.png", beside, panoptic))
    write_coco_panoptic(root / json_name, entries, LABELS, THINGS)
    return root


def describe(panoptic: Panoptic) -> tuple[object, ...]:
    return panoptic.id_map.tolist(), panoptic.segments


@pytest.mark.parametrize(
    ("json_name", "photos", "pngs"),
    [
        ("annotations/panoptic_val2017.json", "val2017", "annotations/panoptic_val2017"),
        ("annotations/panoptic_val2017.json", "images/val2017", "panoptic_val2017"),
        ("panoptic_examples.json", "input_images", "panoptic_examples"),
        ("panoptic.json", "images", "pngs"),
        ("panoptic.json", ".", "pngs"),
    ],
)
def test_what_is_written_is_read_back(json_name: str, photos: str, pngs: str, tmp_path: Path) -> None:
    dataset, faults = survey_dataset(write_folder(tmp_path, json_name, photos, pngs), PANOPTIC)
    assert faults == ()
    assert dataset.labels.names == LABELS.names
    assert dataset.things == THINGS
    samples = dataset.split("all")
    assert sorted({sample.name for sample in samples}) == ["a", "b"]
    for sample in samples:
        assert describe(sample.panoptic()) == describe(FOUND)
    checked = check_samples(samples, dataset.labels)
    assert (checked.faults, checked.objects.tolist(), checked.crowds) == ((), [0, 2, 2, 2, 2], 2)


@settings(max_examples=25, deadline=None)
@given(panoptics(crowds=True))
def test_any_segments_come_back(tmp_path_factory: pytest.TempPathFactory, panoptic: Panoptic) -> None:
    """Twice written: the same text."""
    root = write_folder(tmp_path_factory.mktemp("any"), "panoptic.json", "images", "pngs", panoptic)
    dataset, faults = survey_dataset(root, PANOPTIC)
    assert faults == ()
    entries = []
    for sample in sorted(dataset.split("all"), key=lambda sample: sample.name):
        assert describe(sample.panoptic()) == describe(panoptic)
        entries.append(PhotoSegments(f"{sample.name}.png", f"pngs/{sample.name}.png", sample.panoptic()))
    again = to_coco_panoptic(entries, dataset.labels, dataset.things)
    assert again == json.loads((root / "panoptic.json").read_text())


def test_groups(tmp_path: Path) -> None:
    """Objects stay apart, stuff is joined, the rest is void; a group of both is refused."""
    write_folder(tmp_path, "panoptic.json", "images", "pngs")
    dataset = open_dataset(tmp_path, "panoptic", grouping=parse_grouping("animal=cat,dog; land=grass,sky", least=1))
    found = dataset.split("all")[0].panoptic()
    assert dataset.things == (1,)
    assert sorted((each.value, each.area, each.is_thing, each.crowd) for each in found.segments) == [
        (1, 2, True, False), (1, 2, True, True), (1, 4, True, False), (2, 3, False, False)
    ]  # fmt: skip
    one = open_dataset(tmp_path, "panoptic", grouping=parse_grouping("cat=cat", least=1)).split("all")[0].panoptic()
    assert [(each.value, each.area) for each in one.segments] == [(1, 4)]
    with pytest.raises(DataError, match="group 'all' takes the stuff 'grass' and things too"):
        open_dataset(tmp_path, "panoptic", grouping=parse_grouping("all=rest", least=1))


def edit(key: str, index: int, **changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content[key][index].update(changes)

    return change


def edit_segment(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["annotations"][0]["segments_info"][0].update(changes)


# What is done to the JSON, and the line that says it
FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no such PNG": (edit("annotations", 0, file_name="x.png"), "PNG x.png is missing"),
    "no such photo": (edit("images", 0, file_name="x.png"), "photo x.png is missing"),
    "no such image": (edit("annotations", 0, image_id=77), "annotation of photo 77 cannot be used"),
    "no image at all": (lambda content: content["annotations"][0].pop("image_id"), "photo None cannot be used"),
    "no segments": (lambda content: content["annotations"][0].pop("segments_info"), "photo 1 cannot be used"),
    "segments are a number": (edit("annotations", 0, segments_info=3), "photo 1 cannot be used"),
    "no such category": (edit_segment(category_id=99), "is of category 99, which is not listed"),
    "category in words": (edit_segment(category_id=None), "which is not listed"),
    "id in words": (edit_segment(id="five"), "photo 1 cannot be used"),
    "an id too large": (edit_segment(id=1 << 24), "ids of segments are each another, from 1 to 16777215"),
    "two of one id": (edit_segment(id=6), "ids of segments are each another"),
    "two of one photo": (edit("annotations", 1, image_id=1), "two annotations are of photo a.png"),
    "a photo without a name": (lambda content: content["images"][0].pop("file_name"), "lacks its id or file_name"),
    "an id that the PNG has alone": (lambda content: content["annotations"][0]["segments_info"].pop(0), "a.png"),
    "a category without isthing": (lambda content: content["categories"][0].pop("isthing"), "isthing"),
    "categories of one id": (edit("categories", 0, id=2), "two categories have the same id"),
    "categories of one name": (edit("categories", 0, name="dog"), "the classes cannot be used"),
    "no categories": (lambda content: content["categories"].clear(), "no categories"),
    "no list": (lambda content: content.update(annotations={}), "expected a list"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_is_one_line(name: str, tmp_path: Path) -> None:
    change, message = FAULTS[name]
    write_folder(tmp_path, "panoptic.json", "images", "pngs")
    content = json.loads((tmp_path / "panoptic.json").read_text())
    change(content)
    (tmp_path / "panoptic.json").write_text(json.dumps(content))
    try:
        dataset, faults = survey_dataset(tmp_path, PANOPTIC)
    except DataError as error:
        lines = [str(error)]
    else:
        lines = [*faults, *check_samples(dataset.split("all"), dataset.labels).faults]
    assert len(lines) == 1, lines
    assert message in lines[0]
    assert "\n" not in lines[0]
    assert str(tmp_path) in lines[0]


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Image.new("L", (4, 3)), "is L; ids of segments are stored in red, green and blue"),
        (Image.new("RGB", (5, 3)), "is 3 x 5 but a.png is 3 x 4"),
        (None, "cannot be read"),
    ],
)
def test_pngs_that_are_none(picture: Image.Image | None, message: str, tmp_path: Path) -> None:
    write_folder(tmp_path, "panoptic.json", "images", "pngs")
    path = tmp_path / "pngs" / "a.png"
    if picture is None:
        path.write_bytes(path.read_bytes()[:40])
    else:
        picture.save(path)
    dataset, faults = survey_dataset(tmp_path, PANOPTIC)
    (line,) = (*faults, *check_samples(dataset.split("all"), dataset.labels).faults)
    assert message in line
    assert "a.png" in line
