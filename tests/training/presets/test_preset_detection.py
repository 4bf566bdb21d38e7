"""Presets for nets that find objects: what follows from the objects, and which rules a data set goes by."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cells import write_cells
from PIL import Image
from tiny_run import tiny

from imago.core.errors import DataError, ImagoError
from imago.core.input_spec import InputSpec
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.data.anchors import measure_box_sizes
from imago.data.dataset import Sample
from imago.data.formats.coco import to_coco
from imago.data.formats.format import ImageDetections
from imago.training.config import DataSource, TrainConfig
from imago.training.presets.detection import (
    DETECTION_PRESETS,
    DetectionFacts,
    choose_detection,
    make_detection_batch,
    measure_detection_data,
    pick_surveyed,
)
from imago.training.presets.memory import TRIED, Trial, try_batches
from imago.training.presets.resolve import has_only_objects
from imago.training.presets.semantic import choose, measure_data
from imago.training.train import train

MB, GB = 1_000_000, 1_000_000_000
ORCHARD = DetectionFacts(
    200, 900, 3, True, 40, 60.0, "cpu", 8 * GB
)  # fruits of 60 pixels and more in photos of 900 x 900


def line(config: TrainConfig) -> tuple[Trial, ...]:
    """100 MB a photo, 500 MB besides."""
    return Trial(2, 700 * MB, 0.4), Trial(6, 1100 * MB, 1.0)


def fruits(spec: InputSpec) -> np.ndarray:
    """Sizes of boxes in the frame: 60 to 120 pixels in photos of 900 x 900."""
    scale = 1.0 if spec.rule == "pad" else spec.size_hw[0] / 900
    return np.random.default_rng(0).uniform(60, 120, (200, 2)) * scale


def chosen(
    name: str, facts: DetectionFacts, changes: dict[str, Any], given: set[str]
) -> tuple[TrainConfig, dict[str, Any]]:
    config, choices = choose_detection(name, facts, TrainConfig.of(**changes), given, fruits, line)
    assert all(choice.why for choice in choices)
    assert not {choice.setting for choice in choices} & given
    return config, config.net.options()


@pytest.mark.parametrize(
    ("name", "facts", "expected"),
    [
        # A small fruit is to be 24 px: 900 * 24 / 60 = 360, of at most 352 (balanced).
        ("balanced", {}, {"model": "maskrcnn", "encoder": "resnet18_half", "size": 352, "rule": "area", "batch_size": 8,
                          "grad_accum_steps": 1, "lr": 9.9e-4, "epochs": 120, "validate_every": 6}),
        ("fast", {}, {"size": 256, "epochs": 30}),
        ("accurate", {}, {"encoder": "resnet34_slim", "size": 352, "epochs": 300}),
        ("balanced", {"small_px": 200.0}, {"size": 192}),  # large ones: half of what it goes up to, to a multiple of 32
        ("balanced", {"small_px": 25.0}, {"rule": "pad", "size": 352}),  # shrunk they would be 10 px
        ("balanced", {"small_px": 9.0, "side_px": 256}, {"rule": "area", "size": 352}),  # small photos are enlarged
        ("fast", {"masks": False}, {"model": "yolov3_tiny", "encoder": ""}),
        ("balanced", {"masks": False}, {"model": "fasterrcnn", "encoder": "resnet18_half"}),
        ("balanced", {"device": "cuda"}, {"model": "maskrcnn", "encoder": "resnet34", "size": 352}),
        ("accurate", {"device": "cuda", "masks": False}, {"model": "fasterrcnn", "encoder": "resnet50"}),
        ("balanced", {"memory_bytes": 13 * GB // 10}, {"batch_size": 4, "grad_accum_steps": 2, "lr": 9.9e-4}),
    ],
)  # fmt: skip
def test_what_is_chosen(name: str, facts: dict[str, Any], expected: dict[str, Any]) -> None:
    config, options = chosen(name, DetectionFacts(**{**vars(ORCHARD), **facts}), {}, set())
    assert {field: config.flat()[field] for field in expected} == expected
    narrow = config.runtime.device == "auto" and facts.get("device", "cpu") == "cpu" and config.net.encoder
    assert options.get("width") == (64 if narrow else None)


@pytest.mark.parametrize(
    ("changes", "given", "expected", "options"),
    [
        ({"model": "yolov3_tiny", "lr": 0.5, "minutes": 3.0}, {"model", "lr", "minutes"},
         {"model": "yolov3_tiny", "encoder": "", "lr": 0.5, "minutes": 3.0, "epochs": 0}, {}),
        ({"model": "fasterrcnn", "encoder": "resnet18", "size": 128, "batch_size": 3},
         {"model", "encoder", "size", "batch_size"},
         {"size": 128, "batch_size": 3, "grad_accum_steps": 1, "rule": "area"}, {"width": None}),
        ({"model": "yolov2_tiny", "option": ("width=4", "anchors=[[9,9]]")}, {"model", "option"},
         {"model": "yolov2_tiny"}, {"width": 4, "anchors": [[9, 9]]}),
        ({"model": "yolov1_fast"}, {"model"}, {"size": 320, "rule": "resize"}, {"size": 320}),
        ({"model": "yolov1_fast", "size": 448}, {"model", "size"}, {"size": 448, "rule": "resize"}, {"size": 448}),
        ({"model": "maskrcnn", "option": ("sizes=[1,2,4,8,16]",)}, {"model", "option"},
         {"encoder": ""}, {"sizes": [1, 2, 4, 8, 16]}),
    ],
)  # fmt: skip
def test_the_users_own_stays(
    changes: dict[str, Any], given: set[str], expected: dict[str, Any], options: dict[str, Any]
) -> None:
    config, found = chosen("balanced", ORCHARD, changes, given)
    assert {field: config.flat()[field] for field in expected} == expected
    assert {name: found.get(name) for name in options} == options


def test_anchors_are_the_boxes_own() -> None:
    config, options = chosen("balanced", ORCHARD, {"model": "yolov3_tiny"}, {"model"})
    anchors = np.array(options["anchors"])
    low, high = 60 * config.input.size / 900, 120 * config.input.size / 900
    assert anchors.shape == (6, 2)
    assert low <= anchors.min() <= anchors.max() <= high
    assert chosen("balanced", ORCHARD, {"model": "yolov2", "option": ("width=2",)}, {"model"})[1]["anchors"][4]


@pytest.mark.parametrize(
    ("changes", "small", "sizes"),
    [
        ({"model": "fasterrcnn:resnet18_half"}, 40.0, None),  # the usual ones fit
        ({"model": "fasterrcnn:resnet18_half"}, 28.0, None),
        ({"model": "fasterrcnn:resnet18_half"}, 20.0, [16, 32, 64, 128, 256]),
        ({"model": "maskrcnn:resnet18_half"}, 12.0, [8, 16, 32, 64, 128]),
        ({"model": "maskrcnn:resnet18_half"}, 3.0, [4, 4, 8, 16, 32]),
        ({"model": "fasterrcnn:vgg16_bn", "option": ("width=4", "fc_width=8")}, 40.0, [32, 64, 128]),
    ],
)
def test_proposals_begin_where_the_objects_do(changes: dict[str, Any], small: float, sizes: list[float] | None) -> None:
    config, _ = choose_detection(
        "balanced", ORCHARD, TrainConfig.of(**changes), {"model", "encoder"}, lambda spec: np.full((9, 2), small), line
    )
    assert config.net.options().get("sizes") == sizes


def test_crowded_photos_want_more_finds() -> None:
    facts = DetectionFacts(**{**vars(ORCHARD), "most_objects": 375})
    _, options = chosen("fast", facts, {}, set())
    assert (options["detections_per_img"], options["proposals"]) == (600, 1800)
    _, options = chosen("fast", facts, {"model": "yolov3_tiny"}, {"model"})
    assert options["detections_per_img"] == 600
    assert "proposals" not in options


def test_presets_grow() -> None:
    aims = [(p.side_px, p.gpu_side_px, p.pace.pictures) for p in DETECTION_PRESETS.values()]
    assert aims == sorted(aims)


# -- the data -------------------------------------------------------------------------------------------------------


def photo(folder: Path, name: str, size_hw: tuple[int, int], boxes: list[tuple[int, int, int, int]]) -> Sample:
    Image.fromarray(np.zeros((*size_hw, 3), np.uint8)).save(folder / f"{name}.png")
    instances = Instances.make(size_hw, np.array(boxes, np.float32).reshape(-1, 4), [1] * len(boxes))
    return Sample(name, folder / f"{name}.png", read_instances=lambda: instances)


def test_facts_of_objects(tmp_path: Path) -> None:
    """Sides count as they would be in a photo of the median's pixels: 10 px of 100 are 20 of 200."""
    samples = [
        photo(tmp_path, "small", (100, 100), [(0, 0, 10, 10), (20, 20, 40, 40)]),
        photo(tmp_path, "middling", (200, 200), [(0, 0, 80, 20)]),
        photo(tmp_path, "empty", (200, 200), []),
    ]
    facts = measure_detection_data(samples, 3, 2, False, "cpu", 5 * GB)
    assert facts == DetectionFacts(3, 200, 2, False, 2, 30.0, "cpu", 5 * GB)  # 20, 40, 40
    with pytest.raises(DataError, match="none of the 1 training photos that were looked at has an object"):
        measure_detection_data(samples[2:], 1, 2, False, "cpu", 5 * GB)
    assert pick_surveyed(samples) == samples
    assert len(pick_surveyed(samples * 500)) == 500


