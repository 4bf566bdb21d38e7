"""Narrow YOLO nets of every form, and targets for them."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from imago.models.catalog import ARCHITECTURES
from imago.models.detection.base import DetectionTarget

SMALL5 = ((12, 12), (24, 24), (40, 24), (24, 40), (60, 60))
SMALL9 = ((8, 8), (12, 8), (8, 12), (16, 16), (24, 16), (16, 24), (32, 32), (48, 32), (60, 60))
SMALL6 = ((12, 12), (20, 12), (16, 24), (32, 32), (48, 32), (60, 60))


class Form(NamedTuple):
    """A narrow net and the shapes of its outputs for 3 classes of objects at 64 x 128 (v1: 128 x 128)."""

    name: str
    options: dict[str, Any]
    shapes: tuple[tuple[int, ...], ...]


V1 = ((2, 2, 3), (2, 2, 2), (2, 2, 2, 4))
V3 = ((3, 8, 2, 4), (3, 8, 4, 8), (3, 8, 8, 16))
FORMS = {
    "v1": Form("yolov1", {"width": 4, "size": 128}, V1),
    "v1-paper": Form("yolov1", {"width": 4, "size": 128, "norm": False}, V1),
    "v1-published": Form(
        "yolov1", {"width": 4, "size": 128, "boxes": 3, "published": True}, ((2, 2, 3), (2, 2, 3), (2, 2, 3, 4))
    ),
    "v1-fast": Form("yolov1_fast", {"width": 4, "size": 128}, V1),
    "v1-fast-paper": Form("yolov1_fast", {"width": 4, "size": 128, "norm": False}, V1),
    "v1-fast-published": Form("yolov1_fast", {"width": 4, "size": 128, "published": True}, V1),
    "v2": Form("yolov2", {"width": 4, "anchors": SMALL5}, ((5, 8, 2, 4),)),
    "v2-tiny": Form("yolov2_tiny", {"width": 4, "anchors": SMALL5}, ((5, 8, 2, 4),)),
    "v3": Form("yolov3", {"width": 4, "anchors": SMALL9}, V3),
    "v3-spp": Form("yolov3_spp", {"width": 4, "anchors": SMALL9}, V3),
    "v3-tiny": Form("yolov3_tiny", {"width": 4, "anchors": SMALL6}, V3[:2]),
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())


def make(form: Form, classes: int = 4, in_channels: int = 3) -> Any:
    torch.manual_seed(0)
    return ARCHITECTURES[form.name].builder(classes=classes, in_channels=in_channels, **form.options)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def instances(*rows: tuple[float, float, float, float, int], crowd: tuple[bool, ...] = ()) -> DetectionTarget:
    """Rows of x1 y1 x2 y2 class."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)
    return DetectionTarget(table[:, :4], table[:, 4].long(), crowd=torch.tensor(crowd) if crowd else None)


def size_of(form: Form) -> tuple[int, int]:
    return (128, 128) if "size" in form.options else (64, 128)
