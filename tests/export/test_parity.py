"""Nets that hand on where their pooling maxima lie are held against torch at the file's own maxima."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from torch import Tensor, nn

from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.core.labels import binary_labels
from imago.core.model_card import ModelCard
from imago.export import semantic as export
from imago.export.parity import Differences, share_pool_indices
from imago.models.base import SegmentationNet
from imago.models.semantic.segnet import pool_with_indices, unpool

# The four colours of each 2 x 2 have one sum: where the largest lies is left to the last bit, or to the weights.
COLORS = [[(50, 200, 100), (200, 100, 50)], [(100, 50, 200), (50, 100, 200)]]
PHOTO = np.tile(np.array(COLORS, np.uint8), (8, 12, 1))
SPEC = InputSpec("pad", multiple=2, mean=(0.5,) * 3, std=(0.5,) * 3)
CARD = ModelCard("pooled", "segnet", {"classes": 1}, "binary", binary_labels(), SPEC)


class Pooled(SegmentationNet):
    """SegNet at its smallest: the sum of the channels, pooled, and put back where the maxima lay."""

    multiple = 2

    def __init__(self) -> None:
        super().__init__(1, 3)
        self.sum = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.ones_(self.sum.weight)
        self.pool = pool_with_indices()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (unpool(*self.pool(self.sum(images))),)


@pytest.fixture(scope="module")
def traced() -> onnx.ModelProto:
    return export.trace(export.Probabilities(Pooled()).eval(), CARD, ["mask"])


@pytest.fixture
def change_red(traced: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch):
    """Makes the file weigh red otherwise than torch does."""

    def change(factor: float) -> None:
        model = onnx.ModelProto()
        model.CopyFrom(traced)
        tensor = next(t for t in model.graph.initializer if t.name.endswith("sum.weight"))
        weights = numpy_helper.to_array(tensor).copy()
        weights[:, 0] *= np.float32(factor)
        tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
        monkeypatch.setattr(export, "trace", lambda *_: model)

    return change


@pytest.mark.parametrize("factor", [1 + 1e-5, 1 - 1e-5])
def test_nearly_equal_maxima_may_lie_elsewhere(change_red, factor: float, tmp_path: Path) -> None:
    change_red(factor)
    report = export.export_onnx(Pooled(), CARD, tmp_path / "m.onnx", samples=[PHOTO])
    assert report.largest_difference < 1e-5
    windows = 8 * 12 * 4  # of the photo, itself and its mirror image, and lying on its side
    assert 0 < report.moved <= windows
    assert report.path.is_file()


def test_maxima_that_are_none_are_refused(change_red, tmp_path: Path) -> None:
    photo = PHOTO.copy()
    photo[::2, ::2, 1] += 10  # the pixel at the top left has the largest sum, but in a file that overrates red
    change_red(1.3)
    with pytest.raises(ModelError, match=r"not written\. Its answers differ from torch by up to 0\.0"):
        export.export_onnx(Pooled(), CARD, tmp_path / "m.onnx", samples=[photo])
    words = r"not written\. \d+ of its pooling maxima lie elsewhere .* lack up to 0\.\d+ .* allowed are 0\.0001"
    with pytest.raises(ModelError, match=words):
        export.export_onnx(Pooled(), CARD, tmp_path / "m.onnx", samples=[photo], tolerance=0.9)
    assert list(tmp_path.iterdir()) == []


def test_hooks_and_further_outputs_do_not_stay(change_red, tmp_path: Path) -> None:
    net = Pooled()
    with share_pool_indices(net, [], Differences()):
        assert net.pool._forward_hooks
    assert not net.pool._forward_hooks
    change_red(1.0)
    report = export.export_onnx(net, CARD, tmp_path / "m.onnx", samples=[PHOTO])
    assert [value.name for value in onnx.load(report.path).graph.output] == ["mask"]
