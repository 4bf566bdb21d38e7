"""A net and its card become one ``.onnx`` file, which is written only if it answers as torch does.

The file has one input ``image``, float32 (N, C, h, w), prepared by ``card.input.fit``, and one output ``mask``, float32
(N, K, h, w): probabilities 0..1 (sigmoid or softmax are inside). N is free; h and w are free multiples where the
card's size rule is "area" or "pad". Side outputs are left out, batch norms are folded into the convolutions before
them, and the card lies as JSON in the file's metadata under ``imago.core.card.METADATA_KEY``.
"""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from imago.core.card import METADATA_KEY, ModelCard
from imago.core.errors import ModelError
from imago.core.spec import InputSpec
from imago.export.compare import compare
from imago.export.storage import store_half, strip_traces
from imago.files.writing import atomic_write, exists
from imago.models.base import SegmentationNet
from imago.models.thing_base import ThingNet

OPSET = 18  # what torch's exporter writes by itself; ONNX Runtime reads it from release 1.14 (2023) on

# Largest difference to torch, as a probability, at any pixel. A hundred times what float32 showed (see tests), and for
# weights rounded to float16 (11 bits) the odd pixel on a soft edge. The mean may be a tenth of it.
TOLERANCE = {"float32": 1e-4, "float16": 2e-2}
MEAN_SHARE = 0.1
SHORTFALL = 1e-4  # of a pooling maximum that lies elsewhere in the file; see compare.Differences


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how near to torch it answers."""

    path: Path
    card: ModelCard
    bytes: int
    sizes: str  # the input sizes that the file takes, in words
    compared: int  # images
    largest_difference: float  # of probabilities, over all pixels of all images
    mean_difference: float
    tolerance: float  # what the largest difference was allowed to be
    moved: int = 0  # pooling maxima that lie elsewhere than in torch, which was then given the file's
    samples: str = "the images given"  # what it was compared on, in words
    finds: int | None = None  # objects that torch or the file found and that were compared; None: masks, not objects

    @property
    def remark(self) -> str:
        """On pooling maxima that lie elsewhere, and on images without a find; else empty."""
        if self.finds == 0:
            return (
                "Nothing was found in them, so no boxes or scores were compared. Export with images that show what the "
                "model finds (--samples)"
            )
        if not self.moved:
            return ""
        return (
            f"{self.moved} pooling maxima lie elsewhere than in torch, among values that are equal but for rounding; "
            "torch was given the file's"
        )


class Probabilities(nn.Module):
    """The net as the file will hold it: the first output only, as probabilities."""

    def __init__(self, net: SegmentationNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        return self.net.decode(self.net(image))  # (N, K, h, w)


def export_onnx(
    net: SegmentationNet,
    card: ModelCard,
    out: Path,
    *,
    samples: Sequence[np.ndarray],
    half: bool = False,
    tolerance: float | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write ``net`` to ``out``. The net itself is left as it was.

    ``samples``: uint8 (H, W, C) images, at least one; the file is compared with torch on each. ``half`` stores the
    weights as float16 (half the bytes; the arithmetic and both ends stay float32). ``tolerance``: largest difference
    of a probability, ``TOLERANCE`` if None. Raises ModelError, and leaves no file, if the file would answer otherwise.
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise exists(out)  # now, not after the work
    if not samples:
        raise ModelError(f"{out}: an export is compared with torch on images; got none. Give at least one sample")
    precision = "float16" if half else "float32"
    limit = TOLERANCE[precision] if tolerance is None else tolerance
    check_multiple(net, card)
    card = card.with_(output="probability", precision=precision)
    module = Probabilities(copy.deepcopy(net).to("cpu", torch.float32)).eval()
    model = _trace(module, card)
    strip_traces(model)
    if half:
        store_half(model)
    onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    content = model.SerializeToString()
    onnx.checker.check_model(content, full_check=True)
    found = compare(module, content, card.input, samples)
    if not (found.largest <= limit and found.mean <= limit * MEAN_SHARE):  # "not <=", so that nan is refused too
        raise ModelError(
            f"{out}: not written. Its answers differ from torch by up to {found.largest:.2g} (mean {found.mean:.2g}) "
            f"on {len(samples)} images; allowed are {limit:.2g} (mean {limit * MEAN_SHARE:.2g}). "
            + ("Export as float32, or allow more with --tolerance." if half else "Allow more with --tolerance.")
        )
    if not found.shortfall <= SHORTFALL:
        raise ModelError(
            f"{out}: not written. {found.moved} of its pooling maxima lie elsewhere than in torch, at values that lack "
            f"up to {found.shortfall:.2g} of the map's largest; allowed are {SHORTFALL:.2g}, as where values are equal "
            "but for the order of sums. This is a fault of the exporter: report it, with the net"
        )
    with atomic_write(out, overwrite=overwrite) as stream:
        stream.write(content)
    return ExportReport(
        out, card, len(content), describe_sizes(card.input), len(samples), found.largest, found.mean, limit, found.moved
    )


def describe_sizes(spec: InputSpec) -> str:
    """The input sizes that a file with this rule takes, in words."""
    if spec.fixed_size:
        return f"{spec.size_hw[0]} x {spec.size_hw[1]}"
    return f"any multiples of {spec.multiple}" if spec.multiple > 1 else "any"


def check_multiple(net: SegmentationNet | ThingNet, card: ModelCard) -> None:
    spec = card.input
    sides = spec.size_hw if spec.fixed_size else (spec.multiple, spec.multiple)
    if any(side % net.multiple for side in sides):
        raise ModelError(
            f"model {card.name!r}: the net needs sides that are multiples of {net.multiple}, but its size rule "
            f"{spec.rule!r} gives {sides[0]} x {sides[1]}; change the card's input"
        )
    if spec.channels != net.in_channels:
        raise ModelError(
            f"model {card.name!r}: the net takes {net.in_channels} channels but its card says {spec.channels}"
        )


def _trace(module: Probabilities, card: ModelCard) -> onnx.ModelProto:
    spec = card.input
    shape: dict[int, object] = {0: torch.export.Dim("N", min=1, max=4096)}
    if spec.fixed_size:
        height, width = spec.size_hw
    else:
        # 2 and 3 multiples, unlike each other and unlike 0 and 1, or torch takes the sides for constants or for equals.
        step = max(spec.multiple, math.ceil(32 / spec.multiple) * spec.multiple)
        height, width = 2 * step, 3 * step
        for axis, name in ((2, "h"), (3, "w")):
            count = torch.export.Dim(name, min=1, max=16384)
            shape[axis] = spec.multiple * count if spec.multiple > 1 else count
    image = torch.zeros(2, spec.channels, height, width)
    try:
        with quiet():
            program = torch.onnx.export(
                module,
                (image,),
                dynamo=True,
                dynamic_shapes={"image": shape},
                input_names=["image"],
                output_names=["mask"],
                opset_version=OPSET,
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, torch._dynamo.exc.UserError) as error:
        reason = str(error).strip().splitlines()
        raise ModelError(
            f"model {card.name!r}: torch cannot export this net ({reason[0] if reason else type(error).__name__})"
        ) from error
    assert program is not None
    return program.model_proto


@contextmanager
def quiet() -> Iterator[None]:
    """The exporter's advice to programmers is no news to users: silent here, and only here."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
