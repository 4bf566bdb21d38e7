"""imago compare for models that find objects: who may take part, what all are ranked by, and the page."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cells import write_cells
from click.testing import CliRunner
from tiny_finders import ALWAYS, LABELS, write_finder, write_separator, write_squares
from tiny_onnx import write_tiny

from imago.comparison.candidates import Candidate, parse_candidates
from imago.comparison.choose import choose_task
from imago.comparison.compare import Comparison, compare, write
from imago.comparison.detection import DetectionComparison
from imago.comparison.page import render
from imago.comparison.semantic import SemanticComparison
from imago.comparison.training import build_settings, check_options
from imago.core.errors import DataError, ImagoError
from imago.core.labels import Labels
from imago.core.proposal_options import ProposalOptions
from imago.data.augment.settings import Augmentation
from imago.data.open_dataset import open_dataset
from imago.inference.load import load
from imago.training.config import DataSource, TrainConfig
from imago.training.tasks.catalog import choose_task as choose_training
from imago.training.tasks.detection import DetectionTask
from imago.training.tasks.rcnn import RcnnTask
from imago.training.tasks.separation import SeparationTask

MOVED = tuple((x1 + 3, y1, x2 + 3, y2) for x1, y1, x2, y2 in ALWAYS)  # IoU 0.6 and 0.65


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("squares")
    write_squares(folder / "data")
    write_finder(folder / "exact.onnx")
    write_finder(folder / "moved.onnx", MOVED)
    write_finder(folder / "filled.onnx", MOVED, masks=True)
    write_finder(folder / "blind.onnx", ())
    write_finder(folder / "other.onnx", labels=Labels(("background", "cat", "dog")))
    write_separator(folder / "separator.onnx")
    write_tiny(folder / "maps.onnx", classes=3)
    return folder


def compared(folder: Path, *names: str) -> Comparison:
    data = open_dataset(folder / "data", "detection")
    found = [Candidate(name, file=folder / f"{name}.onnx") for name in names]
    return compare(DetectionComparison(), found, data.split("val"), data.labels, silent)


@pytest.fixture(scope="module")
def mixed(folder: Path) -> Comparison:
    return compared(folder, "moved", "separator", "exact", "other", "blind")


def test_boxes_rank_where_one_has_boxes_alone(mixed: Comparison) -> None:
    assert mixed.main == "box_ap"
    assert [entry.name for entry in mixed.entries] == ["separator", "exact", "moved", "blind"]
    best, exact, moved, blind = (entry.evaluation for entry in mixed.entries)
    assert best.score == pytest.approx(1)
    assert best.summary["mask_ap"].mean == pytest.approx(1)
    assert "mask_ap" not in exact.summary
    assert 0.7 < exact.score < 0.9  # every second photo has an object that it does not know
    assert moved.score < 0.4
    assert moved.summary["box_ap50"].mean == pytest.approx(exact.score)
    assert blind.score == 0
    assert mixed.entries[0].to_best is None
    gap = mixed.entries[2].to_best
    assert gap is not None
    assert gap.mean == pytest.approx(best.score - moved.score)
    assert gap.real
    assert [line.split(":")[0] for line in mixed.failed] == ["other"]
    assert (
        "the data has 2 classes (background, object), but the model 'other' has 3 (background, cat, dog)"
        in mixed.failed[0]
    )


def test_masks_rank_where_all_have_them(folder: Path) -> None:
    found = compared(folder, "filled", "separator")
    assert found.main == "mask_ap"
    assert [entry.name for entry in found.entries] == ["separator", "filled"]
    assert found.task.notes([entry.evaluation for entry in found.entries]) == ()
    assert found.task.beside([entry.evaluation for entry in found.entries]) == ("mask_ap50", "box_ap", "mean_precision")


def test_how_many_objects_count(folder: Path) -> None:
    """All, COCO's 100, or one a photo: of each photo's two or three objects, found exactly, one is left to count."""
    data, found = open_dataset(folder / "data", "detection"), [Candidate("exact", file=folder / "exact.onnx")]

    def ap(kind: DetectionComparison) -> Comparison:
        return compare(kind, found, data.split("val"), data.labels, silent)

    usual, every, one = (
        ap(DetectionComparison()),
        ap(DetectionComparison().counting(sys.maxsize)),
        ap(DetectionComparison().counting(1)),
    )
    assert usual.entries[0].score == every.entries[0].score > 0.7 > 0.45 > one.entries[0].score > 0.3
    assert "AP counts" not in render(usual, "")
    assert "AP counts all objects of a class and image; COCO&#x27;s counts 100" in render(every, "")
    assert "AP counts the 1 best of a class and image" in render(one, "")
    with pytest.raises(ImagoError, match="--max-found is for models that find objects"):
        SemanticComparison().counting(1)


def test_how_many_objects_count_is_asked_for(folder: Path, tmp_path: Path) -> None:
    from imago.cli.compare import compare_command

    def asked(*words: str) -> Any:
        given = [str(folder / "data"), "--models", str(folder / "exact.onnx"), "--out", str(tmp_path), *words]
        result = CliRunner().invoke(compare_command, given, standalone_mode=False)
        assert result.exception is None, result.output
        return json.loads((tmp_path / "comparison.json").read_text("utf-8"))["entries"][0]["evaluation"]["summary"]

    usual, every, one = (asked(*words)["box_ap"]["mean"] for words in ((), ("--max-found=0",), ("--max-found=1",)))
    assert usual == every > one


def test_classes_are_found_by_their_names(folder: Path) -> None:
    """A model may know more than the data: what it finds of other classes counts neither way."""
    known = Labels(("background", "cat", "object", "dog"))
    write_finder(folder / "second.onnx", labels=known, value=2)
    write_finder(folder / "third.onnx", labels=known, value=3)
    found = compared(folder, "second", "exact", "third")
    second, exact, third = (entry.evaluation for entry in found.entries)
    assert second.score == exact.score > 0.7
    assert third.score == 0
    image = found.samples[0].image()
    counts = [len(found.task.predict(load(folder / f"{n}.onnx"), image, found.labels)) for n in ("second", "third")]
    assert counts == [2, 0]


def test_classes_that_the_images_lack_have_no_row(folder: Path) -> None:
    data = open_dataset(folder / "data", "detection").align_classes(Labels(("background", "cat", "object")))
    write_finder(folder / "both.onnx", labels=data.labels, value=2)
    found = compare(
        DetectionComparison(), [Candidate("both", file=folder / "both.onnx")], data.split("val"), data.labels, silent
    )
    page = render(found, "one")
    assert "</i>object</th>" in page
    assert "</i>cat</th>" not in page


def test_what_is_written(mixed: Comparison, tmp_path: Path) -> None:
    page = render(mixed, "four models")
    assert "ranked by AP of boxes" in page
    assert "Classes: AP of boxes" in page
    assert "the whole way from a photo in memory to its objects" in page
    assert "AP of large objects" not in page  # there are none
    assert "nan" not in re.sub('base64,[^"]*', "", page)
    assert page.count("<figure>") == 4
    assert page.count("separator 1.0000 ▲") == 4 * 2  # beneath the picture, and for those who cannot see it
    assert "blind 0.0000 ▼" in page
    write(mixed, page, tmp_path)
    told = json.loads((tmp_path / "comparison.json").read_text("utf-8"))
    assert told["ranked_by"] == "box_ap"
    assert told["front"][-1] == "separator" or told["front"] == ["separator"]
    assert [entry["evaluation"]["task"] for entry in told["entries"]] == ["detection"] * 4
    assert {"median_ms", "peak_mb", "weights"} <= told["entries"][0]["cost"].keys()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "comparison.csv").read_text("utf-8"))))
    assert [row["name"] for row in rows] == ["separator", "exact", "moved", "blind"]
    assert (rows[0]["mask_ap"], rows[1]["mask_ap"], rows[0]["ap/object"]) == ("1", "", "1")
    assert "ap/background" not in rows[0]


def test_objects_are_drawn(mixed: Comparison) -> None:
    """The truth in the photo's place, found and not found: pixels, not the page's text."""
    sample = mixed.samples[1]
    image, truth = sample.image(), mixed.task.load_truth(sample)
    small = image[::2, ::2]
    drawn = mixed.task.draw(small, truth, LABELS)
    assert drawn.shape == small.shape
    assert (drawn != small).any(axis=2)[4:10, 4:10].all()  # the first square
    assert not (drawn != small).any(axis=2)[12:, :12].any()  # nothing is there
    nothing = truth[np.zeros(len(truth), bool)]
    assert (mixed.task.draw(small, nothing, LABELS) == small).all()


def test_curves_of_one_title_can_be_compared(mixed: Comparison) -> None:
    rows = [{"seconds": 60.0 * n, "train_loss": 600.0 / n, "score": 0.1 * n} for n in (1, 2)]
    separator, exact = (mixed.task.curves(entry.card, rows) for entry in mixed.entries[:2])
    assert exact["Validation AP"] == [(1, 0.1), (2, 0.2)]
    assert "Validation AP" not in separator
    assert separator.keys() & exact.keys() == {"Training loss, as a share of its first"}
    assert exact["Training loss, as a share of its first"] == [(1, 1), (2, 0.5)]
    assert mixed.task.curves(mixed.entries[0].card, [])["Training loss, as a share of its first"] == []
    crops = mixed.entries[1].card.with_(
        options={"nms_thresh": 0.3, "detections_per_img": 9}, proposals=ProposalOptions(), crop_padding=4
    )
    assert "Validation share of crops told right" in mixed.task.curves(crops, rows)


# -- who may take part ----------------------------------------------------------------------------------------------


def test_names_of_nets_that_find_objects() -> None:
    found = parse_candidates(["fasterrcnn:resnet18_half,yolov3_tiny"])
    assert found == (
        Candidate("fasterrcnn-resnet18_half", "fasterrcnn", "resnet18_half"),
        Candidate("yolov3_tiny", "yolov3_tiny"),
    )
    with pytest.raises(ImagoError, match="yolov3 has no encoder to choose"):
        parse_candidates(["yolov3:resnet50"])
    with pytest.raises(ImagoError, match=r"To train: .*unet.*maskrcnn"):
        parse_candidates(["maskrcn"])


@pytest.mark.parametrize(
    ("names", "objects", "expected"),
    [
        (["unet", "maps.onnx"], False, SemanticComparison),
        (["unet", "gone.onnx"], False, SemanticComparison),
        (["fasterrcnn", "exact.onnx"], False, DetectionComparison),
        (["unet", "fasterrcnn", "separator.onnx"], True, DetectionComparison),
        (["separator.onnx"], False, DetectionComparison),
        (["unet"], True, DetectionComparison),
        (["unet", "fasterrcnn"], False, r"Label maps: unet\. Objects: fasterrcnn\. .*, or give --objects, so that"),
        (
            ["maps.onnx", "exact.onnx"],
            False,
            r"Label maps: maps\. .* leave out maps, which cannot learn it any more$",
        ),
        (
            ["unet", "maps.onnx", "exact.onnx"],
            False,
            r"Label maps: unet, maps\. Objects: exact\. .* leave out maps, .* more, and give --objects",
        ),
        (["unet", "maps.onnx"], True, r"Label maps: maps\. Objects: unet\. .* leave out maps, which cannot"),
        (["maps.onnx"], True, r"Label maps: maps\. Objects: --objects\."),
    ],
)
def test_what_kind_it_is(folder: Path, names: list[str], objects: bool, expected: Any) -> None:
    named = [
        Candidate(name.removesuffix(".onnx"), file=folder / name) if "." in name else Candidate(name, name)
        for name in names
    ]
    if isinstance(expected, str):
        with pytest.raises(ImagoError, match=expected):
            choose_task(named, objects)
    else:
        assert isinstance(choose_task(named, objects), expected)


def read(config: TrainConfig, *names: str) -> tuple[Any, ...]:
    return tuple(config.flat()[name] for name in names)


def test_each_kind_of_net_has_its_own_settings() -> None:
    unet, faster, tiny = (Candidate(name, name) for name in ("unet", "fasterrcnn", "yolov3_tiny"))
    config = TrainConfig.of(
        objects=True, loss="ce+dice", tta_flip=True, multiscale=True, lr=5e-4,
        option=("width=8", "yolov3_tiny.anchors=[[1,2]]", "fasterrcnn.fc_width=16"),
    )  # fmt: skip
    pixels, regions, cells = (build_settings(one, config, [unet, faster, tiny]) for one in (unet, faster, tiny))
    assert read(pixels, "objects", "loss", "tta_flip", "multiscale") == (True, "ce+dice", True, False)
    assert read(regions, "objects", "loss", "tta_flip", "multiscale") == (False, "auto", False, True)
    assert {one.optimization.lr for one in (pixels, regions, cells)} == {5e-4}
    assert pixels.net.option == ("width=8",)
    assert regions.net.option == ("width=8", "fc_width=16")
    assert cells.net.option == ("width=8", "anchors=[[1,2]]")
    crops, file = Candidate("rcnn", "rcnn"), Candidate("a", file=Path("a.onnx"))
    sized = TrainConfig.of(size=256, batch_size=4, loss="ce", option=("proposals.count=9", "rcnn.stages.padding=4"))
    regions, cut = (build_settings(one, sized, [file, faster, crops]) for one in (faster, crops))
    assert read(regions, "size", "batch_size", "option") == (256, 4, ("proposals.count=9",))
    assert read(cut, "size", "batch_size", "option") == (320, 8, ("proposals.count=9", "stages.padding=4"))
    assert (
        regions.optimization.loss == cut.optimization.loss == "ce"
    )  # which says nothing to either: their trainings refuse it
    alone = build_settings(faster, config, [faster, tiny])
    assert alone.optimization.loss == "ce+dice"  # which its training refuses in words
    check_options(config, [unet, faster, tiny])
    with pytest.raises(ImagoError, match=r"there is no yolov3_tiny among --models; name one of fasterrcnn, unet"):
        check_options(config, [unet, faster])
    with pytest.raises(ImagoError, match="yolov3_tiny: model 'yolov3_tiny' has no pretrained to choose"):
        build_settings(tiny, TrainConfig.of(pretrained=True, model="unet"), [tiny])


def test_each_kind_of_net_has_its_own_augmentation() -> None:
    unet, faster, crops = (Candidate(name, name) for name in ("unet", "fasterrcnn", "rcnn"))
    moved = Augmentation(elastic=0.5, touching=8, zoom_min=0.5, flip=0.25)
    folder = DataSource("cells", augment={"shadow": 0.1, "background": 0.1, "rotate_deg": 5, "blur": 0.2})
    config = TrainConfig.of(objects=True, distance=True, augment=moved, data=(folder,))
    pixels, regions, cut = (build_settings(one, config, [unet, faster, crops]) for one in (unet, faster, crops))
    usual = Augmentation()
    assert (pixels.augment, pixels.data) == (moved, (folder,))
    assert [one.net.distance for one in (pixels, regions, cut)] == [True, False, False]
    assert regions.augment == replace(moved, elastic=usual.elastic, touching=usual.touching)
    assert regions.data[0].augment == {"rotate_deg": 5, "blur": 0.2}
    assert cut.augment == replace(regions.augment, zoom_min=usual.zoom_min)
    assert cut.data[0].augment == {"blur": 0.2}
    for kind, own in ((SeparationTask, pixels), (DetectionTask, regions), (RcnnTask, cut)):
        assert choose_training(own) is kind
        kind.refuse(own)
    alone = build_settings(faster, config, [faster, crops])  # says nothing to either: refused in words
    assert (alone.augment.elastic, alone.augment.zoom_min) == (0.5, 0.5)


def test_data_that_cannot_be_compared_on(folder: Path, tmp_path: Path) -> None:
    write_squares(tmp_path / "one")
    for name in ("images", "labels"):
        (tmp_path / "yolo" / name).mkdir(parents=True)
    for index in range(2):
        (tmp_path / "yolo" / "images" / f"{index}.png").write_bytes(
            (tmp_path / "one" / "images" / f"squares{index}.png").read_bytes()
        )
        (tmp_path / "yolo" / "labels" / f"{index}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "yolo" / "data.yaml").write_text("names: [object]\n")

    def opened(*entries: DataSource) -> Any:
        return DetectionComparison().open_data(TrainConfig.of(data=entries), tmp_path, "val", None)

    samples, labels, _ = opened(DataSource("one"), DataSource("one", validate=False))
    assert (len(samples), labels.names) == (4, ("background", "object"))
    with pytest.raises(DataError, match=r"the grouping names classes that the data does not have: b\. It has: object"):
        opened(DataSource("one", group="a=b"))
    samples, labels, _ = opened(DataSource("one", group="cell=object", val=("squares0",)))
    assert ([sample.name for sample in samples], labels.names) == (["squares0"], ("background", "cell"))
    with pytest.raises(DataError, match="yolo: has boxes alone, the folders before it masks"):
        opened(DataSource("one"), DataSource("yolo"))
    with pytest.raises(DataError, match="no folder validates"):
        opened(DataSource("one", validate=False))
    (tmp_path / "one" / "classes.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match="says that the values in masks/ are classes, not single objects"):
        opened(DataSource("one"))


@pytest.mark.slow
def test_the_whole_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nets of both kinds under one budget, one that cannot be trained, and a file; then again, trained already."""
    from imago.cli.compare import compare_command

    monkeypatch.chdir(tmp_path)
    write_cells(tmp_path / "cells", 8)
    write_finder(tmp_path / "ready.onnx")
    words = [
        "cells", "--objects", "--models", "fasterrcnn:resnet18_half,unet,fasterrcnn:resnet999,ready.onnx",
        "--epochs", "1", "--size", "64", "--batch-size", "2", "--out", "out", "--device", "cpu", "--workers", "0",
        "--precision", "32", "--option", "width=8", "--option", "fasterrcnn.fc_width=16", "--option",
        "fasterrcnn.proposals=10", "--loss", "ce+dice",
    ]  # fmt: skip
    for _ in range(2):
        result = CliRunner().invoke(compare_command, words, standalone_mode=False)
        assert result.exception is None, result.output
        assert result.return_value == 1
        assert "resnet999" in result.output
    assert result.output.count("trained already") == 2
    told = json.loads((tmp_path / "out" / "comparison.json").read_text("utf-8"))
    assert {entry["name"] for entry in told["entries"]} == {"fasterrcnn-resnet18_half", "unet", "ready"}
    assert len(told["failed"]) == 1
    assert all(entry["cost"]["multiply_adds"] > 0 for entry in told["entries"] if entry["name"] != "ready")
    assert all(entry["history"] for entry in told["entries"] if entry["name"] != "ready")
    page = (tmp_path / "out" / "comparison.html").read_text("utf-8")
    assert "insides and borders" in page
    assert page.count("<svg") == 4  # AP over latency, AP, mean IoU, loss
