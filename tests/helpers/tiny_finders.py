"""Objects that are known by heart, and model files that find them: blue squares on red ground.

``write_squares``: photos with two squares that are always at the same places, and in every second photo a third one.
``write_finder``: an ``.onnx`` file that finds the same boxes in every photo. ``write_separator``: one that labels
pixels (red is background, blue an inside), of which objects are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tiny_onnx import PLAIN, write_tiny

from imago.core.labels import Labels
from imago.core.model_card import METADATA_KEY, ModelCard

LABELS = Labels(("background", "object"))
ALWAYS = ((8, 8, 20, 20), (30, 24, 44, 40))  # x1 y1 x2 y2
SIZE_HW = (48, 64)


def write_squares(folder: Path, count: int = 6) -> Path:
    """``images/*.png``, ``masks/*.png`` in which each value is an object; all photos are for validation but two."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    names = [f"squares{index}" for index in range(count)]
    for index, name in enumerate(names):
        image, label = np.zeros((*SIZE_HW, 3), np.uint8), np.zeros(SIZE_HW, np.uint8)
        image[..., 0] = 200
        boxes = [*ALWAYS, (50, 4, 60, 14)] if index % 2 else ALWAYS
        for number, (x1, y1, x2, y2) in enumerate(boxes, 1):
            image[y1:y2, x1:x2] = 0, 0, 200
            label[y1:y2, x1:x2] = number
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
        Image.fromarray(label).save(folder / "masks" / f"{name}.png")
    (folder / "train.txt").write_text("\n".join(names[:2]) + "\n")
    (folder / "val.txt").write_text("\n".join(names[2:]) + "\n")
    return folder


def write_finder(
    path: Path, boxes: Sequence[Sequence[float]] = ALWAYS, *, masks: bool = False, labels: Labels = LABELS,
    value: int | Sequence[int] = 1, scores: float | Sequence[float] = 0.9,
) -> Path:  # fmt: skip
    """Every box is found with a score of 0.9 as class ``value``, or with one of its own; ``masks``: filled ones."""
    answers = {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "scores": np.full(len(boxes), scores, np.float32),
        "classes": np.full(len(boxes), value, np.int64),
    }
    if masks:
        answers["masks"] = np.ones((len(boxes), 4, 4), np.float32)
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
        for name, value in answers.items()
    ]
    graph = helper.make_graph(
        nodes,
        "finder",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape))
            for name, value in answers.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    card = ModelCard(path.stem, "", {}, "instances" if masks else "boxes", labels, PLAIN)
    helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(model)
    return path


def write_separator(path: Path) -> Path:
    """Finds every blue square with its mask."""
    return write_tiny(path, classes=3, labels=Labels(("background", "border", "object")), objects=True)
