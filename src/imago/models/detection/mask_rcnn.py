"""Mask R-CNN (He, Gkioxari, Dollar and Girshick 2017, arXiv:1703.06870): Faster R-CNN, and a mask for each box.

The form is torchvision's, whose published weights load: feature pyramid, RoIAlign 14 x 14, four 3 x 3 convolutions, a
transposed one to 28 x 28, one mask a class of which the box's own counts (the paper's figure 4, right).
``forward`` is Faster R-CNN's; the masks are made in ``decode`` for the boxes that are found, ``loss`` has ``mask`` as a
fifth term: binary cross-entropy of each object's own class.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import roi_align

from imago.models.detection.base import DetectionTarget
from imago.models.detection.faster_rcnn import FasterRCNN, SampledRois, build_fpn_parts
from imago.models.detection.fpn import FeaturePyramid

MASK_SIDE = 14  # cells a side that a region is pooled to; the mask has twice as many


class SeparableMaskHead(nn.Sequential):
    """The mask head's convolutions, each a 3 x 3 one a channel and a 1 x 1 one (MobileNet, arXiv:1704.04861): an eighth
    of the multiplications, which are most of what a CPU does for a region."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        for before, width in zip((channels, *widths), widths, strict=False):
            self.append(nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False))
            self.append(nn.Conv2d(before, width, 1))
            self.append(nn.ReLU(inplace=True))


class MaskRCNN(FasterRCNN):
    """``mask_widths``: channels of the mask head's convolutions, 256 four times in the paper; ``separable``: each is
    parted into one of 3 x 3 a channel and one of 1 x 1."""

    has_masks = True

    def __init__(
        self, classes: int, in_channels: int, features: FeaturePyramid, fc_width: int, sizes: Sequence[float],
        proposals: int, batch_size_per_image: int, mask_widths: Sequence[int], separable: bool,
    ) -> None:  # fmt: skip
        if not mask_widths or min(mask_widths) < 1:
            raise ValueError(f"mask_widths are one or more channels, each 1 or more; got {list(mask_widths)}")
        rpn, head = build_fpn_parts(features, sizes, proposals, fc_width)
        super().__init__(classes, in_channels, features, rpn, head, batch_size_per_image)
        if separable:
            self.mask_head: nn.Module = SeparableMaskHead(features.channels, mask_widths)
        else:
            self.mask_head = MaskRCNNHeads(features.channels, list(mask_widths), dilation=1)
        self.mask_predictor = MaskRCNNPredictor(mask_widths[-1], mask_widths[-1], classes)

    def mask_logits(self, feature_maps: list[Tensor], rois: Tensor, classes: Tensor) -> Tensor:
        """(R, 28, 28): for regions (R, 5), of the class (R,) that each has."""
        logits = self.mask_predictor(self.mask_head(self.features.pool(feature_maps, rois, MASK_SIDE))).float()
        return logits[torch.arange(logits.shape[0], device=logits.device), classes]

    def check_targets(self, images: Tensor, targets: list[DetectionTarget]) -> None:
        super().check_targets(images, targets)
        for number, target in enumerate(targets):
            wanted = (len(target.boxes), *images.shape[-2:])
            if len(target.boxes) and (target.masks is None or tuple(target.masks.shape) != wanted):
                found = None if target.masks is None else tuple(target.masks.shape)
                raise ValueError(f"image {number} of the batch needs masks {wanted} to learn from; got {found}")

    def mask_loss(
        self, feature_maps: list[Tensor], sampled: SampledRois, targets: list[DetectionTarget]
    ) -> dict[str, Tensor]:
        found = torch.where(sampled.classes > 0)[0]
        rois = sampled.rois[found]
        logits = self.mask_logits(feature_maps, rois, sampled.classes[found])
        side = 2 * MASK_SIDE
        wanted = logits.new_zeros(len(found), side, side)
        for number, target in enumerate(targets):
            own = torch.where(rois[:, 0] == number)[0]
            if target.masks is None or not len(own):
                continue
            masks = target.masks if target.crowd is None else target.masks[~target.crowd]
            # Each region looks at its own object's mask: the masks are the batch that RoIAlign cuts from.
            places = torch.cat([sampled.objects[found[own], None].to(rois), rois[own, 1:]], dim=1)
            wanted[own] = roi_align(masks[:, None].to(rois), places, side, 1.0)[:, 0].to(wanted)
        cross = F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
        return {"mask": cross / max(1, wanted.numel())}

    def predict_masks(self, feature_maps: list[Tensor], boxes: Tensor, classes: Tensor, number: int) -> Tensor:
        return self.mask_logits(feature_maps, F.pad(boxes, (1, 0), value=float(number)), classes).sigmoid()
