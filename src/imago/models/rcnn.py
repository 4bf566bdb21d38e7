"""R-CNN (Girshick, Donahue, Darrell and Malik 2014, arXiv:1311.2524): a CNN looks at each proposal by itself.

Proposals of selective search are warped to a square with some of their surroundings; a CNN makes features of each; a
linear SVM a class scores them; the boxes are corrected by a regressor a class. It is trained in stages, which are
imago.training.rcnn: ``loss`` and ``decode`` of other nets have no meaning here, so this is no ``ThingNet``.
``forward(crops)``: float (N, C, S, S) -> features (N, D) that the SVMs see, and places (N, P) that the regressors see.

The CNN is VGG-16 or AlexNet (fc7 of 4096, and pool5), or any encoder: features are the means of its last map, and
places the same map averaged to 3 x 3, for a mean alone does not say where in the crop the thing lies.
Differs from the paper:
- AlexNet is torchvision's (Krizhevsky 2014, "one weird trick"), without the first form's groups and normalisation;
- crops are divided by ImageNet's spread too, not only freed from its mean;
- a box is corrected before the non-maximum suppression, so that what remains is what was compared;
- scores are the SVM's margins through a sigmoid: they lie in 0..1 and keep their order; the SVM's own border is 0.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from imago.core import boxes as boxes_
from imago.core.errors import ModelError
from imago.core.instances import Instances
from imago.core.spec import InputSpec
from imago.models import vgg
from imago.models.box_deltas import moved_by
from imago.models.encoders import Encoder, build_encoder
from imago.models.pretrained import fetching

PADDING = 16  # pixels of surroundings at each side of a crop of 227 (appendix A)


class VggBody(nn.Module):
    """VGG-16 with fc6 and fc7, for crops of one size."""

    def __init__(self, crop: int, in_channels: int = 3, width: int = 64, fc_width: int = 4096) -> None:
        super().__init__()
        if crop < 32:
            raise ModelError(f"VGG-16 halves its input five times; crops must be 32 pixels or more, got {crop}")
        self.stages = vgg.vgg16_stages(in_channels, width)
        self.features, self.places = fc_width, vgg.stage_channels(width)[-1] * (crop // 32) ** 2
        self.fc6 = nn.Linear(self.places, fc_width)
        self.fc7 = nn.Linear(fc_width, fc_width)
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def load_imagenet(self) -> None:
        """For crops of 224 to 255 pixels, whose pool5 is the 7 x 7 that the published fc6 wants."""
        published: Any = vgg.load_imagenet(self.stages)
        for own, other in ((self.fc6, published.pre_logits.fc1), (self.fc7, published.pre_logits.fc2)):
            own.weight.data.copy_(other.weight.flatten(1))  # timm has them as convolutions of 7 x 7 and 1 x 1
            own.bias.data.copy_(other.bias)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        x = crops
        for stage in self.stages:
            x = F.max_pool2d(stage(x), 2)
        pool5 = x.flatten(1)
        x = F.dropout(F.relu(self.fc6(pool5)), 0.5, self.training)
        return F.dropout(F.relu(self.fc7(x)), 0.5, self.training), pool5


class AlexBody(nn.Module):
    """torchvision's AlexNet without its last layer: (N, 3, 227, 227) -> (N, 4096) and (N, 9216)."""

    def __init__(self, pretrained: bool = False) -> None:
        super().__init__()
        net = torchvision.models.alexnet(weights="IMAGENET1K_V1" if pretrained else None)
        self.net = nn.Sequential(net.features, net.avgpool)
        self.fc = net.classifier[:-1]  # dropout, fc6, ReLU, dropout, fc7, ReLU
        self.features, self.places = 4096, 256 * 6 * 6

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        pool5 = self.net(crops).flatten(1)
        return self.fc(pool5), pool5


