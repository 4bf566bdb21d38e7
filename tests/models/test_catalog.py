"""One catalog for all nets: names, tasks, options, and one way to make and to load them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.core.labels import Labels
from imago.core.model_card import DETECTION_TASKS, ModelCard
from imago.models import build, checkpoint
from imago.models.base import SegmentationNet
from imago.models.catalog import ARCHITECTURES, names_of, options_of, task_of
from imago.models.detection.base import DetectionModel
from imago.models.published import PUBLISHED

LABELS = Labels(("background", "thing"))
SMALL = {
    "unet": {"classes": 2, "width": 4},
    "yolov2_tiny": {"classes": 2, "width": 2, "score_thresh": 0.25, "detections_per_img": 7},
}
KINDS = {"semantic": SegmentationNet, "detection": DetectionModel}


def card(name: str, task: str) -> ModelCard:
    return ModelCard("small", name, SMALL[name], task, LABELS, InputSpec())  # type: ignore[arg-type]


def test_names_and_tasks() -> None:
    assert [each.name for each in ARCHITECTURES.values()] == list(ARCHITECTURES)
    assert (*names_of("semantic"), *names_of("detection")) == tuple(ARCHITECTURES)
    assert task_of("maskrcnn") == "detection"
    for name in ARCHITECTURES:
        assert {"classes", "in_channels"} <= set(options_of(name))
    for entry in PUBLISHED.values():
        assert (task_of(entry.card.architecture) == "detection") == (entry.card.task in DETECTION_TASKS)


@pytest.mark.parametrize("name", SMALL)
def test_one_build_and_one_load(name: str, tmp_path: Path) -> None:
    net = build(name, **SMALL[name])
    assert isinstance(net, KINDS[task_of(name)])
    if isinstance(net, DetectionModel):
        assert (net.score_thresh, net.nms_thresh, net.detections_per_img) == (0.25, 0.5, 7)
    path = tmp_path / "net.safetensors"
    checkpoint.save(net, card(name, "semantic" if task_of(name) == "semantic" else "boxes"), path)
    loaded, read = checkpoint.load(path)
    assert type(loaded) is type(net)
    assert read.architecture == name


@pytest.mark.parametrize(("name", "task"), [("unet", "boxes"), ("yolov2_tiny", "semantic")])
def test_a_card_of_another_task_is_refused(name: str, task: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    checkpoint.save(build(name, **SMALL[name]), card(name, task), path)
    with pytest.raises(
        ModelError, match=rf"net\.safetensors: its card says task '{task}', which is not what {name} does"
    ):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("maskrcn", {}, "architecture 'maskrcn' is not known; choose from .*unet.*maskrcnn"),
        ("unet", {"score_thresh": 0.5}, "architecture 'unet' has no option 'score_thresh'; it takes classes"),
        ("yolov2", {"encoder": "resnet18"}, "architecture 'yolov2' has no option 'encoder'; it takes classes"),
        ("yolov1", {"size": 100}, "architecture 'yolov1': .*100"),
    ],
)
def test_what_there_is_not(name: str, options: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(name, **options)


def test_asking_for_names_needs_no_torch() -> None:
    program = (
        "import sys; from imago.models.catalog import ARCHITECTURES, options_of; from imago.models.published import "
        "PUBLISHED; print(*options_of('maskrcnn')[:2], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["classes", "in_channels", "False"]
