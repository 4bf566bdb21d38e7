"""A net that finds objects and its card become one ``.onnx`` file, which is written only if it answers as torch does.

The file has an input ``image``, float32 (1, C, h, w), prepared by ``card.input.fit``; where the net judges proposals a
second one, ``proposals``, float32 (K, 4) x1 y1 x2 y2 in pixels of the first (of a net that looks at crops the first has
K of them, and boxes are in pixels of the photo); and the outputs

    boxes    float32 (K, 4)       x1 y1 x2 y2 in pixels of the input, the best score first
    scores   float32 (K,)         0..1
    classes  int64 (K,)           1 and more
    masks    float32 (K, m, m)    0..1, where the net gives masks: what lies in each box, stretched to a square

A net's own proposals, thresholds and non-maximum suppression are inside. One image a run, for the number of finds is
free; h and w are free multiples where the card's size rule is "area" or "pad". torch's exporter (``dynamo=True``)
writes it whole; two operations it is told how to write: ``nms_by_class``, and RoI max pooling, for which it knows
another signature.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxscript import opset18
from torch import Tensor, nn

from imago.core.errors import ModelError
from imago.core.model_card import ModelCard
from imago.core.text import plural
from imago.export.detection_parity import SURE, TOLERANCE, compare_detection
from imago.export.graph import Input, Translations, example_hw, pack_card, trace
from imago.export.semantic import ExportReport, check_export, describe_sizes
from imago.files.writing import atomic_write
from imago.inference.engines.onnx import OnnxEngine
from imago.models.detection.base import DetectionModel
from imago.models.detection.builders import read_thresholds

op: Any = opset18  # its operators take plain numbers and lists too, which their types do not say


class SingleImage(nn.Module):
    """The net as the file will hold it: one image in, its finds out as plain tensors."""

    def __init__(self, net: DetectionModel) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, proposals: Tensor | None = None) -> tuple[Tensor, ...]:
        """(1, C, h, w) -> boxes (K, 4), scores (K,), classes (K,) and, if it has them, masks (K, m, m)."""
        found = self.net.find(image, None if proposals is None else [proposals])[0]
        three = (found.boxes, found.scores, found.classes)
        return three if found.masks is None else (*three, found.masks)


def export_detection(
    net: DetectionModel,
    card: ModelCard,
    out: Path,
    *,
    samples: Sequence[np.ndarray],
    half: bool = False,
    tolerance: float | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write ``net`` to ``out``. The net itself is left as it was. Arguments and errors: see ``export_onnx``.

    The thresholds of ``net`` (``score_thresh``, ``nms_thresh``, ``detections_per_img``) go into the graph, and into the
    card's options.
    """
    out = Path(out)
    check_export(net, card, out, samples, overwrite)
    check_kind(net, card)
    precision = "float16" if half else "float32"
    limit = TOLERANCE[precision] if tolerance is None else tolerance
    card = card.with_(options=card.options | read_thresholds(net), precision=precision)
    module = SingleImage(copy.deepcopy(net).to("cpu", torch.float32)).eval()
    outputs = ["boxes", "scores", "classes", *(["masks"] if net.has_masks else [])]
    content = pack_card(
        trace(module, card, outputs, free_count=False, more=example_proposals(card), translations=translations()),
        card,
        half,
    )
    least = max(SURE[precision], net.score_thresh + limit)
    found = compare_detection(
        module,
        OnnxEngine(content, card=card),
        samples,
        least=least,
        most=net.detections_per_img,
        iou=net.nms_thresh,
        precision=precision,
    )
    largest = float(found.max(initial=0.0))
    if not largest <= limit:  # "not <=", so that nan is refused too
        raise ModelError(
            f"{out}: not written. Its answers differ from torch by up to {largest:.2g} in scores and boxes on "
            f"{plural(len(samples), 'image')} (inf: an object is missing or one too many); allowed are {limit:.2g}. "
            + ("Export as float32, or allow more with --tolerance." if half else "Allow more with --tolerance.")
        )
    with atomic_write(out, overwrite=overwrite) as stream:
        stream.write(content)
    mean = float(found.mean()) if found.size else 0.0
    return ExportReport(
        out,
        card,
        bytes=len(content),
        sizes=describe_sizes(card.input),
        compared=len(samples),
        largest_difference=largest,
        mean_difference=mean,
        tolerance=limit,
        finds=len(found),
    )


def check_kind(net: DetectionModel, card: ModelCard) -> None:
    """Raises ModelError where the card speaks of another kind of net."""
    task = "instances" if net.has_masks else "boxes"
    if card.task != task:
        raise ModelError(f"model {card.name!r}: the net's task is {task!r}, but its card says {card.task!r}")
    if net.wants_proposals != (card.proposals is not None):
        raise ModelError(
            f"model {card.name!r}: the net {'judges' if net.wants_proposals else 'takes no'} proposals, but its card "
            f"says {card.proposals}"
        )
    if bool(net.crop) != (card.crop_padding is not None):
        raise ModelError(
            f"model {card.name!r}: the net looks at {'crops' if net.crop else 'images'}, but its card says "
            f"crop_padding {card.crop_padding}"
        )


def example_proposals(card: ModelCard) -> dict[str, Input]:
    """The graph's second input, for nets that judge proposals: an example, and that their number is free. Nets of crops
    have as many images as proposals."""
    if card.proposals is None:
        return {}
    height, width = example_hw(card.input)
    free: dict[int, object] = {0: torch.export.Dim("K", min=2, max=100_000)}
    more: dict[str, Input] = {"proposals": (torch.tensor([[0.0, 0.0, width, height]]).repeat(7, 1), free)}
    if card.crop_padding is not None:
        more["image"] = (torch.zeros(7, card.input.channels, height, width), free)
    return more


def translations() -> Translations:
    """How operations are written that torch's exporter does not know."""
    return {
        torch.ops.imago.nms_by_class.default: nms_by_class_graph,
        torch.ops.torchvision.roi_pool.default: roi_pool_graph,
    }


def nms_by_class_graph(boxes: Any, scores: Any, classes: Any, iou: float, count: int) -> Any:
    """Each class is a row of scores, in which the boxes of other classes are below the least score."""
    own = op.Equal(op.Unsqueeze(op.Constant(value_ints=list(range(count))), [1]), op.Unsqueeze(classes, [0]))
    rows = op.Where(own, op.Unsqueeze(scores, [0]), op.Constant(value_float=-1.0))  # (count, M)
    found = op.NonMaxSuppression(
        op.Unsqueeze(boxes, [0]),
        op.Unsqueeze(rows, [0]),
        op.Constant(value_int=int(np.iinfo(np.int64).max)),  # boxes a class
        op.Constant(value_float=iou),
        op.Constant(value_float=-0.5),
    )  # (K, 3): image, class, box
    stay = op.Squeeze(op.Slice(found, [2], [3], [1]), [1])
    size = op.Shape(stay)
    stay, _ = op.TopK(stay, size, largest=0)  # by number first: of equal scores the first box comes first
    _, order = op.TopK(op.Gather(scores, stay), size)
    return op.Gather(stay, order)


def roi_pool_graph(feature_maps: Any, rois: Any, spatial_scale: float, pooled_height: int, pooled_width: int) -> Any:
    pooled = op.MaxRoiPool(feature_maps, rois, pooled_shape=(pooled_height, pooled_width), spatial_scale=spatial_scale)
    return pooled, op.Cast(pooled, to=onnx.TensorProto.INT32)  # the places of the maxima, which only training asks for
