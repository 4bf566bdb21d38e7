"""YOLO v3 (Redmon and Farhadi 2018, arXiv:1804.02767), with its tiny and SPP forms (yolov3-tiny.cfg, yolov3-spp.cfg).

Darknet-53, three scales with three anchors each, an objectness that is a logistic regression, and classes that do not
exclude each other. Where the paper is silent this follows darknet's yolo layer (github.com/pjreddie/darknet):
- an object is answered for by one anchor of the nine, the one of the most like shape, at the cell of its centre;
- centres: the gradient in t_x is truth - sigmoid(t_x), as the paper says, which is that of cross entropy; less the
  truth's own entropy, so that right answers cost nothing. Sizes: half the squared error of t_w and t_h;
- both weigh 2 - width * height (as shares of the image), so that small objects count.
Objectness elsewhere is to be 0, but for predictions that overlap an object by more than ``ignore``: 0.5 in the paper,
0.7 in the .cfg files. Terms are sums over the image, and means over the images of a batch (darknet divides by the batch
in its step). Objects marked as crowd are neither: no paper speaks of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imago.models.detection.base import DetectionTarget
from imago.models.detection.darknet import Conv, Darknet53, TinyDarknet, ToUnit, bottleneck, double
from imago.models.detection.yolo_head import (
    YOLO,
    Anchors,
    as_anchors,
    assign_targets,
    decode_boxes,
    ignore_mask,
    split_anchors,
)

ANCHORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
MASKS = ((6, 7, 8), (3, 4, 5), (0, 1, 2))  # whose anchors are whose, coarse to fine
TINY_ANCHORS = ((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319))
TINY_MASKS = ((3, 4, 5), (0, 1, 2))

Masks = Sequence[Sequence[int]]


class PyramidPool(nn.Module):
    """(N, C, H, W) -> (N, 4 C, H, W): the map, and its maxima over 5, 9 and 13 cells a side, the widest first."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([*(F.max_pool2d(x, side, 1, side // 2) for side in (13, 9, 5)), x], dim=1)


