"""What every net that finds objects shares: three calls that never change the type of their answer.

A net that is a ``DetectionModel`` gives

- ``forward(images)``: float (N, C, H, W) -> its raw outputs, a tuple of tensors as the net's own file says;
- ``loss(images, targets)``: named terms, each a scalar, to be added up;
- ``decode(outputs, frame_hw)``: ``Found`` for each image, in network pixels, after thresholds and non-maximum
  suppression; ``frame_hw`` is the size of the images that ``forward`` saw.

``find`` is the last two in one. A net that ``wants_proposals`` does not look for places by itself: all its calls take a
list of boxes more, float32 (K, 4) for each image (see fast_rcnn.py and rcnn.py).

Classes are those of ``Labels``: 0 is the background, objects are 1 .. ``classes - 1``. Thresholds are attributes of the
net (``score_thresh`` and so on), so that export can write them into the graph. A net's images come normalised by its
``InputSpec`` (ImageNet's mean and spread where it says nothing else); a published net that wants another scale (YOLO:
0..1) undoes that in its first module.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from imago.models.base import ImageModel


@dataclass(frozen=True)
class DetectionTarget:
    """The objects of one training picture, in network pixels."""

    boxes: Tensor  # float32 (K, 4) x1 y1 x2 y2
    classes: Tensor  # int64 (K,), 1 and more
    masks: Tensor | None = None  # uint8 (K, H, W), 0 or 1
    crowd: Tensor | None = None  # bool (K,): regions that are neither object nor background
    unannotated: tuple[int, ...] = ()  # classes that nobody marked in this picture, though they may be there


@dataclass(frozen=True)
class Detections:
    """What a net found in one image, the best score first."""

    boxes: Tensor  # float32 (K, 4) x1 y1 x2 y2, network pixels
    scores: Tensor  # float32 (K,), 0..1
    classes: Tensor  # int64 (K,), 1 and more
    masks: Tensor | None = None  # float32 (K, m, m), 0..1: what lies in each box, stretched to a square


class DetectionModel(ImageModel):
    """Base of the nets that find objects. A subclass sets ``multiple`` and writes the three calls."""

    has_masks: bool = False
    wants_proposals: bool = False  # of selective search
    learns_partly: bool = False  # whether ``loss`` minds a target's ``unannotated`` classes
    crop: int = 0  # side in pixels of the crops that it looks at, one for each proposal; 0: it looks at whole images

    def __init__(self, classes: int, in_channels: int) -> None:
        if classes < 2 or in_channels < 1:
            raise ValueError(
                f"classes counts the background and is 2 or more, in_channels 1 or more; got {classes}, {in_channels}"
            )
        super().__init__(classes, in_channels)
        self.score_thresh = 0.05  # least score of what is found
        self.nms_thresh = 0.5  # overlap past which the weaker of two boxes goes
        self.detections_per_img = 100  # objects an image

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """float (N, C, H, W) -> the raw outputs."""
        raise NotImplementedError

    def loss(self, images: Tensor, targets: list[DetectionTarget]) -> dict[str, Tensor]:
        """Named terms, each a scalar, for images float (N, C, H, W) and as many targets."""
        raise NotImplementedError

    def decode(self, outputs: tuple[Tensor, ...], frame_hw: tuple[int, int]) -> list[Detections]:
        """What ``forward`` gave for images (N, C, H, W) of ``frame_hw`` -> N answers."""
        raise NotImplementedError

    def find(self, images: Tensor, proposals: list[Tensor] | None = None) -> list[Detections]:
        """What is in ``images``, float (N, C, H, W); ``proposals``, float32 (K, 4) each, in network pixels, for nets
        that want them."""
        return self.decode(self(images), (images.shape[2], images.shape[3]))
