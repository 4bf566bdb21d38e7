"""The gauntlet's last steps: every net as a file, with free sizes, and as ``imago train`` leaves it, as float16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import TINY_NAMES, draw_scene
from narrow_nets import Form, every_form, make, noise, undropped
from torch import Tensor, nn

from imago import losses
from imago.core.input_spec import InputSpec
from imago.core.labels import Labels
from imago.core.model_card import ModelCard
from imago.export.semantic import export_onnx
from imago.losses import Target
from imago.models.base import SegmentationNet

SCENES = [draw_scene(seed, (64, 96)) for seed in range(4)]
SPEC = InputSpec("area", (64, 96), multiple=32)


class _First(nn.Module):
    """The first output alone, as an exported net gives it."""

    def __init__(self, net: SegmentationNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)[0]


@pytest.mark.slow
@every_form
def test_sizes_stay_free_in_onnx(form: Form, tmp_path: Path) -> None:
    """Height and width of the example must not be frozen into the file."""
    net = make(form).eval()
    free = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        _First(net).eval(), (noise(2, 3, 96, 128),), dynamo=True, dynamic_shapes=({0: free, 2: free, 3: free},)
    )
    assert program is not None
    program.save(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    sizes = [(64, 160), (96, 96)] if form.multiple > 1 else [(64, 160), (65, 101), (33, 200)]
    for count, (height, width) in enumerate(sizes, start=1):
        images = noise(count, 3, height, width)
        answer = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(answer), net(images)[0], rtol=1e-3, atol=1e-4)


def taught(form: Form) -> SegmentationNet:
    """After some steps on the scenes, so that the answers are no constants."""
    net = undropped(make(form, classes=3)).train()
    net.criterion = losses.build("ce", classes=3)
    images = torch.from_numpy(np.stack([SPEC.fit(image)[0] for image, _ in SCENES]))
    labels = torch.from_numpy(np.stack([labels for _, labels in SCENES])).long()
    normed = any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3 if normed else 1e-3)
    for _ in range(20):
        optimizer.zero_grad()
        sum(net.loss(images, Target(labels)).values()).backward()  # type: ignore[union-attr]
        optimizer.step()
    return net.eval()


@pytest.mark.slow
@every_form
def test_weights_stored_as_float16_answer_as_torch(form: Form, tmp_path: Path) -> None:
    net = taught(form)
    card = ModelCard("trial", form.architecture, {"classes": 3, **form.options}, "semantic", Labels(TINY_NAMES), SPEC)
    samples = [draw_scene(seed, (64, 96))[0] for seed in range(4, 8)]
    report = export_onnx(net, card, tmp_path / "net.onnx", samples=samples, half=True)
    assert report.card.precision == "float16"
    session = onnxruntime.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    batch = np.stack([SPEC.fit(draw_scene(seed, (64, 96))[0])[0] for seed in range(8, 12)])
    answer = session.run(None, {"image": batch})[0]
    with torch.inference_mode():
        expected = net.decode(net(torch.from_numpy(batch))).numpy()
    assert expected.std() > 0.02
    assert 0 < np.abs(answer - expected).max() < 2e-2
    assert (answer.argmax(1) != expected.argmax(1)).mean() < 5e-3
