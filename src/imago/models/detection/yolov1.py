"""YOLO v1 (Redmon, Divvala, Girshick and Farhadi 2016, arXiv:1506.02640), and its fast form.

Figure 3: 24 convolutions and two fully connected layers answer for S x S cells at once. Each cell has B boxes (centre
within the cell, square roots of width and height as shares of the image, confidence) and one set of class scores. The
image is 448 pixels square and S is 7; ``size`` makes smaller ones, of 64 pixels a cell. The fast form has 9
convolutions and the connected layers of the authors' yolo-tiny.cfg of 2015: 256, linear; 4096; the answers. The loss is
equation 3. Differs from the paper:
- batch norms (on by default): without them, and without training on ImageNet first, the 24 layers learn badly. The
  published weights have them too; ``norm=False`` is the paper's form;
- of several objects whose centre lies in one cell the first counts (as in darknet; the paper says nothing of it);
- where no box of a cell touches the object the nearest in centre and size is responsible (darknet's way; the paper's
  rule, the highest IoU, says nothing then);
- means over the images of a batch; cells whose centre lies in a crowd region are not told to be empty.
``published`` gives the networks of yolov1.cfg and yolov1-tiny.cfg, whose weights are to be had: the first has a locally
connected layer of 256 channels where the paper has 4096 units (and three boxes a cell), the second 8 convolutions and
one connected layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from imago.models.detection.base import DetectionTarget
from imago.models.detection.darknet import SLOPE, Conv, LocalConv, ToUnit
from imago.models.detection.yolo_head import YOLO, real_objects

CELL = 64  # pixels
COORDINATES, NOTHING = 5.0, 0.5  # the paper's lambda_coord and lambda_noobj


class YOLOv1(YOLO):
    """``column`` sees (N, channels, size, size), ``head`` gives S * S * (C + 5 B) values, S = ``size`` / 64.

    ``forward`` gives those values in darknet's order, as three tensors: class scores (N, S, S, C), confidences
    (N, S, S, B), and boxes (N, S, S, B, 4): x, y within the cell, square roots of width and height.
    """

    def __init__(
        self, column: nn.Module, head: nn.Module, classes: int, in_channels: int, size: int, boxes: int
    ) -> None:
        super().__init__(classes, in_channels)
        self.multiple = self.least = self.size = size
        self.side = size // CELL
        self.boxes = boxes
        self.unit = ToUnit(in_channels)
        self.column = column
        self.head = head

    def check(self, images: Tensor) -> None:
        """Raises ValueError where the net cannot take ``images``: its connected layers know one size."""
        if torch.compiler.is_compiling():
            return
        if images.ndim == 4 and tuple(images.shape[2:]) != (self.size, self.size):
            raise ValueError(
                f"images are {images.shape[2]} x {images.shape[3]}; this net takes {self.size} x {self.size} alone. "
                "Resize them, or build it with another size="
            )
        super().check(images)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        values = self.head(self.column(self.unit(images)))  # (N, S * S * (C + 5 B))
        cells, kinds = self.side**2, self.classes - 1
        parts = values.split([cells * kinds, cells * self.boxes, cells * self.boxes * 4], dim=1)
        shape = (self.side, self.side)
        return (
            parts[0].unflatten(1, (*shape, kinds)),
            parts[1].unflatten(1, (*shape, self.boxes)),
            parts[2].unflatten(1, (*shape, self.boxes, 4)),
        )

    def decode_boxes(self, raw: Tensor) -> Tensor:
        """(N, S, S, B, 4) -> the same as x1 y1 x2 y2 in network pixels."""
        corner = torch.arange(self.side, device=raw.device)
        center_x = (raw[..., 0] + corner[:, None]) * CELL
        center_y = (raw[..., 1] + corner[:, None, None]) * CELL
        half = raw[..., 2:].square() * self.size / 2
        low_x, low_y = center_x - half[..., 0], center_y - half[..., 1]
        return torch.stack([low_x, low_y, center_x + half[..., 0], center_y + half[..., 1]], dim=-1)

    def compute_loss(self, outputs: tuple[Tensor, ...], targets: list[DetectionTarget]) -> dict[str, Tensor]:
        """Equation 3 of what ``forward`` gave: ``center``, ``size``, ``object``, ``nothing`` and ``class``."""
        scores, confidences, raw = (output.float() for output in outputs)
        boxes = self.decode_boxes(raw.detach())
        empty = torch.ones_like(confidences, dtype=torch.bool)
        terms = {name: raw.new_zeros(()) for name in ("center", "size", "object", "nothing", "class")}
        for image, target in enumerate(targets):
            for (row, column), (box, kind) in self.assign_cells(target).items():
                wanted = self.encode_box(box, row, column)
                best, iou = find_responsible(boxes[image, row, column], box)
                empty[image, row, column, best] = False
                off = (raw[image, row, column, best] - wanted).square()
                terms["center"] = terms["center"] + COORDINATES * off[:2].sum()
                terms["size"] = terms["size"] + COORDINATES * off[2:].sum()
                terms["object"] = terms["object"] + (confidences[image, row, column, best] - iou).square()
                hot = torch.zeros_like(scores[image, row, column])
                hot[kind - 1] = 1
                terms["class"] = terms["class"] + (scores[image, row, column] - hot).square().sum()
            empty[image] &= ~self.crowd_mask(target)[:, :, None]
        terms["nothing"] = NOTHING * confidences[empty].square().sum()
        return {name: value / len(targets) for name, value in terms.items()}

    def assign_cells(self, target: DetectionTarget) -> dict[tuple[int, int], tuple[Tensor, int]]:
        """Row and column of the cells that have an object, and its box (4,) and class."""
        cells: dict[tuple[int, int], tuple[Tensor, int]] = {}
        boxes, classes = real_objects(target)
        centers = ((boxes[:, :2] + boxes[:, 2:]) / 2 / CELL).long().clamp(0, self.side - 1).tolist()
        for box, kind, (column, row) in zip(boxes, classes.tolist(), centers, strict=True):
            cells.setdefault((row, column), (box, kind))
        return cells

    def encode_box(self, box: Tensor, row: int, column: int) -> Tensor:
        """(4,) x, y, square roots of width and height that would give ``box`` in that cell."""
        center = (box[:2] + box[2:]) / 2 / CELL - torch.tensor([column, row], device=box.device)
        return torch.cat([center, ((box[2:] - box[:2]) / self.size).sqrt()])

    def crowd_mask(self, target: DetectionTarget) -> Tensor:
        """bool (S, S): cells whose centre lies in a crowd region."""
        inside = torch.zeros(self.side, self.side, dtype=torch.bool, device=target.boxes.device)
        if target.crowd is None:
            return inside
        middle = (torch.arange(self.side, device=inside.device) + 0.5) * CELL
        for x1, y1, x2, y2 in target.boxes[target.crowd.bool()]:
            inside |= ((middle >= y1) & (middle < y2))[:, None] & (middle >= x1) & (middle < x2)
        return inside

    def score_boxes(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Boxes (N, M, 4) in network pixels, and for each class confidence times its score (equation 1), (N, M, C).

        Both factors are cut to 0..1: the net's answers are linear, and two negative ones would make a good score.
        """
        scores, confidences, raw = (output.float() for output in outputs)
        both = confidences.clamp(0, 1)[..., None] * scores.clamp(0, 1)[:, :, :, None]  # (N, S, S, B, C)
        return self.decode_boxes(raw).flatten(1, 3), both.flatten(1, 3)