def test_objects_alone(tmp_path: Path) -> None:
    """COCO's file beside its photos can be read as nothing else; photos and masks are label maps."""
    write_cells(tmp_path / "maps", 4)
    (tmp_path / "coco" / "train").mkdir(parents=True)
    sample = photo(tmp_path / "coco" / "train", "a", (40, 40), [(2, 2, 20, 20)])
    text = json.dumps(to_coco([ImageDetections("a.png", sample.instances())], Labels(("background", "cell"))))
    (tmp_path / "coco" / "instances_train.json").write_text(text)

    def alone(*entries: DataSource) -> bool:
        return has_only_objects(TrainConfig.of(data=entries), tmp_path)

    assert alone(DataSource("coco"))
    assert not alone(DataSource("maps"))
    assert not alone(DataSource("coco"), DataSource("maps"))
    assert not alone(DataSource("coco", group="a=b"))
    assert not alone(DataSource("gone"))


def test_separated_objects_keep_their_scale(tmp_path: Path) -> None:
    from imago.training.sources import open_sources

    write_cells(tmp_path / "cells", 4)
    data = open_sources(TrainConfig.of(data=(DataSource("cells"),), objects=True), tmp_path)
    facts = measure_data(data.train[0].samples, len(data.labels), "cpu", 8 * GB)
    config, _ = choose("fast", facts, TrainConfig.of(objects=True), {"objects"}, line)
    assert (config.net.model, config.input.rule, config.input.size) == ("unet", "pad", 64)


