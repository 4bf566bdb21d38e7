"""R-CNN (Girshick, Donahue, Darrell and Malik 2014, arXiv:1311.2524): a CNN looks at each proposal by itself.

Proposals of selective search are warped to a square with some of their surroundings (imago.data.crops); a CNN makes
features of each; a linear SVM a class scores them; the boxes are corrected by a regressor a class. So its "images" are
crops, float (N, 3, S, S), and its proposals, float32 (N, 4) in pixels of the photo, are what these were cut at:

- ``describe(crops)``: features (N, D) that the SVMs see, and places (N, P) that the regressors see;
- ``forward(crops)``: margins (N, classes - 1) of the SVMs, and box deltas (N, classes - 1, 4) of the regressors;
- ``loss(crops, classes)``: the softmax that the CNN is fine-tuned by. SVMs and regressors are solved for afterwards, in
  stages of their own (imago.training.tasks.rcnn);
- ``decode(outputs, proposals)``: what scores enough, each in its corrected box. A photo's crops come in several
  batches, so the non-maximum suppression over all of them comes last (imago.inference.detection).

The CNN is VGG-16 or AlexNet (fc7 of 4096, and pool5), or any encoder: features are the means of its last map, and
places the same map averaged to 3 x 3, for a mean alone does not say where in the crop the object lies.
Differs from the paper:
- AlexNet is torchvision's (Krizhevsky 2014, "one weird trick"), without the first form's groups and normalisation;
- crops are divided by ImageNet's spread too, not only freed from its mean;
- a box is corrected before the non-maximum suppression, so that what remains is what was compared;
- scores are the SVM's margins through a sigmoid: they lie in 0..1 and keep their order (see training/rcnn/solve.py).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from imago.models import vgg
from imago.models.detection.base import DetectionModel, Detections
from imago.models.detection.box_deltas import decode_deltas
from imago.models.encoders import Encoder, build_encoder
from imago.models.pretrained import fetching

NEVER = -10.0  # the margin of a class that is never found: a score of 0.00005


class VggBody(nn.Module):
    """VGG-16 with fc6 and fc7, for crops of one size."""

    def __init__(self, crop: int, width: int = 64, fc_width: int = 4096) -> None:
        super().__init__()
        if crop < 32:
            raise ValueError(f"VGG-16 halves its input five times; crops must be 32 pixels or more, got {crop}")
        self.stages = vgg.vgg16_stages(3, width)
        self.features, self.pool5_width = fc_width, vgg.stage_channels(width)[-1] * (crop // 32) ** 2
        self.fc6 = nn.Linear(self.pool5_width, fc_width)
        self.fc7 = nn.Linear(fc_width, fc_width)
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def load_imagenet(self) -> None:
        """For crops of 224 to 255 pixels, whose pool5 is the 7 x 7 that the published fc6 wants."""
        vgg.load_imagenet_head(vgg.load_imagenet(self.stages), self.fc6, self.fc7)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, crop, crop) -> features (N, ``features``) and pool5 (N, ``pool5_width``)."""
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
        self.features, self.pool5_width = 4096, 256 * 6 * 6

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        pool5 = self.net(crops).flatten(1)
        return self.fc(pool5), pool5


class EncoderBody(nn.Module):
    """The last map of an encoder: its mean, and its means in nine parts."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.features, self.pool5_width = encoder.channels[-1], encoder.channels[-1] * 9

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, crop, crop) -> features (N, ``features``) and pool5 (N, ``pool5_width``)."""
        last = self.encoder(crops)[-1]
        return last.mean(dim=(2, 3)), F.adaptive_avg_pool2d(last, 3).flatten(1)


class RCNN(DetectionModel):
    """A body and what the stages put behind it. ``softmax`` is needed for fine-tuning alone; ``svm`` and ``boxes`` are
    solved for, and find nothing before. ``crop``: side of the crops, pixels."""

    wants_proposals = True

    def __init__(self, body: VggBody | AlexBody | EncoderBody, classes: int, crop: int) -> None:
        super().__init__(classes, in_channels=3)
        self.body = body
        self.crop = crop
        self.softmax = nn.Linear(body.features, classes)
        self.svm = nn.Linear(body.features, classes - 1)
        self.boxes = nn.Linear(body.pool5_width, (classes - 1) * 4)
        nn.init.normal_(self.softmax.weight, std=0.01)
        nn.init.zeros_(self.softmax.bias)
        for layer in (self.svm, self.boxes):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
            layer.requires_grad_(False)
        nn.init.constant_(self.svm.bias, NEVER)
        self.nms_thresh = 0.3

    def check(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1:] != (3, self.crop, self.crop):
            raise ValueError(f"crops must be (N, 3, {self.crop}, {self.crop}); got {tuple(images.shape)}")

    def extract_features(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Crops (N, 3, crop, crop) -> features (N, F) and pool5 (N, P)."""
        self.check(crops)
        return self.body(crops)

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """Crops (N, 3, crop, crop) -> margins (N, classes - 1) and deltas (N, classes - 1, 4)."""
        features, pool5 = self.extract_features(crops)
        return self.svm(features), self.boxes(pool5).unflatten(1, (self.classes - 1, 4))

    def loss(self, crops: Tensor, classes: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """``classes``: int64 (N,), 0 is the background."""
        return {"softmax": F.cross_entropy(self.softmax(self.extract_features(crops)[0]).float(), classes)}

    def find(self, images: Tensor, proposals: list[Tensor] | None = None) -> list[Detections]:
        """``images``: crops of one photo; ``proposals``: a list with the boxes, float (N, 4), that they were cut at."""
        if proposals is None or len(proposals) != 1:
            raise ValueError("R-CNN looks at crops of one photo at a time; give a list with their float (N, 4) boxes")
        return [self.decode(self(images), proposals[0])]

    @torch.no_grad()
    def decode(self, outputs: tuple[Tensor, ...], proposals: Tensor) -> Detections:  # type: ignore[override]
        """For proposals (N, 4), in the order of the crops; each may be found as several classes. Boxes may reach out of
        the photo."""
        scores = torch.sigmoid(outputs[0].float())
        moved = decode_deltas(proposals[:, None], outputs[1].float())  # (N, classes - 1, 4)
        row, column = torch.where(scores >= self.score_thresh)
        return Detections(moved[row, column], scores[row, column], column + 1)


def build_rcnn(
    classes: int, encoder: str = "vgg16", pretrained: bool = False, crop: int = 227, width: int = 64,
    fc_width: int = 4096,
) -> RCNN:  # fmt: skip
    """``encoder``: vgg16 (``width`` and ``fc_width`` count), alexnet (``crop`` is 227), or any of encoders.py.

    Raises ValueError, ModelError; WeightsUnavailable where published weights are asked for and not to be had.
    """
    body: VggBody | AlexBody | EncoderBody
    if encoder == "vgg16":
        if pretrained and crop // 32 != 7:
            raise ValueError(f"published VGG-16 weights want crops of 224 to 255 pixels; got {crop}")
        body = VggBody(crop, width, fc_width)
        if pretrained:
            body.load_imagenet()
    elif encoder == "alexnet":
        if crop != 227:
            raise ValueError(f"alexnet takes crops of 227 pixels; got {crop}")
        if pretrained:
            with fetching("alexnet"):
                body = AlexBody(pretrained=True)
        else:
            body = AlexBody()
    else:
        body = EncoderBody(build_encoder(encoder, 3, pretrained))
    return RCNN(body, classes, crop)
