"""Non-maximum suppression within each class, as one operator that export can write into a graph.

``torchvision.ops.batched_nms`` does the same; up to 1,000 boxes it moves each class far away and compares all at once,
which rounds coordinates to a hundredth of a pixel at 90 classes: an exported graph could then answer otherwise. So each
class is by itself here.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms


@torch.library.custom_op("imago::nms_by_class", mutates_args=())
def nms_by_class(boxes: Tensor, scores: Tensor, classes: Tensor, iou_thresh: float, count: int) -> Tensor:
    """int64 (K,): indices of the boxes (M, 4) that stay, the best score first, of equal ones the first first.

    ``classes`` int64 (M,), 0 .. ``count`` - 1. A box goes where one of its class with a better score overlaps it by
    more than ``iou``.
    """
    stays = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    for value in classes.unique():
        own = torch.where(classes == value)[0]
        stays[own[nms(boxes[own], scores[own], iou_thresh)]] = True
    stay = torch.where(stays)[0]
    return stay[scores[stay].sort(descending=True, stable=True).indices]


@nms_by_class.register_fake
def _(boxes: Tensor, scores: Tensor, classes: Tensor, iou: float, count: int) -> Tensor:
    size = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty(size, dtype=torch.int64)