def test_nets_of_stages_have_no_preset(tmp_path: Path) -> None:
    config = tiny(tmp_path / "run", model="rcnn", option=(), preset="fast")
    with pytest.raises(ImagoError, match=r"--preset does not go with --model rcnn: .* trained in one go"):
        train(config, tmp_path, given={"model"})


def test_sizes_are_those_of_the_frames(tmp_path: Path) -> None:
    sample = photo(tmp_path, "wide", (100, 400), [(0, 0, 40, 20)])
    find = partial(measure_box_sizes, [sample])
    assert find(InputSpec("area", (200, 200), 4)).tolist() == [[40, 20]]
    assert find(InputSpec("letterbox", (200, 200))).tolist() == [[20, 10]]


@pytest.mark.slow  # the process of its own imports torch
@pytest.mark.parametrize(
    ("model", "option"),
    [
        (
            "maskrcnn:resnet18_half",
            ("width=16", "fc_width=16", "proposals=20", "batch_size_per_image=16", "mask_widths=[8]"),
        ),
        ("fastrcnn:resnet18_half", ("fc_width=16", "batch_size_per_image=16")),
    ],
)
def test_steps_of_both_families_are_measured(model: str, option: tuple[str, ...]) -> None:
    config = TrainConfig.of(model=model, option=option, size=64, precision="32")
    small, large = try_batches(config, partial(make_detection_batch, classes=2, objects=7), "cpu")
    assert (small.batch_size, large.batch_size) == TRIED
    assert 50 * MB < small.bytes <= large.bytes < 4 * GB


@pytest.mark.slow
def test_a_run_with_a_preset(tmp_path: Path) -> None:
    """The data has objects alone and no net is named: one is chosen, trained and told of."""
    folder = write_cells(tmp_path / "cells", 8)
    from imago.data.open_dataset import open_dataset

    for split in ("train", "val"):
        (tmp_path / "coco" / split).mkdir(parents=True)
        found = []
        for sample in open_dataset(folder, "detection").split(split):
            (tmp_path / "coco" / split / f"{sample.name}.png").write_bytes(sample.image_path.read_bytes())
            found.append(ImageDetections(f"{sample.name}.png", sample.instances()))
        text = json.dumps(to_coco(found, Labels(("background", "cell"))))
        (tmp_path / "coco" / f"instances_{split}.json").write_text(text)
    said: list[str] = []
    config = tiny(
        tmp_path / "run", data=(DataSource("coco"),), preset="fast", epochs=1, size=64, multiple=32,
        option=("width=16", "fc_width=16", "batch_size_per_image=16", "mask_widths=[8]"), model=TrainConfig().net.model,
    )  # fmt: skip
    given = {"data", "out", "epochs", "size", "option", "workers", "precision", "device", "export", "multiple"}
    run = train(config, tmp_path, say=said.append, given=given)
    kept = json.loads((run / "preset.json").read_text("utf-8"))
    assert kept["data"]["masks"] is True
    used = json.loads((run / "config.json").read_text("utf-8"))
    assert (used["model"], used["encoder"]) == ("maskrcnn", "resnet18_half")
    assert any(text.startswith("preset fast:") and "the data has objects with masks" in text for text in said)
    assert "the data has objects with masks" in (run / "report.html").read_text("utf-8")
