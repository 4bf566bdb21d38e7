"""Objects in photos without torch's help: pasting masks, thresholds, boxes in photo pixels, faulty files."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from known_engine import KNOWN, Known, detection_card, objects
from onnxruntime import InferenceSession
from tiny_finders import write_finder
from tiny_onnx import tiny_card, tiny_onnx
from torchvision.models.detection.roi_heads import paste_masks_in_image

from imago.core.detection_options import DetectionOptions
from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.inference.detection import find_objects
from imago.inference.engines.base import FrameDetections
from imago.inference.engines.onnx import Detections, OnnxEngine
from imago.inference.engines.torch import TorchEngine
from imago.inference.instances.paste_masks import paste
from imago.inference.instances.postprocess import explain_doubt
from imago.inference.predictor import Predictor
from imago.models import build, checkpoint


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
    pasted = paste(mask, box, (48, 64)).to_full((48, 64))
    doubtful = (expected.numpy() - 0.5).__abs__() < 1e-4  # bilinear weights are rounded differently
    assert np.array_equal(pasted | doubtful, (expected.numpy() >= 0.5) | doubtful)


def test_a_mask_outside_of_the_image_is_empty() -> None:
    for box in ([100, 100, 120, 120], [-50, -50, -10, -10]):
        assert paste(np.ones((28, 28), np.float32), np.array(box, np.float32), (48, 64)).area == 0


def chosen(found: FrameDetections, choice: DetectionOptions, **options: Any) -> list[float]:
    """Scores of what is chosen from ``found``; ``options``: of the model's card."""
    card = detection_card(
        "boxes", options={"score_thresh": 0.05, "nms_thresh": 0.5, "detections_per_img": 100} | options
    )
    return find_objects(Known(found, card), np.zeros((48, 64, 3), np.uint8), choice).scores.tolist()


@pytest.mark.parametrize(
    ("choice", "scores"),
    [
        ({}, [0.9, 0.8, 0.7]),
        ({"score_thresh": 0.2}, [0.9, 0.8, 0.7, 0.3]),
        ({"score_thresh": 0.95}, []),
        ({"nms_thresh": 0.5}, [0.9, 0.7]),  # of one class only
        ({"nms_thresh": 0.5, "class_agnostic": True}, [0.9]),
        ({"nms_thresh": 0.85, "class_agnostic": True}, [0.9, 0.8]),  # 9/11 of 0.8; the box of 0.7 is that of 0.9
        ({"class_agnostic": True}, [0.9]),  # past the model's own threshold
        ({"classes": ("box",)}, [0.7]),
        ({"classes": ("box",), "class_agnostic": True}, [0.7]),  # among those that are wanted
        ({"detections_per_img": 1}, [0.9]),
        ({"nms": "soft"}, [0.9, 0.7]),  # 0.8 became 0.8 exp(-2 (9/11)^2) = 0.21, below 0.5
        ({"nms": "soft", "score_thresh": 0.2}, [0.9, 0.7, 0.3, 0.2097]),
        (
            {"nms": "soft", "score_thresh": 0.2, "class_agnostic": True},
            [0.9, 0.3, 0.2097],
        ),  # 0.7 became 0.7 exp(-2) = 0.09, gone
    ],
)
def test_choices(choice: dict[str, Any], scores: list[float]) -> None:
    assert chosen(KNOWN, DetectionOptions(**choice)) == pytest.approx(scores, abs=1e-4)


def test_a_model_that_leaves_overlaps_in_is_not_shown_with_them() -> None:
    everything = DetectionOptions(score_thresh=0.2)
    assert chosen(KNOWN, everything, nms_thresh=1.0) == pytest.approx([0.9, 0.7, 0.3])  # as if it suppressed past 0.5
    assert len(chosen(KNOWN, replace(everything, nms_thresh=1.0), nms_thresh=1.0)) == 4  # unless it is asked for
    assert chosen(KNOWN, replace(everything, nms_thresh=0.9), nms_thresh=1.0) == pytest.approx([0.9, 0.8, 0.7, 0.3])


def test_soft_suppression_has_no_threshold() -> None:
    with pytest.raises(
        ValueError, match=r"soft suppression has no threshold; leave out nms_thresh \(got 0\.4\), or take hard"
    ):
        DetectionOptions(nms="soft", nms_thresh=0.4)


def test_it_is_said_where_soft_suppression_comes_too_late() -> None:
    soft = DetectionOptions(nms="soft")
    assert "left out what overlaps by more than 0.5 itself" in explain_doubt(soft, detection_card())
    assert "0.5 itself" in explain_doubt(soft, detection_card(options={}))  # the nets' own threshold
    assert explain_doubt(soft, detection_card(options={"nms_thresh": 1.0})) == ""
    assert explain_doubt(DetectionOptions(), detection_card()) == ""


