"""What every semantic net shares: three calls that never change the type of their answer.

A net that is a ``SegmentationNet`` gives

- ``forward(images)``: float (N, C, H, W) -> tuple of logits, each (N, K, H, W) at the size of the input; the first is
  the answer, the others are side or auxiliary outputs that only the loss looks at;
- ``loss(images, target)``: named terms, each a scalar, to be added up;
- ``decode(outputs)``: probabilities float32 (N, K, H, W) of the first output.

K is 1 for a binary net (sigmoid), else the number of classes (softmax). A net with ``distance`` has one channel more,
the last, with a sigmoid of its own: the distance map of ``imago.data.borders``.
Example: ``UNet(classes=1)`` and an input (2, 3, 64, 64) give a tuple of one tensor (2, 1, 64, 64).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from imago.losses.distance import distance_entropy
from imago.losses.target import Criterion, Target

__all__ = ["Criterion", "SegmentationNet", "Target"]


class ImageModel(nn.Module):
    """Base of all nets: which images they take."""

    multiple: int = 1  # sides of the input must be multiples of this (1: any size)
    least: int = 1  # and at least this, pixels

    def __init__(self, classes: int, in_channels: int) -> None:
        super().__init__()
        self.classes = classes
        self.in_channels = in_channels

    def check(self, images: Tensor) -> None:
        """Raises ValueError where the net cannot take ``images``, which should be float (N, C, H, W). Export passes by:
        its sizes are symbols."""
        if torch.compiler.is_compiling():
            return
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(f"images must be (N, {self.in_channels}, H, W); got {tuple(images.shape)}")
        height, width = images.shape[-2:]
        if min(height, width) < self.least:
            raise ValueError(f"images are {height} x {width}; this net needs at least {self.least} pixels a side")
        if height % self.multiple or width % self.multiple:
            up = [-(-side // self.multiple) * self.multiple for side in (height, width)]
            raise ValueError(
                f"images are {height} x {width}; this net needs multiples of {self.multiple}. Pad to {up[0]} x {up[1]}"
            )


class SegmentationNet(ImageModel):
    """Base of the semantic nets. A subclass sets ``multiple``, ``side_weights`` and writes ``forward``. The head of
    this file says what its calls take and give, (N, C, H, W) to (N, K, H, W)."""

    distance: bool = False  # whether the last channel is a distance map and no class; set by ``catalog.build``

    def __init__(self, classes: int, in_channels: int) -> None:
        if classes < 1 or in_channels < 1:
            raise ValueError(f"classes and in_channels must be 1 or more; got {classes} and {in_channels}")
        super().__init__(classes, in_channels)
        self.side_weights: tuple[float, ...] = (1.0,)  # one an output of forward
        self.criterion: Criterion | None = None  # set by the training

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """float (N, C, H, W) -> logits (N, K, H, W) each, the answer first."""
        raise NotImplementedError

    def loss(self, images: Tensor, target: Target) -> dict[str, Tensor]:
        """Named terms: ``main``, and ``side1`` ... where the net has more outputs."""
        outputs = self(images)
        names = ["main"] + [f"side{i}" for i in range(1, len(outputs))]
        return {
            name: weight * self.judge(output.float(), target)
            for name, weight, output in zip(names, self.side_weights, outputs, strict=True)
        }

    def judge(self, logits: Tensor, target: Target) -> Tensor:
        """The criterion's word on one output, and that of the distance map where the target has one. Scalar."""
        if self.criterion is None:
            raise RuntimeError("set net.criterion (see imago.losses.build) before asking for a loss")
        if not self.distance:
            return self.criterion(logits, target)
        labels, distance = logits[:, : self.classes], logits[:, self.classes :]
        total = self.criterion(labels, target)
        return total if target.distance is None else total + distance_entropy(distance, target)

    def decode(self, outputs: tuple[Tensor, ...]) -> Tensor:
        """What ``forward`` gave -> float32 (N, K, H, W), 0..1."""
        logits = outputs[0].float()
        if self.distance:
            labels, distance = logits[:, : self.classes], logits[:, self.classes :]
            return torch.cat([torch.softmax(labels, dim=1), torch.sigmoid(distance)], dim=1)
        return torch.sigmoid(logits) if self.classes == 1 else torch.softmax(logits, dim=1)