class EncoderBody(nn.Module):
    """The last map of an encoder: its mean, and its means in nine parts."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.features, self.places = encoder.channels[-1], encoder.channels[-1] * 9

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        last = self.encoder(crops)[-1]
        return last.mean(dim=(2, 3)), F.adaptive_avg_pool2d(last, 3).flatten(1)


class RCNN(nn.Module):
    """A body and what the stages put behind it. ``softmax`` is needed for fine-tuning alone."""

    def __init__(self, body: VggBody | AlexBody | EncoderBody, classes: int) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes counts the background and is 2 or more; got {classes}")
        self.body = body
        self.classes = classes
        self.softmax = nn.Linear(body.features, classes)
        self.svm = nn.Linear(body.features, classes - 1)
        self.boxes = nn.Linear(body.places, (classes - 1) * 4)
        nn.init.normal_(self.softmax.weight, std=0.01)
        for layer in (self.softmax, self.svm, self.boxes):
            nn.init.zeros_(layer.bias)
        for layer in (self.svm, self.boxes):  # these two are solved for, not learned
            nn.init.zeros_(layer.weight)
        self.score = 0.05  # least score of what is found
        self.iou = 0.3  # overlap past which the weaker of two boxes of a class goes
        self.most = 100  # objects an image

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        return self.body(crops)


def build_rcnn(
    classes: int, encoder: str = "vgg16", pretrained: bool = False, crop: int = 227, width: int = 64,
    fc_width: int = 4096,
) -> RCNN:  # fmt: skip
    """``encoder``: vgg16 (``width`` and ``fc_width`` count), alexnet (``crop`` is 227), or any of encoders.py.

    Raises ModelError; WeightsUnavailable where published weights are asked for and not to be had.
    """
    body: VggBody | AlexBody | EncoderBody
    if encoder == "vgg16":
        body = VggBody(crop, width=width, fc_width=fc_width)
        if pretrained:
            if (crop // 32, width, fc_width) != (7, 64, 4096):
                raise ModelError("published VGG-16 weights need crop=227 (224 to 255), width=64 and fc_width=4096")
            body.load_imagenet()
    elif encoder == "alexnet":
        if crop != 227:
            raise ModelError(f"alexnet takes crops of 227 pixels; got {crop}")
        if pretrained:
            with fetching("alexnet"):
                body = AlexBody(pretrained=True)
        else:
            body = AlexBody()
    else:
        body = EncoderBody(build_encoder(encoder, 3, pretrained))
    return RCNN(body, classes)


def with_surroundings(boxes: np.ndarray, crop: int, padding: int) -> np.ndarray:
    """float (K, 4): boxes so enlarged that, warped to ``crop`` pixels, each has ``padding`` pixels around it."""
    if not 0 <= 2 * padding < crop:
        raise ValueError(f"padding must leave room in a crop of {crop} pixels; got {padding} at each side")
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * (crop / (crop - 2 * padding))
    return np.concatenate([centre - half, centre + half], axis=1)


def warp_crop(image: np.ndarray, region: np.ndarray, crop: int, spec: InputSpec, mirror: bool = False) -> np.ndarray:
    """The region x1 y1 x2 y2 of a uint8 (H, W, 3) image, stretched to uint8 (crop, crop, 3), bilinear; what lies
    outside of the image is the mean colour. ``mirror``: left and right change places."""
    x1, y1, x2, y2 = (float(value) for value in region)
    step_x, step_y = (x2 - x1) / crop, (y2 - y1) / crop
    if mirror:
        x1, step_x = x2, -step_x
    # Pixel i has its centre at i + 0.5, of the crop as of the image; OpenCV counts from centre to centre.
    matrix = np.array([[step_x, 0, x1 + 0.5 * step_x - 0.5], [0, step_y, y1 + 0.5 * step_y - 0.5]], np.float64)
    mean = tuple(round(255 * value) for value in spec.mean)
    return cv2.warpAffine(
        image, matrix, (crop, crop), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT,
        borderValue=mean,
    )  # fmt: skip


def crops_of(image: np.ndarray, boxes: np.ndarray, spec: InputSpec, padding: int) -> np.ndarray:
    """float32 (K, 3, S, S), normalised: what the CNN is shown for each box. S is the spec's size."""
    crop = spec.size_hw[0]
    regions = with_surroundings(boxes, crop, padding)
    made = [spec.normalise(warp_crop(image, region, crop, spec)) for region in regions]
    return np.stack(made) if made else np.zeros((0, 3, crop, crop), np.float32)


@torch.no_grad()
def features_of(
    net: RCNN, image: np.ndarray, boxes: np.ndarray, spec: InputSpec, padding: int, batch: int = 64
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features and places of the boxes, ``batch`` of them at a time, on the net's device."""
    net.eval()
    device = next(net.parameters()).device
    for start in range(0, len(boxes), batch):
        crops = crops_of(image, boxes[start : start + batch], spec, padding)
        yield net(torch.from_numpy(crops).to(device))


@torch.no_grad()
def find_things(
    net: RCNN, image: np.ndarray, proposals: np.ndarray, spec: InputSpec, padding: int = PADDING, batch: int = 64
) -> Instances:
    """uint8 (H, W, 3) and float32 (K, 4) proposals in its pixels -> what is there, the best score first, with boxes."""
    size_hw = (image.shape[0], image.shape[1])
    scores, deltas = [], []
    for features, places in features_of(net, image, proposals, spec, padding, batch):
        scores.append(torch.sigmoid(net.svm(features)).cpu())
        deltas.append(net.boxes(places).unflatten(1, (net.classes - 1, 4)).cpu())
    if not scores:
        return Instances.make(size_hw)
    score = torch.cat(scores).numpy()  # (K, classes - 1)
    moved = moved_by(torch.from_numpy(proposals).float()[:, None], torch.cat(deltas)).numpy()
    row, column = np.nonzero(score >= net.score)
    boxes = boxes_.clip(moved[row, column], size_hw)
    real = boxes_.area(boxes) > 0
    boxes, found, classes = boxes[real], score[row, column][real], column[real] + 1
    kept = boxes_.nms_by_class(boxes, found, classes, net.iou)[: net.most]
    return Instances.make(size_hw, boxes[kept], classes[kept], found[kept])
