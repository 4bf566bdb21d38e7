"""YOLO v2 (Redmon and Farhadi 2017, "YOLO9000: Better, Faster, Stronger", arXiv:1612.08242), and its tiny form
(yolov2-tiny.cfg; no paper has it).

Darknet-19 with batch norm throughout, five anchors, direct location prediction, and the passthrough layer: the map of
stride 16 is narrowed, reordered to stride 32 and joined to the coarse one. Any size that is a multiple of 32.
The passthrough has a 1 x 1 convolution to 64 channels before it, as the authors' yolov2.cfg; the paper passes all 512.
The loss is that of darknet's region layer (github.com/pjreddie/darknet, 2016), half of weighed squares, to the words of
v1's paper, which v2's does not change:
- an object is answered for by the anchor of the most like shape in the cell of its centre; its objectness is to be the
  IoU of the predicted box (``object_scale`` 5), that of all others 0 (``noobject_scale`` 1), but for predictions that
  overlap an object by more than 0.6; classes by softmax and cross entropy;
- centres and sizes weigh 2 - width * height (as shares of the image), as in darknet from 2017 on, so that small objects
  count; the first releases have 1;
- for the first 12,800 images all other predictions are drawn to their anchor with weight 0.01.
Terms are sums over the image, and means over the images of a batch (darknet divides by the batch in its step). Objects
marked as crowd are neither: the paper does not speak of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou

from imago.models.detection.base import DetectionTarget
from imago.models.detection.darknet import Conv, Darknet19, TinyDarknet, ToUnit, reorg
from imago.models.detection.yolo_head import (
    YOLO,
    Anchors,
    AssignedTargets,
    as_anchors,
    assign_targets,
    decode_boxes,
    ignore_mask,
    split_anchors,
)

STRIDE = 32
# Of yolov2.cfg and yolov2-voc.cfg, which count in cells of 32 pixels.
COCO_CELLS = ((0.57273, 0.677385), (1.87446, 2.06253), (3.33843, 5.47434), (7.88282, 3.52778), (9.77052, 9.16828))
VOC_CELLS = ((1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053), (11.2364, 10.0071))
ANCHORS = tuple((width * STRIDE, height * STRIDE) for width, height in COCO_CELLS)

OBJECT, NOTHING, PRIOR = 5.0, 1.0, 0.01  # weights of the loss
PRIOR_IMAGES = 12_800


class Passthrough(nn.Module):
    """Fine (N, 16 w, 2 h, 2 w) and coarse (N, 32 w, h, w) -> (N, 32 w, h, w); w is the ``width``."""

    def __init__(self, fine: int, coarse: int, narrow: int) -> None:
        super().__init__()
        self.coarse = nn.Sequential(Conv(coarse, coarse), Conv(coarse, coarse))
        self.fine = Conv(fine, narrow, 1)
        self.join = Conv(4 * narrow + coarse, coarse)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        coarse = self.coarse(coarse)
        return self.join(torch.cat([reorg(self.fine(fine)), coarse], dim=1))


class CoarseOnly(nn.Module):
    """The tiny form's: one convolution of the coarse map; the fine one is not looked at."""

    def __init__(self, coarse: int, channels: int) -> None:
        super().__init__()
        self.conv = Conv(coarse, channels)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Coarse (N, C, h, w) -> (N, ``channels``, h, w)."""
        return self.conv(coarse)


class YOLOv2(YOLO):
    """``backbone`` gives a fine and a coarse map, ``neck`` one of both with ``channels``.

    ``forward`` gives a tuple of one (N, A, 5 + C, H / 32, W / 32): see ``imago.models.detection.yolo_head``.
    """

    multiple = STRIDE
    least = STRIDE

    def __init__(
        self, backbone: nn.Module, neck: nn.Module, channels: int, classes: int, in_channels: int, anchors: Anchors
    ) -> None:
        super().__init__(classes, in_channels)
        self.unit = ToUnit(in_channels)
        self.backbone = backbone
        self.neck = neck
        self.anchors: Tensor
        self.register_buffer("anchors", as_anchors(anchors))
        self.head = Conv(channels, len(self.anchors) * (4 + classes), 1, norm=False, leaky=False)
        self.ignore = 0.6  # a prediction that overlaps an object by more is not told to be background
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))  # images in training

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        fine, coarse = self.backbone(self.unit(images))
        return (split_anchors(self.head(self.neck(fine, coarse)), len(self.anchors)),)

    def loss(self, images: Tensor, targets: list[DetectionTarget]) -> dict[str, Tensor]:
        """Those of ``compute_loss``, and ``prior`` for the first 12,800 images of a training."""
        outputs = self(images)
        terms = self.compute_loss(outputs, targets)
        if self.training:
            if self.seen < PRIOR_IMAGES:
                terms["prior"] = self.prior(outputs[0].float(), self.assign_targets(outputs[0], targets)) / len(images)
            self.seen += len(images)
        return terms

    def assign_targets(self, raw: Tensor, targets: list[DetectionTarget]) -> AssignedTargets:
        every = range(len(self.anchors))
        return assign_targets(targets, self.anchors, every, STRIDE, (raw.shape[3], raw.shape[4]), self.classes - 1)

    def prior(self, raw: Tensor, who: AssignedTargets) -> Tensor:
        """How far the predictions that answer for nothing are from their cell's middle and their anchor's size."""
        free = who.noobj_mask(raw)
        off = (raw[:, :, :2].sigmoid() - 0.5).square().sum(dim=2) + raw[:, :, 2:4].square().sum(dim=2)
        return PRIOR / 2 * off[free].sum()

    def compute_loss(self, outputs: tuple[Tensor, ...], targets: list[DetectionTarget]) -> dict[str, Tensor]:
        """``center``, ``size``, ``object``, ``nothing`` and ``class`` of what ``forward`` gave."""
        raw = outputs[0].float()
        who = self.assign_targets(raw, targets)
        found, wanted = who.gather(raw), who.encode(self.anchors, STRIDE)
        weight = (2 - who.box_share(raw, STRIDE))[:, None] / 2
        with torch.no_grad():
            boxes = decode_boxes(raw, self.anchors, STRIDE)
            free = [ignore_mask(one, target, self.ignore) for one, target in zip(boxes, targets, strict=True)]
            background = who.noobj_mask(raw) & ~torch.stack(free)
            mine = boxes[who.image, who.anchor, who.row, who.column]
            iou = box_iou(mine, who.boxes).diagonal()
        terms = {
            "center": (weight * (found[:, :2].sigmoid() - wanted[:, :2]) ** 2).sum(),
            "size": (weight * (found[:, 2:4] - wanted[:, 2:]) ** 2).sum(),
            "object": OBJECT / 2 * ((found[:, 4].sigmoid() - iou) ** 2).sum(),
            "nothing": NOTHING / 2 * (raw[:, :, 4][background].sigmoid() ** 2).sum(),
            # Where two objects share a place the first class of the two is taken: softmax knows one.
            "class": F.cross_entropy(found[:, 5:], who.class_targets.argmax(dim=1), reduction="sum"),
        }
        return {name: value / len(targets) for name, value in terms.items()}

    def score_boxes(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Boxes (N, M, 4) in network pixels, and for each class objectness times its probability, (N, M, C)."""
        raw = outputs[0].float()
        boxes = decode_boxes(raw, self.anchors, STRIDE).flatten(1, 3)
        scores = raw[:, :, 4:5].sigmoid() * raw[:, :, 5:].softmax(dim=2)  # (N, A, C, h, w)
        return boxes, scores.movedim(2, 4).flatten(1, 3)


def yolov2(classes: int, in_channels: int, width: int, anchors: Anchors) -> YOLOv2:
    """The network of yolov2.cfg at ``width`` 32 (a multiple of 2)."""
    if width % 2:
        raise ValueError(f"width must be a multiple of 2 (32 in the paper); got {width}")
    backbone = Darknet19(in_channels, width)
    fine, coarse = backbone.channels
    return YOLOv2(backbone, Passthrough(fine, coarse, 2 * width), coarse, classes, in_channels, anchors)


def yolov2_tiny(classes: int, in_channels: int, width: int, last: int, anchors: Anchors) -> YOLOv2:
    """The small form. The last layer but one has ``last`` times ``width`` channels: 32 in yolov2-tiny.cfg, 64 in
    yolov2-tiny-voc.cfg."""
    backbone = TinyDarknet(in_channels, width)
    neck = CoarseOnly(backbone.channels[1], last * width)
    return YOLOv2(backbone, neck, last * width, classes, in_channels, anchors)
