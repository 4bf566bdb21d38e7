"""A net and its card become one ``.onnx`` file, which is written only if it answers as torch does.

The file has one input ``image``, float32 (N, C, h, w), prepared by ``card.input.fit``, and one output ``mask``, float32
(N, K, h, w): probabilities 0..1 (sigmoid or softmax are inside). N is free; h and w are free multiples where the
card's size rule is "area" or "pad". Side outputs are left out, batch norms are folded into the convolutions before
them, and the card lies as JSON in the file's metadata under ``imago.core.model_card.METADATA_KEY``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from imago.core.errors import ModelError
from imago.core.input_spec import InputSpec
from imago.core.model_card import ModelCard
from imago.core.text import plural
from imago.export.graph import example_hw, pack_card, trace
from imago.export.parity import compare_semantic
from imago.files.writing import atomic_write, exists
from imago.models.base import SegmentationNet
from imago.models.detection.base import DetectionModel

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
        """(N, C, h, w) -> (N, K, h, w), 0..1."""
        return self.net.decode(self.net(image))


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
    check_export(net, card, out, samples, overwrite)
    precision = "float16" if half else "float32"
    limit = TOLERANCE[precision] if tolerance is None else tolerance
    card = card.with_(output="probability", precision=precision)
    module = Probabilities(copy.deepcopy(net).to("cpu", torch.float32)).eval()
    content = pack_card(trace(module, card, ["mask"]), card, half)
    found = compare_semantic(module, content, card.input, samples)
    if not (found.largest <= limit and found.mean <= limit * MEAN_SHARE):  # "not <=", so that nan is refused too
        raise ModelError(
            f"{out}: not written. Its answers differ from torch by up to {found.largest:.2g} (mean {found.mean:.2g}) "
            f"on {plural(len(samples), 'image')}; allowed are {limit:.2g} (mean {limit * MEAN_SHARE:.2g}). "
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
        out,
        card,
        bytes=len(content),
        sizes=describe_sizes(card.input),
        compared=len(samples),
        largest_difference=found.largest,
        mean_difference=found.mean,
        tolerance=limit,
        moved=found.moved,
    )


def describe_sizes(spec: InputSpec) -> str:
    """The input sizes that a file with this rule takes, in words."""
    if spec.fixed_size:
        return f"{spec.size_hw[0]} x {spec.size_hw[1]}"
    return f"any multiples of {spec.multiple}" if spec.multiple > 1 else "any"


def check_export(
    net: SegmentationNet | DetectionModel, card: ModelCard, out: Path, samples: Sequence[np.ndarray], overwrite: bool
) -> None:
    """Before the work rather than after it: raises ImagoError where an export, with samples (H, W, C), cannot end
    well."""
    if out.exists() and not overwrite:
        raise exists(out)
    if not samples:
        raise ModelError(f"{out}: an export is compared with torch on images; got none. Give at least one sample")
    spec = card.input
    sides = spec.size_hw if spec.fixed_size else (spec.multiple, spec.multiple)
    if any(side % net.multiple for side in sides):
        raise ModelError(
            f"model {card.name!r}: the net needs sides that are multiples of {net.multiple}, but its size rule "
            f"{spec.rule!r} gives {sides[0]} x {sides[1]}; change the card's input"
        )
    if spec.channels != net.in_channels:
        raise ModelError(
            f"model {card.name!r}: the net takes {plural(net.in_channels, 'channel')} but its card says {spec.channels}"
        )
    try:
        net.check(torch.empty(1, spec.channels, *example_hw(spec), device="meta"))
    except ValueError as error:
        raise ModelError(
            f"model {card.name!r}: {error}. Its size rule {spec.rule!r} gives other sizes; change the card's input"
        ) from error
