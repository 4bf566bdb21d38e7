"""What FCN on a ResNet, DeepLab v3 and PSPNet share: scores of the encoder's last map, and an auxiliary head."""

from __future__ import annotations

from torch import Tensor, nn

from imago.models.base import SegmentationNet
from imago.models.blocks import fcn_head, resize_to
from imago.models.encoders import Encoder


class AuxiliaryNet(SegmentationNet):
    """A subclass sets ``encoder``, writes ``scores``, and calls ``add_auxiliary`` last. Any size of input."""

    encoder: Encoder
    aux: nn.Module | None

    def add_auxiliary(self, weight: float) -> None:
        """A head on the map before the last, which only the loss looks at and which counts ``weight``; 0: none."""
        self.aux = fcn_head(self.encoder.channels[-2], self.classes) if weight else None
        self.side_weights = (1.0, weight) if weight else (1.0,)

    def scores(self, x: Tensor) -> Tensor:
        """The last map (N, C, h, w) -> logits (N, K, h, w)."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.check(images)
        maps = self.encoder(images)
        answer = resize_to(self.scores(maps[-1]), images)
        return (answer, resize_to(self.aux(maps[-2]), images)) if self.aux is not None else (answer,)
