"""Objects in photos without torch's help: pasting masks, thresholds, boxes in photo pixels, faulty files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tiny_onnx import PLAIN, tiny_card, tiny_onnx
from torchvision.models.detection.roi_heads import paste_masks_in_image

from imago.core.card import ModelCard
from imago.core.choice import ObjectChoice
from imago.core.errors import ModelError
from imago.core.labels import Labels
from imago.core.spec import InputSpec
from imago.inference.objects import doubt_about
from imago.inference.onnx_engine import OnnxEngine
from imago.inference.paste import paste
from imago.inference.things import FrameObjects, ObjectEngine, find_objects
from imago.inference.things_torch import TorchObjectEngine
from imago.models import checkpoint
from imago.models.things import build_things

LABELS = Labels(("background", "disc", "box"))


def thing_card(task: Any = "instances", spec: InputSpec = PLAIN, **changes: Any) -> ModelCard:
    return ModelCard("things", "", {"score": 0.05, "iou": 0.5, "most": 100}, task, LABELS, spec).with_(**changes)


class Known:
    """An engine that always finds the same."""

    def __init__(self, found: FrameObjects, card: ModelCard) -> None:
        self.found, self.card = found, card

    def run(self, frame: np.ndarray) -> FrameObjects:
        return self.found


def objects(boxes: list[list[float]], scores: list[float], classes: list[int], masks: bool = False) -> FrameObjects:
    return FrameObjects(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(classes, np.int64),
        np.ones((len(boxes), 28, 28), np.float32) if masks else None,
    )  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 1000), st.sampled_from([7, 14, 28]), st.floats(-20, 40), st.floats(-20, 40), st.floats(0.5, 70),
    st.floats(0.5, 70),
)  # fmt: skip
def test_pasting_is_torchvisions(seed: int, side: int, x: float, y: float, width: float, height: float) -> None:
    assume(x + width > 0 and y + height > 0)  # torchvision fails on boxes that lie outside
    mask = np.random.default_rng(seed).random((side, side), np.float32)
    box = np.array([x, y, x + width, y + height], np.float32)
    expected = paste_masks_in_image(torch.from_numpy(mask)[None, None], torch.from_numpy(box)[None], (48, 64))[0, 0]
    pasted = paste(mask, box, (48, 64)).full((48, 64))
    doubtful = (expected.numpy() - 0.5).__abs__() < 1e-4  # bilinear weights are rounded differently
    assert np.array_equal(pasted | doubtful, (expected.numpy() >= 0.5) | doubtful)


def test_a_mask_outside_of_the_image_is_empty() -> None:
    for box in ([100, 100, 120, 120], [-50, -50, -10, -10]):
        assert paste(np.ones((28, 28), np.float32), np.array(box, np.float32), (48, 64)).area == 0


KNOWN = objects([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [30, 30, 40, 40]], [0.9, 0.8, 0.7, 0.3], [1, 1, 2, 1])


def chosen(found: FrameObjects, choice: ObjectChoice, **options: Any) -> list[float]:
    """Scores of what is chosen from ``found``; ``options``: of the model's card."""
    card = thing_card("boxes", options={"score": 0.05, "iou": 0.5, "most": 100} | options)
    return find_objects(Known(found, card), np.zeros((48, 64, 3), np.uint8), choice).scores.tolist()


@pytest.mark.parametrize(
    ("choice", "scores"),
    [
        ({}, [0.9, 0.8, 0.7]),
        ({"score": 0.2}, [0.9, 0.8, 0.7, 0.3]),
        ({"score": 0.95}, []),
        ({"iou": 0.5}, [0.9, 0.7]),  # of one class only
        ({"iou": 0.5, "agnostic": True}, [0.9]),
        ({"iou": 0.85, "agnostic": True}, [0.9, 0.8]),  # 9/11 of 0.8; the box of 0.7 is that of 0.9
        ({"agnostic": True}, [0.9]),  # past the model's own threshold
        ({"classes": ("box",)}, [0.7]),
        ({"classes": ("box",), "agnostic": True}, [0.7]),  # among those that are wanted
        ({"max_objects": 1}, [0.9]),
        ({"nms": "soft"}, [0.9, 0.7]),  # 0.8 became 0.8 exp(-2 (9/11)^2) = 0.21, below 0.5
        ({"nms": "soft", "score": 0.2}, [0.9, 0.7, 0.3, 0.2097]),
        ({"nms": "soft", "score": 0.2, "agnostic": True}, [0.9, 0.3, 0.2097]),  # 0.7 became 0.7 exp(-2) = 0.09, gone
    ],
)
def test_choices(choice: dict[str, Any], scores: list[float]) -> None:
    assert chosen(KNOWN, ObjectChoice(**choice)) == pytest.approx(scores, abs=1e-4)