def test_a_net_with_its_overlaps_is_suppressed_at_use_as_it_does_itself(tmp_path: Path) -> None:
    options = {"classes": 3, "width": 2, "score_thresh": 0.3, "detections_per_img": 500}
    torch.manual_seed(0)
    net = build("yolov3_tiny", **options)
    for layer in (m for m in net.modules() if isinstance(m, torch.nn.Conv2d) and m.bias is not None):
        torch.nn.init.normal_(layer.weight, std=3)
    card = detection_card("boxes", InputSpec(rule="area", size_hw=(96, 96)), architecture="yolov3_tiny")
    image = np.random.default_rng(0).integers(0, 256, (90, 100, 3)).astype(np.uint8)
    found = {}
    for iou in (0.45, 1.0):
        path = tmp_path / f"{iou}.safetensors"
        checkpoint.save(net, card.with_(options=options | {"nms_thresh": iou}), path)
        choice = DetectionOptions(score_thresh=0.0, nms_thresh=0.45 if iou == 1.0 else 0.0)
        found[iou] = find_objects(TorchEngine(path, "cpu"), image, choice)
    assert 5 < len(found[0.45]) < 500
    np.testing.assert_array_equal(found[0.45].boxes, found[1.0].boxes)
    np.testing.assert_array_equal(found[0.45].classes, found[1.0].classes)


def test_boxes_and_masks_lie_in_the_photo() -> None:
    """A photo of 100 x 200 in a frame of 64 x 64: 32 rows of it, 16 rows of padding above and below."""
    card = detection_card(spec=InputSpec(rule="letterbox", size_hw=(64, 64)))
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
    found = find_objects(Known(objects([], [], [], masks=True), detection_card()), np.zeros((48, 64, 3), np.uint8))
    assert (len(found), found.cropped) == (0, ())


def test_files_that_find_no_objects(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="its task is 'binary'; objects are found by models of the tasks boxes and"):
        find_objects(OnnxEngine(tiny_onnx(tiny_card(1), 1)), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(ModelError, match="the outputs boxes, scores, classes, masks for its task 'instances'; it has"):
        OnnxEngine(tiny_onnx(detection_card(), 1))
    with pytest.raises(ModelError, match=r"gone\.onnx: there is no such model file"):
        OnnxEngine(tmp_path / "gone.onnx")
    with pytest.raises(ModelError, match=r"finds objects \(task 'boxes'\), it labels no pixels"):
        Predictor(Known(KNOWN, detection_card("boxes"))).scores(np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(ModelError, match="choose binary, semantic, boxes, instances"):
        detection_card("outlines")


K2 = (np.zeros((2, 4)), np.full(2, 0.5), np.ones(2), np.ones((2, 7, 7)))  # boxes, scores, classes, masks


K2_FOUND = FrameDetections(*K2)


def put(at: int, values: Any) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(values, float) if at == place else part for place, part in enumerate(K2))


WRONG = {
    "boxes of three numbers": (put(0, np.zeros((2, 3))), "its outputs have the shapes"),
    "flat boxes": (put(0, np.zeros(8)), "its outputs have the shapes"),
    "more boxes": (put(0, np.zeros((3, 4))), "its outputs have the shapes"),
    "scores by class": (put(1, np.zeros((2, 3))), "its outputs have the shapes"),
    "one score": (put(1, 0.5), "its outputs have the shapes"),
    "fewer classes": (put(2, np.ones(1)), "its outputs have the shapes"),
    "masks of whole planes": (put(3, np.ones((2, 1, 7, 7))), "its outputs have the shapes"),
    "one mask": (put(3, np.ones((1, 7, 7))), "its outputs have the shapes"),
    "class 0": (put(2, [0, 1]), "it answers with the classes 0.0 to 1.0; its card names 2, from 1 on"),
    "class 3": (put(2, [1, 3]), "it answers with the classes 1.0 to 3.0; its card names 2, from 1 on"),
    "half a class": (put(2, [1, 1.5]), "classes that are no whole numbers"),
    "a class that is none": (put(2, [1, np.nan]), "what is no number"),
    "a box without end": (put(0, [[0, 0, np.inf, 1], [0, 0, 1, 1]]), "what is no number"),
    "a score that is none": (put(1, [np.nan, 0.5]), "what is no number"),
    "a mask that is none": (put(3, np.full((2, 7, 7), np.nan)), "what is no number"),
    "scores past 1": (put(1, [0.5, 3.5]), "scores from 0.5 to 3.5; expected 0 to 1"),
    "scores below 0": (put(1, [-0.5, 0.5]), "scores from -0.5 to 0.5; expected 0 to 1"),
}


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Detections:
    path = write_finder(tmp_path_factory.mktemp("model") / "x.onnx", masks=True)
    return Detections(detection_card(), "x.onnx", InferenceSession(path))


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_are_refused_in_words(decoder: Detections, name: str) -> None:
    answer, told = WRONG[name]
    with pytest.raises(ModelError, match=re.escape(told)):
        decoder.decode([answer])


def test_right_answers_are_taken(decoder: Detections) -> None:
    assert len(decoder.decode([K2]).scores) == 2
    assert len(decoder.decode([tuple(part[:0] for part in K2)]).scores) == 0
    assert len(decoder.decode([put(1, [1 + 1e-6, -1e-7])]).scores) == 2  # a last bit of arithmetic


SHAPES = st.lists(st.integers(0, 5), max_size=4)


@settings(deadline=None, max_examples=50)
@given(st.lists(SHAPES, min_size=4, max_size=4), st.sampled_from([0.0, 0.5, 1.0, 2.0, np.nan]))
def test_whatever_comes_is_an_answer_or_one_line(decoder: Detections, shapes: list[list[int]], value: float) -> None:
    found = K2_FOUND
    with contextlib.suppress(ModelError):
        found = decoder.decode([tuple(np.full(shape, value, np.float32) for shape in shapes)])
    count = len(found.scores)
    assert (found.boxes.shape, found.classes.shape) == ((count, 4), (count,))
    assert found.masks is not None
    assert found.masks.ndim == 3
