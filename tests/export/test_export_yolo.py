"""YOLO as ONNX, with its decoding: ONNX Runtime answers as torch does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import draw_scene
from torch import nn

from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.core.labels import Labels
from imago.core.model_card import ModelCard
from imago.export.detection import export_detection
from imago.inference.engines.onnx import OnnxEngine
from imago.models import build
from imago.models.detection.base import DetectionModel
from imago.models.detection.builders import THRESHOLDS
from imago.models.detection.yolov1 import YOLOv1

ANCHORS = ((12, 12), (24, 24), (40, 24), (24, 40), (60, 60))
LABELS = Labels(("background", "disc", "box", "ring"))
FREE, FIXED = (InputSpec(rule=rule, size_hw=(128, 128)) for rule in ("area", "resize"))


def outspoken(name: str, gain: float, **options: Any) -> DetectionModel:
    """A narrow net whose answers differ from place to place, as those of a trained one do."""
    torch.manual_seed(3)
    net = build(name, classes=4, width=4, detections_per_img=30, **options)
    net.train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and not isinstance(net, YOLOv1):
            module.momentum = None  # the mean of all batches, or signals burst in Darknet-53
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(4, 3, 128, 128))
        last = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear)) and m.bias is not None]
        for layer in last if not isinstance(net, YOLOv1) else last[-1:]:
            layer.weight.mul_(gain)
            assert layer.bias is not None
            layer.bias.add_(0.4)  # v1's linear answers must be above 0 to count
    return net


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "gain", "score"),
    [
        ("yolov1", {"size": 128, "published": True, "boxes": 3}, 8, 0.05),
        ("yolov1_fast", {"size": 128}, 8, 0.05),
        ("yolov2", {"anchors": ANCHORS}, 3, 0.14),
        ("yolov3_tiny", {}, 8, 0.3),
        ("yolov3_spp", {}, 1.5, 0.25),
    ],
)
def test_equal_answers(name: str, options: dict[str, Any], gain: float, score: float, tmp_path: Path) -> None:
    net = outspoken(name, gain, score_thresh=score, **options)
    fixed = isinstance(net, YOLOv1)
    card = ModelCard(name, name, {}, "boxes", LABELS, FIXED if fixed else FREE)
    report = export_detection(net, card, tmp_path / "net.onnx", samples=[draw_scene(1)[0]])
    assert net.training  # as it was
    assert report.largest_difference < 1e-3
    assert report.finds
    engine = OnnxEngine(tmp_path / "net.onnx")
    assert {key: engine.card.options[key] for key in THRESHOLDS} == {
        "score_thresh": score, "nms_thresh": 0.5, "detections_per_img": 30,
    }  # fmt: skip
    net.eval()
    total = 0
    for height, width in [(128, 128)] if fixed else [(128, 128), (96, 160), (32, 64)]:
        image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(height))
        with torch.no_grad():
            want = net.decode(net(image), (height, width))[0]
        found = engine.run(image.numpy())
        assert (found.boxes.dtype, found.scores.dtype, found.classes.dtype) == (np.float32, np.float32, np.int64)
        assert found.boxes.shape == tuple(want.boxes.shape)
        np.testing.assert_allclose(found.scores, want.scores, atol=1e-3)
        np.testing.assert_allclose(found.boxes, want.boxes, atol=1e-3)
        assert found.classes.tolist() == want.classes.tolist()
        total += len(found.boxes)
    assert total >= 3  # else nothing was compared


@pytest.mark.parametrize("spec", [InputSpec("area", (128, 128), 128), InputSpec("resize", (256, 256))])
def test_v1_has_one_size(spec: InputSpec, tmp_path: Path) -> None:
    net = build("yolov1_fast", classes=4, width=2, size=128)
    card = ModelCard("v1", "yolov1_fast", {}, "boxes", LABELS, spec)
    with pytest.raises(ModelError, match=r"model 'v1': images are 256 x \d+; this net takes 128 x 128 alone"):
        export_detection(net, card, tmp_path / "net.onnx", samples=[draw_scene(1)[0]])
