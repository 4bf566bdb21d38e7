"""Faster R-CNN (Ren, He, Girshick and Sun 2015, arXiv:1506.01497): proposals, then a class and a finer box for each.

Two forms. On VGG-16 as in the paper: one map of stride 16, anchors of 3 sizes x 3 ratios, RoI max pooling 7 x 7, two
fully connected layers of 4096 with dropout. On any encoder with a feature pyramid (Lin et al. 2017, arXiv:1612.03144)
in torchvision's form, whose published weights load: one anchor size a map, RoIAlign 7 x 7, two layers of 1024.

``forward`` gives the proposals float32 (P, 5) (number of the image, x1 y1 x2 y2), class logits (P, classes), moves
(P, 4 * classes), then the maps. ``loss`` has the terms rpn_objectness, rpn_box, class and box.
Pictures in which some classes were not annotated (``DetectionTarget.unannotated``): see ``class_loss`` and rpn.py.
Differs from the paper: both stages are trained at once (the paper's four steps in turn; its authors'
later code does so too); background has moves too, which nobody looks at (torchvision's form); and see
imago.models.detection.rpn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder, Matcher
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import clip_boxes_to_image

from imago.models import vgg
from imago.models.detection.base import DetectionModel, Detections, DetectionTarget
from imago.models.detection.crowd import ignore_crowd, split_crowd
from imago.models.detection.fpn import FeaturePyramid, VGGFeatures
from imago.models.detection.rpn import BETA, ProposalLimits, RegionProposalNetwork, match_boxes
from imago.models.detection.suppression import nms_by_class

SIDE = 7  # cells a side that a region is pooled to
LEAST_SIDE = 1e-2  # pixels; smaller boxes are no finds


@dataclass(frozen=True)
class SampledRois:
    """The regions that a training step looks at."""

    rois: Tensor  # float32 (R, 5)
    classes: Tensor  # int64 (R,), 0 is background
    boxes: Tensor  # float32 (R, 4): the object's, anything where there is none
    objects: Tensor  # int64 (R,): which object of its image


class FasterRCNN(DetectionModel):
    """``features`` gives maps and pools regions, ``rpn`` proposes, ``box_head`` makes a row of numbers of a region.

    ``batch_size_per_image``: regions an image and training step, a quarter of them objects where there are so many.
    """

    learns_partly = True

    def __init__(
        self, classes: int, in_channels: int, features: FeaturePyramid | VGGFeatures, rpn: RegionProposalNetwork,
        box_head: VGGHead | TwoMLPHead, batch_size_per_image: int,
    ) -> None:  # fmt: skip
        super().__init__(classes, in_channels)
        self.multiple = self.least = features.multiple
        self.features = features
        self.rpn = rpn
        self.box_head = box_head
        self.box_predictor = FastRCNNPredictor(box_head.fc7.out_features, classes)
        self.coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
        self.matcher = Matcher(0.5, 0.5, allow_low_quality_matches=False)
        self.sampler = BalancedPositiveNegativeSampler(batch_size_per_image, 0.25)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        frame_hw = (images.shape[2], images.shape[3])
        feature_maps = self.features(images)
        scores, box_deltas = self.rpn(feature_maps)
        rois = self.rpn.propose(scores, box_deltas, self.rpn.anchors(feature_maps, frame_hw), frame_hw, self.rpn.limits)
        return (rois, *self.predict_boxes(feature_maps, rois), *feature_maps)

    def predict_boxes(self, feature_maps: list[Tensor], rois: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (P, classes) and moves (P, 4 * classes) of regions."""
        logits, box_deltas = self.box_predictor(self.box_head(self.features.pool(feature_maps, rois, SIDE)))
        return logits.float(), box_deltas.float()

    def loss(self, images: Tensor, targets: list[DetectionTarget]) -> dict[str, Tensor]:
        self.check(images)
        self.check_targets(images, targets)
        frame_hw = (images.shape[2], images.shape[3])
        feature_maps = self.features(images)
        scores, box_deltas = self.rpn(feature_maps)
        anchors = self.rpn.anchors(feature_maps, frame_hw)
        terms = self.rpn.loss(scores, box_deltas, anchors, targets)
        with torch.no_grad():
            rois = self.rpn.propose(scores, box_deltas, anchors, frame_hw, self.rpn.training_limits)
            sampled = self.sample(rois, targets)
        logits, roi_deltas = self.predict_boxes(feature_maps, sampled.rois)
        terms |= {"class": self.class_loss(logits, sampled, targets), "box": self.box_loss(roi_deltas, sampled)}
        return terms | self.mask_loss(feature_maps, sampled, targets)

    def check_targets(self, images: Tensor, targets: list[DetectionTarget]) -> None:
        """Raises ValueError where ``targets`` of ``images`` (N, C, H, W) cannot be learnt from."""
        if len(targets) != len(images):
            raise ValueError(f"expected a target an image, {len(images)} of them; got {len(targets)}")
        for number, target in enumerate(targets):
            flat = (target.boxes[:, 2:] <= target.boxes[:, :2]).any(dim=1)
            if flat.any():
                box = target.boxes[flat][0].tolist()
                raise ValueError(f"image {number} of the batch has a box without area, {box}; leave such boxes out")

    def sample(self, rois: Tensor, targets: list[DetectionTarget]) -> SampledRois:
        """Proposals (P, 5) and the objects' own boxes, matched with the objects; a sample of them."""
        parts = []
        for number, target in enumerate(targets):
            boxes, names, crowd = split_crowd(target)
            candidates = torch.cat([rois[rois[:, 0] == number, 1:], boxes])
            label, match = match_boxes(self.matcher, boxes, candidates)
            label = ignore_crowd(label, candidates, crowd)
            objects, others = self.sampler([label])
            chosen = torch.where((objects[0] > 0) | (others[0] > 0))[0]
            label, match, candidates = label[chosen], match[chosen], candidates[chosen]
            parts.append(
                SampledRois(
                    F.pad(candidates, (1, 0), value=float(number)),
                    label * names[match] if len(boxes) else label,
                    boxes[match] if len(boxes) else candidates,
                    match,
                )
            )
        return SampledRois(
            torch.cat([p.rois for p in parts]), torch.cat([p.classes for p in parts]),
            torch.cat([p.boxes for p in parts]), torch.cat([p.objects for p in parts]),
        )  # fmt: skip

    def class_loss(self, logits: Tensor, sampled: SampledRois, targets: list[DetectionTarget]) -> Tensor:
        """Cross-entropy of logits (R, classes). What fits no object of a picture is background, or of a class that was
        not annotated there: the chances of both are added up, so that nothing is taught of one against the other."""
        count = max(1, len(logits))
        if not any(target.unannotated for target in targets):
            return F.cross_entropy(logits, sampled.classes, reduction="sum") / count
        possible = torch.zeros(len(targets), self.classes, dtype=torch.bool, device=logits.device)
        possible[:, 0] = True
        for number, target in enumerate(targets):
            possible[number, list(target.unannotated)] = True
        chances = logits.log_softmax(dim=1)
        none = chances.masked_fill(~possible[sampled.rois[:, 0].long()], -torch.inf).logsumexp(dim=1)
        own = chances.gather(1, sampled.classes[:, None])[:, 0]
        return -torch.where(sampled.classes > 0, own, none).sum() / count

    def box_loss(self, box_deltas: Tensor, sampled: SampledRois) -> Tensor:
        """Of moves (R, 4 * classes), over objects, each with the moves of its own class."""
        found = torch.where(sampled.classes > 0)[0]
        own = box_deltas.unflatten(1, (-1, 4))[found, sampled.classes[found]]
        wanted = self.coder.encode_single(sampled.boxes[found], sampled.rois[found, 1:])
        return F.smooth_l1_loss(own, wanted, beta=BETA, reduction="sum") / max(1, len(sampled.classes))

    def mask_loss(
        self, feature_maps: list[Tensor], sampled: SampledRois, targets: list[DetectionTarget]
    ) -> dict[str, Tensor]:
        """Mask R-CNN's term, of maps (N, channels, h, w); none here."""
        return {}

    def decode(self, outputs: tuple[Tensor, ...], frame_hw: tuple[int, int]) -> list[Detections]:
        rois, logits, box_deltas, *feature_maps = outputs
        found = []
        for number in range(feature_maps[0].shape[0]):
            own = torch.where(rois[:, 0] == number)[0]
            boxes, scores, classes = self.select_detections(rois[own, 1:], logits[own], box_deltas[own], frame_hw)
            found.append(Detections(boxes, scores, classes, self.predict_masks(feature_maps, boxes, classes, number)))
        return found

    def select_detections(
        self, rois: Tensor, logits: Tensor, box_deltas: Tensor, frame_hw: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (K, 4), scores (K,) and classes (K,) of one image. A region may be found as several classes."""
        boxes = self.coder.decode_single(box_deltas, rois).unflatten(1, (-1, 4))
        boxes = clip_boxes_to_image(boxes, frame_hw)[:, 1:]  # (P, classes - 1, 4), without the background
        scores = logits.softmax(dim=1)[:, 1:]
        large = (boxes[..., 2:] - boxes[..., :2]).amin(dim=2) >= LEAST_SIDE
        roi, kind = torch.where((scores > self.score_thresh) & large)
        box, score = boxes[roi, kind], scores[roi, kind]
        best = nms_by_class(box, score, kind, self.nms_thresh, self.classes - 1)[: self.detections_per_img]
        return box[best], score[best], kind[best] + 1

    def predict_masks(self, feature_maps: list[Tensor], boxes: Tensor, classes: Tensor, number: int) -> Tensor | None:
        """Mask R-CNN's answer, float32 (K, m, m), for the boxes (K, 4) of image ``number``; none here."""
        return None


class VGGHead(nn.Module):
    """fc6 and fc7 of VGG-16 over a pooled region (R, C, 7, 7) -> (R, ``fc_width``)."""

    def __init__(self, channels: int, fc_width: int) -> None:
        super().__init__()
        self.fc6 = nn.Linear(channels * SIDE * SIDE, fc_width)
        self.fc7 = nn.Linear(fc_width, fc_width)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(F.relu(self.fc6(x.flatten(1))))
        return self.dropout(F.relu(self.fc7(x)))


def build_vgg_faster_rcnn(
    classes: int, in_channels: int, width: int, norm: bool, fc_width: int, sizes: Sequence[float], proposals: int,
    batch_size_per_image: int, pretrained: bool,
) -> FasterRCNN:  # fmt: skip
    """The paper's net: 2,000 proposals in training and ``proposals`` in use, of 12,000 and 6,000 that are compared."""
    features = VGGFeatures(in_channels, width, norm)
    head = VGGHead(features.channels, fc_width)
    rpn = RegionProposalNetwork(
        features.channels, [sizes], ProposalLimits(12_000, 2000), ProposalLimits(6000, proposals)
    )
    if pretrained:
        vgg.load_imagenet_head(vgg.load_imagenet(features.stages), head.fc6, head.fc7)
    return FasterRCNN(classes, in_channels, features, rpn, head, batch_size_per_image)


def build_fpn_parts(
    features: FeaturePyramid, sizes: Sequence[float], proposals: int, fc_width: int
) -> tuple[RegionProposalNetwork, TwoMLPHead]:
    """The proposal network, one anchor size a map, and the head that torchvision puts on a pyramid."""
    if len(sizes) != len(features.strides) + 1:
        raise ValueError(f"a pyramid has {len(features.strides) + 1} maps and wants as many sizes; got {list(sizes)}")
    budgets = ProposalLimits(2 * proposals, 2 * proposals), ProposalLimits(proposals, proposals)
    rpn = RegionProposalNetwork(features.channels, [(size,) for size in sizes], *budgets)
    return rpn, TwoMLPHead(features.channels * SIDE * SIDE, fc_width)


def build_fpn_faster_rcnn(
    classes: int, in_channels: int, features: FeaturePyramid, fc_width: int, sizes: Sequence[float], proposals: int,
    batch_size_per_image: int,
) -> FasterRCNN:  # fmt: skip
    """torchvision's form. ``proposals``: in use; twice as many in training."""
    rpn, head = build_fpn_parts(features, sizes, proposals, fc_width)
    return FasterRCNN(classes, in_channels, features, rpn, head, batch_size_per_image)
