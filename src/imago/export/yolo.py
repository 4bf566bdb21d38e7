"""A YOLO becomes an ``.onnx`` graph with its decoding in it, thresholds and non-maximum suppression too.

Input ``image`` float32 (1, C, h, w), prepared as the net's ``InputSpec`` says; h and w are free multiples of 32 (v2,
v3) or the net's one size (v1). Outputs, for K objects, the best first: ``boxes`` float32 (K, 4) x1 y1 x2 y2 in pixels
of the input, ``scores`` float32 (K,), ``classes`` int64 (K,), 1 and more. The thresholds are the net's at the time of
the export.
"""

from __future__ import annotations

import copy
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from imago.core.errors import ModelError
from imago.export.onnx import OPSET, quiet
from imago.export.storage import strip_traces
from imago.files.writing import atomic_write
from imago.models.thing_base import ThingNet
from imago.models.yolo1 import YOLOv1

OUTPUTS = ("boxes", "scores", "classes")


class Decoded(nn.Module):
    """The net as the file will hold it."""

    def __init__(self, net: ThingNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.net.decode(self.net(image), (image.shape[2], image.shape[3]))[0]
        return found.boxes, found.scores, found.classes


def to_onnx(net: ThingNet, path: Path, size_hw: tuple[int, int], *, overwrite: bool = False) -> None:
    """Write ``net`` to ``path``; it stays as it was. ``size_hw``: of the example that is traced, and of the file's one
    input size for v1. Raises ModelError where torch cannot export it."""
    module = Decoded(copy.deepcopy(net).to("cpu", torch.float32)).eval()
    example = torch.zeros(1, net.in_channels, *size_hw)
    net.check(example)
    shape: dict[int, object] = {}
    if not isinstance(net, YOLOv1):
        if min(size_hw) < 2 * net.multiple or size_hw[0] == size_hw[1]:
            # Else torch takes the sides for constants, or for equals.
            example = torch.zeros(1, net.in_channels, 2 * net.multiple, 3 * net.multiple)
        for axis, name in ((2, "h"), (3, "w")):
            shape[axis] = net.multiple * torch.export.Dim(name, min=1, max=512)
    try:
        with quiet():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                dynamic_shapes={"image": shape},
                input_names=["image"],
                output_names=list(OUTPUTS),
                opset_version=OPSET,
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, torch._dynamo.exc.UserError) as error:
        reason = str(error).strip().splitlines()
        raise ModelError(
            f"{path}: torch cannot export this net ({reason[0] if reason else type(error).__name__})"
        ) from error
    assert program is not None
    model = program.model_proto
    strip_traces(model)
    content = model.SerializeToString()
    onnx.checker.check_model(content, full_check=True)
    with atomic_write(Path(path), overwrite=overwrite) as stream:
        stream.write(content)
