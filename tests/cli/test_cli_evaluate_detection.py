"""``evaluate`` where the model and the data have their classes in other orders, or the model knows more."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from drawn_instances import COLORS, draw_instances
from PIL import Image
from tiny_finders import write_finder, write_squares

from imago.cli.evaluate import choose_scoring, collect_notes, measure, open_data
from imago.cli.main import run
from imago.core.errors import DataError
from imago.core.input_spec import InputSpec
from imago.core.instances import Instances
from imago.core.labels import Labels
from imago.core.model_card import ModelCard
from imago.core.read_settings import ReadSettings
from imago.data.formats.coco import to_coco
from imago.data.formats.format import ImageDetections
from imago.data.open_dataset import open_dataset
from imago.evaluation.results import Evaluation
from imago.inference.engines.base import FrameDetections
from imago.inference.predictor import Predictor

SPEC = InputSpec(rule="pad", multiple=1, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class ByColor:
    """Finds red squares and blue discs, and a star in the upper left corner of every image."""

    def __init__(self, labels: Labels) -> None:
        self.card = ModelCard("by colour", "", {}, "boxes", labels, SPEC)

    def run(self, frame: np.ndarray) -> FrameDetections:
        image = (frame[0].transpose(1, 2, 0) * 255).round()
        names = self.card.labels.names
        boxes, classes = [[0, 0, 20, 20]], [names.index("star")]
        for name, color in zip(("square", "disc"), COLORS, strict=True):
            y, x = np.nonzero((np.abs(image - color) < 5).all(axis=2))
            boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
            classes.append(names.index(name))
        return FrameDetections(np.array(boxes, np.float32), np.array([0.9, 0.8, 0.7]), np.array(classes, np.int64))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two photos with a square and a disc each, in COCO's layout; the disc is class 1 here."""
    (tmp_path / "data" / "val").mkdir(parents=True)
    (tmp_path / "data" / "annotations").mkdir()
    photos = []
    for seed in range(2):
        image, instances = draw_instances(seed)
        Image.fromarray(image).save(tmp_path / "data" / "val" / f"{seed}.png")
        turned = Instances.make(instances.size_hw, instances.boxes, 3 - instances.classes)
        photos.append(ImageDetections(f"{seed}.png", turned))
    text = json.dumps(to_coco(photos, Labels(("background", "disc", "square"))))
    (tmp_path / "data" / "annotations" / "instances_val.json").write_text(text)
    return tmp_path / "data"


def measure_all(predictor: Predictor, data: Path) -> Evaluation:
    dataset = open_data(predictor, data, "", ReadSettings(), "all", None).dataset
    notes = collect_notes(predictor, dataset, data)
    return measure(predictor, dataset.split("val"), dataset.labels, choose_scoring(predictor, True, 100), notes)


def test_classes_are_found_by_their_names(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictor = Predictor(ByColor(Labels(("background", "square", "star", "disc"))))
    result = measure_all(predictor, data)
    assert result.scores["box_ap"] == pytest.approx(1.0)
    assert result.scores["mean_precision"] == pytest.approx(1.0)  # stars, which the data do not mark, are no mistakes
    assert "matched by their order" not in capsys.readouterr().err


def test_a_report_of_objects_and_options_of_label_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_squares(tmp_path / "data")
    model = write_finder(tmp_path / "exact.onnx")
    page = tmp_path / "page.html"
    assert run(["evaluate", str(model), str(data), "--report", str(page), "--no-boundary"]) == 1
    assert "objects have no boundary score; leave it out" in capsys.readouterr().err
    assert run(["evaluate", str(model), str(data), "--report", str(page)]) == 0
    text = page.read_text("utf-8")
    for words in ("Precision and recall", "Mistakes", "Worst images", "found of "):
        assert words in text
    assert f"{page}: scores, best and worst photos" in capsys.readouterr().out


def test_other_names_need_the_same_number(data: Path) -> None:
    predictor = Predictor(ByColor(Labels(("background", "square", "star", "disc", "ring"))))
    dataset = open_dataset(data, "detection")
    with pytest.raises(DataError, match=r"'disc', 'square' is not among cat"):
        dataset.align_classes(Labels(("background", "cat")))
    predictor.engine.card = predictor.card.with_(labels=Labels(("background", "square", "star", "ball")))  # type: ignore[misc]
    with pytest.raises(DataError, match=r"has 3 classes .*has 4 .*or the model all names of the data's"):
        measure_all(predictor, data)