def test_a_model_that_leaves_overlaps_in_is_not_shown_with_them() -> None:
    everything = ObjectChoice(score=0.2)
    assert chosen(KNOWN, everything, iou=1.0) == pytest.approx([0.9, 0.7, 0.3])  # as if it suppressed past 0.5
    assert len(chosen(KNOWN, replace(everything, iou=1.0), iou=1.0)) == 4  # unless it is asked for
    assert chosen(KNOWN, replace(everything, iou=0.9), iou=1.0) == pytest.approx([0.9, 0.8, 0.7, 0.3])


def test_soft_suppression_has_no_threshold() -> None:
    with pytest.raises(
        ValueError, match=r"soft suppression has no threshold; leave out iou \(got 0\.4\), or take hard"
    ):
        ObjectChoice(nms="soft", iou=0.4)


def test_it_is_said_where_soft_suppression_comes_too_late() -> None:
    soft = ObjectChoice(nms="soft")
    assert "left out what overlaps by more than 0.5 itself" in doubt_about(soft, thing_card())
    assert "0.5 itself" in doubt_about(soft, thing_card(options={}))  # the nets' own threshold
    assert doubt_about(soft, thing_card(options={"iou": 1.0})) == ""
    assert doubt_about(ObjectChoice(), thing_card()) == ""


def test_a_net_with_its_overlaps_is_suppressed_at_use_as_it_does_itself(tmp_path: Path) -> None:
    options = {"classes": 3, "width": 2, "score": 0.3, "most": 500}
    torch.manual_seed(0)
    net = build_things("yolov3_tiny", **options)
    for layer in (m for m in net.modules() if isinstance(m, torch.nn.Conv2d) and m.bias is not None):
        torch.nn.init.normal_(layer.weight, std=3)
    card = thing_card("boxes", InputSpec(rule="area", size_hw=(96, 96)), architecture="yolov3_tiny")
    image = np.random.default_rng(0).integers(0, 256, (90, 100, 3)).astype(np.uint8)
    found = {}
    for iou in (0.45, 1.0):
        path = tmp_path / f"{iou}.safetensors"
        checkpoint.save(net, card.with_(options=options | {"iou": iou}), path)
        choice = ObjectChoice(score=0.0, iou=0.45 if iou == 1.0 else 0.0)
        found[iou] = find_objects(TorchObjectEngine(path, "cpu"), image, choice)
    assert 5 < len(found[0.45]) < 500
    np.testing.assert_array_equal(found[0.45].boxes, found[1.0].boxes)
    np.testing.assert_array_equal(found[0.45].classes, found[1.0].classes)


def test_boxes_and_masks_lie_in_the_photo() -> None:
    """A photo of 100 x 200 in a frame of 64 x 64: 32 rows of it, 16 rows of padding above and below."""
    card = thing_card(spec=InputSpec(rule="letterbox", size_hw=(64, 64)))
    known = objects([[8, 20, 24, 36], [0, 0, 64, 32], [0, 0, 9, 15]], [0.9, 0.8, 0.7], [1, 2, 1], masks=True)
    assert known.masks is not None
    known.masks[1, :14] = 0  # the half in the padding; stretched over the visible half alone it would show
    found = find_objects(Known(known, card), np.zeros((100, 200, 3), np.uint8))
    factor = 200 / 64
    assert found.boxes.tolist() == pytest.approx(
        np.array([[8 * factor, 4 * factor, 24 * factor, 20 * factor], [0, 0, 200, 16 * factor]]), abs=0.01
    )  # the third lies in the padding alone
    assert found.masks.shape == (2, 100, 200)
    y, x = np.nonzero(found.masks[0])
    assert np.abs(np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) - found.boxes[0]).max() < 2.5
    assert found.masks[1].sum() == pytest.approx(200 * 50, rel=0.05)  # cut off by the photo's rim, not squeezed


def test_nothing_found() -> None:
    found = find_objects(Known(objects([], [], [], masks=True), thing_card()), np.zeros((48, 64, 3), np.uint8))
    assert (len(found), found.cropped) == (0, ())


def test_files_that_find_no_objects(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="its task is 'binary'; objects are found by models of the tasks boxes and"):
        ObjectEngine(tiny_onnx(tiny_card(1), 1))
    with pytest.raises(ModelError, match="the outputs boxes, scores, classes, masks for its task 'instances'; it has"):
        ObjectEngine(tiny_onnx(thing_card(), 1))
    with pytest.raises(ModelError, match=r"gone\.onnx: there is no such model file"):
        ObjectEngine(tmp_path / "gone.onnx")
    with pytest.raises(ModelError, match=r"finds objects \(task 'boxes'\), it labels no pixels"):
        OnnxEngine(tiny_onnx(thing_card("boxes"), 1))
    with pytest.raises(ModelError, match="choose binary, semantic, boxes, instances"):
        thing_card("outlines")