class Scale(nn.Module):
    """One scale: (narrow, double and join a finer map,) look, answer.

    ``body`` gives what the next scale takes, ``head`` the answers (N, anchors * (5 + C), h, w).
    """

    def __init__(self, reduce: Conv | None, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.reduce = reduce  # first, as in the .cfg
        self.body = body
        self.head = head

    def forward(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.reduce is not None and before is not None:
            x = torch.cat([double(self.reduce(before)), x], dim=1)
        x = self.body(x)
        return x, self.head(x)


class YOLOv3(YOLO):
    """``backbone`` gives maps, fine to coarse; ``scales`` look at them coarse to fine, as many as there are.

    ``forward`` gives a tuple with a (N, A, 5 + C, h, w) for each scale, coarse first: see
    ``imago.models.detection.yolo_head``.
    """

    multiple = 32
    least = 32

    def __init__(
        self,
        backbone: nn.Module,
        scales: Sequence[Scale],
        classes: int,
        in_channels: int,
        anchors: Anchors,
        masks: Masks,
    ) -> None:
        super().__init__(classes, in_channels)
        self.unit = ToUnit(in_channels)
        self.backbone = backbone
        self.scales = nn.ModuleList(scales)
        self.strides = [32 // 2**index for index in range(len(scales))]  # coarse to fine
        self.anchors: Tensor
        self.register_buffer("anchors", as_anchors(anchors, 3 * len(scales)))
        self.masks = [list(mask) for mask in masks]
        if [len(mask) for mask in self.masks] != [3] * len(scales) or not all(
            0 <= index < len(self.anchors) for mask in self.masks for index in mask
        ):
            raise ValueError(
                f"masks must be {len(scales)} times three indices into the {len(self.anchors)} anchors; got {masks}"
            )
        self.ignore = 0.5  # a prediction that overlaps an object by more is not told to be background

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        maps = self.backbone(self.unit(images))
        before, outputs = None, []
        for index, scale in enumerate(self.scales):
            before, answer = scale(maps[-1 - index], before)
            outputs.append(split_anchors(answer, 3))  # (N, 3, 5 + C, H / stride, W / stride)
        return tuple(outputs)

    def compute_loss(self, outputs: tuple[Tensor, ...], targets: list[DetectionTarget]) -> dict[str, Tensor]:
        """``center``, ``size``, ``object``, ``nothing`` and ``class`` of what ``forward`` gave."""
        names = ("center", "size", "object", "nothing", "class")
        total = {name: outputs[0].new_zeros((), dtype=torch.float32) for name in names}
        for raw, stride, mask in zip(outputs, self.strides, self.masks, strict=True):
            raw = raw.float()
            anchors = self.anchors[mask]
            who = assign_targets(targets, self.anchors, mask, stride, (raw.shape[3], raw.shape[4]), self.classes - 1)
            found, wanted = who.gather(raw), who.encode(anchors, stride)
            weight = (2 - who.box_share(raw, stride))[:, None]
            entropy = F.binary_cross_entropy(wanted[:, :2], wanted[:, :2], reduction="none")
            center = F.binary_cross_entropy_with_logits(found[:, :2], wanted[:, :2], reduction="none") - entropy
            total["center"] = total["center"] + (weight * center).sum()
            total["size"] = total["size"] + (weight * (found[:, 2:4] - wanted[:, 2:]) ** 2).sum() / 2
            total["object"] = total["object"] + F.softplus(-found[:, 4]).sum()
            total["class"] = total["class"] + F.binary_cross_entropy_with_logits(
                found[:, 5:], who.class_targets, reduction="sum"
            )
            with torch.no_grad():
                boxes = decode_boxes(raw, anchors, stride)
                free = [ignore_mask(one, target, self.ignore) for one, target in zip(boxes, targets, strict=True)]
                background = who.noobj_mask(raw) & ~torch.stack(free)
            total["nothing"] = total["nothing"] + F.softplus(raw[:, :, 4][background]).sum()
        return {name: value / len(targets) for name, value in total.items()}

    def score_boxes(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Boxes (N, M, 4) in network pixels, and for each class objectness times its probability, (N, M, C)."""
        boxes, scores = [], []
        for raw, stride, mask in zip(outputs, self.strides, self.masks, strict=True):
            raw = raw.float()
            boxes.append(decode_boxes(raw, self.anchors[mask], stride).flatten(1, 3))
            both = raw[:, :, 4:5].sigmoid() * raw[:, :, 5:].sigmoid()  # (N, 3, C, h, w)
            scores.append(both.movedim(2, 4).flatten(1, 3))
        return torch.cat(boxes, dim=1), torch.cat(scores, dim=1)


def yolov3(classes: int, in_channels: int, width: int, anchors: Anchors, masks: Masks, spp: bool) -> YOLOv3:
    """The network of the paper at ``width`` 32: 61,949,149 parameters for COCO's 80 classes. ``spp``: with pyramid
    pooling before the coarsest answers."""
    backbone = Darknet53(in_channels, width)
    scales = []
    for index, channels in enumerate(reversed(backbone.channels)):  # 1024, 512, 256
        narrow = channels // 2
        reduce = Conv(channels, narrow, 1) if index else None
        if spp and index == 0:
            body: nn.Module = nn.Sequential(
                bottleneck(channels, channels, 3, first=1), PyramidPool(), bottleneck(4 * narrow, channels, 3, first=1)
            )
        else:
            body = bottleneck(channels + (narrow if index else 0), channels, 5, first=1)
        scales.append(Scale(reduce, body, build_output_layers(narrow, channels, classes)))
    return YOLOv3(backbone, scales, classes, in_channels, anchors, masks)


def yolov3_tiny(classes: int, in_channels: int, width: int, anchors: Anchors, masks: Masks) -> YOLOv3:
    """The small form: seven convolutions, two scales. ``width`` is 16 in yolov3-tiny.cfg."""
    backbone = TinyDarknet(in_channels, width)
    fine, coarse = backbone.channels  # 256, 1024
    scales = [
        Scale(None, Conv(coarse, fine, 1), build_output_layers(fine, 2 * fine, classes)),
        Scale(Conv(fine, fine // 2, 1), nn.Identity(), build_output_layers(fine + fine // 2, fine, classes)),
    ]
    return YOLOv3(backbone, scales, classes, in_channels, anchors, masks)


def build_output_layers(in_channels: int, channels: int, classes: int) -> nn.Sequential:
    """A 3 x 3 convolution, then the answers of three anchors; ``classes`` counts the background, which has none."""
    last = Conv(channels, 3 * (4 + classes), 1, norm=False, leaky=False)
    return nn.Sequential(Conv(in_channels, channels), last)
