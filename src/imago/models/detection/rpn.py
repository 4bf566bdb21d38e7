"""The region proposal network (Ren, He, Girshick and Sun 2015, arXiv:1506.01497, section 3.1).

At each place of each map it scores some anchors, boxes of fixed sizes and ratios, and says how to move them; the best
ones that do not overlap are the proposals. Head, anchors, matching and sampling are torchvision's parts.
Differs from the paper, as torchvision does: anchors that reach out of the image take part in the training, all
proposals that are larger than a thousandth of a pixel count (the paper: 16 pixels), and smooth L1 ends at 1/9.
Crowd regions: an anchor that lies in one by half or more and fits no object is neither object nor background.
Where some classes were not annotated, what fits no object may be one: such pictures have objects and no background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import box_iou, clip_boxes_to_image

from imago.models.detection.base import DetectionTarget
from imago.models.detection.crowd import ignore_crowd, split_crowd
from imago.models.detection.suppression import nms_by_class

RATIOS = (0.5, 1.0, 2.0)  # height : width of the anchors
LEAST_SIDE = 1e-3  # pixels
BETA = 1 / 9  # where smooth L1 goes from square to straight


@dataclass(frozen=True)
class ProposalLimits:
    """How many proposals go on: the best ``before`` of each map, and of these, without overlaps, ``after`` an image."""

    pre_nms_top_n: int
    post_nms_top_n: int
    nms_thresh: float = 0.7  # overlap past which the weaker of two goes


class RegionProposalNetwork(nn.Module):
    """``sizes``: for each map the sides of its anchors, pixels (square root of their area)."""

    def __init__(
        self,
        channels: int,
        sizes: Sequence[Sequence[float]],
        training_limits: ProposalLimits,
        limits: ProposalLimits,
        batch_size_per_image: int = 256,
    ) -> None:
        super().__init__()
        self.sizes = tuple(tuple(s) for s in sizes)
        generator = AnchorGenerator(self.sizes, (RATIOS,) * len(sizes))
        for level, cell in enumerate(generator.cell_anchors):
            self.register_buffer(f"cell{level}", cell, persistent=False)
        self.head = RPNHead(channels, generator.num_anchors_per_location()[0])
        self.coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
        self.matcher = Matcher(0.7, 0.3, allow_low_quality_matches=True)
        self.sampler = BalancedPositiveNegativeSampler(batch_size_per_image, 0.5)
        self.training_limits = training_limits
        self.limits = limits

    def forward(self, feature_maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """For each map: scores (N, A) and moves (N, A, 4) of its A anchors, place by place."""
        scores, box_deltas = self.head(feature_maps)
        flat_scores = [s.permute(0, 2, 3, 1).flatten(1).float() for s in scores]
        flat_deltas = [m.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3).float() for m in box_deltas]
        return flat_scores, flat_deltas

    def anchors(self, feature_maps: list[Tensor], frame_hw: tuple[int, int]) -> list[Tensor]:
        """For each map float32 (A, 4)."""
        found = []
        for level, features in enumerate(feature_maps):
            rows, columns = features.shape[-2:]
            # Not the map's stride: where a side is odd, torchvision's last map (and so its weights) steps by this.
            y = torch.arange(rows, device=features.device) * (frame_hw[0] // rows)
            x = torch.arange(columns, device=features.device) * (frame_hw[1] // columns)
            center_y, center_x = torch.meshgrid(y, x, indexing="ij")
            centers = torch.stack((center_x, center_y, center_x, center_y), dim=-1)  # (rows, columns, 4)
            found.append((centers[:, :, None] + self.get_buffer(f"cell{level}")).reshape(-1, 4))
        return found

    def propose(
        self,
        scores: list[Tensor],
        box_deltas: list[Tensor],
        anchors: list[Tensor],
        frame_hw: tuple[int, int],
        limits: ProposalLimits,
    ) -> Tensor:
        """float32 (P, 5): the images' proposals, one image after the other, each with the image's number first."""
        images = range(scores[0].shape[0])
        each = [
            self._propose([s[i] for s in scores], [m[i] for m in box_deltas], anchors, frame_hw, limits) for i in images
        ]
        return torch.cat([F.pad(boxes, (1, 0), value=float(i)) for i, boxes in zip(images, each, strict=True)])

    def _propose(
        self,
        scores: list[Tensor],
        box_deltas: list[Tensor],
        anchors: list[Tensor],
        frame_hw: tuple[int, int],
        limits: ProposalLimits,
    ) -> Tensor:
        boxes, chances, levels = [], [], []
        for level, (score, move, anchor) in enumerate(zip(scores, box_deltas, anchors, strict=True)):
            best = score.topk(torch.sym_min(limits.pre_nms_top_n, score.shape[0])).indices
            moved = self.coder.decode_single(move[best], anchor[best])
            boxes.append(clip_boxes_to_image(moved, frame_hw))
            chances.append(torch.sigmoid(score[best]))
            levels.append(torch.full_like(best, level))
        box, chance, group = torch.cat(boxes), torch.cat(chances), torch.cat(levels)
        large = torch.where((box[:, 2:] - box[:, :2]).amin(dim=1) >= LEAST_SIDE)[0]
        box, chance, group = box[large], chance[large], group[large]
        return box[nms_by_class(box, chance, group, limits.nms_thresh, len(scores))[: limits.post_nms_top_n]]

    def loss(
        self, scores: list[Tensor], box_deltas: list[Tensor], anchors: list[Tensor], targets: list[DetectionTarget]
    ) -> dict[str, Tensor]:
        """``rpn_objectness`` and ``rpn_box`` over a sample of anchors, half of them objects where there are so many; of
        what ``forward`` gave, and anchors (A, 4) for each map."""
        anchor = torch.cat(anchors)
        labels, wanted = [], []
        for target in targets:
            boxes, _, crowd = split_crowd(target)
            label, match = match_boxes(self.matcher, boxes, anchor)
            label = ignore_crowd(label.clamp(max=1), anchor, crowd)
            labels.append(torch.where(label == 0, -1, label) if target.unannotated else label)
            wanted.append(self.coder.encode_single(boxes[match], anchor) if len(boxes) else torch.zeros_like(anchor))
        objects, others = self.sampler(labels)
        is_object = torch.cat(objects) > 0
        sampled = is_object | (torch.cat(others) > 0)
        score = torch.cat(scores, dim=1).flatten()
        move = torch.cat(box_deltas, dim=1).flatten(0, 1)
        count = max(1, int(sampled.sum()))
        box = F.smooth_l1_loss(move[is_object], torch.cat(wanted)[is_object], beta=BETA, reduction="sum")
        objectness = F.binary_cross_entropy_with_logits(score[sampled], is_object[sampled].float(), reduction="sum")
        return {"rpn_objectness": objectness / count, "rpn_box": box / count}


def match_boxes(matcher: Matcher, objects: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """For each candidate (M, 4): int64 (M,) 1 where it fits an object, 0 where none, -1 where in between; and which
    object (0 where none)."""
    if not len(objects):
        nothing = torch.zeros(len(candidates), dtype=torch.int64, device=candidates.device)
        return nothing, nothing
    match = matcher(box_iou(objects, candidates))
    label = (match >= 0).to(torch.int64)
    label[match == Matcher.BETWEEN_THRESHOLDS] = -1
    return label, match.clamp(min=0)
