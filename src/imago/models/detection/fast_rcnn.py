"""Fast R-CNN (Girshick 2015, arXiv:1504.08083): one pass over the image, then each proposal's part of the map.

It does not find its proposals itself: ``forward(images, proposals)``, ``loss(images, targets, proposals)`` and
``decode(outputs, proposals, frame_hw)`` take a list with float32 (K, 4) boxes x1 y1 x2 y2 for each image, in network
pixels (imago.data.selective_search finds them, ``Fit.boxes_to_frame`` brings them there). ``forward`` answers with two
tensors over the R proposals of all images, one image after the other: class logits (R, classes) and box deltas
(R, classes - 1, 4) in units of ``delta_mean`` and ``delta_std``.

``build_vgg_fast_rcnn`` is the network of the paper: VGG-16 up to conv5_3, 7 x 7 RoI max pooling, fc6 and fc7 of 4096
with dropout. ``build_encoder_fast_rcnn`` puts the same head on any encoder.
Differs from the paper:
- the true boxes are among the proposals in training (the author's code does the same);
- of the two-images-64-each hierarchical sampling the 64 are here, the 2 are the caller's batch;
- deltas of the background are not computed (the author's code has them and never uses them);
- proposals that lie by half or more in a crowd region are no negatives; the sets of the paper's day had none;
- targets are normalised by ``delta_mean`` and ``delta_std``: 0 and (0.1, 0.1, 0.2, 0.2), the author's later figures,
  not by those of the training set (section 2.3), which lie near: selective search on 20 photos of coco128 has means
  of -0.01 to 0.06 and spreads of (0.12, 0.13, 0.24, 0.23);
- no truncated SVD of the fully connected layers (section 3.1), which trades accuracy for time on processors.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou, clip_boxes_to_image, roi_pool

from imago.models import vgg
from imago.models.detection.base import DetectionModel, Detections, DetectionTarget
from imago.models.detection.box_deltas import decode_deltas, encode_deltas
from imago.models.detection.crowd import IN_CROWD, measure_share_within, split_crowd
from imago.models.detection.suppression import nms_by_class
from imago.models.encoders import Encoder

RoiSample = tuple[Tensor, Tensor, Tensor]  # boxes (R, 4), classes (R,), deltas (R, 4); the deltas of background are 0


class VggFeatures(nn.Module):
    """VGG-16 without its last pool: (N, C, H, W) -> (N, 8 * width, H / 16, W / 16)."""

    stride = 16

    def __init__(self, in_channels: int, width: int = 64, norm: bool = False) -> None:
        super().__init__()
        self.stages = vgg.vgg16_stages(in_channels, width, norm)
        self.channels = vgg.stage_channels(width)[-1]

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for number, stage in enumerate(self.stages):
            x = stage(F.max_pool2d(x, 2) if number else x)
        return x


class EncoderFeatures(nn.Module):
    """An encoder's last map; the one before, where only a pool lies between them (as in the paper's VGG)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.tap = -2 if encoder.ends_pooled else -1
        self.stride = encoder.strides[self.tap]
        self.channels = encoder.channels[self.tap]

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, ``channels``, H / ``stride``, W / ``stride``)."""
        return self.encoder(images)[self.tap]


class FastRCNN(DetectionModel):
    """``body`` gives the map and knows its ``stride`` and ``channels``. ``fc_width`` is 4096 in the paper."""

    wants_proposals = True

    def __init__(
        self, body: VggFeatures | EncoderFeatures, classes: int, in_channels: int, fc_width: int = 4096, pool: int = 7,
        dropout: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__(classes, in_channels)
        self.body = body
        self.multiple = self.least = body.stride
        self.pool = pool
        self.fc6 = nn.Linear(body.channels * pool * pool, fc_width)
        self.fc7 = nn.Linear(fc_width, fc_width)
        self.dropout = nn.Dropout(dropout)
        self.class_score = nn.Linear(fc_width, classes)
        self.box_deltas = nn.Linear(fc_width, (classes - 1) * 4)
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        for layer, spread in ((self.class_score, 0.01), (self.box_deltas, 0.001)):  # the paper's, section 4.1
            nn.init.normal_(layer.weight, std=spread)
            nn.init.zeros_(layer.bias)
        self.delta_mean: Tensor
        self.delta_std: Tensor
        self.register_buffer("delta_mean", torch.zeros(4))
        self.register_buffer("delta_std", torch.tensor([0.1, 0.1, 0.2, 0.2]))
        self.nms_thresh = 0.3  # R-CNN's non-maximum suppression
        self.batch_size_per_image = 64  # proposals of an image in a step
        self.positive_share = 0.25  # of these, at most
        self.positive_from = 0.5  # overlap with a true box from which a proposal is of its class
        self.negative_from = 0.1  # least overlap of a negative: a simple form of mining hard ones (section 2.3).
        # Where the classes are learned from scratch on few images 0 is better: the empty background is seen too.

    def forward(self, images: Tensor, proposals: list[Tensor]) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Class logits (R, classes) and deltas (R, classes - 1, 4); R is the number of all proposals together."""
        self.check(images)
        if len(proposals) != len(images):
            raise ValueError(f"expected a list of proposals an image, {len(images)} of them; got {len(proposals)}")
        feature_maps = self.body(images)
        # The pooling counts the last pixel in, our boxes end behind it.
        inner = [torch.cat([boxes[:, :2], boxes[:, 2:] - 1], dim=1).float() for boxes in proposals]
        parts = roi_pool(
            feature_maps.float(), inner, self.pool, 1 / self.body.stride
        )  # (R, C, 7, 7); it has no bfloat16
        x = self.dropout(F.relu(self.fc6(parts.flatten(1))))
        x = self.dropout(F.relu(self.fc7(x)))
        return self.class_score(x), self.box_deltas(x).unflatten(1, (self.classes - 1, 4))

    def loss(  # type: ignore[override]
        self, images: Tensor, targets: list[DetectionTarget], proposals: list[Tensor]
    ) -> dict[str, Tensor]:
        """``classes``: cross-entropy; ``boxes``: smooth L1 of the positives' own class (equations 1 to 3, lambda 1).
        Both are means over all proposals that were drawn."""
        drawn = [self.draw(target, boxes) for target, boxes in zip(targets, proposals, strict=True)]
        logits, deltas = self(images, [boxes for boxes, _, _ in drawn])
        classes = torch.cat([found for _, found, _ in drawn])
        goals = torch.cat([found for _, _, found in drawn])
        count = max(1, len(classes))
        positive = classes > 0
        own = deltas[positive, classes[positive] - 1].float()
        return {
            "classes": F.cross_entropy(logits.float(), classes, reduction="sum") / count,
            "boxes": F.smooth_l1_loss(own, goals[positive], reduction="sum") / count,
        }

    @torch.no_grad()
    def draw(self, target: DetectionTarget, proposals: Tensor) -> RoiSample:
        """At most ``batch_size_per_image`` proposals (P, 4) of one image with what they should answer: at most
        ``positive_share`` of them positives, the rest negatives; fewer where there are too few."""
        instances, names, crowd = split_crowd(target)
        boxes = torch.cat([instances, proposals.to(instances)])
        overlaps = torch.cat([box_iou(boxes, instances), boxes.new_zeros(len(boxes), 1)], dim=1)  # a column for "none"
        best, which = overlaps.max(dim=1)
        positive = torch.nonzero(best >= self.positive_from).flatten()
        between = (best < self.positive_from) & (best >= self.negative_from)
        negative = torch.nonzero(between & (measure_share_within(boxes, crowd) < IN_CROWD)).flatten()
        positive = _some(positive, round(self.batch_size_per_image * self.positive_share))
        negative = _some(negative, self.batch_size_per_image - len(positive))
        chosen = torch.cat([positive, negative])
        classes = torch.zeros(len(chosen), dtype=torch.int64, device=boxes.device)
        classes[: len(positive)] = names[which[positive]]
        deltas = boxes.new_zeros(len(chosen), 4)
        exact = encode_deltas(boxes[positive], instances[which[positive]])
        deltas[: len(positive)] = (exact - self.delta_mean) / self.delta_std
        return boxes[chosen], classes, deltas

    def find(self, images: Tensor, proposals: list[Tensor] | None = None) -> list[Detections]:
        """As of every net; ``proposals``, float (K, 4) for each image, are needed."""
        if proposals is None:
            raise ValueError("Fast R-CNN finds no proposals itself; give float (K, 4) boxes for each image")
        return self.decode(self(images, proposals), proposals, (images.shape[2], images.shape[3]))

    @torch.no_grad()
    def decode(  # type: ignore[override]
        self, outputs: tuple[Tensor, ...], proposals: list[Tensor], frame_hw: tuple[int, int]
    ) -> list[Detections]:
        """Logits (R, classes) and deltas (R, classes - 1, 4) -> finds. Each proposal may be found as several classes,
        with a box of its own for each, as in the paper."""
        counts = [boxes.shape[0] for boxes in proposals]  # not len(), which export takes for a constant
        scores = torch.softmax(outputs[0].float(), dim=1)[:, 1:].split(counts)
        deltas = (outputs[1].float() * self.delta_std + self.delta_mean).split(counts)
        return [self._select_detections(*one, frame_hw) for one in zip(scores, deltas, proposals, strict=True)]

    def _select_detections(
        self, scores: Tensor, deltas: Tensor, proposals: Tensor, frame_hw: tuple[int, int]
    ) -> Detections:
        boxes = clip_boxes_to_image(decode_deltas(proposals[:, None], deltas), frame_hw)  # (K, classes - 1, 4)
        real = (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
        row, column = torch.where((scores >= self.score_thresh) & real)
        boxes, found = boxes[row, column], scores[row, column]
        kept = nms_by_class(boxes, found, column, self.nms_thresh, self.classes - 1)[: self.detections_per_img]
        return Detections(boxes[kept], found[kept], column[kept] + 1)


def _some(indices: Tensor, most: int) -> Tensor:
    """At most ``most`` of them, drawn."""
    return indices[torch.randperm(len(indices), device=indices.device)[:most]]


def build_vgg_fast_rcnn(
    classes: int, in_channels: int = 3, pretrained: bool = False, width: int = 64, fc_width: int = 4096,
    norm: bool = False, dropout: float = 0.5,
) -> FastRCNN:  # fmt: skip
    """The paper's. ``pretrained``: convolutions, fc6 and fc7 from ImageNet (widths 64 and 4096, 3 channels)."""
    body = VggFeatures(in_channels, width, norm)
    net = FastRCNN(body, classes, in_channels, fc_width, dropout=dropout)
    if pretrained:
        vgg.load_imagenet_head(vgg.load_imagenet(body.stages), net.fc6, net.fc7)
    return net


def build_encoder_fast_rcnn(
    encoder: Encoder, classes: int, in_channels: int = 3, fc_width: int = 1024, dropout: float = 0.5
) -> FastRCNN:
    """Any encoder (best with output_stride=16, as the paper's VGG). Its norms learn along, unlike VGG-16's none."""
    return FastRCNN(EncoderFeatures(encoder), classes, in_channels, fc_width, dropout=dropout)