def find_responsible(boxes: Tensor, box: Tensor) -> tuple[int, Tensor]:
    """Which of a cell's (B, 4) boxes answers for ``box`` (4,), and their IoU."""
    low, high = torch.maximum(boxes[:, :2], box[:2]), torch.minimum(boxes[:, 2:], box[2:])
    common = (high - low).clamp(min=0).prod(dim=1)
    iou = common / ((boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (box[2:] - box[:2]).prod() - common)
    if iou.max() > 0:
        best = int(iou.argmax())
    else:
        off_center = boxes[:, :2] + boxes[:, 2:] - box[:2] - box[2:]  # twice, as are the sizes' below
        off_size = 2 * ((boxes[:, 2:] - boxes[:, :2]) - (box[2:] - box[:2]))
        best = int((off_center.square() + off_size.square()).sum(dim=1).argmin())
    return best, iou[best]


def yolov1(classes: int, in_channels: int, width: int, size: int, boxes: int, norm: bool, published: bool) -> YOLOv1:
    """Figure 3 of the paper at ``width`` 64. ``published``: yolov1.cfg, which has ``boxes`` 3."""
    side = check_size(size)
    w = width
    first = nn.Sequential(Conv(in_channels, w, 7, 2, norm=norm), nn.MaxPool2d(2), Conv(w, 3 * w, norm=norm))
    column = nn.Sequential(
        *(*first, nn.MaxPool2d(2)),  # stride 8
        *build_conv_pairs(3 * w, ((2 * w, 4 * w), (4 * w, 8 * w)), norm),
        nn.MaxPool2d(2),
        *build_conv_pairs(8 * w, (*((4 * w, 8 * w),) * 4, (8 * w, 16 * w)), norm),
        nn.MaxPool2d(2),  # stride 32
        *build_conv_pairs(16 * w, ((8 * w, 16 * w),) * 2, norm),
        *(Conv(16 * w, 16 * w, norm=norm), Conv(16 * w, 16 * w, stride=2, norm=norm)),  # stride 64
        *(Conv(16 * w, 16 * w, norm=norm), Conv(16 * w, 16 * w, norm=norm)),
    )
    answers = side**2 * (classes - 1 + 5 * boxes)
    if published:
        between: tuple[nn.Module, ...] = (LocalConv(16 * w, 4 * w, side), nn.Flatten())
        units = 4 * w * side**2
    else:
        between = (nn.Flatten(), nn.Linear(16 * w * side**2, 64 * w), nn.LeakyReLU(SLOPE))
        units = 64 * w
    head = nn.Sequential(*between, nn.Dropout(0.5), nn.Linear(units, answers))
    return YOLOv1(column, head, classes, in_channels, size, boxes)


def yolov1_fast(
    classes: int, in_channels: int, width: int, size: int, boxes: int, norm: bool, published: bool
) -> YOLOv1:
    """The fast form at ``width`` 16. ``published``: yolov1-tiny.cfg."""
    side = check_size(size)
    widths = [width * 2**level for level in range(7)]  # 16 ... 1024
    column = nn.Sequential()
    for i, o in zip([in_channels, *widths[:5]], widths[:6], strict=True):
        column.extend([Conv(i, o, norm=norm), nn.MaxPool2d(2)])
    last = [16 * width] if published else [64 * width, 64 * width]
    for i, o in zip([32 * width, 64 * width, *last], [64 * width, *last], strict=False):
        column.append(Conv(i, o, norm=norm))
    answers = side**2 * (classes - 1 + 5 * boxes)
    head = nn.Sequential(nn.Flatten())
    if published:
        head.append(nn.Linear(16 * width * side**2, answers))
    else:
        squeeze, widen = nn.Linear(64 * width * side**2, 16 * width), nn.Linear(16 * width, 256 * width)
        head.extend([squeeze, widen, nn.LeakyReLU(SLOPE), nn.Dropout(0.5), nn.Linear(256 * width, answers)])
    return YOLOv1(column, head, classes, in_channels, size, boxes)


def build_conv_pairs(in_channels: int, widths: tuple[tuple[int, int], ...], norm: bool) -> list[nn.Module]:
    """For each pair a 1 x 1 convolution to the first width and a 3 x 3 to the second."""
    layers: list[nn.Module] = []
    for narrow, wide in widths:
        layers += [Conv(in_channels, narrow, 1, norm=norm), Conv(narrow, wide, norm=norm)]
        in_channels = wide
    return layers


def check_size(size: int) -> int:
    """How many cells a side. Raises ValueError."""
    if size < CELL or size % CELL:
        raise ValueError(f"size must be a multiple of {CELL} pixels (448 in the paper); got {size}")
    return size // CELL
