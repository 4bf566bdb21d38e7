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
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxscript import opset18
from torch import Tensor, nn

from imago.core.card import METADATA_KEY, ModelCard
from imago.core.errors import ModelError
from imago.export.onnx import OPSET, ExportReport, check_multiple, describe_sizes, quiet
from imago.export.storage import store_half, strip_traces
from imago.files.writing import atomic_write, exists
from imago.inference.things import FrameObjects, ObjectEngine, inputs
from imago.models import suppression  # noqa: F401  (registers the operation)
from imago.models.thing_base import ThingNet
from imago.models.things import thresholds_of

op: Any = opset18  # its operators take plain numbers and lists too, which their types do not say

# Largest difference to torch, of a score and of a box's corner in pixels, and the score from which on every find of
# either must be one of the other too. Weights rounded to float16 move what is doubtful in and out.
TOLERANCE = {"float32": 1e-3, "float16": 2e-2}
PIXELS_A_SCORE = {"float32": 1.0, "float16": 100.0}  # how many pixels a difference of 1 in the score counts as
SURE = {"float32": 0.0, "float16": 0.5}


class One(nn.Module):
    """The net as the file will hold it: one image in, its finds out as plain tensors."""

    def __init__(self, net: ThingNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, proposals: Tensor | None = None) -> tuple[Tensor, ...]:
        found = self.net.find(image, None if proposals is None else [proposals])[0]
        three = (found.boxes, found.scores, found.classes)
        return three if found.masks is None else (*three, found.masks)


def export_things(
    net: ThingNet,
    card: ModelCard,
    out: Path,
    *,
    samples: Sequence[np.ndarray],
    half: bool = False,
    tolerance: float | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write ``net`` to ``out``. The net itself is left as it was. Arguments and errors as ``export_onnx``.

    The thresholds of ``net`` (``score``, ``iou``, ``most``) go into the graph, and into the card's options.
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise exists(out)
    if not samples:
        raise ModelError(f"{out}: an export is compared with torch on images; got none. Give at least one sample")
    precision = "float16" if half else "float32"
    limit = TOLERANCE[precision] if tolerance is None else tolerance
    check_multiple(net, card)
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
    card = card.with_(options=card.options | thresholds_of(net), precision=precision)
    module = One(copy.deepcopy(net).to("cpu", torch.float32)).eval()
    model = _trace(module, card)
    strip_traces(model)
    if half:
        store_half(model)
    onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    content = model.SerializeToString()
    onnx.checker.check_model(content)
    differences = _compare(module, content, card, samples, max(SURE[precision], net.score + limit), precision)
    largest = float(differences.max(initial=0.0))
    if not largest <= limit:  # "not <=", so that nan is refused too
        raise ModelError(
            f"{out}: not written. Its answers differ from torch by up to {largest:.2g} in scores and boxes on "
            f"{len(samples)} images (inf: an object is missing or one too many); allowed are {limit:.2g}. "
            + ("Export as float32, or allow more with --tolerance." if half else "Allow more with --tolerance.")
        )
    with atomic_write(out, overwrite=overwrite) as stream:
        stream.write(content)
    mean = float(differences.mean()) if differences.size else 0.0
    return ExportReport(out, card, len(content), describe_sizes(card.input), len(samples), largest, mean, limit)


def _trace(module: One, card: ModelCard) -> onnx.ModelProto:
    spec = card.input
    shape: dict[int, Any] = {}
    if spec.fixed_size:
        height, width = spec.size_hw
    else:
        step = max(spec.multiple, math.ceil(32 / spec.multiple) * spec.multiple)
        height, width = 2 * step, 3 * step  # unlike each other, or torch takes the sides for equals
        for axis, name in ((2, "h"), (3, "w")):
            count = torch.export.Dim(name, min=1, max=4096)
            shape[axis] = spec.multiple * count if spec.multiple > 1 else count
    names = ["boxes", "scores", "classes", *(["masks"] if module.net.has_masks else [])]
    given: dict[str, Tensor] = {"image": torch.zeros(1, spec.channels, height, width)}
    shapes: dict[str, Any] = {"image": shape}
    if card.proposals is not None:
        given["proposals"] = torch.tensor([[0.0, 0.0, width, height]]).repeat(7, 1)
        shapes["proposals"] = {0: torch.export.Dim("K", min=2, max=100_000)}
    if card.crop_padding is not None:
        given["image"] = given["image"].repeat(7, 1, 1, 1)
        shapes["image"] = shapes["proposals"]
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                tuple(given.values()),
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=list(given),
                output_names=names,
                opset_version=OPSET,
                custom_translation_table=translations(),
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, torch._dynamo.exc.UserError) as error:
        reason = str(error).strip().splitlines()
        raise ModelError(
            f"model {card.name!r}: torch cannot export this net ({reason[0] if reason else type(error).__name__})"
        ) from error
    assert program is not None
    return program.model_proto


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
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


def roi_pool_graph(maps: Any, regions: Any, spatial_scale: float, pooled_height: int, pooled_width: int) -> Any:
    pooled = op.MaxRoiPool(maps, regions, pooled_shape=(pooled_height, pooled_width), spatial_scale=spatial_scale)
    return pooled, op.Cast(pooled, to=onnx.TensorProto.INT32)  # the places of the maxima, which only training asks for


def _compare(
    module: One, content: bytes, card: ModelCard, samples: Sequence[np.ndarray], least: float, precision: str
) -> np.ndarray:
    """The differences of all pairs of finds, on the samples and on the first one lying on its side."""
    engine = ObjectEngine(content, card=card)
    images = list(samples)
    if not card.input.fixed_size:
        images.append(np.ascontiguousarray(images[0].swapaxes(0, 1)))
    parts = []
    for image in images:
        given = next(inputs(card, image), None)  # of crops the first batch
        if given is None:
            continue
        with torch.inference_mode():
            expected = FrameObjects(*(tensor.numpy() for tensor in module(*map(torch.from_numpy, given))))
        parts.append(differences(expected, engine.run(*given), least, module.net.most, PIXELS_A_SCORE[precision]))
    return np.concatenate([*parts, np.zeros(0)])


def differences(
    first: FrameObjects, second: FrameObjects, least: float, most: int, pixels_a_score: float = 1.0
) -> np.ndarray:
    """For each find of either with a score of ``least`` or more: how far the nearest one of the other is.

    The largest of: the difference of the scores, of the corners in pixels / ``pixels_a_score``, of the masks' means;
    inf where the other has none of its class. Finds that come last among ``most`` may be crowded out, and are let go.
    """
    parts = []
    for one, other in ((first, second), (second, first)):
        last = float(other.scores.min()) + 1e-3 if len(other.scores) >= most else 0.0
        for index in np.flatnonzero(one.scores >= max(least, last)):
            apart = np.abs(other.boxes - one.boxes[index]).max(axis=1, initial=0.0) / pixels_a_score
            apart = np.maximum(apart, np.abs(other.scores - one.scores[index]))
            apart[other.classes != one.classes[index]] = np.inf
            nearest = int(np.argmin(apart)) if apart.size else -1
            value = float(apart[nearest]) if apart.size else np.inf
            if np.isfinite(value) and one.masks is not None and other.masks is not None:
                value = max(value, float(np.abs(other.masks[nearest] - one.masks[index]).mean()))
            parts.append(value)
    return np.array(parts, np.float64)
