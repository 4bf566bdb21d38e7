"""YOLO as ONNX, with its decoding: ONNX Runtime answers as torch does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from imago.models.things import THING_BUILDERS
from imago.models.yolo1 import YOLOv1

ANCHORS = ((12, 12), (24, 24), (40, 24), (24, 40), (60, 60))


def outspoken(name: str, gain: float, **options: Any) -> Any:
    """A narrow net whose answers differ from place to place, as those of a trained one do."""
    torch.manual_seed(3)
    net = THING_BUILDERS[name](classes=4, width=4, **options)
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
            layer.bias.add_(0.4)  # v1's linear answers must be above 0 to count
    net.most = 30
    return net.eval()


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
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from imago.export.yolo import to_onnx  # needs onnx

    net = outspoken(name, gain, **options)
    net.score = score
    fixed = isinstance(net, YOLOv1)
    to_onnx(net, tmp_path / "net.onnx", (128, 128))
    assert not net.training
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    total = 0
    for height, width in [(128, 128)] if fixed else [(128, 128), (96, 160), (32, 64)]:
        image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(height))
        with torch.no_grad():
            want = net.decode(net(image), (height, width))[0]
        boxes, scores, classes = session.run(["boxes", "scores", "classes"], {"image": image.numpy()})
        assert (boxes.dtype, scores.dtype, classes.dtype) == (np.float32, np.float32, np.int64)
        assert boxes.shape == tuple(want.boxes.shape)
        np.testing.assert_allclose(scores, want.scores, atol=1e-3)
        np.testing.assert_allclose(boxes, want.boxes, atol=1e-3)
        assert classes.tolist() == want.classes.tolist()
        total += len(boxes)
    assert total >= 3  # else nothing was compared
